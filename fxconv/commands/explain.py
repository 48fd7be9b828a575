"""`fxconv explain`: the page of one pass."""

from __future__ import annotations

from typing import Annotated

import typer

from fxconv.options import TracebackOption


def explain(
    name: Annotated[str, typer.Argument(metavar="PASS", help="The name of a pass (fxconv passes).")],
    traceback_: TracebackOption = False,
) -> None:
    """The page of one pass: what it does, why the engine needs it, an example."""
    from fxconv.pages import pass_page
    from fxconv.passes import find

    typer.echo(pass_page(find(name)))
