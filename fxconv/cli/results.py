"""What a command found out: written, and printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fxconv.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from fxconv.analysis.sensitivity import Sensitivity
    from fxconv.analysis.study import Study


def write_and_show(result: Sensitivity | Study, text: str, json: Path | None, show: Callable[[Console], None]) -> None:
    """Write what was measured, as JSON, and print it even where it cannot be written: it may have taken an hour."""
    from fxconv.cli import terminal

    try:
        if json is not None:
            write_report(json, text)
    finally:
        for warning in result.warnings:
            terminal.warn(warning)
        show(terminal.console())


def write_report(path: Path, text: str, done: str = "", option: str = "--json") -> None:
    """Write a report or choices. When that fails `done` says what was written all the same."""
    from fxconv.data.staged_file import write_whole

    try:
        write_whole(path, text, option)
    except UserError as error:
        raise UserError(f"{error}{done}") from error
