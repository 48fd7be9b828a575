"""What differs between two conversions, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from fxconv.analysis.compare import Difference
from fxconv.report.tables import count, say, section


def print_comparison(
    paths: tuple[Path, Path],
    reports: tuple[Mapping[str, Any], Mapping[str, Any]],
    found: Sequence[Difference],
    console: Console,
) -> None:
    """A heading for each part of the report that differs, and both values below each other, as a diff has them."""
    names = [
        f"{path}: {report['model']['name']}, {report['verdict']}" for path, report in zip(paths, reports, strict=True)
    ]
    say(console, f"- {names[0]}", "red")
    say(console, f"+ {names[1]}", "green")
    if not found:
        same = f"the same conversion, and the same file (sha256 {reports[0]['artifact']['sha256']})"
        say(console, same, "bold green")
        return
    last = ""
    for one in found:
        if one.section != last:
            alike = sum(other.section == one.section for other in found)
            section(console, f"{one.section[:1].upper()}{one.section[1:]}: {count(alike, 'difference')}")
            last = one.section
        if one.what:
            say(console, one.what, "bold")
        say(console, f"- {one.first}", "red")
        say(console, f"+ {one.second}", "green")
