"""Options that belong together are one value: a frozen dataclass with a field for each.

The fields are written as parameters of a typer command are, `weights: Annotated[str, typer.Option(...)] = "auto"`. A
command takes the group itself, `loading: LoadingOptions`, and to typer it has the options of all its groups, in order.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import typer

from fxconv.config import Config

_FIELDS = frozenset(field.name for field in dataclasses.fields(Config))


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer wants it: a parameter for each option. Its groups are made of them when it is called."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            groups[name] = hints[name]
            parameters += _options(hints[name])
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(kind=kind, annotation=hints[name]))

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        built = {
            name: group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**values, **built)

    vars(flat)["__signature__"] = inspect.Signature(parameters, return_annotation=None)
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    return flat


@functools.cache
def _options(group: type[Any]) -> tuple[inspect.Parameter, ...]:
    """The fields of a group as parameters."""
    hints = get_type_hints(group, include_extras=True)
    defaults = {
        field.name: inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(group)
    }
    return tuple(
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in defaults.items()
    )


def choices(*groups: Any, **more: Any) -> dict[str, Any]:
    """The fields of `Config` among the options of the groups, and `more` of them.

    What an option leaves open, because it is None or an option that may be repeated was not given, `Config` knows.
    """
    values = {name: value for group in groups for name, value in vars(group).items() if name in _FIELDS} | more
    left_open: tuple[Any, ...] = (None, [])
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value not in left_open
    }


def given_on(context: typer.Context) -> Callable[[str], bool]:
    """Whether the user gave an option, by the name of its field, on the command line."""

    def given(field: str) -> bool:
        source = context.get_parameter_source(field)
        return source is not None and source.name == "COMMANDLINE"

    return given
