"""Requests to stop, at every moment of a conversion."""

from __future__ import annotations

import os
import pty
import random
import re
import select
import signal
import time

from benchmarks.trials.place import (
    CONVERT,
    NEW_ONLY,
    OLD,
    OLD_ONLY,
    ROOT,
    STEPS,
    STOPPED,
    Done,
    Place,
    Try,
    case,
    judged,
    left,
    quiet,
    told,
)

STOP = "Requests to stop"


def stopped(moment: str, number: str, status: int, word: str, expected: dict[str, str]) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        done = place.at(moment, number, "--json", "report.json")
        return judged(place, done, told(done, status, word + STOPPED), expected)

    return trial


for _moment in ("import typer", "import torch", "import torch.fx", "import fxconv.conversion", *STEPS):
    case(STOP, f"Ctrl-C: {_moment}", "SIGINT")(stopped(_moment, "SIGINT", 130, "interrupted", OLD_ONLY))
for _moment, _did in (("write", "half the file is written"), ("fsync", "it is not on the disk"), ("rename", "before")):
    case(STOP, f"Ctrl-C: {_moment}", f"SIGINT when {_did}" if _moment != "rename" else "SIGINT just before the rename")(
        stopped(_moment, "SIGINT", 130, "interrupted", OLD_ONLY)
    )
case(STOP, "Ctrl-C: renamed", "SIGINT just after the rename")(
    stopped("renamed", "SIGINT", 130, "interrupted", NEW_ONLY)
)
for _name, _status, _word in (("SIGTERM", 143, "terminated"), ("SIGHUP", 129, "hung up")):
    for _moment in ("import torch", "calibration", "write"):
        if (_name, _moment) == ("SIGHUP", "import torch"):
            continue
        case(STOP, f"{_name}: {_moment}", _name)(stopped(_moment, _name, _status, _word, OLD_ONLY))


@case(STOP, "a terminal closed under nohup", "SIGHUP, ignored from the start, in calibration")
def nohup(place: Place) -> tuple[Done, bool, str]:
    program = str(ROOT / "benchmarks" / "at_moment.py")
    words = (program, "calibration", "SIGHUP", *CONVERT, "-o", "out.ptl")
    done = place.run(*words, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN) and None)
    return judged(place, done, quiet(done, 0), NEW_ONLY)


@case(STOP, "Ctrl-C on a terminal", "the key, pressed on a pseudo-terminal when the display shows calibration; "
      "mobilenet_v3_small at 64 px")  # fmt: skip
def key_pressed(place: Place) -> tuple[Done, bool, str]:
    words = ("convert", "mobilenet_v3_small", "--weights", "random", "--input-size", "64", "-o", "out.ptl")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place.folder)
        os.environ.update(OMP_NUM_THREADS="1", TERM="xterm", COLUMNS="200")
        os.execv(place.python, [place.python, str(ROOT / "cli.py"), *words])
    shown, pressed, deadline = b"", False, time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            shown += chunk
        if not pressed and b"calibration" in shown:
            os.write(terminal, b"\x03")
            pressed = True
    _, code = os.waitpid(pid, 0)
    os.close(terminal)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))
    last = [line.strip() for line in plain.replace("\r", "\n").splitlines() if line.strip()][-1]
    done = Done(os.waitstatus_to_exitcode(code), "", last.removeprefix("^C"))
    return judged(place, done, pressed and told(done, 130, "interrupted" + STOPPED), OLD_ONLY)


@case(STOP, "Ctrl-C at 20 random moments", "SIGINT after 0 to 4 seconds, seed 0, each in a fresh process")
def random_moments(place: Place) -> tuple[Done, bool, str]:
    rng, held, last = random.Random(0), True, Done(0, "", "")
    for _ in range(20):
        (place.folder / "out.ptl").write_bytes(OLD)
        done = place.at(f"after {rng.uniform(0, 4):.2f}", "SIGINT")
        found = place.files()
        finished = quiet(done, 0) and found == NEW_ONLY  # the process was quicker
        held &= finished or (told(done, 130, "interrupted" + STOPPED) and found in (OLD_ONLY, NEW_ONLY))
        last = done if done.status == 130 or not held else last
        if not held:
            break
    return last, held, "each time out.ptl: old, or whole when the process was quicker"


def killed(moment: str) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        done = place.at(moment, "SIGKILL")
        found = place.files()
        leftover = {**OLD_ONLY, ".out.ptl.PID.0.part": "left over"} if moment != "calibration" else OLD_ONLY
        good = done.status == -signal.SIGKILL and found == leftover
        again = place.convert()
        same, words = left(place, NEW_ONLY)
        first = ", ".join(f"{name}: {kind}" for name, kind in sorted(found.items()))
        return done, good and quiet(again, 0) and same, f"{first}; after the next run {words}"

    return trial


for _moment in ("calibration", "write", "latency", "rename"):
    case(STOP, f"kill -9: {_moment}", "SIGKILL, then the command once more")(killed(_moment))
