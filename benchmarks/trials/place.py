"""A folder in which one case is tried, and the words that judge it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
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
