"""Which layers int8 hurts: each is quantized alone, and the damage is measured where the model ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from fxconv.config import Config, Recipe
from fxconv.data.assumption import assumption_warnings
from fxconv.data.calibration import Calibration, CalibrationData, as_data
from fxconv.data.held_out import held_out as held_out_of
from fxconv.data.targets import looked_at, with_targets
from fxconv.environment import check
from fxconv.measures.latency import set_mobile_threads
from fxconv.measures.layer_cost import LayerCost
from fxconv.measures.metric import Metric, MetricName, with_metric
from fxconv.measures.metric_judge import MetricJudge
from fxconv.measures.model_similarity import similarity_of
from fxconv.models import preconditions
from fxconv.models.model_info import ModelInfo
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock, Progress
from fxconv.quantization import engine
from fxconv.quantization.layer_costs import costs
from fxconv.quantization.passes import selected
from fxconv.quantization.quantize import quantize
from fxconv.quantization.task import QuantizationTask
from rewrites import Rewritten

# Enough to rank by: the worst layers of a network stand out on the first few images.
IMAGES = 16


@dataclass(frozen=True)
class Sensitivity:
    """The int8 operations of a model, the worst first, each quantized alone.

    `together` is the SQNR in decibels and the share of equal answers of the real int8 module, in which all of them are
    quantized, with the `steps` of the recipe. `source` says on which images, `images` how many; `is_unseen` whether
    calibration did not see them. With a `metric` of the user's the layers are ranked by that: `float_metric` is float's
    value, `int8_metric` that of all of them in int8.
    """

    model: ModelInfo
    config: Config
    rewritten: Rewritten
    calibration: Calibration
    source: str
    images: int
    is_unseen: bool
    layers: tuple[LayerCost, ...]
    together: tuple[float, float | None]
    steps: tuple[Recipe, ...] = ()
    warnings: tuple[str, ...] = ()
    metric: MetricName | None = None
    float_metric: float | None = None
    int8_metric: float | None = None


def sensitivity(
    model: nn.Module,
    calibration: CalibrationData | Iterable[Tensor | Sequence[Tensor]],
    config: Config | None = None,
    *,
    held_out: CalibrationData | Iterable[Any] | None = None,
    metric: Metric | Callable[..., Any] | str | None = None,
    info: ModelInfo | None = None,
    warnings: Iterable[str] = (),
    progress: Progress = lambda step, done, total: None,
    **options: Any,
) -> Sensitivity:
    """Rank the int8 operations of `model` by what quantizing each alone costs; the model itself is not touched.

    It is rewritten, calibrated and quantized as `fxconv.convert` does it. Then each convolution, linear layer and other
    operation with a range of its own (sums, products, activations that are not fused) has its weights and its
    output rounded exactly as in that int8 module, while everything else stays in float, and the outputs are compared
    with those of the float model. `calibration` and `config`, or its fields as keywords, are those of `fxconv.convert`.

    It is measured on at most `config.held_out` images (16 by default) that calibration does not use: those of
    `held_out` (float tensors `[N, ...]` as for calibration), else photographs or rows of the same source that were left
    over, else generated ones; tensors given from Python without `held_out` serve for both, and a warning says so.

    With a `metric`, as `fxconv.convert` takes it, the layers are ranked by what it says of the model with each alone in
    int8, and `held_out` may be batches of (images, targets).

    Raises what `fxconv.convert` raises.
    """
    config, judged_by = with_metric(config or Config(), metric, options)
    config = replace(config, held_out=config.held_out or IMAGES)
    check(config.engine.value)
    data = as_data(calibration)
    rules, clock = selected(config), Clock(progress)
    model = preconditions.own_copy(model)
    signature = InputSignature.of(model)
    set_mobile_threads()
    with engine.engine(config.engine.value):
        first = signature.arguments(data.examples(1)[0])
        preconditions.reference(model, [first])
        with preconditions.faults_told(model, [first]):
            quantized = quantize(QuantizationTask(model, rules, signature, data, first, config, clock))
        count = config.held_out or IMAGES
        if held_out is not None and judged_by is not None:
            held_out = with_targets(held_out, signature, count)
        judged = held_out_of(data, count, held_out)
        count = looked_at(judged.data, count)
        images = [signature.arguments(image) for image in judged.data.examples(count)]
        with preconditions.faults_told(model, images):
            judge = None if judged_by is None else MetricJudge(model, signature, judged.data, count, judged_by)
            all_int8 = None if judge is None else judge.value(quantized.int8)
            by = None if judge is None else judge.value
            layers = costs(quantized.floating(), quantized.int8, quantized.ranges, images, progress, metric=by)
            together = similarity_of(quantized.floating(), quantized.int8, images)
    return Sensitivity(
        about := info or ModelInfo.given(model, first),
        config,
        quantized.rewritten,
        quantized.calibration,
        judged.data.source,
        len(images),
        judged.is_unseen,
        layers,
        (together.sqnr_db, together.agreement),
        quantized.recipe.steps,
        (*warnings, *data.warnings, *assumption_warnings(data, about), *judged.warnings),
        None if judge is None else judge.metric.named,
        None if judge is None else judge.float_value,
        all_int8,
    )
