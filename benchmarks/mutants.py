"""Faults planted one at a time in what fxconv answers for, and the tests that should see each.

    python benchmarks/mutants.py [--only WORD] [--seconds S]

The faults are those of benchmarks/faults: a rule switched off, a bound moved, a sign turned. Each is planted in a copy
of the checkout's tracked files, so the checkout itself stays as it is, and the tests named beside it are run. First
they are run without any fault: they must pass. A test that fails, or takes longer than `--seconds`, kills the fault.
The table goes to docs/mutants.md. The exit status is 1 when a fault survives, and 2 when the faults or their tests are
not there: that says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.faults import PLANTED
from benchmarks.faults.mutant import Mutant, problem

ROOT = Path(__file__).resolve().parent.parent
# Imported once, for all runs.
_WARM = ("torch", "torchvision")
# pytest's exit status when tests ran and one failed; any other but 0 means that they did not run.
_PASSED, _FAILED = 0, 1


class Unusable(Exception):
    """The faults or their tests are not what the table says, so that a run would say nothing."""


@dataclass(frozen=True)
class Outcome:
    """What killed a mutant, "" when it survived, and how long that took."""

    mutant: Mutant
    killed_by: str
    seconds: float


class Copy:
    """The tracked files of a checkout in a temporary folder, and a process that runs tests there."""

    def __init__(self, root: Path, warm: Sequence[str] = _WARM) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fxconv-mutants-")
        self.root, self._output = Path(self._folder.name, "checkout"), Path(self._folder.name, "output")
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (root / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, self.root / name)
        words = [sys.executable, str(ROOT / "benchmarks" / "faults" / "warm.py"), *warm]
        # bytecode is told from that of another text by the second and the size, which a fault may share
        settings = {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            words,
            cwd=self.root,
            env={**os.environ, **settings},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
        )

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()
        self._folder.cleanup()

    def run(self, tests: Sequence[str], seconds: float) -> tuple[int | str, str]:
        """pytest's exit status for these arguments, or "time"; and what it printed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        # plugins of others that happen to be there take a second to start, which is none of the test's
        left_out = ("cacheprovider", "hypothesispytest", "anyio", "hydra_pytest", "kgb")
        arguments = ["-q", "--tb=short", *(word for name in left_out for word in ("-p", f"no:{name}")), *tests]
        print(json.dumps([arguments, str(self._output), seconds]), file=self._process.stdin, flush=True)
        status = json.loads(self._process.stdout.readline())
        return status, self._output.read_text(encoding="utf-8", errors="replace")

    def tried(self, mutant: Mutant, seconds: float) -> Outcome:
        """Plant a mutant, run its tests, and put the file back. Raises `Unusable` when they do not run."""
        begin, before = time.perf_counter(), mutant.plant(self.root)
        status, printed = self.run(["-x", *mutant.tests], seconds)
        (self.root / mutant.file).write_text(before, encoding="utf-8")
        if status not in (_PASSED, _FAILED, "time"):
            raise Unusable(f"{mutant.name}: its tests do not run (status {status})\n{printed[-2000:]}")
        killed_by = {"time": f"more than {seconds:.0f} s", _PASSED: ""}.get(status, _failed(printed))
        return Outcome(mutant, killed_by, time.perf_counter() - begin)


def _failed(printed: str) -> str:
    """The test that failed, as pytest's summary names it."""
    found = re.search(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - |$)", printed, re.MULTILINE)
    return found[1] if found else "a test"


def main(
    arguments: Sequence[str] | None = None,
    planted: Mapping[str, Sequence[Mutant]] = PLANTED,
    root: Path = ROOT,
    warm: Sequence[str] = _WARM,
) -> int:
    """The program; returns its exit status. `planted` are the mutants of each part of the checkout at `root`."""
    parser = argparse.ArgumentParser(description="faults planted one at a time, and the tests that see them")
    parser.add_argument("--only", default="", help="the faults whose words or file hold this; the table is not written")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long the tests of one fault may take")
    words = parser.parse_args(arguments)
    chosen = {
        part: [mutant for mutant in mutants if words.only in mutant.name or words.only in mutant.file]
        for part, mutants in planted.items()
    }
    try:
        outcomes = results(chosen, root, words.seconds, warm)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    survived = [one.mutant.name for rows in outcomes.values() for one in rows if not one.killed_by]
    if not words.only:
        (root / "docs" / "mutants.md").write_text(page(outcomes), encoding="utf-8")
    count = sum(map(len, outcomes.values()))
    print("\n".join(f"survived: {name}" for name in survived) or f"{count} faults, all killed")
    return 1 if survived else 0


def results(
    planted: Mapping[str, Sequence[Mutant]], root: Path, seconds: float, warm: Sequence[str]
) -> dict[str, list[Outcome]]:
    """What came of each mutant. Raises `Unusable` before anything is run when one is not to be found."""
    mutants = [mutant for rows in planted.values() for mutant in rows]
    if wrong := [words for mutant in mutants if (words := problem(mutant, root))]:
        raise Unusable("\n".join(wrong))
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with Copy(root, warm) as copy:
        begin = time.perf_counter()
        status, printed = copy.run(tests, seconds * len(mutants))
        if status != _PASSED:
            raise Unusable(f"without a fault the tests do not pass (status {status})\n{printed[-4000:]}")
        print(f"{len(tests)} tests pass without a fault, {time.perf_counter() - begin:.1f} s", flush=True)
        found: dict[str, list[Outcome]] = {}
        for part, rows in planted.items():
            found[part] = []
            for mutant in rows:
                one = copy.tried(mutant, seconds)
                print(f"{one.seconds:5.1f} s  {mutant.name}: {one.killed_by or 'SURVIVED'}", flush=True)
                found[part].append(one)
    return found


_HEAD = """\
# Planted faults

Written by `python benchmarks/mutants.py`: {count} faults, planted one at a time in a copy of fxconv, {killed} of them
seen by the tests beside them. The faults are the rows of [benchmarks/faults](../benchmarks/faults). What is said of a
test is the first one that failed; the seconds are those of the run, up to there.
"""


def page(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """The page in docs/."""
    rows = [one for part in outcomes.values() for one in part]
    parts = [_HEAD.format(count=len(rows), killed=sum(bool(one.killed_by) for one in rows))]
    for part, several in outcomes.items():
        parts += [f"## {part}\n", "| fault | file | killed by | s |", "|---|---|---|---|"]
        for one in several:
            cells = one.mutant.name, f"`{one.mutant.file}`", _shown(one.killed_by), f"{one.seconds:.1f}"
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def _shown(killed_by: str) -> str:
    """The test without its folder, as Markdown."""
    if "::" not in killed_by:
        return killed_by or "**nothing**"
    path, _, test = killed_by.partition("::")
    return f"`{Path(path).name}::{test}`".replace("|", "\\|")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that the copy goes
    sys.exit(main())
