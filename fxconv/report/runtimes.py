"""Which releases for phones load a file, and what an app with one needs: on a terminal, in summaries, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from fxconv.inspection.printable import printable
from fxconv.report.tables import add, grid, section, show
from fxconv.targets.executorch import releases as executorch
from fxconv.targets.libraries import Fit

# Of operators that are missing the terminal names this many.
_MOST_MISSING = 40
_LONGEST_REASON = 4000


def fit_json(fit: Fit) -> dict[str, Any]:
    """One file and one release as plain values."""
    return {
        "release": fit.release.name,
        "loads": fit.loads,
        "call": fit.call,
        "problems": list(fit.problems),
        "missing": [
            {"operator": one.operator, "reason": one.why, "layers": list(one.layers), "since": one.since or None}
            for one in fit.missing
        ],
        "lines": list(fit.lines),
        "notes": list(fit.notes),
    }


def print_fits(fits: Sequence[Fit], console: Console) -> None:
    """All releases in a few lines: those that load the file by their call, the others by what they lack."""
    if not fits:
        return
    section(console, "Libraries for phones")
    groups: dict[tuple[str, bool, str], list[Fit]] = {}
    for fit in fits:
        groups.setdefault((fit.release.package.name, fit.loads, fit.reason), []).append(fit)
    table = grid("", "", "", header=False)
    for (package, loads, reason), members in groups.items():
        mark = Text("yes", style="green") if loads else Text("no ", style="red")
        add(
            table,
            mark,
            f"{package} {_versions(members, fits)}",
            members[0].call if loads else printable(reason, _LONGEST_REASON),
        )
    show(table, console)


def _versions(members: Sequence[Fit], fits: Sequence[Fit]) -> str:
    """`1.12.1 to 2.1.0` of releases that follow each other, else all of them."""
    package = [fit.release for fit in fits if fit.release.package is members[0].release.package]
    places = [package.index(fit.release) for fit in members]
    if len(places) > 2 and places == list(range(places[0], places[-1] + 1)):
        return f"{members[0].release.version} to {members[-1].release.version}"
    return ", ".join(fit.release.version for fit in members)


def print_fit(fit: Fit, console: Console) -> None:
    """Whether one release loads the file, by which call, what it lacks, and what the app needs."""
    section(console, f"{fit.release.name}: {'loads it' if fit.loads else 'does not load it'}")
    table = grid("", "", header=False)
    if fit.loads:
        add(table, "call", fit.call)
    for problem in fit.problems:
        add(table, Text("problem", style="red"), printable(problem, _LONGEST_REASON))
    for one in fit.missing[:_MOST_MISSING]:
        add(table, Text("missing", style="red"), printable(str(one), _LONGEST_REASON))
    if (left := len(fit.missing) - _MOST_MISSING) > 0:
        add(table, "", f"and {left:,} more; --json FILE has them all")
    for name, words in _needs(fit):
        add(table, name, words)
    show(table, console)


def runtime_rows(fit: Fit | None) -> list[tuple[str, str]]:
    """The lines of a conversion's summary about the release that it was for; none where none was named."""
    if fit is None:
        return []
    return [("runtime", f"{fit.release.name} loads it: {fit.call}"), *_needs(fit)]


def _needs(fit: Fit) -> list[tuple[str, str]]:
    return [*_placed(fit), *(("mind", note) for note in fit.notes)]


def _placed(fit: Fit) -> list[tuple[str, str]]:
    """The lines of an app's build files, each with the file."""
    if isinstance(fit, executorch.Fit):
        return list(fit.placed)
    file = "build.gradle" if fit.release.package.is_android else "Podfile"
    return [(file, line) for line in fit.lines]
