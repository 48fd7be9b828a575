"""One calibration, two runtimes: .ptl and .pte beside ExecuTorch's own recipe and float, a process a network.

    python benchmarks/targets.py --photographs DIR --cifar FILE.npz --checkpoints DIR [--weights FILE] [--only NAME]...
        [--again] [--latency] [--table] [--results DIR]

DIR holds photographs whose names begin with their ImageNet class index; FILE.npz and the checkpoints are those of
benchmarks/accuracy.py, as is the official mobilenet_v2 checkpoint. It wants an environment with ExecuTorch.

A network's files and records go to benchmarks/results/targets/NAME (--results DIR); what is there is not made again but
with --again; --latency measures only that again. When every network has its records, docs/targets.json and the page
made of them, docs/targets.md, are written; --table does only that. Exits with status 1 and what it is when a
requirement is not met.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks import supervised
from benchmarks.networks import ROOT, processor
from benchmarks.targets_network import NETWORKS, Network
from benchmarks.targets_table import page, unmet
from benchmarks.zoo_table import rounded

Record = dict[str, Any]
RESULTS = ROOT / "benchmarks" / "results" / "targets"
JSON, PAGE = ROOT / "docs" / "targets.json", ROOT / "docs" / "targets.md"
WORKER = ROOT / "benchmarks" / "targets_network.py"
MOST_SECONDS, MOST_GIB = 3600.0, 12.0
# What the first part writes, of which the second reads.
PARTS = ("files", "latency")


def part(name: str, network: Network, folder: Path, asked: argparse.Namespace) -> None:
    """Run one part of a network in a process of its own, its words in a log beside what it writes."""
    given = {"--photographs": asked.photographs, "--cifar": asked.cifar, "--checkpoints": asked.checkpoints,
             "--weights": asked.weights}  # fmt: skip
    words = [str(WORKER), name, network.name, str(folder)]
    words += [word for option, value in given.items() if value is not None for word in (option, str(value))]
    print(f"{network.name}: {name}", file=sys.stderr, flush=True)
    with (folder / f"{name}.log").open("w") as log:
        done = supervised.run(words, asked.time, 1024 * MOST_GIB, {"OMP_NUM_THREADS": "1"}, log)
    if done.trouble:
        raise SystemExit(f"{network.name}: {name}: the process {done.trouble}; {folder / f'{name}.log'} has its words")


def record(network: Network, results: Path) -> Record | None:
    """What is recorded of a network; None where a part is missing."""
    found = [results / network.name / f"{name}.json" for name in PARTS]
    if not all(path.exists() for path in found):
        return None
    whole: Record = json.loads(found[0].read_text())
    return rounded({**whole, "latency": json.loads(found[1].read_text())})


def head() -> Record:
    """The machine and the versions, in words."""
    packages = {name: importlib.metadata.version(name) for name in ("executorch", "torchao")}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return {
        "schema": 1,
        "processor": processor(),
        "versions": f"torch {torch.__version__}, {versions}, fxconv {fxconv.__version__}",
        "date": datetime.date.today().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=".ptl and .pte beside ExecuTorch's own recipe and float")
    parser.add_argument("--photographs", type=Path, default=None)
    parser.add_argument("--cifar", type=Path, default=None)
    parser.add_argument("--checkpoints", type=Path, default=None)
    parser.add_argument("--weights", type=Path, default=None, help="official mobilenet_v2-b0353104.pth")
    parser.add_argument("--only", action="append", choices=[one.name for one in NETWORKS], help="these networks")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the files and records")
    parser.add_argument("--time", type=float, default=MOST_SECONDS, help="most seconds of a part")
    parser.add_argument("--again", action="store_true", help="make again what is recorded")
    parser.add_argument("--latency", action="store_true", help="measure latency again, of the files that are there")
    parser.add_argument("--table", action="store_true", help="write the page from the records, and run nothing")
    asked = parser.parse_args()
    if not asked.table and not (asked.photographs and asked.cifar and asked.checkpoints):
        raise SystemExit("give --photographs, --cifar and --checkpoints")
    for network in NETWORKS if not asked.table else ():
        folder = asked.results / network.name
        if asked.only and network.name not in asked.only:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {"files": asked.again and not asked.latency, "latency": asked.again or asked.latency}
        is_new = False
        for name in PARTS:
            if is_new or wanted[name] or not (folder / f"{name}.json").exists():
                part(name, network, folder, asked)
                is_new = True
    found = {network.name: record(network, asked.results) for network in NETWORKS}
    records = [each for each in found.values() if each is not None]
    missing = [name for name, each in found.items() if each is None]
    if missing and not asked.table:
        print(f"no record yet of {', '.join(missing)}: the page is left as it is", file=sys.stderr)
        return
    whole = {**head(), "networks": records}
    JSON.write_text(json.dumps(whole, indent=1) + "\n")
    PAGE.write_text(page(whole, records))
    if problems := unmet(records):
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
