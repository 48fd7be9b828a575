"""`fxconv doctor`: what an error means, and what helps."""

from __future__ import annotations

from typing import Annotated

import typer

from fxconv.options import TracebackOption


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
    """What an error of torch, a loader or a phone means, and what helps. Exit status 1 when it is not known."""
    from fxconv import doctor
    from fxconv.report.diagnosis import print_diagnoses, print_unknown
    from fxconv.screen import console

    given = doctor.given_text(text or [])
    found = doctor.closer(doctor.diagnose(given))
    if not found:
        print_unknown(doctor.last_error(given), console())
        raise typer.Exit(1)
    print_diagnoses(found, console())
