"""What a conversion is given by name beside its choices: model, weights, images, as a file of choices holds them.

Paths stand there relative to the folder of that file, so that both may move together, each with a digest.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fxconv.config import TARGETS
from fxconv.errors import UserError

# What a model's text begins with when no code of the user's is imported for it.
_NO_CODE = ("timm:", "transformers:", "detector:")
_WORDS = ("auto", "random")


@dataclass(frozen=True)
class NamedInputs:
    """What the command line names, each as its option takes it; None where it was not given.

    `labels` is the file with the names of the classes. `digests` are SHA-256 by the names of the fields, of files and
    of the photographs that were drawn from folders; `parameters` is that of all the numbers in the model, whoever made
    them. `targets` are the kinds of files that were written.
    """

    model: str | None = None
    weights: str = "auto"
    weights_key: str | None = None
    weights_prefix: str | None = None
    unsafe_load: bool = False
    input_size: str | None = None
    heads: str | None = None
    calib: str | None = None
    example: str | None = None
    labels: str | None = None
    train: str | None = None
    train_count: int | None = None
    targets: tuple[str, ...] = ("mobile",)
    digests: Mapping[str, str] = field(default_factory=dict)

    def code_of(
        self, passes: Sequence[str] = (), functions: Mapping[str, str | None] = MappingProxyType({})
    ) -> dict[str, str]:
        """The words of a command line that would run code, each with the field it gives; no file alone decides it."""
        code = {self.model: "model"} if self.model is not None and names_code(self.model) else {}
        code |= {"--unsafe-load": "unsafe_load"} if self.unsafe_load else {}
        code |= {f"--pass {shlex.quote(spec)}": "passes" for spec in passes}
        return code | {f"--{name} {shlex.quote(spec)}": name for name, spec in functions.items() if spec is not None}

    def beside(self, file: Path) -> NamedInputs:
        """With each path relative to the folder of `file`."""
        return self._moved(relative_to(file))

    def found_from(self, file: Path) -> NamedInputs:
        """With each path as it is found from here, where `file` has it relative to its own folder."""
        return self._moved(found_from(file))

    def _moved(self, move: Any) -> NamedInputs:
        changed: dict[str, Any] = {}
        for name in ("calib", "example", "labels", "train"):
            if (path := getattr(self, name)) is not None:
                changed[name] = move(path)
        if self.weights not in _WORDS:
            changed["weights"] = move(self.weights)
        if self.model is not None:
            changed["model"] = _moved_spec(self.model, move)
        return replace(self, **changed)

    def as_json(self) -> dict[str, Any]:
        """Plain values; what was not given is left out."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}
        return {name: value for name, value in plain.items() if value not in (None, False, {})}


def moved_code(values: Mapping[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    """The choices among `values` that name code of the user's in a file, `FILE.py:NAME`, with the file moved."""
    found: dict[str, Any] = {}
    for name in ("passes", "preprocess", "metric"):
        value = values.get(name)
        if isinstance(value, str):
            found[name] = _moved_spec(value, move)
        elif isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
            found[name] = type(value)(_moved_spec(each, move) for each in value)
    return found


def _moved_spec(spec: str, move: Callable[[str], str]) -> str:
    home, colon, name = spec.rpartition(":")
    return f"{move(home)}:{name}" if colon and home.endswith(".py") else spec


def relative_to(file: Path) -> Callable[[str], str]:
    """What makes a path relative to the folder of `file`."""
    return lambda path: os.path.relpath(path, file.parent)


def found_from(file: Path) -> Callable[[str], str]:
    """What finds a path from here that `file` has relative to its own folder."""
    return lambda path: os.path.normpath(file.parent / path)


def names_code(model: str) -> bool:
    """Whether code of the user's would be imported to make the model."""
    return ":" in model and not model.lower().startswith(_NO_CODE)


def read_inputs(told: object, what: str) -> NamedInputs:
    """The same from plain values. Raises `UserError`, which `what` begins, for anything else."""
    if not isinstance(told, dict):
        raise UserError(f"{what} is no JSON object; --save-config writes such a file")
    kinds: dict[str, Any] = {"unsafe_load": bool, "train_count": int, "targets": list, "digests": dict}
    for name, value in told.items():
        if name not in NamedInputs.__dataclass_fields__:
            raise UserError(f"{what}: unknown key {name!r}; known are {', '.join(NamedInputs.__dataclass_fields__)}")
        kind = kinds.get(name, str)
        items = value if kind is list else value.values() if kind is dict and isinstance(value, dict) else ()
        is_number = kind is int and isinstance(value, bool)
        if not isinstance(value, kind) or is_number or not all(isinstance(item, str) for item in items):
            raise UserError(f"{what}: {name!r} is of another type than --save-config writes; save it again")
    if other := [name for name in told.get("targets", ()) if name not in TARGETS]:
        raise UserError(f"{what}: 'targets' names {other[0]!r}; this fxconv writes {', '.join(TARGETS)}")
    given = dict(told)
    if "targets" in given:
        given["targets"] = tuple(given["targets"])
    return NamedInputs(**given)
