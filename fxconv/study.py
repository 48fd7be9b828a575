"""How much calibration a model needs, and of what: int8 by number and nature of the images it is calibrated on."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from torch import nn

from fxconv import photographs, quantize, soundness
from fxconv.calibration import CalibrationData, Generated, Photographs
from fxconv.clock import Clock, Progress
from fxconv.config import Config
from fxconv.environment import check
from fxconv.errors import UserError
from fxconv.inputs import InputForm
from fxconv.job import ModelInfo
from fxconv.latency import settle_mobile_threads
from fxconv.passes import selected
from fxconv.preprocessing import Preprocessing
from fxconv.probe import likeness
from fxconv.report.json import heading, plain
from fxconv.settling import settle

# What stands for generated images among the sources.
SYNTHETIC = "synthetic"
# Images that every result is judged on; of a folder at most one in so many, for the others are to calibrate on.
IMAGES, _ONE_IN = 50, 2
# Seeds of generated images to judge by lie beyond those to calibrate on.
_JUDGED = 1 << 20

Draw = Callable[[int, int], CalibrationData]
"""Gives so many images of a source, drawn with a seed."""


@dataclass(frozen=True)
class Trial:
    """One int8 module: what it was calibrated on, and how like float it answers.

    `count` images were asked for and `images` there; SQNR in decibels, agreement a share from 0 to 1, None without
    class scores; `seconds` is what making it took.
    """

    source: str
    count: int
    images: int
    seed: int
    sqnr_db: float
    agreement: float | None
    seconds: float


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


@dataclass(frozen=True)
class Study:
    """Every trial of a model, all judged on the same `images` of `judged_on`, which none was calibrated on."""

    model: ModelInfo
    config: Config
    judged_on: str
    images: int
    trials: tuple[Trial, ...]
    warnings: tuple[str, ...] = ()

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """One for each source and count, in the order they were asked for."""
        groups: dict[tuple[str, int], list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault((trial.source, trial.count), []).append(trial)
        return tuple(_summary(group) for group in groups.values())

    def json(self) -> dict[str, Any]:
        """The study as plain values, schema 1."""
        content = {
            **heading(self.model, self.config),
            "judged_on": {"source": self.judged_on, "images": self.images},
            "summaries": [asdict(one) for one in self.summaries],
            "trials": [asdict(one) for one in self.trials],
            "warnings": self.warnings,
        }
        return {key: plain(value) for key, value in content.items()}

    def json_text(self) -> str:
        """`json` as indented text."""
        return json.dumps(self.json(), indent=2, allow_nan=False) + "\n"


def _summary(trials: Sequence[Trial]) -> Summary:
    first, sqnr = trials[0], [trial.sqnr_db for trial in trials]
    same = [trial.agreement for trial in trials if trial.agreement is not None]
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
    judged: CalibrationData,
    counts: Sequence[int] = (1, 10, 100),
    seeds: int = 3,
    config: Config | None = None,
    *,
    info: ModelInfo | None = None,
    warnings: Iterable[str] = (),
    progress: Progress = lambda step, done, total: None,
    **options: Any,
) -> Study:
    """Quantize `model` once for each source, count and seed, and compare every result with float on the same images.

    `sources` give images to calibrate on, by what they are called; `judged` are the images to compare on. `config`, or
    its fields as keywords, is that of `fxconv.convert`, which is what each trial does up to the int8 module. The model
    itself is not touched. Raises what `fxconv.convert` raises.
    """
    config = replace(config or Config(), **options)
    if not sources or not counts or seeds < 1:
        raise UserError("a study needs at least one source, one number of images and one seed")
    check(config.engine.value)
    model, rules = soundness.own_copy(model), selected(config)
    form, trials, told = InputForm.of(model), list[Trial](), dict[str, list[list[str]]]()
    settle_mobile_threads()
    with quantize.engine(config.engine.value):
        images = [form.arguments(image) for image in judged.examples(judged.count)]
        original = soundness.reference(model, images)
        total = len(sources) * len(counts) * seeds
        for name, draw in sources.items():
            for count in counts:
                for seed in range(config.seed, config.seed + seeds):
                    progress(f"{name}, {count}, seed {seed}", len(trials), total)
                    data, clock = draw(count, seed), Clock(lambda *_: None)
                    first = form.arguments(data.examples(1)[0])
                    settled = settle(model, rules, form, data, first, config, clock)
                    alike = likeness(settled.floating(), settled.int8, images, original)
                    seconds = clock.total()["total"]
                    trials.append(Trial(name, count, data.count, seed, alike.sqnr_db, alike.agreement, seconds))
                    told.setdefault(name, []).append(data.warnings)
    # Of draws from one source the one that says most: the others met some of the same photographs.
    most = [note for draws in told.values() for note in max(draws, key=len)]
    short = {trial.source: trial.images for trial in trials if trial.images < trial.count}
    notes = [f"{name} has {had} images to calibrate on; larger counts are those" for name, had in short.items()]
    return Study(
        info or ModelInfo.given(model, images[0]),
        config,
        judged.source,
        len(images),
        tuple(trials),
        tuple(dict.fromkeys((*warnings, *judged.warnings, *most, *notes))),
    )


# -- what a command line names ------------------------------------------------------------------------


class _Drawn(Photographs):
    """Photographs of a folder but for those that are judged."""

    def __init__(self, found: Sequence[Path], folder: Path, how: Preprocessing, count: int, size: int, seed: int):
        self._named("--sources")
        self._closed = []
        self._draw(list(found), folder, how, count, size, seed)
        self._spares.clear()  # so many are all there are: neither the recipe nor a damaged file takes others


def open_sources(
    names: Sequence[str], preprocessing: Preprocessing, images: int, config: Config
) -> tuple[dict[str, Draw], CalibrationData]:
    """The sources to draw from, and the images to judge by, which are of the first of them.

    A source is a folder of photographs, or `synthetic`. Raises `UserError` for one that is neither, or empty.
    """
    folders = {name: _photographs(name) for name in names if name != SYNTHETIC}
    size, first = config.batch_size, names[0]
    judged: CalibrationData
    if first == SYNTHETIC:
        judged, used = _Made(preprocessing, images, size, config.seed + _JUDGED), set[Path]()
    else:
        found = folders[first]
        most = min(images, len(found) // _ONE_IN)
        if not most:
            raise UserError(
                f"--sources {first}: one photograph is too few: some are to be judged, others calibrated on"
            )
        chosen = Random(config.seed).sample(found, most)
        judged, used = (
            _Drawn(chosen, Path(first), preprocessing, most, size, config.seed),
            {p.resolve() for p in chosen},
        )
    draws: dict[str, Draw] = {}
    for name in names:
        if name == SYNTHETIC:
            draws[name] = lambda count, seed: _Made(preprocessing, count, size, seed)
            continue
        left = [path for path in folders[name] if path.resolve() not in used]
        if not left:
            raise UserError(f"--sources {name}: all of its photographs are judged; give a folder with others")
        draws[name] = _drawing(left, Path(name), preprocessing, size)
    return draws, judged


class _Made(Generated):
    """Generated images that were asked for by name."""

    @property
    def warnings(self) -> list[str]:
        return []


def check_sources(names: Sequence[str]) -> None:
    """Raises `UserError` for a source that is no folder of photographs, before anything is loaded."""
    for name in names:
        if name != SYNTHETIC:
            _photographs(name)


def _drawing(left: Sequence[Path], folder: Path, preprocessing: Preprocessing, size: int) -> Draw:
    return lambda count, seed: _Drawn(left, folder, preprocessing, count, size, seed)


def _photographs(name: str) -> list[Path]:
    folder = Path(name)
    if not folder.is_dir():
        what = "is no folder of photographs" if folder.exists() else "no such folder"
        raise UserError(f"--sources {name}: {what}; give folders, or {SYNTHETIC}, with commas between")
    found, _ = photographs.find(folder)
    if not found:
        raise UserError(f"--sources {name}: no photographs in it")
    return found


def parse_counts(text: str) -> tuple[int, ...]:
    """Numbers of images from `1,10,100`. Raises `UserError`."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 1 << 31 for word in words):
        raise UserError(f"--counts {text}: expected numbers of images with commas between, such as 1,10,100")
    return tuple(dict.fromkeys(map(int, words)))


def parse_sources(text: str) -> tuple[str, ...]:
    """Folders and `synthetic` from a list with commas. Raises `UserError` for an empty name."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise UserError(f"--sources {text}: a name between the commas is empty; give folders, or {SYNTHETIC}")
    return names
