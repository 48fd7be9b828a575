"""The choices of a conversion in a JSON file: what `--save-config` writes and `--config` reads."""

from __future__ import annotations

import dataclasses
import difflib
import json
import shlex
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from fxconv.config import Config, Recipe
from fxconv.errors import UserError
from fxconv.pixel_options import is_function

SCHEMA = 1
_TYPES = typing.get_type_hints(Config)


def text(config: Config) -> str:
    """All choices as indented JSON, which `read` takes."""
    values = {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    return json.dumps({"schema": SCHEMA, **values}, indent=2, allow_nan=False) + "\n"


def reproducing(config: Config, steps: tuple[Recipe, ...]) -> Config:
    """The choices that give the same result without a search.

    What was kept in float for a budget is named in `config` already; so are the `steps` of the recipe, then.
    """
    return dataclasses.replace(config, max_drop=None, recipe=steps or (Recipe.none,))


def chosen(path: Path | None, choices: Mapping[str, Any], is_given: Callable[[str], bool]) -> Config:
    """The choices of a command line, by field, over those of the file at `path` when there is one.

    `is_given` says of a field whether the user made that choice; of all others the file's go before.
    """
    if path is None:
        return Config(**choices)
    return read(path, {field: value for field, value in choices.items() if is_given(field)})


def read(path: Path, given: Mapping[str, Any]) -> Config:
    """The choices in a file; those in `given`, by field, are made on the command line and go before.

    What the file leaves out is as without a file. A file alone has no code imported: passes of the user's own that it
    names are taken from `given` or not at all. Raises `UserError` naming a key that is none, or whose value is not of
    its type.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # a number of ten thousand digits is a ValueError by itself
        where = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"--config {path}: is not JSON{where}; --save-config writes such a file") from error
    if not isinstance(values, dict):
        raise UserError(f"--config {path}: holds no JSON object; --save-config writes such a file")
    if (schema := values.pop("schema", SCHEMA)) != SCHEMA or isinstance(schema, bool):
        raise UserError(f"--config {path}: is of schema {schema!r}, this fxconv reads {SCHEMA}; save it again")
    for key in values:
        if key not in _TYPES:
            near = difflib.get_close_matches(key, _TYPES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_TYPES)}"
            raise UserError(f"--config {path}: unknown key {key!r}; {hint}")
    choices = {key: _read(value, _TYPES[key], f"--config {path}: {key!r}") for key, value in values.items()}
    if code := [f"{option} {shlex.quote(spec)}" for option, spec in _code(choices, given)]:
        raise UserError(
            f"--config {path}: names code that would run, which a file alone must not decide; look at it, and give "
            f"{' '.join(code)} beside --config"
        )
    try:
        return Config(**{**choices, **given})
    except UserError as error:
        raise UserError(f"--config {path}: {error}") from error


def _code(choices: Mapping[str, Any], given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of the choices names code of the user's, by its option, and was not given on the command line."""
    found = [("--pass", spec) for spec in choices.get("passes", ()) if "passes" not in given]
    preprocess = choices.get("preprocess")
    if is_function(preprocess) and "preprocess" not in given:
        found.append(("--preprocess", preprocess))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _read(value: Any, kind: Any, what: str) -> Any:
    """A value of JSON as one of this type."""
    options = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        if value is None and types.NoneType in options:
            return None
        return _read(value, next(option for option in options if option is not types.NoneType), what)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise UserError(f"{what} is {_shown(value)}; expected a list, such as []")
        return tuple(_read(item, options[0], what) for item in value)
    if issubclass(kind, Enum):
        if value not in [member.value for member in kind] or isinstance(value, bool):
            expected = ", ".join(repr(member.value) for member in kind)
            raise UserError(f"{what} is {_shown(value)}; expected one of {expected}")
        return kind(value)
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{what} is {_shown(value)}; expected {_WORDS[kind]}")
    return kind(value)


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}


def _shown(value: Any) -> str:
    return json.dumps(value)
