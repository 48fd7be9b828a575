"""Models that a function or a class of the user's makes, FILE.py:FACTORY or PACKAGE.MODULE:FACTORY."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from fxconv.errors import UserError, described
from fxconv.models.model_arguments import check_accepted, parameters_of, unexpected, unknown
from fxconv.models.user_code import object_at

_Built = TypeVar("_Built")


def seeded(build: Callable[[], _Built], seed: int) -> _Built:
    """What `build` makes with torch's generator at `seed`, which is left where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def made_by(text: str, seed: int, arguments: Mapping[str, Any]) -> nn.Module:
    """The module that `text` names, or that the function it names makes of the arguments, with seeded weights.

    Raises `UserError` for what is neither, for arguments that do not fit, and for whatever the user's code raises.
    """
    factory = object_at(text, "model")
    if isinstance(factory, nn.Module):
        if arguments:
            key, cure = next(iter(arguments)), "a function or a class that makes one does"
            raise UserError(f"--model-arg {key}: {text} is a module, which takes no arguments; {cure}")
        return factory
    if not callable(factory):
        raise UserError(f"{text} is neither a module nor a function that makes one")
    module = _made(factory, text, seed, arguments)
    if not isinstance(module, nn.Module):
        raise UserError(f"{text}() gave a {type(module).__name__}, not an nn.Module")
    return module


def _made(factory: Callable[..., Any], text: str, seed: int, arguments: Mapping[str, Any]) -> Any:
    if dotted := [key for key in arguments if "." in key]:
        raise UserError(f"--model-arg {dotted[0]}: {text}() takes arguments by plain names, without dots")
    check_accepted(factory, arguments, f"{text}()")
    try:
        return seeded(lambda: factory(**arguments), seed)
    except (Exception, SystemExit) as error:
        key = unexpected(error) if isinstance(error, TypeError) else None
        if key in arguments:
            raise unknown(str(key), parameters_of(factory), f"{text}()") from error
        raise UserError(f"{text}() failed with {described(error)}; mend it there") from error
