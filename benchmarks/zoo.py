"""Every network of torchvision through fxconv and through the stock flow, a process a network.

    python benchmarks/zoo.py [--only PATTERN]... [--jobs 2] [--stale] [--failed] [--again] [--list] [--table]

Both flows get the same seeded weights, with batch norms re-estimated, and the same generated images. A network's
record goes to benchmarks/results/zoo/NAME.json (--results DIR), and one that has a record is not run again unless it
is asked for: --stale runs those recorded by other sources of fxconv and rewrites than these, --failed those that were
not verified, --again all; each among those that --only names. When every network has a record, docs/zoo.md and
docs/zoo.json are written; --table does only that. Exits with status 1 when a requirement is not met.
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

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import supervised
from benchmarks.networks import ROOT
from benchmarks.zoo_plan import Plan, plans
from benchmarks.zoo_table import summary_line, unmet, verified, write_table

RESULTS = ROOT / "benchmarks" / "results" / "zoo"
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

    def __init__(self, folder: Path, most_seconds: float, most_gib: float) -> None:
        self.folder, self.most_seconds, self.most_gib = folder, most_seconds, most_gib
        self.code, self.done, self.wanted = sources(), 0, 0
        self._stopping, self._lock = threading.Event(), threading.Lock()

    def file(self, plan: Plan, suffix: str = ".json") -> Path:
        """Where the record of a network is stored; with another suffix what lies beside it."""
        return self.folder / f"{re.sub('[^A-Za-z0-9_.=-]+', '-', plan.called)}{suffix}"

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
        words = [str(ROOT / "benchmarks" / "zoo_network.py"), plan.model, "--images", str(plan.images)]
        words += ["--into", str(partial), *(["--input-size", plan.size] if plan.size else [])]
        words += [word for each in plan.arguments for word in ("--model-arg", each)]
        searched = [*plan.folders, *([os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else [])]
        around = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(searched)}
        with self.file(plan, ".log").open("w") as log:
            done = supervised.run(words, self.most_seconds, 1024 * self.most_gib, around, log)
        if self._stopping.is_set():
            return
        record: Record = {"model": plan.model, "images": plan.images, "ours": {}, "stock": {}, "part": "starting"}
        if partial.exists():
            record = json.loads(partial.read_text())
            partial.unlink()
        if done.trouble:
            flow = "stock" if record["part"] == "stock flow" or "verdict" in record["ours"] else "ours"
            record[flow]["error"] = f"the process {done.trouble}, in this part: {record['part']}"
        record |= {"code": self.code, "wall_seconds": done.seconds, "most_mib": done.peak_mib, "gmacs": plan.gmacs}
        record["size"] = plan.size
        self.file(plan).write_text(json.dumps(record, indent=1))
        with self._lock:
            self.done += 1
            place = f"[{self.done:3}/{self.wanted}]"
            print(f"{place} {summary_line(record)}", file=sys.stderr, flush=True)

    def state(self, plan: Plan) -> str:
        """A line on what is stored of a network."""
        record = self.record(plan)
        size, gmacs = plan.size or "own size", f"{plan.gmacs:6.1f} GMAC"
        if record is None:
            return f"-      {plan.model} ({size}, {plan.images} images, {gmacs})"
        return f"{'ok   ' if record['code'] == self.code else 'stale'}  {summary_line(record)}"


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
    asked = parser.parse_args()
    zoo = Zoo(asked.results, asked.time, asked.memory)
    known = plans(asked.images)
    chosen = [p for p in known if not asked.only or any(fnmatch(p.model, pattern) for pattern in asked.only)]
    if not chosen:
        raise SystemExit(f"no network matches {' '.join(asked.only)}")
    if asked.list:
        print("\n".join(zoo.state(plan) for plan in chosen))
        return
    if not asked.table:
        start = time.perf_counter()
        todo = [p for p in chosen if (found := zoo.record(p)) is None or asked.again
                or (asked.stale and found["code"] != zoo.code) or (asked.failed and not verified(found))]  # fmt: skip
        zoo.run_all(todo, asked.jobs)
        print(f"{len(todo)} networks in {(time.perf_counter() - start) / 60:.1f} minutes", file=sys.stderr)
    records = [found for p in known if (found := zoo.record(p)) is not None]
    missing = len(known) - len(records)
    if missing and not asked.table:
        print(f"{missing} networks have no record yet: the tables are left as they are", file=sys.stderr)
        return
    write_table(records, zoo.code)
    if problems := unmet(records):
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
