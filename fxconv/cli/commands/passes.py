"""`fxconv passes`: the ordered list, a line each."""

from __future__ import annotations


def passes() -> None:
    """The rewrite passes in the order they run, a line each."""
    from fxconv.cli.terminal import console
    from fxconv.report.tables import add, grid, show
    from rewrites import ALTERNATIVES, DEFAULT_PASSES

    table = grid(">", "", "", header=False)
    for number, rule in enumerate(DEFAULT_PASSES, 1):
        add(table, str(number), rule.name, rule.summary())
    for rule in ALTERNATIVES:
        add(table, "-", rule.name, f"{rule.summary()} (on request)")
    show(table, console())
