"""One network as .ptl and .pte of one calibration, beside ExecuTorch's own recipe; benchmarks/targets.py runs it.

    python benchmarks/targets_network.py files NAME FOLDER [--photographs DIR] [--cifar FILE.npz --checkpoints DIR]
        [--weights FILE]
    python benchmarks/targets_network.py latency NAME FOLDER

`files` writes the files into FOLDER and FOLDER/files.json, what they answer to the same images; `latency` runs all of
them in one process, in turn, and writes FOLDER/latency.json.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks import executorch_recipe
from benchmarks.accuracy import packaged_checkpoint, photographs, prepared, scores, trained
from benchmarks.networks import draw_like_trained
from fxconv.config import Recipe
from fxconv.measures.latency import interleaved, set_mobile_threads
from fxconv.measures.runs import Runs
from fxconv.models import loading
from fxconv.models.batch_norms import reestimate_batch_norms
from fxconv.report.json import plain
from fxconv.targets.executorch import runtime
from fxconv.targets.executorch.quiet import quiet
from fxconv.targets.mobile.lite_file import load_lite

Record = dict[str, Any]
BATCH, CALIBRATION = 10, 100
FEWEST, MOST, SECONDS, WARM_UP = 30, 200, 75.0, 2
# A turn of a fast file is so long, in milliseconds.
TURN_MS = 5.0
RECIPES = {"auto": Recipe.auto, "none": Recipe.none}
# What is timed beside what: ExecuTorch's own file a second time tells how much of a difference is noise.
OWN, CONTROL = "executorch.pte", "executorch.pte again"
FILES = (OWN, "auto.pte", "auto.ptl", "none.pte", "none.ptl", "float.pte")


@dataclass(frozen=True)
class Network:
    """A network as it is measured: its input's size, and where its weights and images come from.

    `weights` is "ImageNet", "CIFAR-10", or "random", whose answers say nothing but beside float's.
    """

    name: str
    size: int
    weights: str


NETWORKS = (
    Network("mobilenet_v2", 224, "ImageNet"),
    Network("mobilenet_v3_small", 64, "CIFAR-10"),
    Network("resnet18", 32, "CIFAR-10"),
    Network("efficientnet_b0", 224, "random"),
    Network("swin_t", 224, "random"),
)


@dataclass(frozen=True)
class Given:
    """A model with its images: `[N, C, H, W]` to calibrate and to score, and the classes of the latter, if it knows."""

    model: nn.Module
    calibration: Tensor
    scored: Tensor
    truth: Tensor | None


# -- files and what they answer ---------------------------------------------------------------------------------------


def given(network: Network, asked: argparse.Namespace) -> Given:
    """The model and its images."""
    if network.weights == "CIFAR-10":
        model, arrays = trained(network.name, network.size, asked.checkpoints), np.load(asked.cifar)
        calibration = prepared(arrays["train_x"][:CALIBRATION], network.size)
        truth = torch.from_numpy(arrays["test_y"]).long()
        return Given(model, calibration, prepared(arrays["test_x"], network.size), truth)
    weights = str(asked.weights or packaged_checkpoint()) if network.weights == "ImageNet" else "random"
    loaded = loading.load(network.name, weights)
    images, labels = photographs(asked.photographs, loaded.preprocessing)
    order = list(range(len(images)))
    random.Random(0).shuffle(order)
    calibration, scored = images[order[:CALIBRATION]], images[order[CALIBRATION:]]
    if network.weights == "ImageNet":
        return Given(loaded.module, calibration, scored, labels[order[CALIBRATION:]])
    draw_like_trained(loaded.module)
    reestimate_batch_norms(loaded.module, list(calibration.split(BATCH)))
    return Given(loaded.module, calibration, scored, None)


def files(network: Network, folder: Path, asked: argparse.Namespace) -> Record:
    """Write every file of a network, and what each answers."""
    about = given(network, asked)
    example = about.calibration[:1]
    record: Record = {"network": network.name, "size": network.size, "weights": network.weights,
                      "calibration": len(about.calibration), "scored": len(about.scored), "files": {}}  # fmt: skip
    found: Record = record["files"]
    reference = scores(about.model, about.scored)
    found["float"] = answered(reference, reference, about.truth)
    start = time.perf_counter()
    content = executorch_recipe.lowered(about.model, about.calibration.split(1))
    (folder / OWN).write_bytes(content)
    found[OWN] = {"seconds": time.perf_counter() - start}
    (folder / "float.pte").write_bytes(executorch_recipe.floating(about.model, example))
    found["float.pte"] = {}
    # With random weights a recipe has little to recover.
    recipes = {name: recipe for name, recipe in RECIPES.items() if name == "auto" or about.truth is not None}
    for name, recipe in recipes.items():
        start = time.perf_counter()
        made = fxconv.convert(
            about.model,
            list(about.calibration.split(BATCH)),
            recipe=(recipe,),
            min_sqnr=0.0,
            targets=("mobile", "executorch"),
        )
        seconds = time.perf_counter() - start
        for file in made.files:
            (folder / f"{name}{file.target.suffix}").write_bytes(file.artifact.data)
            found[f"{name}{file.target.suffix}"] = {
                "proven": made.proven,
                "verdict": made.verdict,
                "seconds": seconds,
                "steps": [step.value for step in made.recipe.steps],
                "int8_share": file.artifact.int8_macs_share,
                "outside": [plain(vars(one)) for one in file.artifact.outside if not one.in_module],
                "to_int8_db": file.to_int8_db,
            }
        print(name, made.verdict, f"{seconds:.0f} s", file=sys.stderr, flush=True)
        del made
    answers: dict[str, Tensor] = {}
    for name in (each for each in FILES if each in found):
        found[name] |= {"bytes": (folder / name).stat().st_size}
        try:
            module = opened(folder / name)
        except NotLoaded as error:
            found[name] |= {"problem": str(error)}
            continue
        outputs = scores(module, about.scored)
        answers[name] = outputs.argmax(1) == reference.argmax(1)
        found[name] |= answered(reference, outputs, about.truth)
        print(name, found[name], file=sys.stderr, flush=True)
    record["below_ptl"] = points_below(answers["auto.pte"], answers["auto.ptl"])
    torch.save(about.scored[:1].clone(), folder / "example.pt")
    return record


def answered(reference: Tensor, found: Tensor, truth: Tensor | None) -> Record:
    """How the answers `[N, K]` of a file compare with float's and with the true classes."""
    noise = float((reference - found).double().square().sum())
    signal = float(reference.double().square().sum())
    answers = found.argmax(1)
    return {
        "agreement": 100 * float((answers == reference.argmax(1)).double().mean()),
        "sqnr_db": 10 * math.log10(signal / noise) if noise else None,
        "right": int((answers == truth).sum()) if truth is not None else None,
    }


def points_below(own: Tensor, other: Tensor) -> Record:
    """Points of a share, of truth values `[N]`, below another's on the same images, and the 95 % bound of that."""
    below = 100 * (other.double() - own.double())
    return {"points": float(below.mean()), "bound": 1.96 * float(below.std()) / math.sqrt(len(below))}


# -- latency ----------------------------------------------------------------------------------------------------------


class NotLoaded(RuntimeError):
    """A runtime does not load a file."""


def opened(path: Path) -> Callable[..., Any]:
    """A file in its runtime, as an app has it: nothing in between but the call. Raises `NotLoaded`."""
    if path.suffix == ".ptl":
        loaded: Callable[..., Any] = load_lite(path)
        return loaded
    content = path.read_bytes()
    with quiet() as said:
        from executorch.runtime import Runtime

        try:
            program = Runtime.get().load_program(content)
            method = program.load_method("forward")
        except RuntimeError as error:
            raise NotLoaded(said.reason() or str(error)) from error

    def run(image: Tensor, kept: Any = (program, content)) -> Any:
        return method.execute((image,))[0]  # a method does not keep its program

    return run


def latency(folder: Path) -> Record:
    """All files in one process, in a new order each time: milliseconds of each, and ratios to ExecuTorch's own."""
    threads = runtime.set_threads(1)
    example = torch.load(folder / "example.pt", weights_only=True).contiguous()
    names = {name: folder / name for name in FILES} | {CONTROL: folder / OWN}
    modules: dict[str, Callable[..., Any]] = {}
    for name, path in names.items():
        with suppress(NotLoaded):  # what does not load is told with its answers
            if path.exists():  # with random weights there is but one recipe
                modules[name] = opened(path)
    times = turn(modules["auto.pte"], example)
    found = interleaved(
        [repeated(each, times) for each in modules.values()],
        [(example,)] * len(modules),
        FEWEST,
        MOST,
        SECONDS,
        WARM_UP,
        shuffled=True,
    )
    found = [Runs(*(tuple(one / times for one in taken) for taken in (runs.taken, runs.cpu))) for runs in found]
    runs = dict(zip(modules, found, strict=True))
    return {
        "threads": threads,
        "rounds": len(found[0].taken),
        "runs_a_turn": times,
        "busy": any(one.was_busy for one in found),
        "files": {name: taken(one, runs.get(OWN), runs["auto.ptl"]) for name, one in runs.items()},
    }


def turn(module: Callable[..., Any], example: Tensor) -> int:
    """How many runs of a file take `TURN_MS`. The first of a turn finds the caches full of what others left there."""
    least = math.inf
    for _ in range(10):
        start = time.thread_time()
        module(example)
        least = min(least, 1000 * (time.thread_time() - start))
    return max(1, round(TURN_MS / least))


def repeated(module: Callable[..., Any], times: int) -> Callable[..., Any]:
    """A module that runs so many times when it is called."""

    def run(*inputs: Any) -> None:
        for _ in range(times):
            module(*inputs)

    return run


def taken(own: Runs, to_own: Runs | None, to_lite: Runs) -> Record:
    """Medians and least times in milliseconds, and ratios: medians of those round by round, and of the least times."""
    record: Record = {"ms": own.median, "cpu_ms": own.cpu_median, "least_ms": min(own.taken)}
    for name, first in (("to_executorch", to_own), ("to_ptl", to_lite)):
        if first is not None:
            record[name] = {
                "cpu": own.cpu_ratio(first),
                "wall": own.ratio(first),
                "least_cpu": min(own.cpu) / min(first.cpu),
            }
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description="one network, its files in both runtimes")
    parser.add_argument("part", choices=("files", "latency"))
    parser.add_argument("name", choices=[network.name for network in NETWORKS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=Path, default=None)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--cifar", type=Path, default=None)
    parser.add_argument("--checkpoints", type=Path, default=None)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    set_mobile_threads()
    torch.backends.quantized.engine = "qnnpack"
    network = next(one for one in NETWORKS if one.name == asked.name)
    asked.folder.mkdir(parents=True, exist_ok=True)
    record = files(network, asked.folder, asked) if asked.part == "files" else latency(asked.folder)
    (asked.folder / f"{asked.part}.json").write_text(json.dumps(plain(record), indent=1))


if __name__ == "__main__":
    main()
