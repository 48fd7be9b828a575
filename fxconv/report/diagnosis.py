"""What `fxconv doctor` found out, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from fxconv.diagnostics.diagnosis import Diagnosis
from fxconv.diagnostics.known_errors import KNOWN_ERRORS
from fxconv.environment import versions
from fxconv.report.tables import count

_REPORTED = (
    "the whole text: the traceback, or the log from a minute before to the last line that repeats",
    "the command as it was typed, and the report it wrote (fxconv convert ... --json FILE), when it was fxconv's",
    "what fxconv inspect FILE prints, when a file does not load or run, and which PyTorch is in the app",
    "the folder that FXCONV_DUMP=FOLDER fxconv convert ... writes, when a pass is at fault",
)


def print_diagnoses(found: Sequence[Diagnosis], console: Console) -> None:
    """Each message with its line, cause and cure, and where it is known from; the most telling first."""
    if len(found) > 1:
        console.print(
            Text(f"{count(len(found), 'message')} known, the most telling first", style="bold"), soft_wrap=True
        )
    for index, one in enumerate(found):
        if index or len(found) > 1:
            console.print()
        console.print(Text(f"line {one.number}: {one.line}", style="red"), soft_wrap=True)
        for label, words in (("cause", one.cause), ("cure", one.cure), ("seen in", one.known_error.evidence)):
            console.print(Text.assemble((f"{label:<8}", "bold"), words), soft_wrap=True)


def print_unknown(last: str, console: Console) -> None:
    """That nothing is known, and what helps whoever looks into it."""
    console.print(Text(f"not known: none of the {len(KNOWN_ERRORS)} messages of docs/doctor.md", style="bold"))
    if last:
        console.print(Text(f"what looks like the error: {last}", style="red"), soft_wrap=True)
    console.print("To report it to fxconv's authors, send", soft_wrap=True)
    for item in _REPORTED:
        console.print(Text(f"- {item}"), soft_wrap=True)
    console.print(Text(f"- these versions: {', '.join(versions().splitlines())}"), soft_wrap=True)
