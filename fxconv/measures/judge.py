"""How an int8 model answers, beside float and beside the truth, on images that calibration did not see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from torch import Tensor, nn

from fxconv.data.calibration import CalibrationData
from fxconv.errors import UserError
from fxconv.measures.metric import MetricName
from fxconv.measures.similarity import answers, class_scores
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs
from fxconv.models.signature import InputSignature

# Shares are compared with this much room, for they are quotients.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Score:
    """The share of images, from 0 to 1, answered as float answers them, and rightly; None without labels.

    Where a metric of the user's judges, `metric` is its value, and nothing is counted.
    """

    agreement: float | None
    accuracy: float | None = None
    metric: float | None = None


@dataclass(frozen=True)
class Kept:
    """A layer that is in float for the budget's sake, and its price.

    `sqnr_db` is what quantizing it alone would leave at the output. `extra_bytes` is what its weights take more than in
    int8, `extra_ms` how much longer it runs itself, in eager mode, with one thread, on this machine, by the wall, and
    `extra_cpu_ms` by CPU time.
    """

    where: str
    kind: str
    sqnr_db: float
    extra_bytes: int
    extra_ms: float
    extra_cpu_ms: float = math.nan


@dataclass(frozen=True)
class Judgement:
    """How int8 answers on images that calibration did not see, and what it took.

    `before` is the score with nothing kept in float for a budget, `after` the final one; `allowed` is the least score
    that `max_drop` percentage points allow, as a share; None without a budget. With a `metric` of the user's
    `float_metric` is its value for float, and `max_drop` hundredths of its unit. `tried` counts the int8 modules that
    were judged. `extra_ms` is how much longer one inference takes for what was kept, conversions included, in eager
    mode, by the wall, and `extra_cpu_ms` by CPU time. `ranking` has each layer, the worst first, and the SQNR it leaves
    at the output when it alone is quantized, where that was measured.
    """

    source: str
    images: int
    float_accuracy: float | None
    before: Score
    after: Score
    max_drop: float | None = None
    allowed: float | None = None
    kept: tuple[Kept, ...] = ()
    tried: int = 1
    extra_ms: float = 0.0
    warnings: tuple[str, ...] = ()
    ranking: tuple[tuple[str, float], ...] = ()
    metric: MetricName | None = None
    float_metric: float | None = None
    extra_cpu_ms: float = 0.0

    @property
    def measure(self) -> str:
        """What a score counts, in words."""
        if self.metric is not None:
            return self.metric.name
        return "top-1 agreement with float" if self.float_accuracy is None else "accuracy"

    @property
    def extra_bytes(self) -> int:
        """What the weights of the kept layers take more than in int8."""
        return sum(layer.extra_bytes for layer in self.kept)

    @property
    def score(self) -> float:
        """The final score in that measure, a share or the metric's value."""
        return self.value(self.after)

    @property
    def float_value(self) -> float:
        """Float's own score in that measure; it agrees with itself."""
        if self.float_metric is not None:
            return self.float_metric
        return 1.0 if self.float_accuracy is None else self.float_accuracy

    @property
    def drop(self) -> float:
        """By how much the final score is worse than float's, in what `max_drop` is in: points, hundredths of a unit."""
        return 100 * (self.float_value - self.score)

    def value(self, score: Score) -> float:
        """A score in the measure this is about, a share or the metric's value."""
        if self.metric is not None:
            return score.metric or 0.0
        return (score.agreement if self.float_accuracy is None else score.accuracy) or 0.0

    def within(self, max_drop: float) -> Judgement:
        """With the least score that so large a drop allows."""
        return replace(self, allowed=self.float_value - max_drop / 100)

    def allows(self, score: Score) -> bool:
        """Whether a score is within the budget."""
        if self.allowed is None:
            return False
        return self.value(score) >= self.allowed - _ROUNDING * max(1.0, abs(self.allowed))

    def chance(self, score: Score) -> float:
        """What a score may well differ by without any reason: by chance as many answers turn, or a metric moves."""
        if score.agreement is not None:
            return math.sqrt((1 - score.agreement) / self.images)
        # nobody knows how a metric varies: what is lost of an image by as much as is lost of one on average
        return abs(self.float_value - self.value(score)) / math.sqrt(self.images)

    def shown(self, score: float) -> str:
        """A score in words: a percentage, or the metric's value with the digits that tell two apart."""
        return f"{100 * score:.1f} %" if self.metric is None else f"{score:.6g}"

    @property
    def paths(self) -> tuple[str, ...]:
        """The kept layers, as `--keep-float` takes them."""
        return tuple(layer.where for layer in self.kept)


class Judge:
    """Scores int8 modules by the answers of the float model, and by labels where there are some.

    Raises `UserError` for a model that gives no class scores, and for labels that are none of its classes.
    """

    def __init__(self, model: nn.Module, signature: InputSignature, data: CalibrationData, count: int) -> None:
        self.signature, self.data, self.count = signature, data, count
        self.wanted: list[list[int]] = []
        for found in self._outputs(model):
            scores = class_scores(found)
            if not scores or (self.wanted and len(scores) != len(self.wanted[0])):
                shapes = ", ".join(str(tuple(value.shape)) for value in found)
                raise UserError(
                    f"the model's outputs {shapes} are no class scores [N, K], which --max-drop and --eval count; "
                    "judge by a metric of your own, --metric FILE.py:NAME, or bound the noise of outputs: --min-sqnr"
                )
            self.wanted.append(answers(found))
            self.classes = scores[0].shape[1]
        labels = data.labels
        self.labels = None if labels is None else list(labels)[: self.images]
        if self.labels and max(self.labels) >= self.classes:
            raise UserError(
                f"class index {max(self.labels)} in {data.source}: the model has {self.classes} classes, 0 to "
                f"{self.classes - 1}; number the folders (207_name), or give --labels FILE"
            )

    @property
    def images(self) -> int:
        """How many images are judged by."""
        return len(self.wanted)

    @property
    def float_accuracy(self) -> float | None:
        """The share of images that float answers rightly; None without labels."""
        return self._accuracy(self.wanted)

    def judged(self, before: Score, max_drop: float | None) -> Judgement:
        """What is known with nothing kept in float for a budget."""
        return Judgement(self.data.source, self.images, self.float_accuracy, before, before, max_drop)

    def score(self, int8: nn.Module) -> Score:
        """How `int8` answers."""
        found = [answers(outputs) for outputs in self._outputs(int8)]
        pairs = list(zip(chain(*self.wanted), chain(*found), strict=True))
        return Score(sum(a == b for a, b in pairs) / len(pairs), self._accuracy(found))

    def examples(self, count: int) -> list[Inputs]:
        """The first few images, each as the arguments of a call."""
        return [self.signature.arguments(image) for image in self.data.examples(count)]

    def _accuracy(self, found: list[list[int]]) -> float | None:
        if self.labels is None:
            return None
        return sum(got[0] == label for got, label in zip(found, self.labels, strict=True)) / len(found)

    def _outputs(self, module: nn.Module) -> Iterator[list[Tensor]]:
        """What `module` returns for each image, one by one, as the artifact will see them."""
        for batch in self.data.batches(self.count):
            for row in zip(*(values.split(1) for values in batch), strict=True):
                yield forward.outputs(module, [self.signature.arguments(row)])[0]
