"""`fxconv passes`: the ordered list, a line each."""

from __future__ import annotations

import typer


def passes() -> None:
    """The rewrite passes in the order they run, a line each."""
    from rewrites import ALTERNATIVES, DEFAULT_PASSES

    width = max(len(rule.name) for rule in (*DEFAULT_PASSES, *ALTERNATIVES))
    for number, rule in enumerate(DEFAULT_PASSES, 1):
        typer.echo(f"{number:2}  {rule.name:{width}}  {rule.summary()}")
    for rule in ALTERNATIVES:
        typer.echo(f" -  {rule.name:{width}}  {rule.summary()} (on request)")
