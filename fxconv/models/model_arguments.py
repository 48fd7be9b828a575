"""What --model-arg says: the fields of a configuration, or the arguments of whatever makes a model."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fxconv.errors import UserError

# Words that JSON, YAML and the shell write small.
_SMALL = {"true": True, "false": False, "none": None, "null": None}
_KEY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
# Arguments of the packages' own functions that would fetch a file, or read one: --weights says where they come from.
_OF_WEIGHTS = ("weights", "weights_backbone", "pretrained", "checkpoint_path", "use_pretrained_backbone")
_ADDRESSES = ("hf-hub:", "hf_hub:", "local-dir:")


def parse(given: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """The arguments by name, from `KEY=VALUE` texts; a mapping is taken as it is.

    A value is read as Python's literals are, a list or a number, and is a text where it is none: `act_layer=relu`. A
    key with dots is of a part of a configuration. Raises `UserError` for another form, and for a key given twice.
    """
    if isinstance(given, Mapping):
        return dict(given)
    arguments: dict[str, Any] = {}
    for text in given:
        key, separator, value = text.partition("=")
        key = key.strip()
        if not separator or not _KEY.fullmatch(key):
            raise UserError(f"--model-arg {text}: expected KEY=VALUE, such as num_classes=10 or depths=[2,2,6,2]")
        if key in arguments:
            raise UserError(f"--model-arg {text}: {key} is given twice; leave one of them out")
        arguments[key] = _value(value.strip())
    return arguments


def _value(text: str) -> Any:
    if text in _SMALL:
        return _SMALL[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # a word, or what is no literal
        return text


def refuse_weights(arguments: Iterable[str], what: str) -> None:
    """Raise `UserError` for an argument by which the package would load weights, beside --weights."""
    for key in arguments:
        if key.rpartition(".")[2] in _OF_WEIGHTS or key.startswith("pretrained_cfg"):
            raise UserError(f"--model-arg {key}: where the weights of {what} come from is said by --weights")


def refuse_addresses(arguments: Mapping[str, Any], what: str) -> None:
    """Raise `UserError` for a value by which a package would fetch code or a model: none is fetched, nor run.

    An attention of `OWNER/KERNEL` is code on the network, and so is what begins with `hf-hub:`.
    """
    for key, value in arguments.items():
        words = value if isinstance(value, str) else ""
        if (key.endswith("_implementation") and "/" in words) or words.startswith(_ADDRESSES):
            raise UserError(
                f"--model-arg {key}={words}: {what} would fetch that from the network; name what is installed"
            )


def unknown(key: str, known: Iterable[str], what: str) -> UserError:
    """The refusal of a key that `what` does not know, with the nearest that it does."""
    names = sorted({name for name in known if not name.startswith("_")})
    near = difflib.get_close_matches(key, names, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"it takes {_listed(names)}"
    return UserError(f"--model-arg {key}: {what} has no such argument; {hint}")


def _listed(names: Sequence[str], most: int = 12) -> str:
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"


def check_accepted(function: Callable[..., Any], arguments: Mapping[str, Any], what: str) -> None:
    """Raise `UserError` for an argument that a function does not take, and for a required one that is missing.

    A function with `**kwargs` may take any, and says so itself when it does not.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # one written in C
        return
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [parameter.name for parameter in parameters if parameter.kind in named]
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        for key in arguments:
            if key not in known:
                raise unknown(key, known, what)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in named and p.name not in arguments]
    if needed:
        given = " ".join(f"--model-arg {name}=VALUE" for name in needed)
        raise UserError(f"{what} needs {', '.join(needed)}; give {given}, or a default")


def unexpected(error: TypeError) -> str | None:
    """The argument that a call did not take, as Python's message has it; None for another error."""
    match = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return match[1] if match else None


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """The names a function takes by keyword."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # one written in C
        return []
