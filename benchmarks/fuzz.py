"""Damaged and hostile files, read by the commands that read files.

    python benchmarks/fuzz.py [--each N] [--only WORD]

The files of each kind in benchmarks/hostile are read by one process, one after the other, through the whole command
line; an audit hook sees what Python is asked to do meanwhile: to write, start, connect, unpickle, run. Some of each are
read by a process of their own besides. The table goes to docs/fuzz.md; the exit status is 1 when something happened
that must not.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks.hostile import KINDS, MARK, Originals, made, originals
from benchmarks.hostile.pte import NAMES as PROGRAMS
from benchmarks.hostile.reader import outcomes

ROOT = Path(__file__).resolve().parent.parent
# Each command that reads any file is a line here: what the one process runs, and how many seconds a file may take.
# Torch's schemas are left to the others; a file to verify may run for 3 seconds of a processor's, in its own process.
COMMANDS = {
    "inspect": (("inspect", "--no-schemas"), 10.0),
    "verify": (("verify", "--timeout", "3", "--memory", "500"), 60.0),
}
_FRESH = 2
# The folder of the files that a process reads before it is watched.
_GOOD = "good"
_WRONG = ("traceback", "crash", "hang", "wrote", "ran", "escape", "words")


@dataclass
class Row:
    """What came of the files of one kind; memory in kB."""

    kind: str
    files: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    memory: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, found: list[str], seconds: float = 0.0, memory: int = 0) -> None:
        self.files += 1
        self.outcomes.update(found)
        self.seconds, self.memory = max(self.seconds, seconds), max(self.memory, memory)
        self.wrong += [f"{self.kind}, {name}: {one}" for one in found if one in _WRONG]


def main() -> None:
    parser = argparse.ArgumentParser(description="damaged and hostile files")
    parser.add_argument("--each", type=int, default=60, help="files of each kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="kinds tried at a time")
    parser.add_argument("--command", choices=COMMANDS, help="this one alone; the table is not written")
    parser.add_argument("--only", default="", help="the kinds whose name holds this; the table is not written")
    words = parser.parse_args()
    files = {**originals(), "int8.ptl": converted()}
    tables: dict[str, list[Row]] = {}
    for command in [words.command] if words.command else COMMANDS:
        with ThreadPoolExecutor(words.jobs) as pool:
            kinds = [kind for kind in KINDS if words.only in kind]
            tables[command] = list(pool.map(lambda kind: tried(command, kind, words.each, files), kinds))  # noqa: B023
    if not (words.only or words.command):
        (ROOT / "docs" / "fuzz.md").write_text(page(tables, words.each))
    wrong = [f"{command}: {one}" for command, rows in tables.items() for row in rows for one in row.wrong]
    print(
        "\n".join(wrong) or f"{sum(row.files for rows in tables.values() for row in rows):,} files, and nothing wrong"
    )
    raise SystemExit(1 if wrong else 0)


def converted() -> bytes:
    """A small artifact of fxconv's own."""
    import torch

    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 100))
    inputs = [torch.randn(4, 3, 8, 8) for _ in range(2)]
    config = fxconv.Config(recipe=(fxconv.config.Recipe.none,))
    return fxconv.convert(torch.nn.Sequential(*layers).eval(), calibration=inputs, config=config).artifact.data


def tried(command: str, kind: str, count: int, files: Originals) -> Row:
    """All files of a kind by one process, which is started again when a file ended it, and some by their own."""
    row, number = Row(kind), 0
    with tempfile.TemporaryDirectory(prefix="fxconv-fuzz-") as name:
        folder = Path(name) / "made"
        folder.mkdir()
        (folder / _GOOD).mkdir()
        for good in ("lite.ptl", *PROGRAMS):
            (folder / _GOOD / good).write_bytes(files[good])
        while number < count:
            for told in answers(command, folder, (made(kind, n, files) for n in range(number, count))):
                row.add(f"file {number}", told["outcomes"] + strays(folder), told["seconds"], told["memory"])
                number += 1
        for number in range(min(count, _FRESH)):
            (folder / "file").write_bytes(made(kind, number, files))
            row.add(f"process {number}", alone(command, folder) + strays(folder))
    print(f"{command}: {kind}: {dict(row.outcomes)}, {row.seconds:.1f} s, {row.memory >> 10} MB", file=sys.stderr)
    return row


def answers(command: str, folder: Path, contents: Iterator[bytes]) -> Iterator[dict]:
    """What a process tells of each file; it ends with the file that the process does not answer about."""
    words, patience = COMMANDS[command]
    reader = [sys.executable, str(ROOT / "benchmarks" / "hostile" / "reader.py"), _GOOD, *words]
    process = subprocess.Popen(
        reader, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        for number, content in enumerate(contents):
            (folder / "file").write_bytes(content)
            print("file", file=process.stdin, flush=True)
            most = patience + (0 if number else 40)  # at first it imports what it needs
            ready, _, _ = select.select([process.stdout], [], [], most)
            line = process.stdout.readline() if ready else ""
            if not line:
                yield {"outcomes": ["crash" if ready else "hang"], "seconds": most, "memory": 0}
                return
            yield json.loads(line)
    finally:
        process.kill()
        process.communicate()


def alone(command: str, folder: Path) -> list[str]:
    """The file read by a process of its own, with all that the command does by default."""
    given, patience = COMMANDS[command]
    words = [sys.executable, str(ROOT / "cli.py"), *(word for word in given if word != "--no-schemas"), "file"]
    try:  # torch is imported besides, on a machine that may be busy
        done = subprocess.run(words, cwd=folder, capture_output=True, timeout=20 + patience, check=False)
    except subprocess.TimeoutExpired:
        return ["hang"]
    return outcomes(done.returncode, *(text.decode("utf-8", "replace") for text in (done.stdout, done.stderr)))


def strays(folder: Path) -> list[str]:
    """Whether a file was written, there or where hostile names lead. What there is goes."""
    found = [path for path in folder.iterdir() if path.name not in (_GOOD, "file")]
    found += [path for path in (folder.parent / MARK, folder.parent.parent / MARK, Path("/tmp", MARK)) if path.exists()]
    for path in found:
        path.unlink()
    return ["wrote"] if found else []


_HEAD = """\
# Damaged and hostile files

Written by `python benchmarks/fuzz.py`, fxconv {version}. The files are made of small ones: TorchScript,
lite-interpreter archives and flatbuffers, one of them fxconv's own, state_dicts, checkpoints and pickled modules of now
and of before torch 1.6, safetensors, ONNX, ExecuTorch. Each is made from its number, so that it can be made again.

{each} of each kind go through the whole command line in one process, under an audit hook of Python's, and {fresh} of
them once more, with all defaults, through a process of their own. *Read* is exit status 0 and a report, or 1 and a
report of what differs; *refused* is status 2 and one line. *Tracebacks* are internal errors and crashes of fxconv too.
*Files written* are any but the one that is read, and any request to write, rename or remove one; *code run* is any
request to unpickle, compile, execute, import, start a program (but the process in which `verify` runs a file) or open a
connection; *escapes* are control characters that reached the output, and more than the one line. The memory is the peak
of the process that read all of the kind, Python and all.
"""
_COLUMNS = (
    *("kind", "files", "read", "refused", "tracebacks", "hangs", "files written", "code run", "escapes"),
    *("slowest, s", "peak memory, MB"),
)


def page(tables: dict[str, list[Row]], each: int) -> str:
    """The page in docs/."""
    parts = [_HEAD.format(version=fxconv.__version__, each=each, fresh=_FRESH)]
    for command, rows in tables.items():
        words, patience = COMMANDS[command]
        parts.append(f"## fxconv {command}: {sum(row.files for row in rows):,} files\n")
        parts.append(f"`fxconv {' '.join(words)} FILE`; a hang takes more than {patience:.0f} s.\n")
        parts += [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
        for row in rows:
            n = row.outcomes
            cells = [row.kind, row.files, n["read"], n["refused"], n["traceback"] + n["crash"], n["hang"], n["wrote"]]
            cells += [n["ran"], n["escape"] + n["words"], f"{row.seconds:.1f}", row.memory >> 10]
            parts.append(f"| {' | '.join(map(str, cells))} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    main()
