"""What differs between two conversions, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from fxconv.analysis.compare import Difference
from fxconv.report.tables import count, section


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
    console.print(Text(f"- {names[0]}", style="red"), soft_wrap=True)
    console.print(Text(f"+ {names[1]}", style="green"), soft_wrap=True)
    if not found:
        same = f"the same conversion, and the same file (sha256 {reports[0]['artifact']['sha256']})"
        console.print(Text(same, style="bold green"), soft_wrap=True)
        return
    last = ""
    for one in found:
        if one.section != last:
            alike = sum(other.section == one.section for other in found)
            section(console, f"{one.section[:1].upper()}{one.section[1:]}: {count(alike, 'difference')}")
            last = one.section
        if one.what:
            console.print(Text(one.what, style="bold"), soft_wrap=True)
        console.print(Text(f"- {one.first}", style="red"), soft_wrap=True)
        console.print(Text(f"+ {one.second}", style="green"), soft_wrap=True)
