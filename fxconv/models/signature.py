"""How a model takes its images: how many, each by itself or all in a list; decided from its forward's signature."""

from __future__ import annotations

import inspect
import re
import typing
from ast import Tuple, parse, unparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.errors import UserError
from fxconv.models.dict_inputs import takes_dict

_P = inspect.Parameter
_POSITIONAL = (_P.POSITIONAL_ONLY, _P.POSITIONAL_OR_KEYWORD)
_DICTS = re.compile(r"(?:dict|Dict|Mapping|MutableMapping|OrderedDict|TypedDict)\b")
_LISTS = re.compile(r"(list|List|Sequence|Iterable|Collection)\[Tensor\]")
# Annotations made of these words alone are no tensors; any other class may be one by another name.
_SCALARS = frozenset({"int", "float", "bool", "str", "bytes", "complex", "None", "NoneType", "Literal"})
_CONTAINERS = frozenset({"dict", "Dict", "Mapping", "list", "List", "tuple", "Tuple", "Sequence", "set", "Set"})
_NO_TENSORS = _SCALARS | _CONTAINERS | {"Optional", "Union"}
# A comment that gives the types of all arguments, as TorchScript has always read them.
_TYPE_COMMENT = re.compile(r"#\s*type:\s*(\(.+\))\s*->")


@dataclass(frozen=True)
class InputSignature:
    """What a model's forward is called with.

    `names` are the parameters that take a tensor each: those without a default, or the first one when all have one.
    Parameters with defaults keep them. With `as_list` the first takes a list of unbatched images, as torchvision's
    detection models do.
    """

    names: tuple[str, ...]
    as_list: bool = False

    @property
    def count(self) -> int:
        """How many tensors it takes."""
        return len(self.names)

    @classmethod
    def of(cls, model: nn.Module, what: str = "the model") -> InputSignature:
        """The form of a model's forward. Raises `UserError` when it needs what is no tensor; `what` begins the message.

        Annotations may be strings, or a TorchScript type comment.
        """
        parameters = list(inspect.signature(model.forward).parameters.values())
        words = _annotations(model.forward, parameters)
        needed = [p for p in parameters if p.default is p.empty and p.kind not in (_P.VAR_POSITIONAL, _P.VAR_KEYWORD)]
        for parameter in needed:
            if parameter.kind is _P.KEYWORD_ONLY:
                raise UserError(f"{what} needs {parameter.name} by keyword; give it a default, or a place in order")
            if _DICTS.match(words[parameter.name]):
                raise takes_dict(what, parameter.name)
            if _is_no_tensor(words[parameter.name]):
                said = words[parameter.name]
                raise UserError(f"{what} needs {parameter.name} ({said}), which is no tensor; give it a default")
        if not needed:
            needed = [p for p in parameters if p.kind in (*_POSITIONAL, _P.VAR_POSITIONAL)][:1]
        if not needed:
            raise UserError(f"{what} takes no inputs; its forward must take one tensor at least")
        return cls(tuple(p.name for p in needed), bool(_LISTS.fullmatch(words[needed[0].name])))

    def arguments(self, batch: Tensor | Sequence[Tensor]) -> tuple[Any, ...]:
        """The positional arguments of one call, from tensors `[N, ...]`, one for each name; a lone tensor is the only.

        Raises `UserError` for another number of tensors.
        """
        tensors = (batch,) if isinstance(batch, Tensor) else tuple(batch)
        if len(tensors) != self.count:
            given = f"{len(tensors)} tensor{'s' * (len(tensors) != 1)}"
            raise UserError(f"{given} in a batch for a model that takes {self.count} ({', '.join(self.names)})")
        return (list(tensors[0].unbind(0)), *tensors[1:]) if self.as_list else tensors

    def tensors(self, arguments: Sequence[Any]) -> tuple[Tensor, ...]:
        """The tensors `[N, ...]` that `arguments` would make these positional arguments of: what an artifact takes."""
        first = torch.stack(list(arguments[0])) if self.as_list else arguments[0]
        return (first, *arguments[1:])


def in_words(arguments: Sequence[Any]) -> str:
    """The sizes of what a model is called with, without N: `3x224x224`, or `3x64x64 and 7`."""
    return " and ".join("x".join(map(str, size)) or "1" for size in sizes(arguments))


def sizes(arguments: Sequence[Any]) -> list[tuple[int, ...]]:
    """The size of each tensor a model is called with, without N; of a list of images that of the first."""
    firsts = [argument[0] if isinstance(argument, list) and argument else argument for argument in arguments]
    both = zip(arguments, firsts, strict=True)
    return [tuple(first.shape[first is a :]) for a, first in both if isinstance(first, Tensor)]


def _annotations(forward: Callable[..., Any], parameters: list[inspect.Parameter]) -> dict[str, str]:
    """What is said of each parameter's type, without the modules' names; "" where nothing is said."""
    try:
        known = typing.get_type_hints(forward)
    except Exception:  # a name that exists for the type checker alone, or a string that is no type
        known = {}
    said = {p.name: known.get(p.name, p.annotation) for p in parameters}
    if all(annotation is _P.empty for annotation in said.values()):
        return _from_comment(forward, parameters)
    return {name: _word(annotation) for name, annotation in said.items()}


def _word(annotation: Any) -> str:
    if annotation is _P.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"[A-Za-z_]\w*\.", "", text).strip("\"' ")


def _from_comment(forward: Callable[..., Any], parameters: list[inspect.Parameter]) -> dict[str, str]:
    said = {p.name: "" for p in parameters}
    try:
        found = _TYPE_COMMENT.search(inspect.getsource(forward))
        types = parse(found[1], mode="eval").body if found else None
    except (OSError, TypeError, SyntaxError):  # no source, or a comment that is none of TorchScript's
        return said
    listed = types.elts if isinstance(types, Tuple) else [types] if types is not None else []
    return said | {p.name: _word(unparse(each)) for p, each in zip(parameters, listed, strict=False)}


def _is_no_tensor(words: str) -> bool:
    names = set(re.findall(r"[A-Za-z_]\w*", words))
    return bool(names) and names <= _NO_TENSORS
