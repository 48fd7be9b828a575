"""Every network of torchvision through fxconv and through the stock flow, a process a network.

    python benchmarks/zoo.py [--only PATTERN]... [--jobs 2] [--stale] [--failed] [--again] [--list] [--table] [--pte]

Both flows get the same seeded weights, with batch norms re-estimated, and the same generated images. A network's
record goes to benchmarks/results/zoo/NAME.json (--results DIR), and one that has a record is not run again unless it
is asked for: --stale runs those recorded by other sources of fxconv and rewrites than these, --failed those that were
not verified, --again all; each among those that --only names. When every network has a record, docs/zoo.md and
docs/zoo.json are written; --table does only that. Exits with status 1 when a requirement is not met.

--pte runs the networks as ExecuTorch programs instead, at small sizes, in an environment that has ExecuTorch (the stock
flow wants a torch with XNNPACK, and ExecuTorch its own); the records are NAME.pte.json beside the others, and a section
of the same page. Of what has no record in the folder, that in docs/zoo.json counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import supervised, zoo_programs_table
from benchmarks.networks import ROOT, machine
from benchmarks.zoo_plan import Plan, left_out, plans, program_plans
from benchmarks.zoo_table import summary_line, unmet, verified, write_table

RESULTS = ROOT / "benchmarks" / "results" / "zoo"
JSON = ROOT / "docs" / "zoo.json"
MOST_SECONDS, MOST_GIB = 1200.0, 22.0
Record = dict[str, Any]


def sources() -> str:
    """A hash of the code that converts: every source file of fxconv and rewrites."""
    digest = hashlib.sha256()
    for path in sorted(path for package in ("fxconv", "rewrites") for path in (ROOT / package).rglob("*.py")):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


class Zoo:
    """The records of a folder, and the runs that make them."""

    kind, worker = "", "zoo_network.py"

    def __init__(self, folder: Path, most_seconds: float, most_gib: float) -> None:
        self.folder, self.most_seconds, self.most_gib = folder, most_seconds, most_gib
        self.code, self.done, self.wanted = sources(), 0, 0
        self._stopping, self._lock = threading.Event(), threading.Lock()

    def file(self, plan: Plan, suffix: str = ".json") -> Path:
        """Where the record of a network is stored; with another suffix what lies beside it."""
        return self.folder / f"{re.sub('[^A-Za-z0-9_.=-]+', '-', plan.called)}{self.kind}{suffix}"

    def record(self, plan: Plan) -> Record | None:
        """What is stored of a network."""
        path = self.file(plan)
        return json.loads(path.read_text()) if path.exists() else None

    def run_all(self, chosen: list[Plan], jobs: int) -> None:
        """Run them, `jobs` at a time, and by themselves those that need the memory."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wanted = len(chosen)
        try:
            for at_once, alone in ((jobs, False), (1, True)):
                with ThreadPoolExecutor(at_once) as pool:
                    try:
                        list(pool.map(self.run, [plan for plan in chosen if plan.is_alone is alone]))
                    except BaseException:
                        self._stopping.set()  # what runs gets the interruption too; what waits must not start
                        raise
        except KeyboardInterrupt:
            raise SystemExit(
                "interrupted; finished networks are recorded, run the same command again to continue"
            ) from None

    def run(self, plan: Plan) -> None:
        """One network in a process of its own; its record, whatever became of the process."""
        if self._stopping.is_set():
            return
        partial = self.file(plan, ".partial")
        words = [str(ROOT / "benchmarks" / self.worker), plan.model, "--images", str(plan.images)]
        words += ["--into", str(partial), *(["--input-size", plan.size] if plan.size else [])]
        words += [word for each in plan.arguments for word in ("--model-arg", each)]
        searched = [*plan.folders, *([os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else [])]
        around = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(searched)}
        with self.file(plan, ".log").open("w") as log:
            done = supervised.run(words, self.most_seconds, 1024 * self.most_gib, around, log)
        if self._stopping.is_set():
            return
        record = {"model": plan.model, "images": plan.images, "part": "starting", **self.nothing()}
        if partial.exists():
            record = json.loads(partial.read_text())
            partial.unlink()
        if done.trouble:
            self.failing(record)["error"] = f"the process {done.trouble}, in this part: {record['part']}"
        record |= {"code": self.code, "wall_seconds": done.seconds, "most_mib": done.peak_mib, "gmacs": plan.gmacs}
        record |= {"size": plan.size, "torch": torch.__version__}
        self.file(plan).write_text(json.dumps(record, indent=1))
        with self._lock:
            self.done += 1
            place = f"[{self.done:3}/{self.wanted}]"
            print(f"{place} {self.line(record)}", file=sys.stderr, flush=True)

    def nothing(self) -> Record:
        """What a record has of a process that wrote none."""
        return {"ours": {}, "stock": {}}

    def failing(self, record: Record) -> Record:
        """The flow of a record that its process ended in."""
        is_stock = record["part"] == "stock flow" or "verdict" in record["ours"]
        found: Record = record["stock" if is_stock else "ours"]
        return found

    def line(self, record: Record) -> str:
        """One line on a record."""
        return summary_line(record)

    def holds(self, record: Record) -> bool:
        """Whether a record says that all is well."""
        return verified(record)

    def state(self, plan: Plan) -> str:
        """A line on what is stored of a network."""
        record = self.record(plan)
        size, gmacs = plan.size or "own size", f"{plan.gmacs:6.1f} GMAC"
        if record is None:
            return f"-      {plan.model} ({size}, {plan.images} images, {gmacs})"
        return f"{'ok   ' if record['code'] == self.code else 'stale'}  {self.line(record)}"


class Programs(Zoo):
    """The records of networks as ExecuTorch programs."""

    kind, worker = ".pte", "zoo_executorch.py"

    def nothing(self) -> Record:
        return {"pte": {}}

    def failing(self, record: Record) -> Record:
        found: Record = record["pte"]
        return found

    def line(self, record: Record) -> str:
        return zoo_programs_table.summary_line(record)

    def holds(self, record: Record) -> bool:
        return zoo_programs_table.proven(record)


def archived() -> tuple[dict[str, Record], str]:
    """The records of docs/zoo.json by their networks, and the machine that they were made on."""
    whole = json.loads(JSON.read_text()) if JSON.exists() else {"networks": [], "machine": machine()}
    return {record["model"]: record for record in whole["networks"]}, whole["machine"]


def recorded(folder: Path, names: list[str]) -> tuple[list[Record], str]:
    """The record of each network, of both runtimes, and the machine that those of the first were made on."""
    before, made_on = archived()
    found, lite, programs = [], Zoo(folder, 0, 0), Programs(folder, 0, 0)
    for name in names:
        old, plan = before.get(name, {}), Plan(name, None, 0, 0.0)
        new = lite.record(plan)
        made_on = machine() if new is not None else made_on
        record = new or {key: value for key, value in old.items() if key != "pte"}
        program = programs.record(plan) or old.get("pte")
        if record:
            found.append({**record, **({"pte": program} if program else {})})
    return found, made_on


def main() -> None:
    parser = argparse.ArgumentParser(description="every network of torchvision through both flows")
    parser.add_argument(
        "--only", metavar="PATTERN", action="append", help="networks whose names match, such as 'vit_*'"
    )
    parser.add_argument("--jobs", type=int, default=2, help="networks at a time, a thread each")
    parser.add_argument("--time", type=float, default=MOST_SECONDS, help="most seconds a network")
    parser.add_argument("--memory", type=float, default=MOST_GIB, help="most GiB a network")
    parser.add_argument("--images", type=int, default=None, help="most calibration images, for a quick look")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--stale", action="store_true", help="run again what other sources recorded")
    parser.add_argument("--failed", action="store_true", help="run again what was not verified")
    parser.add_argument("--again", action="store_true", help="run again whatever is recorded")
    parser.add_argument("--list", action="store_true", help="show what is recorded, and run nothing")
    parser.add_argument("--table", action="store_true", help="write the tables from the records, and run nothing")
    parser.add_argument("--pte", action="store_true", help="run the networks as ExecuTorch programs")
    asked = parser.parse_args()
    kind = Programs if asked.pte else Zoo
    zoo = kind(asked.results, asked.time, asked.memory)
    known = program_plans(asked.images) if asked.pte else plans(asked.images)
    chosen = [p for p in known if not asked.only or any(fnmatch(p.model, pattern) for pattern in asked.only)]
    if not chosen:
        raise SystemExit(f"no network matches {' '.join(asked.only)}")
    if asked.list:
        print("\n".join(zoo.state(plan) for plan in chosen))
        return
    if not asked.table:
        start = time.perf_counter()
        todo = [p for p in chosen if (found := zoo.record(p)) is None or asked.again
                or (asked.stale and found["code"] != zoo.code) or (asked.failed and not zoo.holds(found))]  # fmt: skip
        zoo.run_all(todo, asked.jobs)
        print(f"{len(todo)} networks in {(time.perf_counter() - start) / 60:.1f} minutes", file=sys.stderr)
    missing = sum(zoo.record(p) is None for p in known)
    if missing and not asked.table:
        print(f"{missing} networks have no record yet: the tables are left as they are", file=sys.stderr)
        return
    # in the order in which they run
    records, made_on = recorded(asked.results, [plan.model for plan in plans()])
    write_table(records, zoo.code, made_on, left_out())
    if problems := [*unmet(records), *zoo_programs_table.unmet(records)]:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
