"""`fxconv doctor`: what an error means, and what helps."""

from __future__ import annotations

from typing import Annotated

import typer

from fxconv.cli.options.output import TracebackOption


def doctor(
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT|FILE",
            help="The error text, in quotes, or a file that holds it; - or nothing: what is piped in.",
        ),
    ] = None,
    traceback_: TracebackOption = False,
) -> None:
    """What an error means, of torch, a loader or a phone, and what helps.

    Exit status 1 when it is not known.

    Examples:
        # A message, in quotes
        fxconv doctor "Could not run 'aten::add.out' with arguments"
        # A log, or what another program says
        fxconv doctor crash.log
        python train.py 2>&1 | fxconv doctor
    """
    from fxconv.cli.terminal import console
    from fxconv.diagnostics import diagnosis
    from fxconv.report.diagnosis import print_diagnoses, print_unknown

    given = diagnosis.given_text(text or [])
    found = diagnosis.closer(diagnosis.diagnose(given))
    if not found:
        print_unknown(diagnosis.last_error(given), console())
        raise typer.Exit(1)
    print_diagnoses(found, console())
