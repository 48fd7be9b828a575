"""Several runs at once, and readers that go away."""

from __future__ import annotations

import os
import subprocess

from benchmarks.trials.place import (
    CONVERT,
    NEW_ONLY,
    ROOT,
    Done,
    Place,
    Try,
    case,
    judged,
    quiet,
)

COMPANY = "Other processes"


@case(COMPANY, "several runs write one file", "four at once")
def at_once(place: Place) -> tuple[Done, bool, str]:
    processes = [place.start((*CONVERT, "-o", "out.ptl")) for _ in range(4)]
    ended = [Done(process.wait(300), *process.communicate()) for process in processes]
    return judged(place, ended[0], all(quiet(done, 0) for done in ended), NEW_ONLY)


def piped(line: str, *statuses: int) -> Try:
    """A line of shell in which `fxconv` converts; the status is that of the first command."""

    def trial(place: Place) -> tuple[Done, bool, str]:
        words = " ".join((*CONVERT, "-o", "out.ptl", "--json", "report.json"))
        script = f'fxconv() {{ "{place.python}" "{ROOT}/cli.py" {words} "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
        ran = subprocess.run(
            ["bash", "-c", script], cwd=place.folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        done = Done(ran.returncode, ran.stdout, ran.stderr)
        good = not done.lines and done.status in statuses
        return judged(place, done, good, {**NEW_ONLY, "report.json": "other"})

    return trial


for _line, _statuses in (
    ("fxconv --report | head -1", (141, 0)),  # 0 when the pipe took all before head left
    ("fxconv --report | true", (141,)),
    ("fxconv 2>&1 | true", (141,)),
    ("fxconv 2> >(true)", (0,)),
    ("fxconv >&-", (0,)),
    ("fxconv 2>&-", (0,)),
    ("fxconv <&- >&- 2>&-", (0,)),
):
    case(COMPANY, "closed streams", f"`{_line}`")(piped(_line, *_statuses))
