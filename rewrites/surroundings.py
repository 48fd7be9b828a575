"""What is different around a forward while it is traced, and put back afterwards."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from rewrites.proxies import UNKNOWN, Attribute, Value, known_value, proxies_in

# What a tracer does with a function that was to be hidden from it, given the function and its arguments.
Look = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def _is_instance(value: Any, kinds: Any) -> bool:
    """isinstance() of the value that a proxy stands for, so that `isinstance(x, Tensor)` takes the branch it takes.

    A proxy that claims to be a tensor by itself is believed by torch's argument parser too, which then reads a tensor's
    memory where there is none.
    """
    known = known_value(value) if type(value) in (Value, Attribute) else UNKNOWN
    return isinstance(value if known is UNKNOWN else known, kinds)


def _is_tensor(value: Any) -> bool:
    return _is_instance(value, Tensor)


@contextmanager
def asked_for_the_class(model: nn.Module) -> Iterator[None]:
    """While tracing, `isinstance` and `torch.is_tensor` in the model's own code see through proxies."""
    packages = {kind.__module__.partition(".")[0] for part in model.modules() for kind in type(part).__mro__}
    packages = (packages | {"torchvision"}) - {"torch", "builtins", __name__.partition(".")[0]}
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in packages]
    scopes = {id(vars(module)): vars(module) for module in modules if isinstance(module, types.ModuleType)}
    for part in model.modules():  # code that lies in no module that could be found by its name
        scope = getattr(inspect.unwrap(type(part).forward), "__globals__", {})
        if scope.get("__name__", "torch").partition(".")[0] not in ("torch", __name__.partition(".")[0]):
            scopes[id(scope)] = scope
    changed = [scope for scope in scopes.values() if "isinstance" not in scope]
    for scope in changed:
        scope["isinstance"] = _is_instance
    before, torch.is_tensor = torch.is_tensor, cast(Any, _is_tensor)
    try:
        yield
    finally:
        torch.is_tensor = before
        for scope in changed:
            scope.pop("isinstance", None)


@contextmanager
def quiet() -> Iterator[None]:
    """An operator that does not say what shape it gives is not worth a traceback on stderr."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@contextmanager
def hidden_functions_looked_into(look: Look) -> Iterator[None]:
    """While tracing, functions of the user's that torch.fx.wrap hides are looked into."""
    hidden = {key: scope for key, scope in fx._symbolic_trace._wrapped_fns_to_patch.items() if _is_users(scope, key[1])}
    originals = {key: scope[key[1]] for key, scope in hidden.items()}
    for key, scope in hidden.items():
        del fx._symbolic_trace._wrapped_fns_to_patch[key]
        scope[key[1]] = _looking_into(look, originals[key])
    try:
        yield
    finally:
        for key, scope in hidden.items():
            fx._symbolic_trace._wrapped_fns_to_patch[key] = scope
            scope[key[1]] = originals[key]


def _looking_into(look: Look, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if proxies_in((args, kwargs)):
            return look(function, args, kwargs)
        return function(*args, **kwargs)

    return called


def _is_users(scope: Mapping[str, Any], name: str) -> bool:
    """Whether a name stands for Python code from outside of torch."""
    function = scope.get(name)
    home = getattr(function, "__module__", None) or ""
    return isinstance(function, types.FunctionType) and home.partition(".")[0] not in ("torch", "math", "rewrites")


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Whatever a forward writes into its modules while it is traced, proxies as a rule, is taken back."""
    before = {part: dict(vars(part)) for part in model.modules()}
    inside = [
        (holder, type(holder)(holder)) for values in before.values() for holder in values.values()
        if type(holder) in (dict, OrderedDict, list, set)
    ]  # fmt: skip
    try:
        yield
    finally:
        for part, values in before.items():
            vars(part).clear()
            vars(part).update(values)
        for holder, content in inside:
            holder.clear()
            (holder.extend if isinstance(holder, list) else holder.update)(content)
