"""What is not a conversion, on a terminal: a rewriting by itself, and an example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from fxconv.report.rewriting import print_rewriting
from fxconv.report.tables import count, say, section
from fxconv.report.terminal.preprocessing import preprocessing_words
from fxconv.report.terminal.proof import function_words

if TYPE_CHECKING:
    from fxconv.analysis.dry_run import DryRun
    from fxconv.data.example_array import Example


def print_dry_run(result: DryRun, console: Console, tense: str, full: bool = False, only: str | None = None) -> None:
    """The rewriting of a model that is not converted, and whether it still computes the same."""
    print_rewriting(result.rewritten, console, tense, full, only)
    section(console, "Same function")
    arguments = f"; arguments: {', '.join(result.config.model_arg)}" if result.config.model_arg else ""
    about = f"one generated image; weights: {result.model.weights}{arguments}"
    say(console, f"{function_words(result.parity)} ({about})")


def print_example(written: Example, console: Console) -> None:
    """What the file holds: the arrays' shapes, the photographs in it, and how they were preprocessed."""
    arrays = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in written.shapes.items())
    say(console, Text.assemble((str(written.path), "bold"), f": float32 {arrays}"))
    say(console, written.source)
    say(console, preprocessing_words(written.preprocessing))


def print_emitted(path: Path, result: DryRun, console: Console) -> None:
    """What was written in place of the diff: of which model, how much was changed, and whether it is the same."""
    edits = sum(len(one.edits) for one in result.rewritten.results)
    about = f"wrote {result.model.name}, rewritten in {count(edits, 'place')}; it {function_words(result.parity)}"
    say(console, Text.assemble((str(path), "bold"), f": {about}"))
