"""Whether a file proves itself: its golden inputs run again, in a process of its own, by this Python or another one.

No runtime reads anything of the file before `fxconv.inspection` took it, and loads nothing of it before its operators
were read and found to do nothing but compute.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fxconv import replay
from fxconv.diagnostics.blame import is_out_of_memory
from fxconv.diagnostics.diagnosis import cure_of
from fxconv.errors import UserError
from fxconv.inspection.printable import printable
from fxconv.targets.own_process import Ended, Failed, answer, words_for
from fxconv.targets.registry import target_of_file

SECONDS, MEGABYTES = 300, 4096
# An emulated processor takes a minute for it.
_START_SECONDS = 120
# Characters of a process's message.
_LONGEST = 600
NONE = "it has no golden inputs: it was converted with --no-golden, is too small for them, or is not fxconv's"


class HasNone(UserError):
    """A file without golden inputs."""


@dataclass(frozen=True)
class Output:
    """One output: whether all its values are the same, and how far off those are that were kept.

    `compared` of `values` were kept; `largest` is the largest difference among them, `sqnr_db` in decibels, None where
    nothing differs or nothing was kept.
    """

    exact: bool
    values: int
    compared: int
    largest: float | None
    sqnr_db: float | None


@dataclass(frozen=True)
class Case:
    """One golden input: its outputs, and what is wrong with the first that does not pass, "" when all do."""

    outputs: tuple[Output, ...]
    exact: bool
    passed: bool
    problem: str


@dataclass(frozen=True)
class Proof:
    """What became of a file's golden inputs under one torch, and for a .pte one release of ExecuTorch, else None.

    `rule` is equal, or at least 40 dB: island, where rounding in a float island may differ, and kernels, where the
    file was written for others than run it here. `outputs_of` says what the outputs are compared with: those of the
    int8 module, or of the file when it was written. `written` is where that was, "" where it makes no difference.
    """

    torch: str
    python: str
    machine: str
    rule: str
    outputs_of: str
    cases: tuple[Case, ...]
    executorch: str | None = None
    written: str = ""

    @property
    def ran_in(self) -> str:
        """The runtime and its release."""
        return f"torch {self.torch}" if self.executorch is None else f"ExecuTorch {self.executorch}"

    @property
    def exact(self) -> bool:
        """Every bit of every output is as it was."""
        return all(case.exact for case in self.cases)

    @property
    def passed(self) -> bool:
        """Every output is as the rule has it."""
        return bool(self.cases) and all(case.passed for case in self.cases)

    @property
    def problem(self) -> str:
        """What is wrong with the first case that does not pass; "" when all do."""
        failed = ((number, case.problem) for number, case in enumerate(self.cases) if not case.passed)
        return next((f"golden input {number}: {problem}" for number, problem in failed), "")

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {**asdict(self), "exact": self.exact, "passed": self.passed}


def check_runnable(path: Path, seconds: int = SECONDS, megabytes: int = MEGABYTES) -> None:
    """Raises `UserError` for a file that may do more than compute, or is of no target's.

    Its operators are read in a process of its own: there are files on which a runtime's reader crashes.
    """
    target_of_file(path).inspected(path)
    process_answer(
        words_for("fxconv.targets.proof.prove", "child", "check", str(path), str(seconds), str(megabytes)),
        path,
        seconds,
    )


def prove(path: Path, python: str | None = None, seconds: int = SECONDS, megabytes: int = MEGABYTES) -> Proof:
    """Run the golden inputs of a file again.

    The process that does it computes for `seconds` at most, gets `megabytes` more than torch takes, and can write no
    file, where the system can limit that. `python` is another interpreter, with a runtime of its own, that does it.

    Raises `UserError` for a file that holds no golden inputs, may do more than compute, or does not run.
    """
    target = target_of_file(path)
    target.inspected(path)
    try:
        replay.golden_of(target.extra_file(path, replay.FILE))  # most files that are none of fxconv's end here
    except replay.HasNone as error:
        raise HasNone(f"{path}: {NONE}; --against MODEL compares it with its float model") from error
    except replay.NotReplayed as error:
        raise UserError(f"{path}: {printable(str(error), _LONGEST)}") from error
    limits = [str(seconds), str(megabytes)]
    if python is None:
        return _proof(
            process_answer(words_for("fxconv.targets.proof.prove", "child", "prove", str(path), *limits), path, seconds)
        )
    program = _interpreter(python)
    check_runnable(path, seconds, megabytes)
    words = [program, "-W", "ignore", str(Path(replay.__file__).resolve()), str(path.resolve()), "--limit", *limits]
    try:
        return _proof(process_answer(words, path, seconds))
    except Failed as error:
        wanted = "torch and ExecuTorch" if target.name == "executorch" else "torch 1.10 or later"
        raise UserError(f"--python {python}: {error}; give a Python with {wanted}") from error


def _interpreter(python: str) -> str:
    """The program that `--python` names. Raises `UserError` when it is none."""
    found = shutil.which(python)
    if found is None:
        there = Path(python).exists()
        raise UserError(f"--python {python}: {'cannot be run' if there else 'no such program'}; give a Python")
    return found


def process_answer(words: Sequence[str], path: Path, seconds: int, given: bytes = b"") -> dict[str, Any]:
    """What a process, given bytes on its stdin, tells of a file.

    Raises `UserError` for what is the file's fault, `Failed` when it tells nothing. A process that waits, for others or
    for nothing, is given up after twice the time that it may compute, and that of starting torch.
    """
    try:
        told = answer(words, given, 2 * seconds + _START_SECONDS)
    except Failed:
        raise
    except (Ended, subprocess.SubprocessError, OSError) as error:
        reached = f"; raise --timeout, now {seconds} s" if "more than" in str(error) or "SIGXCPU" in str(error) else ""
        raise UserError(f"{path}: the process that read it {error}{reached or '; it is damaged'}") from error
    if "error" in told:
        what = printable(str(told["error"]), _LONGEST)  # torch's words may be the file's
        if what.startswith("does not run"):
            what += f"; {cure_of(what, 'convert the model anew: it is damaged, or was changed since it was written')}"
        raise UserError(what if told.get("whole") else f"{path}: {what}")
    return told


def _proof(told: dict[str, Any]) -> Proof:
    outputs = ("exact", "values", "compared", "largest", "sqnr_db")
    cases = tuple(
        Case(
            tuple(Output(**{name: one[name] for name in outputs}) for one in case["outputs"]),
            bool(case["exact"]),
            bool(case["passed"]),
            printable(str(case["problem"]), _LONGEST),
        )
        for case in told["cases"]
    )
    words = {
        name: printable(str(told[name]), _LONGEST) for name in ("torch", "python", "machine", "rule", "outputs_of")
    }
    release, written = told.get("executorch"), told.get("written")
    return Proof(
        **words,
        cases=cases,
        executorch=None if release is None else printable(str(release), _LONGEST),
        written=_place(written) if isinstance(written, dict) else "",
    )


def _place(written: dict[str, Any]) -> str:
    """Where a file was written, as far as it decides its kernels: ExecuTorch 1.5.1 on x86_64 (AVX512)."""
    release, machine, vectors = (written.get(name) for name in ("executorch", "machine", "vectors"))
    told = f"ExecuTorch {release or 'of no release'} on {machine}{f' ({vectors})' if vectors else ''}"
    return printable(told, _LONGEST)


def child() -> None:
    """What the process does: `check` or `prove`, a file and the limits are its arguments."""
    what, path, seconds, megabytes = sys.argv[2:6]
    import torch  # noqa: F401  before the limits: it takes more for a moment than it keeps

    target = target_of_file(Path(path))
    try:
        if what == "prove":
            target.import_runtime()
        replay.limit(int(seconds), int(megabytes))
        target.check_operators(Path(path), int(megabytes))
        told: dict[str, Any] = replay.replayed(path) if what == "prove" else {}
    except UserError as error:
        told = {"error": str(error), "whole": True}
        if error.__cause__ is not None and is_out_of_memory(error.__cause__):
            told = {"error": f"needs more than {megabytes} MB; raise --memory"}
    except replay.NotReplayed as error:
        told = {"error": str(error)}
    except MemoryError:
        told = {"error": f"needs more than {megabytes} MB; raise --memory"}
    print(json.dumps(told))
