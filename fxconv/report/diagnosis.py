"""What `fxconv doctor` found out, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from fxconv.diagnostics.diagnosis import Diagnosis
from fxconv.diagnostics.known_errors import KNOWN_ERRORS
from fxconv.environment import versions
from fxconv.report.tables import count, say

_REPORTED = (
    "the whole text: the traceback, or the log from a minute before to the last line that repeats",
    "the command as it was typed, and the report it wrote (fxconv convert ... --json FILE), when it was fxconv's",
    "what fxconv inspect FILE prints, when a file does not load or run, and which PyTorch is in the app",
    "the folder that FXCONV_DUMP=FOLDER fxconv convert ... writes, when a pass is at fault",
)


def print_diagnoses(found: Sequence[Diagnosis], console: Console) -> None:
    """Each message with its line, cause and cure, and where it is known from; the most telling first."""
    if len(found) > 1:
        say(console, f"{count(len(found), 'message')} known, the most telling first", "bold")
    for index, one in enumerate(found):
        if index or len(found) > 1:
            console.print()
        say(console, f"line {one.number}: {one.line}", "red")
        for label, words in (("cause", one.cause), ("cure", one.cure), ("seen in", one.known_error.evidence)):
            say(console, Text.assemble((f"{label:<8}", "bold"), words), hanging=" " * 8)


def print_unknown(last: str, console: Console) -> None:
    """That nothing is known, and what helps whoever looks into it."""
    say(console, f"not known: none of the {len(KNOWN_ERRORS)} messages of docs/doctor.md", "bold")
    if last:
        say(console, f"what looks like the error: {last}", "red")
    say(console, "To report it to fxconv's authors, send")
    for item in _REPORTED:
        say(console, f"- {item}")
    say(console, f"- these versions: {', '.join(versions().splitlines())}")
