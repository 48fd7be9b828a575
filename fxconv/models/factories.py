"""Models that a function or a class of the user's makes, FILE.py:FACTORY or PACKAGE.MODULE:FACTORY."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fxconv.errors import UserError, described
from fxconv.models.model_arguments import check_accepted, parameters_of, unexpected, unknown
from fxconv.models.user_code import object_at, place
from fxconv.wording import with_article

_Built = TypeVar("_Built")
_MOST_NAMED = 4


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
        raise UserError(f"{text} is neither a module nor a function that makes one; it is {_kind(factory)}")
    module = _made(factory, text, seed, arguments)
    if not isinstance(module, nn.Module):
        raise UserError(f"{text}() gave {_given(module)}")
    return module


def _given(value: Any) -> str:
    """What a function gave that is no module, and what to do about it."""
    if value is None:
        return "nothing; return the model at its end"
    if isinstance(value, type) and issubclass(value, nn.Module):
        return f"the class {value.__name__}, not a module of it; return {value.__name__}()"
    if isinstance(value, (tuple, list)) and any(isinstance(each, nn.Module) for each in value):
        kinds = ", ".join(type(each).__name__ for each in value[:_MOST_NAMED])
        return f"a {type(value).__name__} ({kinds}), not an nn.Module; return the module alone"
    if _is_state_dict(value):
        return (
            "a state_dict, weights without a model; load them into the model and return that, or save them and give "
            "--weights FILE"
        )
    return f"{with_article(type(value).__name__)}, not an nn.Module; return the model"


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(each, Tensor) for each in value.values())


def _kind(value: Any) -> str:
    return "a state_dict, weights without a model" if _is_state_dict(value) else with_article(type(value).__name__)


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
        raise UserError(f"{text}() failed with {described(error)}{place(error)}; mend it there") from error
