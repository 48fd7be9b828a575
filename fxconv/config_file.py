"""The choices of a conversion in a JSON file: what `--save-config` writes and `--config` reads."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from fxconv.config import Config, Recipe
from fxconv.config_inputs import NamedInputs, found_from, moved_code, read_inputs, relative_to
from fxconv.errors import UserError
from fxconv.pixel_options import is_function

SCHEMA = 1
_INPUTS = "inputs"
_TYPES = typing.get_type_hints(Config)


def text(config: Config, inputs: NamedInputs | None = None, file: Path | None = None) -> str:
    """All choices as indented JSON, which `read` takes; with what was given by name, which `saved_inputs` gives.

    Both name files relative to the folder of `file`, where there is one.
    """
    if file is not None and inputs is not None:
        inputs = inputs.beside(file)
        config = dataclasses.replace(config, **moved_code(vars(config), relative_to(file)))
    values = {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    named = {"inputs": inputs.as_json()} if inputs is not None else {}
    return json.dumps({"schema": SCHEMA, **named, **values}, indent=2, allow_nan=False) + "\n"


def reproducing(config: Config, steps: tuple[Recipe, ...]) -> Config:
    """The choices that give the same result without a search.

    What was kept in float for a budget is named in `config` already, and a metric decided nothing else; so are the
    `steps` of the recipe, then.
    """
    return dataclasses.replace(config, max_drop=None, metric=None, recipe=steps or (Recipe.none,))


def chosen(path: Path | None, choices: Mapping[str, Any], is_given: Callable[[str], bool]) -> Config:
    """The choices of a command line, by field, over those of the file at `path` when there is one.

    `is_given` says of a field whether the user made that choice; of all others the file's go before.
    """
    if path is None:
        return Config(**choices)
    return read(path, {field: value for field, value in choices.items() if is_given(field)}, is_given)


def saved_inputs(path: Path) -> NamedInputs:
    """What the file says was given by name, with paths as they are found from here; nothing where it says nothing."""
    return read_inputs(_values(path).get(_INPUTS, {}), f"--config {path}: {_INPUTS!r}").found_from(path)


def check_code(code: Mapping[str, str], what: str, is_given: Callable[[str], bool]) -> None:
    """Raises `UserError` where a file names code of the user's that is not named on the command line as well.

    `code` has the words of a command line, each by the field that it gives; `what` begins the message.
    """
    if words := [word for word, field in code.items() if not is_given(field)]:
        raise UserError(
            f"{what}: names code that would run, which a file alone must not decide; look at it, and give "
            f"{' '.join(words)} beside {what.partition(' ')[0]}"
        )


def read(path: Path, given: Mapping[str, Any], is_given: Callable[[str], bool] | None = None) -> Config:
    """The choices in a file; those in `given`, by field, are made on the command line and go before.

    What the file leaves out is as without a file. A file alone has no code imported: what it names of the user's own,
    passes, a metric and the model itself, must be given on the command line as well, of which `is_given` knows; unless
    it does, `given` is all of it. Raises `UserError` naming a key that is none, or whose value is not of its type.
    """
    values, what = _values(path), f"--config {path}"
    if _INPUTS in values:  # what has none was written by hand, or before paths were relative
        values |= moved_code(values, found_from(path))
    inputs = read_inputs(values.pop(_INPUTS, {}), f"{what}: {_INPUTS!r}").found_from(path)
    config = from_values(values, what, given)
    function = config.preprocess if is_function(config.preprocess) else None
    code = inputs.code_of(config.passes, {"preprocess": function, "metric": config.metric})
    check_code(code, what, is_given or given.__contains__)
    return config


def from_values(values: Mapping[str, Any], what: str, given: Mapping[str, Any] = types.MappingProxyType({})) -> Config:
    """The choices from plain values, those `given` before them. Raises `UserError`, which `what` begins."""
    for key in values:
        if key not in _TYPES:
            near = difflib.get_close_matches(key, _TYPES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_TYPES)}"
            raise UserError(f"{what}: unknown key {key!r}; {hint}")
    choices = {key: _read(value, _TYPES[key], f"{what}: {key!r}") for key, value in values.items()}
    try:
        return Config(**{**choices, **given})
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def _values(path: Path) -> dict[str, Any]:
    """The object in the file. Raises `UserError` for anything else."""
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
    if "verdict" in values and "passes" in values:
        raise UserError(f"--config {path}: is the report of a conversion; give what --save-config wrote")
    return values


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
