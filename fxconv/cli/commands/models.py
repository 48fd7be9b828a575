"""`fxconv models`: what can be named."""

from __future__ import annotations

import typer


def models() -> None:
    """What can be named."""
    from fxconv.models.loading import ALIASES, detectors, names

    for name in (*names(), *detectors()):
        typer.echo(name)
    for alias, name in ALIASES.items():
        typer.echo(f"{alias} (means {name})")
