"""`fxconv models`: what can be named."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import typer

from fxconv.cli.options.output import TracebackOption
from fxconv.errors import UserError

PatternArgument = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="Those that a pattern with * and ? fits, such as 'resnet*'; those of an installed package by what they "
        "begin with: timm: or 'timm:mobilenet*', transformers: or 'transformers:*Segmentation'.",
    ),
]


def models(pattern: PatternArgument = "", traceback_: TracebackOption = False) -> None:
    """What can be named as MODEL.

    Examples:
        # All of torchvision, and the detectors
        fxconv models
        # Some of them
        fxconv models 'resnet*'
        # Those of an installed package
        fxconv models 'timm:mobilenet*'
    """
    from fxconv.models.installed_packages import check_installed, package_of
    from fxconv.models.model_names import ALIASES, detectors, names

    package = package_of(pattern)
    if package is not None:
        pattern = package + pattern[len(package) :]
        check_installed(pattern)
        from fxconv.models.loading import in_packages

        listed = {name: name for name in in_packages(package)}
    else:
        listed = {name: name for name in (*names(), *detectors())}
        listed |= {alias: f"{alias} (means {name})" for alias, name in ALIASES.items()}
    wanted = pattern if pattern not in ("", package) else "*"
    found = [line for name, line in listed.items() if fnmatchcase(name.lower(), wanted.lower())]
    if not found:
        raise UserError(f"models {pattern}: no name fits; use * and ?, such as {package or ''}'*{_core(pattern)}*'")
    for line in found:
        typer.echo(line)


def _core(pattern: str) -> str:
    return pattern.rpartition(":")[2].strip("*?")
