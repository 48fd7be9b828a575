"""How int8 does by a metric of the user's, beside float, on images that calibration did not see."""

from __future__ import annotations

from torch import nn

from fxconv.data.calibration import CalibrationData
from fxconv.measures.judge import Judgement, Score
from fxconv.measures.metric import Metric
from fxconv.models.graph_calls import Inputs
from fxconv.models.signature import InputSignature


class MetricJudge:
    """Scores int8 modules by a metric, which is asked for the float model's value once.

    Raises `UserError` where the metric fails.
    """

    def __init__(
        self, model: nn.Module, signature: InputSignature, data: CalibrationData, count: int, metric: Metric
    ) -> None:
        self.model, self.signature, self.data, self.count, self.metric = model, signature, data, count, metric
        self.float_value, self.images = metric.measured(model, signature, data, count)

    def judged(self, before: Score, max_drop: float | None) -> Judgement:
        """What is known with nothing kept in float for a budget."""
        source, named = self.data.source, self.metric.named
        return Judgement(
            source, self.images, None, before, before, max_drop, metric=named, float_metric=self.float_value
        )

    def score(self, int8: nn.Module) -> Score:
        """The metric's value for `int8`."""
        return Score(None, None, self.value(int8))

    def value(self, module: nn.Module, whose: str = "the int8 model") -> float:
        """The metric's value for a module made of the float model; `whose` says in words which it is."""
        return self.metric.measured(module, self.signature, self.data, self.count, self.model, whose)[0]

    def examples(self, count: int) -> list[Inputs]:
        """The first few images, each as the arguments of a call."""
        return [self.signature.arguments(image) for image in self.data.examples(count)]
