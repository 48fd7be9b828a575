"""How an int8 model answers, beside float and beside the truth, on images that calibration did not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from torch import Tensor, nn

from fxconv.data.calibration import CalibrationData
from fxconv.errors import UserError
from fxconv.measures.similarity import answers, class_scores
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs
from fxconv.models.signature import InputSignature

# Shares are compared with this much room, for they are quotients.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Score:
    """The share of images, from 0 to 1, answered as float answers them, and rightly; None without labels."""

    agreement: float
    accuracy: float | None = None


@dataclass(frozen=True)
class Kept:
    """A layer that is in float for the budget's sake, and its price.

    `sqnr_db` is what quantizing it alone would leave at the output. `extra_bytes` is what its weights take more than in
    int8, `extra_ms` how much longer it runs itself, in eager mode, with one thread, on this machine.
    """

    where: str
    kind: str
    sqnr_db: float
    extra_bytes: int
    extra_ms: float


@dataclass(frozen=True)
class Judgement:
    """How int8 answers on images that calibration did not see, and what it took.

    `before` is the score with nothing kept in float for a budget, `after` the final one; `allowed` is the least score
    that `max_drop` percentage points allow, as a share; None without a budget. `tried` counts the int8 modules that
    were judged. `extra_ms` is how much longer one inference takes for what was kept, conversions included, in eager
    mode. `ranking` has each layer, the worst first, and the SQNR it leaves at the output when it alone is quantized,
    where that was measured.
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

    @property
    def measure(self) -> str:
        """What a score counts, in words."""
        return "top-1 agreement with float" if self.float_accuracy is None else "accuracy"

    @property
    def extra_bytes(self) -> int:
        """What the weights of the kept layers take more than in int8."""
        return sum(layer.extra_bytes for layer in self.kept)

    @property
    def score(self) -> float:
        """The final score in that measure, a share."""
        return self.value(self.after)

    def value(self, score: Score) -> float:
        """A score in the measure this is about, a share."""
        return score.agreement if self.float_accuracy is None else score.accuracy or 0.0

    def allows(self, score: Score) -> bool:
        """Whether a score is within the budget."""
        return self.allowed is not None and self.value(score) >= self.allowed - _ROUNDING

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
                    "bound the noise of its outputs instead: --min-sqnr"
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
