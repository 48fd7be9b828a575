"""What happens to a conversion that is interrupted, runs out of disk, or finds its files changed underfoot.

    python benchmarks/robustness.py [--only WORD]

Every case is a real process of the command line in a folder of its own, where an older artifact lies under the name the
run will write. The table goes to docs/robustness.md; the exit status is 1 when a case did not hold. Some cases need
root, for a small disk or a file nobody can replace; without it they say why they were skipped.
"""

from __future__ import annotations

import argparse
import os
import pty
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv

ROOT = Path(__file__).parent.parent
OLD = b"the artifact of last week"
NET = """import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def net():
    torch.manual_seed(0)
    return Net()
"""
CONVERT = ("convert", "net.py:net", "--input-size", "32", "--calib-count", "8", "--quiet")
INPUTS = ("net.py", "photographs", "__pycache__", "steps")
STOPPED = "; what was not finished was not written"
STEPS = (
    *("loading", "reading images", "rewriting", "verification", "calibration", "audit", "conversion"),
    *("lowering", "latency"),
)


class Skipped(Exception):
    """A case this machine cannot try, and why."""


@dataclass(frozen=True)
class Done:
    """A finished process."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """What it printed on stderr, its warnings aside."""
        return [line for line in self.stderr.splitlines() if not line.startswith("warning: ")]


@dataclass
class Place:
    """The folder of one case."""

    folder: Path
    python: str = sys.executable
    whole: bytes = b""
    environment: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()

    def start(
        self, words: Sequence[str], before: Callable[[], None] | None = None, stdout: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """A process of the command line, or with a program's path first, of that."""
        script = [] if words[0].endswith(".py") else [str(ROOT / "cli.py")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **self.environment}
        for variable in ("FORCE_COLOR", "NO_COLOR"):
            environment.pop(variable, None)
        return subprocess.Popen(
            [*self.wrapper, self.python, *script, *words],
            cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
            text=True, preexec_fn=before,
        )  # fmt: skip

    def run(self, *words: str, before: Callable[[], None] | None = None) -> Done:
        with self.start(words, before) as process:
            stdout, stderr = process.communicate(timeout=300)
        return Done(process.returncode, stdout, stderr)

    def convert(self, *words: str, before: Callable[[], None] | None = None) -> Done:
        """The small network converted to out.ptl unless the words say otherwise."""
        target = () if "-o" in words else ("-o", "out.ptl")
        return self.run(*CONVERT, *target, *words, before=before)

    def at(self, moment: str, action: str, *words: str) -> Done:
        """The same, and something happens to it at that moment."""
        target = () if "-o" in words else ("-o", "out.ptl")
        return self.run(str(ROOT / "benchmarks" / "at_moment.py"), moment, action, *CONVERT, *target, *words)

    def files(self, below: str = ".") -> dict[str, str]:
        """What lies in the folder beside the inputs: old, whole (what an undisturbed run writes), part, or other."""
        found = {}
        for path in sorted((self.folder / below).iterdir()):
            if path.name in INPUTS:
                continue
            if path.is_dir() or not path.is_file():
                found[path.name] = "folder" if path.is_dir() else "no file"
                continue
            content = path.read_bytes()
            name = re.sub(r"\.\d+\.\d+\.part$", ".PID.0.part", path.name)
            kinds = {OLD: "old", self.whole: "whole"}
            found[name] = "left over" if name.endswith(".part") else kinds.get(content, "other")
        return found

    def photographs(self, count: int = 12) -> tuple[str, ...]:
        """A folder of photographs, and the words that calibrate on it."""
        folder = self.folder / "photographs"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for index in range(count):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:02}.png")
        return ("--calib", "photographs", "--batch-size", "2", "--calib-count", str(count))


@dataclass(frozen=True)
class Row:
    """What a case showed."""

    title: str
    did: str
    status: str
    line: str
    files: str
    verdict: str


Try = Callable[[Place], "tuple[Done, bool, str]"]
CASES: list[tuple[str, str, str, Try]] = []


def case(section: str, title: str, did: str) -> Callable[[Try], Try]:
    """Register a case: its function returns the process, whether all held, and what to say of the files."""

    def register(function: Try) -> Try:
        CASES.append((section, title, did, function))
        return function

    return register


def told(done: Done, status: int, *fragments: str) -> bool:
    """The status, and exactly one line that says all this."""
    return done.status == status and len(done.lines) == 1 and all(text in done.lines[0] for text in fragments)


def quiet(done: Done, status: int) -> bool:
    """The status, and nothing to say."""
    return done.status == status and not done.lines


def left(place: Place, expected: dict[str, str], below: str = ".") -> tuple[bool, str]:
    """Whether the folder holds exactly this, and what it holds in words."""
    found = place.files(below)
    return found == expected, ", ".join(f"{name}: {kind}" for name, kind in found.items()) or "none"


def judged(place: Place, done: Done, good: bool, expected: dict[str, str], below: str = ".") -> tuple[Done, bool, str]:
    same, words = left(place, expected, below)
    return done, good and same, words


OLD_ONLY, NEW_ONLY = {"out.ptl": "old"}, {"out.ptl": "whole"}

# -- requests to stop ----------------------------------------------------------------------------------

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

# -- disks ---------------------------------------------------------------------------------------------

DISK = "Full and failing disks"


@contextmanager
def small_disk(place: Place, size: str, options: str = "") -> Iterator[Path]:
    """A disk of so many bytes in the folder `disk`, with an older artifact on it."""
    disk = place.folder / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        raise Skipped("mounting a small disk needs root")
    try:
        (disk / "out.ptl").write_bytes(OLD)
        if options:
            subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True, capture_output=True)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True, capture_output=True)


@case(DISK, "no room for the artifact", "-o on a tmpfs of 12 kB")
def full_disk(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "12k"):
        done = place.convert("-o", "disk/out.ptl")
        return judged(place, done, told(done, 2, "No space left on device", "free some space"), OLD_ONLY, "disk")


@case(DISK, "no room for anything", "-o on a tmpfs that is full already")
def no_room(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "8k") as disk:
        (disk / "other").write_bytes(bytes(4096))
        done = place.convert("-o", "disk/out.ptl")
        return judged(place, done, told(done, 2, "No space left on device"), {**OLD_ONLY, "other": "other"}, "disk")


@case(DISK, "no room for the JSON report", "--json on a tmpfs of 8 kB, -o elsewhere")
def full_json(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "8k"):
        done = place.convert("--json", "disk/report.json")
        good = told(done, 2, "--json disk/report.json", "No space left on device", "out.ptl is written and verified")
        _, words = left(place, OLD_ONLY, "disk")
        return (
            done,
            good and place.files("disk") == OLD_ONLY and place.files()["out.ptl"] == "whole",
            (f"disk/: {words}; out.ptl: {place.files()['out.ptl']}"),
        )


@case(DISK, "no room for temporary files", "TMPDIR on a tmpfs that is full")
def full_tmp(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "8k") as disk:
        (disk / "other").write_bytes(bytes(4096))
        place.environment["TMPDIR"] = str(disk)
        done = place.convert()
        return judged(place, done, quiet(done, 0), {**NEW_ONLY, "disk": "folder"})


@case(DISK, "a limit on file sizes", "RLIMIT_FSIZE of 8 kB")
def file_size(place: Place) -> tuple[Done, bool, str]:
    done = place.convert(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    return judged(place, done, told(done, 2, "File too large", "ulimit -f"), OLD_ONLY)


@case(DISK, "no room for stdout", "stdout is /dev/full")
def full_stdout(place: Place) -> tuple[Done, bool, str]:
    with Path("/dev/full").open("wb") as full, place.start((*CONVERT, "-o", "out.ptl"), None, full.fileno()) as process:
        _, stderr = process.communicate(timeout=300)
    done = Done(process.returncode, "", stderr)
    return judged(place, done, told(done, 2, "the output cannot be written (No space left on device)"), NEW_ONLY)


@case(DISK, "TMPDIR is missing", "TMPDIR names no folder")
def missing_tmp(place: Place) -> tuple[Done, bool, str]:
    place.environment["TMPDIR"] = str(place.folder / "nowhere")
    done = place.convert()
    return judged(place, done, quiet(done, 0), NEW_ONLY)


@case(DISK, "too little memory", "inputs of 3x2048x2048 pixels, 1 GB left from the first image on (prlimit)")
def memory(place: Place) -> tuple[Done, bool, str]:
    if shutil.which("prlimit") is None:
        raise Skipped("there is no prlimit here")
    limit = "prlimit --pid $PPID --as=$(( $(awk '/VmSize/ {print $2}' /proc/$PPID/status) * 1024 + (1 << 30) ))"
    done = place.at("reading images", limit, "--input-size", "3x2048x2048", "--calib-count", "24")
    return judged(place, done, told(done, 2, "out of memory", "smaller --batch-size or --input-size"), OLD_ONLY)


# -- targets -------------------------------------------------------------------------------------------

TARGET = "Targets"


@case(TARGET, "a read-only disk", "-o on a tmpfs mounted read-only")
def read_only_disk(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "1m", "ro"):
        done = place.convert("-o", "disk/out.ptl")
        return judged(
            place, done, told(done, 2, "-o disk/out.ptl: the file there may not be changed"), OLD_ONLY, "disk"
        )


@case(TARGET, "a new file on a read-only disk", "-o on a tmpfs mounted read-only")
def new_on_read_only_disk(place: Place) -> tuple[Done, bool, str]:
    with small_disk(place, "1m", "ro"):
        done = place.convert("-o", "disk/new.ptl")
        return judged(place, done, told(done, 2, "-o disk/new.ptl: ", "Read-only file system"), OLD_ONLY, "disk")


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    if subprocess.run(["chattr", "+i", str(path)], capture_output=True).returncode:
        raise Skipped("chattr +i needs root and a file system that knows it")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True, capture_output=True)


@case(TARGET, "a folder nobody may change", "chattr +i on the folder")
def immutable_folder(place: Place) -> tuple[Done, bool, str]:
    folder = place.folder / "kept"
    folder.mkdir()
    (folder / "out.ptl").write_bytes(OLD)
    with immutable(folder):
        done = place.convert("-o", "kept/out.ptl")
    return judged(place, done, told(done, 2, "-o kept/out.ptl: cannot be written"), OLD_ONLY, "kept")


@case(TARGET, "a file nobody may change", "chattr +i on the older artifact")
def immutable_file(place: Place) -> tuple[Done, bool, str]:
    with immutable(place.folder / "out.ptl"):
        done = place.convert()
    return judged(place, done, told(done, 2, "-o out.ptl: the file there may not be changed"), OLD_ONLY)


@case(TARGET, "a file that turns immutable", "chattr +i on the older artifact in calibration: the rename fails")
def immutable_at_commit(place: Place) -> tuple[Done, bool, str]:
    with immutable(place.folder / "out.ptl"):  # whether it can be done, and that it is undone
        subprocess.run(["chattr", "-i", str(place.folder / "out.ptl")], check=True)
        done = place.at("calibration", "chattr +i out.ptl")
    return judged(place, done, told(done, 2, "out.ptl: "), OLD_ONLY)


@case(TARGET, "a folder one may not write to", "chmod 555 on the folder; root without its capabilities")
def foreign_folder(place: Place) -> tuple[Done, bool, str]:
    folder = place.folder / "kept"
    folder.mkdir()
    (folder / "out.ptl").write_bytes(OLD)
    folder.chmod(0o555)
    ordinary = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search,-fowner")
    if os.getuid() == 0:
        place.wrapper = ordinary
        if shutil.which("setpriv") is None:
            raise Skipped("root may write everywhere, and there is no setpriv to drop that")
    done = place.convert("-o", "kept/out.ptl")
    folder.chmod(0o755)
    return judged(
        place, done, told(done, 2, "-o kept/out.ptl: cannot be written (Permission denied)"), OLD_ONLY, "kept"
    )


@case(TARGET, "a read-only file", "chmod 444 on the older artifact; root could replace it")
def read_only_file(place: Place) -> tuple[Done, bool, str]:
    (place.folder / "out.ptl").chmod(0o444)
    done = place.convert()
    return judged(place, done, told(done, 2, "the file there is read-only; choose another name"), OLD_ONLY)


def refused(target: str, *fragments: str, prepare: Callable[[Path], None] = lambda folder: None) -> Try:
    """`-o target` is a mistake, and all that was there stays."""

    def trial(place: Place) -> tuple[Done, bool, str]:
        prepare(place.folder)
        before = place.files()
        done = place.convert("-o", target)
        return judged(place, done, told(done, 2, *fragments), before)

    return trial


case(TARGET, "a folder", "-o names a folder")(
    refused("sub", "-o sub: is a folder; give a file name", prepare=lambda folder: (folder / "sub").mkdir())
)
case(TARGET, "a missing folder", "-o nowhere/out.ptl")(refused("nowhere/out.ptl", "there is no folder nowhere"))
case(TARGET, "a file for a folder", "-o net.py/out.ptl")(refused("net.py/out.ptl", "Not a directory"))
case(TARGET, "a named pipe", "-o names a pipe without a reader")(
    refused("pipe", "is a device or a pipe", prepare=lambda folder: os.mkfifo(folder / "pipe"))
)
case(TARGET, "links in a circle", "-o names a link to itself")(
    refused("circle", "symbolic links", prepare=lambda folder: (folder / "circle").symlink_to("circle"))
)
case(TARGET, "a dangling link far away", "-o names a link into a missing folder")(
    refused("link", "there is no folder", prepare=lambda folder: (folder / "link").symlink_to("nowhere/out.ptl"))
)
case(TARGET, "too long a name", "-o of 256 characters")(refused("n" * 256, "File name too long"))
case(TARGET, "the model itself", "-o net.py")(refused("net.py", "is the same file as the model"))
case(TARGET, "the model by another name", "-o names a hard link to net.py")(
    refused(
        "twin.ptl",
        "is the same file as the model",
        prepare=lambda folder: os.link(folder / "net.py", folder / "twin.ptl"),
    )
)


@case(TARGET, "/dev/null", "-o /dev/null, as root")
def null_device(place: Place) -> tuple[Done, bool, str]:
    done = place.convert("-o", "/dev/null")
    good = told(done, 2, "-o /dev/null: is a device or a pipe") and Path("/dev/null").is_char_device()
    return judged(place, done, good, OLD_ONLY)


@case(TARGET, "a photograph of --calib", "-o photographs/00.png")
def over_photograph(place: Place) -> tuple[Done, bool, str]:
    words = place.photographs()
    before = (place.folder / "photographs" / "00.png").read_bytes()
    done = place.convert(*words, "-o", "photographs/00.png")
    good = (
        told(done, 2, "is one of the files in --calib") and before == (place.folder / "photographs/00.png").read_bytes()
    )
    return judged(place, done, good, OLD_ONLY)


def linked(exists: bool) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        (place.folder / "releases").mkdir()
        real, link = place.folder / "releases" / "3.ptl", place.folder / "latest.ptl"
        link.symlink_to("releases/3.ptl")
        if exists:
            real.write_bytes(OLD)
        done = place.convert("-o", "latest.ptl")
        good = quiet(done, 0) and link.is_symlink() and place.files("releases") == {"3.ptl": "whole"}
        return done, good, "latest.ptl: still a link; releases/3.ptl: whole"

    return trial


case(TARGET, "a symbolic link", "-o names a link to an older artifact: the link stays, the file is replaced")(
    linked(True)
)
case(TARGET, "a dangling link", "-o names a link to a file that is not there yet: it is made")(linked(False))


def accepted(name: str) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        done = place.convert("-o", name)
        same, _ = left(place, {**OLD_ONLY, name: "whole"})
        return done, quiet(done, 0) and same, "the name: whole; out.ptl: old"

    return trial


case(TARGET, "a name of 255 characters", "the longest a file can have")(accepted("n" * 251 + ".ptl"))
case(TARGET, "spaces, umlauts, characters of Asia", "-o 'mein Netz ü 模型.ptl'")(accepted("mein Netz ü 模型.ptl"))

# -- changes underfoot ---------------------------------------------------------------------------------

UNDERFOOT = "Changes underfoot"


def changed(moment: str, action: str, status: int, *fragments: str, expected: dict[str, str]) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        (place.folder / "made").mkdir()
        done = place.at(moment, action, "-o", "made/out.ptl")
        good = told(done, status, *fragments) if status else quiet(done, 0)
        found = place.files("made") if (place.folder / "made").is_dir() else {}
        return done, good and found == expected, ", ".join(f"{n}: {k}" for n, k in found.items()) or "none"

    return trial


case(UNDERFOOT, "the target's folder is deleted early", "rm -r in calibration")(
    changed("calibration", "rm -r made", 2, "made/out.ptl: there is no folder made", expected={})
)
case(UNDERFOOT, "the target's folder is deleted late", "rm -r before the latency is measured")(
    changed("latency", "rm -r made", 2, "made/out.ptl: the file vanished", expected={})
)
case(UNDERFOOT, "the target's folder is deleted at the rename", "rm -r just before")(
    changed("rename", "rm -r made", 2, "made/out.ptl: the file vanished", expected={})
)
case(UNDERFOOT, "the staged file is deleted", "rm before the latency is measured")(
    changed("latency", "rm made/.out*", 2, "made/out.ptl: the file vanished", expected={})
)
case(UNDERFOOT, "a folder takes the target's name", "mkdir in lowering")(
    changed("lowering", "mkdir made/out.ptl", 2, "made/out.ptl: is a folder", expected={"out.ptl": "folder"})
)
case(UNDERFOOT, "a file takes the target's name", "somebody writes it in lowering: it is replaced, as any older one")(
    changed("lowering", "touch made/out.ptl", 0, expected={"out.ptl": "whole"})
)
case(UNDERFOOT, "the model's file is deleted", "rm net.py in rewriting: it has been read")(
    changed("rewriting", "rm net.py", 0, expected={"out.ptl": "whole"})
)


def photographs_change(moment: str, action: str, status: int, *fragments: str) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        done = place.at(moment, action, *place.photographs(), "--json", "report.json")
        found = place.files()
        if status:
            return done, told(done, status, *fragments) and found == OLD_ONLY, "out.ptl: " + found["out.ptl"]
        good = done.status == 0 and not done.lines and found == {"out.ptl": "other", "report.json": "other"}
        good &= all(text in done.stderr for text in fragments)
        return done, good, "out.ptl: new, verified; report.json"

    return trial


for _title, _action, _status, _fragments in (
    ("some are deleted", "rm photographs/0[5-9].png", 0, ("left out of calibration",)),
    ("some are truncated", "truncate -s 100 photographs/0[5-9].png", 0, ("left out of calibration",)),
    ("some become folders", "rm photographs/0[5-9].png; mkdir photographs/05.png photographs/06.png", 0,
     ("left out of calibration",)),
    ("some are added", "cp photographs/00.png photographs/new.png", 0, ()),
    ("all are deleted", "rm photographs/*", 2, ("photographs",)),
    ("the folder is deleted", "rm -r photographs", 2, ("photographs",)),
):  # fmt: skip
    for _moment in ("reading images", "calibration"):
        case(UNDERFOOT, f"photographs: {_title}", f"`{_action}` at {_moment}")(
            photographs_change(_moment, _action, _status, *_fragments)
        )


def array_changes(action: str) -> Try:
    def trial(place: Place) -> tuple[Done, bool, str]:
        np.save(place.folder / "inputs.npy", np.random.default_rng(0).normal(size=(400, 3, 32, 32)).astype(np.float32))
        done = place.at("calibration", action, "--calib", "inputs.npy", "--calib-count", "400")
        found = place.files()["out.ptl"]
        return done, told(done, 2, "--calib inputs.npy: ") and found == "old", f"out.ptl: {found}"

    return trial


case(UNDERFOOT, "the array is deleted", "`rm inputs.npy` at calibration")(array_changes("rm inputs.npy"))
case(UNDERFOOT, "the array is truncated", "`truncate -s 5000 inputs.npy` at calibration")(
    array_changes("truncate -s 5000 inputs.npy")
)


@case(UNDERFOOT, "the checkpoint is deleted", "`rm weights.pth` at rewriting: it has been read")
def weights_deleted(place: Place) -> tuple[Done, bool, str]:
    program = "import torch, net; torch.save(net.net().state_dict(), 'weights.pth')"
    subprocess.run([place.python, "-c", program], cwd=place.folder, check=True)
    done = place.at("rewriting", "rm weights.pth", "--weights", "weights.pth")
    return judged(place, done, quiet(done, 0), NEW_ONLY)


# -- company -------------------------------------------------------------------------------------------

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


# -- the table -----------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="what happens when something happens to a conversion")
    parser.add_argument("--only", default="", help="run the cases whose words hold this; the table is not written")
    only = parser.parse_args().only
    chosen = [entry for entry in CASES if only in " ".join(entry[:3])]
    whole = reference()
    rows: list[tuple[str, Row]] = []
    for section, title, did, function in chosen:
        row = tried(title, did, function, whole)
        rows.append((section, row))
        print(
            f"{row.verdict:7}  {section}: {title} ({did})  [{row.status}] {row.line}  |  {row.files}", file=sys.stderr
        )
    if not only:
        (ROOT / "docs" / "robustness.md").write_text(table(rows))
    failed = [row.title for _, row in rows if row.verdict == "FAILED"]
    print(f"{len(rows) - len(failed)} of {len(rows)} cases held" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    raise SystemExit(1 if failed else 0)


def reference() -> bytes:
    """What an undisturbed run writes."""
    with place_of(b"") as place:
        done = place.convert()
        if done.status:
            raise SystemExit(f"an undisturbed conversion failed: {done.stderr}")
        return (place.folder / "out.ptl").read_bytes()


@contextmanager
def place_of(whole: bytes) -> Iterator[Place]:
    """A fresh folder that anybody may read, with the model and the older artifact in it."""
    folder = Path(tempfile.mkdtemp(prefix="fxconv-robustness-"))
    try:
        folder.chmod(0o755)
        (folder / "net.py").write_text(NET)
        (folder / "out.ptl").write_bytes(OLD)
        yield Place(folder, whole=whole)
    finally:
        shutil.rmtree(folder)


def tried(title: str, did: str, function: Try, whole: bytes) -> Row:
    with place_of(whole) as place:
        try:
            done, held, files = function(place)
        except Skipped as reason:
            return Row(title, did, "", "", "", f"skipped: {reason}")
        line = done.lines[-1] if done.lines else ""
        for path in (place.folder, place.folder.resolve()):
            line, files = line.replace(f"{path}/", ""), files.replace(f"{path}/", "")
    long = re.compile(r"n{200,}")
    line, files = long.sub("nnn...", line), long.sub("nnn...", files)
    return Row(title, did, str(done.status), line.removeprefix("fxconv: error: "), files, "held" if held else "FAILED")


def table(rows: Sequence[tuple[str, Row]]) -> str:
    """The page in docs/."""
    held = sum(row.verdict == "held" for _, row in rows)
    parts = [
        "# Robustness",
        f"Written by `python benchmarks/robustness.py`, fxconv {fxconv.__version__}: {held} of {len(rows)} cases held. "
        "Each is a process of the command line in a folder of its own, in which `out.ptl` is an older artifact of the "
        "user's. *old* means that its bytes are as they were, *whole* that they are those an undisturbed run writes. "
        "The line is all that was printed on stderr, after `fxconv: error:`, warnings aside.",
    ]
    for section in dict.fromkeys(section for section, _ in rows):
        lines = [
            f"## {section}",
            "",
            "| case | what was done | exit status | line | files | |",
            "|---|---|---|---|---|---|",
        ]
        for kind, row in rows:
            if kind == section:
                cells = (row.title, row.did, row.status, row.line, row.files, row.verdict)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
