"""How much calibration a model needs, and of what: int8 by number and nature of the images it is calibrated on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fxconv.config import Config
from fxconv.data.assumption import assumption_warnings
from fxconv.data.calibration import CalibrationData, as_data
from fxconv.data.draws import Draw
from fxconv.data.held_out import JUDGED
from fxconv.data.targets import with_targets
from fxconv.environment import check
from fxconv.errors import UserError
from fxconv.measures.latency import set_mobile_threads
from fxconv.measures.metric import Metric, MetricName, with_metric
from fxconv.measures.metric_judge import MetricJudge
from fxconv.measures.model_similarity import similarity_of
from fxconv.models import preconditions
from fxconv.models.model_info import ModelInfo
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock, Progress
from fxconv.quantization import engine
from fxconv.quantization.passes import selected
from fxconv.quantization.quantize import quantize
from fxconv.quantization.task import QuantizationTask


@dataclass(frozen=True)
class Trial:
    """One int8 module: what it was calibrated on, and how like float it answers.

    `count` images were asked for and `images` there; SQNR in decibels, agreement a share from 0 to 1, None without
    class scores; `seconds` is what making it took. `metric` is the value of a metric of the user's, None without one.
    """

    source: str
    count: int
    images: int
    seed: int
    sqnr_db: float
    agreement: float | None
    seconds: float
    metric: float | None = None


@dataclass(frozen=True)
class Summary:
    """All trials of one source and count: means, and standard deviations over the seeds, None of a single one."""

    source: str
    count: int
    images: int
    seeds: int
    sqnr_db: float
    sqnr_spread: float | None
    worst_sqnr_db: float
    agreement: float | None
    agreement_spread: float | None
    metric: float | None = None
    metric_spread: float | None = None
    worst_metric: float | None = None


@dataclass(frozen=True)
class Study:
    """Every trial of a model, all judged on the same `images` of `judged_on`, which none was calibrated on.

    `metric` is what a metric of the user's is called, and `float_metric` its value for float; None without one.
    """

    model: ModelInfo
    config: Config
    judged_on: str
    images: int
    trials: tuple[Trial, ...]
    warnings: tuple[str, ...] = ()
    metric: MetricName | None = None
    float_metric: float | None = None

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """One for each source and count, in the order they were asked for."""
        groups: dict[tuple[str, int], list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault((trial.source, trial.count), []).append(trial)
        return tuple(_summary(group) for group in groups.values())


def _summary(trials: Sequence[Trial]) -> Summary:
    first, sqnr = trials[0], [trial.sqnr_db for trial in trials]
    same = [trial.agreement for trial in trials if trial.agreement is not None]
    values = [trial.metric for trial in trials if trial.metric is not None]
    return Summary(
        first.source,
        first.count,
        min(trial.images for trial in trials),
        len(trials),
        _mean(sqnr),
        _spread(sqnr),
        min(sqnr),
        statistics.fmean(same) if same else None,
        _spread(same),
        statistics.fmean(values) if values else None,
        _spread(values),
        min(values, default=None),
    )


def _mean(values: Sequence[float]) -> float:
    """The mean; where some are infinite, the least if that is."""
    return statistics.fmean(values) if all(map(math.isfinite, values)) else min(values)


def _spread(values: Sequence[float]) -> float | None:
    """The standard deviation; None of fewer than two values, and where one is infinite."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def study(
    model: nn.Module,
    sources: Mapping[str, Draw],
    judged: CalibrationData | Iterable[Any],
    counts: Sequence[int] = (1, 10, 100),
    seeds: int = 3,
    config: Config | None = None,
    *,
    info: ModelInfo | None = None,
    warnings: Iterable[str] = (),
    progress: Progress = lambda step, done, total: None,
    metric: Metric | Callable[..., Any] | str | None = None,
    **options: Any,
) -> Study:
    """Quantize `model` once for each source, count and seed, and compare every result with float on the same images.

    `sources` give images to calibrate on, by what they are called; `judged` are the images to compare on. `config`, or
    its fields as keywords, is that of `fxconv.convert`, which is what each trial does up to the int8 module. The model
    itself is not touched. A `metric`, as `fxconv.convert` takes it, is asked of each result too; `judged` may then be
    batches of (images, targets). Raises what `fxconv.convert` raises.
    """
    config, judged_by = with_metric(config or Config(), metric, options)
    if not sources or not counts or seeds < 1:
        raise UserError("a study needs at least one source, one number of images and one seed")
    check(config.engine.value)
    model, rules = preconditions.own_copy(model), selected(config)
    signature, trials, told = InputSignature.of(model), list[Trial](), dict[str, list[list[str]]]()
    if judged_by is None:
        data = as_data(judged)
    else:
        data = with_targets(judged, signature, config.held_out or JUDGED, "judged")
    set_mobile_threads()
    with engine.engine(config.engine.value):
        images = [signature.arguments(image) for image in data.examples(data.count)]
        original = preconditions.reference(model, images)
        judge = None if judged_by is None else MetricJudge(model, signature, data, data.count, judged_by)
        total = len(sources) * len(counts) * seeds
        for name, draw in sources.items():
            for count in counts:
                for seed in range(config.seed, config.seed + seeds):
                    progress(f"{name}, {count}, seed {seed}", len(trials), total)
                    drawn, clock = draw(count, seed), Clock(lambda *_: None)
                    first = signature.arguments(drawn.examples(1)[0])
                    with preconditions.faults_told(model, [first, *images]):
                        quantized = quantize(QuantizationTask(model, rules, signature, drawn, first, config, clock))
                        alike = similarity_of(quantized.floating(), quantized.int8, images, original)
                        value = None if judge is None else judge.value(quantized.int8)
                    seconds, found = clock.total()["total"], (alike.sqnr_db, alike.agreement)
                    trials.append(Trial(name, count, drawn.count, seed, *found, seconds, value))
                    told.setdefault(name, []).append(drawn.warnings)
    # Of draws from one source the one that says most: the others met some of the same photographs.
    most = [note for draws in told.values() for note in max(draws, key=len)]
    short = {trial.source: trial.images for trial in trials if trial.images < trial.count}
    notes = [f"{name} has {had} images to calibrate on; larger counts are those" for name, had in short.items()]
    return Study(
        about := info or ModelInfo.given(model, images[0]),
        config,
        data.source,
        len(images),
        tuple(trials),
        tuple(dict.fromkeys((*warnings, *data.warnings, *assumption_warnings(data, about), *most, *notes))),
        None if judge is None else judge.metric.named,
        None if judge is None else judge.float_value,
    )
