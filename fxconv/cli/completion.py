"""Shell completion: typer's, which answers the shell or installs itself, and ends the process with that."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import typer

from fxconv.errors import UserError
from fxconv.models.installed_packages import names_in_source, package_of
from fxconv.models.model_names import names

_ASKED_BY = "_FXCONV_COMPLETE"  # the variable in which the script that typer installs says what the shell wants
_OPTIONS = ("--install-completion", "--show-completion")


def answer(command: Any) -> None:
    """Answer the shell and end the process, if it is the shell that asks."""
    if os.environ.get(_ASKED_BY):
        with _ends_as_other_options_do():
            command.main(prog_name="fxconv")


@contextmanager
def installing() -> Iterator[None]:
    """Where the options of completion are parsed: they end as `--version` does, or say in one line what is wrong."""
    if not set(_OPTIONS) & set(sys.argv[1:2]):
        yield
        return
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), _ends_as_other_options_do():
            yield
    except typer.Exit as done:
        if done.exit_code:
            raise UserError(
                f"{sys.argv[1]}: no completion for the shell that started it; run it from bash, zsh, fish or PowerShell"
            ) from None
        typer.echo(said.getvalue(), nl=False)
        raise


@contextmanager
def _ends_as_other_options_do() -> Iterator[None]:
    try:
        yield
    except SystemExit as done:
        raise typer.Exit(int(done.code or 0)) from None


def models(incomplete: str) -> list[str]:
    """The names of torchvision's models that begin so, or of those of a package that it begins with.

    They are read from the source: to import them takes seconds.
    """
    prefix = package_of(incomplete)
    known = names() if prefix is None else names_in_source(prefix)
    return [name for name in known if name.startswith(incomplete)]
