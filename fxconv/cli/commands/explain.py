"""`fxconv explain`: the page of one pass."""

from __future__ import annotations

from typing import Annotated

import typer

from fxconv.cli.options.output import TracebackOption


def explain(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PASS", help="The name of a pass (fxconv passes), or FILE.py:CLASS for one of your own."
        ),
    ],
    traceback_: TracebackOption = False,
) -> None:
    """The page of one pass: what it does, and why.

    Why the engine needs it, an example before and after, what it leaves alone.

    Examples:
        fxconv explain fold-relu6
        # One of your own
        fxconv explain mine.py:MyPass
    """
    from fxconv.cli.terminal import console
    from fxconv.quantization.pass_names import check_pass

    if ":" not in name:
        check_pass(name)  # a misspelt one is told before torch is imported
    from fxconv.quantization.passes import find, user_pass
    from fxconv.report.pages import own_pass_page, pass_page
    from fxconv.report.prose import print_page

    page = own_pass_page(user_pass(name, "pass")) if ":" in name else pass_page(find(name))
    print_page(page, console())
