"""Files side by side, each in its runtime: how long they take, how large they are, how much memory they need."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxconv.data.arrays import whole_arrays
from fxconv.environment import Environment, check
from fxconv.errors import UserError
from fxconv.measures.latency import interleaved
from fxconv.measures.runs import Runs
from fxconv.models.input_size import parse_input_size
from fxconv.models.signature import in_words
from fxconv.progress import Progress
from fxconv.quantization.torch_notices import without_notices
from fxconv.targets.mobile.op_profile import Profile, op_profile
from fxconv.targets.proof.metadata import inputs_in
from fxconv.targets.proof.peak_memory import peak_memory
from fxconv.targets.registry import target_of_file

SCHEMA = 1
RUNS, WARM_UP = 50, 5


@dataclass(frozen=True)
class Benched:
    """One file: its size, the sizes of what it takes without N, its runs, and how they compare with the first file's.

    `to_first` is by the wall, `cpu_to_first` by CPU time. `peak_bytes` is what loading and running it adds to the
    memory of a process. `profile` has its operators, each with what it takes, when they were asked for. `runtime` is
    what it ran in, kernels and all.
    """

    path: Path
    bytes: int
    input: str
    runs: Runs
    to_first: float
    peak_bytes: int
    profile: Profile | None = None
    cpu_to_first: float = math.nan
    runtime: str = ""


@dataclass(frozen=True)
class Bench:
    """All files, measured in turn: `runs` of each, behind `warm_up` that do not count, with so many `threads`."""

    files: tuple[Benched, ...]
    runs: int
    warm_up: int
    threads: int
    environment: Environment

    def json_text(self) -> str:
        """All of it as indented JSON."""
        rows = [
            {
                "file": str(one.path),
                "runtime": one.runtime,
                "bytes": one.bytes,
                "input": one.input,
                "median_ms": one.runs.median,
                "cpu_ms": _number(one.runs.cpu_median),
                "p10_ms": one.runs.p10,
                "p90_ms": one.runs.p90,
                "spread": one.runs.spread,
                "busy": one.runs.was_busy,
                "to_first": one.to_first,
                "cpu_to_first": _number(one.cpu_to_first),
                "peak_bytes": one.peak_bytes,
                "runs_ms": list(one.runs.taken),
                "runs_cpu_ms": list(one.runs.cpu),
                **_profile_json(one.profile),
            }
            for one in self.files
        ]
        values = {
            "schema": SCHEMA,
            "environment": asdict(self.environment),
            "threads": self.threads,
            "runs": self.runs,
            "warm_up": self.warm_up,
            "files": rows,
        }
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    @property
    def was_busy(self) -> bool:
        """Whether the machine had other things to do while one of them ran."""
        return any(one.runs.was_busy for one in self.files)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _profile_json(profile: Profile | None) -> dict[str, Any]:
    """The operators, none when they were not asked for, and what they and the rest add up by."""
    if profile is None:
        return {"operators": None}
    return {
        "operators": [asdict(call) for call in profile.calls],
        "between_operators_ms": profile.between_ms,
        "profiler_us": profile.taken_off_us,
        "scaled": profile.scaled,
    }


def given_input(input_size: str | None, example: Path | None) -> tuple[Tensor, ...] | None:
    """What --input-size (numbers drawn at random) or --example (arrays, as they stand) say; None when neither is given.

    Raises `UserError` when both are, or when one is wrong.
    """
    if input_size is not None and example is not None:
        raise UserError("--input-size and --example: both say what the files take; give one")
    if example is not None:
        return tuple(torch.from_numpy(array) for array in whole_arrays(example, "--example"))
    size = parse_input_size(input_size)
    if size is None:
        return None
    frames = () if size.frames is None else (size.frames,)
    shape = (1, size.channels or 3, *frames, size.height, size.width)
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0)),)


def input_of(path: Path, given: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
    """What one call of a file takes: what was given, or numbers drawn at random of the shapes that it says it takes.

    Raises `UserError` when nothing was given, and it says nothing.
    """
    if given is not None:
        return given
    said = inputs_in(Path(path))
    if said is None:
        raise UserError(f"{path}: does not say what it takes; give --input-size or --example")
    generator = torch.Generator().manual_seed(0)
    return tuple(_drawn(like, generator) for like in said)


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers drawn at random, of a tensor's shape and type; of whole numbers, which may be indices, zeros."""
    if like.dtype == torch.uint8:
        return torch.randint(0, 256, like.shape, generator=generator, dtype=torch.uint8)
    return torch.randn(like.shape, generator=generator) if like.is_floating_point() else like


@without_notices()
def bench(
    paths: Sequence[Path],
    input_size: str | None = None,
    example: Path | None = None,
    runs: int = RUNS,
    warm_up: int = WARM_UP,
    threads: int = 1,
    operators: bool = False,
    progress: Progress = lambda step, done, total: None,
) -> Bench:
    """Measure files in turn, in a new order each time, on the qnnpack engine.

    The number of threads of the mobile kernels is settled once in a process: by the first call. Raises `UserError` for
    a file that no runtime here runs, that may do more than compute, or that does not take the input.
    """
    environment = check("qnnpack")
    if operators and (other := next((one for one in paths if target_of_file(one).name != "mobile"), None)):
        raise UserError(
            f"{other}: --ops is for .ptl files, and ExecuTorch does not say what each operator takes; leave --ops or "
            "this file out"
        )
    given = given_input(input_size, example)
    for path in paths:
        target_of_file(path).inspected(path)  # before anything of torch reads it
    inputs, peaks = [input_of(path, given) for path in paths], list[int]()
    for index, (path, values) in enumerate(zip(paths, inputs, strict=True)):
        progress("measuring memory", index, len(paths))
        # first, before anything of it is read here: what makes a runtime crash crashes a process of its own
        peaks.append(peak_memory(path, values, threads))
    modules = []
    for path, values in zip(paths, inputs, strict=True):
        target = target_of_file(path)
        target.prepare(path, threads)
        modules.append(target.open(path))
        target.run(modules[-1], values, path)
    taken = interleaved(
        modules, inputs, runs, runs, 0.0, warm_up, threads, shuffled=True,
        told=lambda done: progress("running", done, runs),
    )  # fmt: skip
    files = list[Benched]()
    for path, module, values, times, peak in zip(paths, modules, inputs, taken, peaks, strict=True):
        progress("profiling", len(files), len(paths))
        profile = op_profile(path, module, values, runs, times.median, threads) if operators else None
        ratios = times.ratio(taken[0]), times.cpu_ratio(taken[0])
        ran_in = target_of_file(path).runtime
        told = (path, path.stat().st_size, in_words(values), times, ratios[0], peak, profile, ratios[1], ran_in)
        files.append(Benched(*told))
    return Bench(tuple(files), runs, warm_up, threads, environment)
