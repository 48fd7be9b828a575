"""What is different around a forward while it is traced, and put back afterwards."""

from __future__ import annotations

import functools
import gc
import inspect
import logging
import sys
import types
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor

from rewrites.proxies import UNKNOWN, Shape, Size, held, is_value, known_value, length, mapped, proxies_in

# Code of torch and numpy is asked nothing; what traces is not traced.
_OWN = frozenset({"torch", "functorch", "torchgen", "numpy", "builtins", __name__.partition(".")[0]})
_REMEMBERING: Any = type(functools.cache(lambda: None))
# Functions and methods that take their sizes one by one.
_OF_SIZES = ("zeros", "ones", "empty", "rand", "randn")
_METHODS_OF_SIZES = ("view", "reshape", "expand", "repeat", "tile", "new_zeros", "new_ones", "new_empty")

# Methods of a logger that take a message.
_LOGGING = ("debug", "info", "warning", "warn", "error", "exception", "critical", "log")

# What a tracer does with a function that was to be hidden from it, given the function and its arguments.
Look = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def _is_instance(value: Any, kinds: Any) -> bool:
    """isinstance() of the value that a proxy stands for, so that `isinstance(x, Tensor)` takes the branch it takes.

    A proxy that claims to be a tensor by itself is believed by torch's argument parser too, which then reads a tensor's
    memory where there is none.
    """
    if isinstance(value, Shape):
        return isinstance(torch.Size(()), kinds) or isinstance(value, kinds)
    return isinstance(_stood_for(value) if is_value(value) else value, kinds)


def _stood_for(value: Any) -> Any:
    if type(value) is not Size and value.node.op == "get_attr":  # a parameter is one, and its shape in memory is none
        return held(value.tracer.root, str(value.node.target))
    known = known_value(value)
    return value if known is UNKNOWN else known


class _Asking(type):
    """What `type` is while tracing: given one value it answers with the class of what that stands for."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        if len(args) != 1:
            return type(*args, **options)
        if isinstance(args[0], Shape):
            return torch.Size
        known = _stood_for(args[0]) if is_value(args[0]) else args[0]
        return Tensor if isinstance(known, FakeTensor) else type(known)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, type)


class _Kind(type, metaclass=_Asking):
    """Stands where code outside of torch says `type`."""


def _is_tensor(value: Any) -> bool:
    return _is_instance(value, Tensor)


def _foreign(name: str) -> bool:
    """Whether a module, by its name, is where models and what they call may be written."""
    package = name.partition(".")[0]
    return package not in _OWN and package not in sys.stdlib_module_names


def _as_known(value: Any) -> Any:
    return torch.Size(map(known_value, value)) if isinstance(value, Shape) else mapped(value, known_value)


def _is_logging(frame: types.FrameType) -> bool:
    """Whether this is Python's `logging.info` and the like, which hand on to a logger what the forward tells."""
    caller = frame.f_back
    return frame.f_globals is vars(logging) and caller is not None and _foreign(caller.f_globals.get("__name__", ""))


def _scopes(model: nn.Module) -> list[dict[str, Any]]:
    """The globals of all code outside of Python, torch and numpy: a forward may call any of it."""
    modules = [module for name, module in list(sys.modules.items()) if _foreign(name)]
    modules += [sys.modules["__main__"]] if "__main__" in sys.modules else []
    scopes = {id(vars(module)): vars(module) for module in modules if isinstance(module, types.ModuleType)}
    for part in model.modules():  # code that lies in no module that could be found by its name
        scope = getattr(inspect.unwrap(part.forward), "__globals__", {})
        if scope.get("__name__", "torch").partition(".")[0] not in _OWN:
            scopes[id(scope)] = scope
    return list(scopes.values())


@contextmanager
def seen_through(model: nn.Module, told: Callable[[object], None]) -> Iterator[None]:
    """While tracing, Python's own questions in code outside of torch see the values that proxies stand for.

    These are `isinstance`, `type`, `len` and `torch.is_tensor`; functions that remember their answers work them out
    anew, so that no proxy is remembered; `torch.zeros(n, c)` and `x.expand(n, -1)` take sizes as they take numbers.
    What is printed, logged, warned of or checked goes to `told`.
    """

    def printed(*values: Any, **options: Any) -> None:
        texts = [str(value) for value in values]
        for text in (" ".join(texts), *texts):
            told(text)
        print(*texts, **options)

    def logging_by(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def logged(*args: Any, **options: Any) -> None:
            if _foreign(sys._getframe(1).f_globals.get("__name__", "")) or _is_logging(sys._getframe(1)):
                for message in args[1:]:  # told before it is known whether anybody listens
                    told(message)
            method(*map(_as_known, args), **options)

        return logged

    def warned(message: Any, *args: Any, **options: Any) -> None:
        told(message)
        warn(message, *args, **options)

    def asserted(condition: Any, message: str) -> None:
        told(message)
        if is_value(condition):
            condition.tracer.create_proxy("call_function", assertion, (condition, message), {})
        else:
            assertion(condition, message)

    def checked(kind: Any, condition: Any, message: Any) -> None:
        if is_value(condition):
            text = str(message() if callable(message) else message or "")
            asserted(condition, text)
        else:
            check(kind, condition, message)

    warn, check, assertion = warnings.warn, torch._check_with, torch._assert
    scopes = _scopes(model)
    own: dict[str, Any] = {"isinstance": _is_instance, "len": length, "print": printed, "type": _Kind}
    added = [(scope, name) for scope in scopes for name in own if name not in scope]
    kinds: dict[type, None] = {
        kind: None for part in model.modules() for kind in type(part).__mro__ if _foreign(kind.__module__)
    }
    holders: list[tuple[Mapping[str, Any], Callable[[str, Any], None]]] = [
        *((scope, scope.__setitem__) for scope in (*scopes, *map(vars, model.modules()))),
        *((vars(kind), functools.partial(setattr, kind)) for kind in kinds),
    ]
    kept = [
        (put, name, value)
        for holder, put in holders
        for name, value in list(holder.items())
        if type(value) is _REMEMBERING and inspect.isfunction(value.__wrapped__)
    ]
    outer: list[tuple[Any, str, Any]] = [
        (torch, "is_tensor", _is_tensor), (torch, "_check_with", checked), (torch, "_assert", asserted),
        (warnings, "warn", warned),
        *((logging.Logger, name, logging_by(getattr(logging.Logger, name))) for name in _LOGGING),
        *((torch, name, _packing(getattr(torch, name))) for name in _OF_SIZES),
    ]  # fmt: skip
    before = [(holder, name, getattr(holder, name)) for holder, name, _ in outer]
    try:
        for scope, name in added:
            scope[name] = own[name]
        for put, name, value in kept:
            put(name, _not_remembering(value))
        for holder, name, value in outer:
            setattr(holder, name, value)
        for name in _METHODS_OF_SIZES:
            setattr(Tensor, name, _packing_method(getattr(Tensor, name)))
        yield
    finally:
        for scope, name in added:
            scope.pop(name, None)
        for put, name, value in kept:
            put(name, value)
        for holder, name, value in before:
            setattr(holder, name, value)
        for name in _METHODS_OF_SIZES:  # torch has them in the class above
            delattr(Tensor, name)


def _not_remembering(function: Any) -> Callable[..., Any]:
    """A function behind functools.cache or lru_cache; given a proxy, it is worked out and not remembered."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return (function.__wrapped__ if proxies_in((args, kwargs)) else function)(*args, **kwargs)

    for name in ("cache_clear", "cache_info", "cache_parameters"):
        setattr(called, name, getattr(function, name))
    return called


def forget_proxies() -> None:
    """Clear what functions outside of torch and Python remember: a size that was hashed may be among it."""
    for function in gc.get_objects():
        if type(function) is _REMEMBERING and _foreign(getattr(function, "__module__", None) or "torch"):
            function.cache_clear()


def _packing(function: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.zeros(n, c)` as `torch.zeros((n, c))`: torch reads single sizes as numbers, and no list of them."""

    @functools.wraps(function)
    def called(*sizes: Any, **options: Any) -> Any:
        return function(tuple(sizes), **options) if any(map(is_value, sizes)) else function(*sizes, **options)

    return called


def _packing_method(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(self: Tensor, *sizes: Any, **options: Any) -> Any:
        if any(map(is_value, sizes)):
            return method(self, tuple(sizes), **options)
        return method(self, *sizes, **options)

    return called


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
    """Whatever a forward writes into its modules is taken back: attributes, hooks, what it puts into containers.

    Those are the modules of the model, and the lists, dicts, sets, deques, other modules and objects of the user's own
    classes that they hold, however deep. The numbers in a tensor are not: who writes into a buffer changes it.
    """
    before = _Contents(model)
    try:
        yield
    finally:
        before.put_back()


# What holds nothing that a forward could write into, but its own numbers.
_PLAIN = (int, float, bool, str, bytes, type(None), Tensor, nn.Parameter, torch.dtype, torch.device, torch.Size)
# Containers, the narrower kinds first.
_CONTAINERS: tuple[type, ...] = (OrderedDict, dict, list, set, deque)
# Whose objects are not looked into: what they hold is no state of a model's.
_NOT_THE_USERS = ("torch", "builtins", "numpy", "functools", "types", "typing", "logging", "threading")


class _Contents:
    """Everything below a model that a forward may write into, each once, and what is in it now.

    Of a thousand modules most holders are the empty dicts of hooks that each has: those are only listed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.containers: list[tuple[type, Any, Any]] = []
        self.empty: list[Any] = []
        kinds: dict[type, type | None] = dict.fromkeys(_PLAIN)
        seen = set[int]()
        waiting: list[Any] = list(model.modules())
        while waiting:
            holder = waiting.pop()
            if id(holder) in seen:
                continue
            seen.add(id(holder))
            kind = _kind(type(holder), kinds)
            held: Any = holder
            if kind is object:
                content = dict(vars(holder))
                self.attributes.append((vars(holder), content))
                held = content.values()
            elif kind is not tuple and kind is not None:
                self.containers.append((kind, holder, kind(holder)))
                held = list(holder.values()) if isinstance(holder, dict) else holder
            for value in held:
                of = type(value)
                if (kinds[of] if of in kinds else _kind(of, kinds)) is None:
                    continue
                if (of is dict or of is OrderedDict) and not value:
                    self.empty.append(value)
                else:
                    waiting.append(value)

    def put_back(self) -> None:
        """Every holder has in it again what it had, each a part of the model or not any more."""
        for attributes, content in self.attributes:
            attributes.clear()
            attributes.update(content)
        for holder in self.empty:
            if holder:
                holder.clear()
        for kind, holder, content in self.containers:
            if _is_the_same(holder, content):
                continue  # a class of its own may not let itself be changed so
            own: Any = kind
            own.clear(holder)
            (own.extend if kind in (list, deque) else own.update)(holder, content)


def _kind(of: type, kinds: dict[type, type | None]) -> type | None:
    """As what objects of a class are looked into: a container, a tuple, an object with attributes; None if not."""
    if of not in kinds:
        kind = next((kind for kind in (*_CONTAINERS, tuple) if issubclass(of, kind)), None)
        if kind is None and (issubclass(of, nn.Module) or _is_of_the_user(of)):
            kind = object
        kinds[of] = kind
    return kinds[of]


def _is_of_the_user(of: type) -> bool:
    """Whether a class is neither Python's nor torch's, and its objects are values that have their attributes in a dict.

    A class that a model holds is no such value, and neither is a module of Python's.
    """
    is_value = not issubclass(of, (type, types.ModuleType, Tensor, BaseException))
    return is_value and of.__module__.partition(".")[0] not in _NOT_THE_USERS and of.__dictoffset__ != 0


def _is_the_same(holder: Any, content: Any) -> bool:
    if len(holder) != len(content):
        return False
    if isinstance(holder, set):
        return holder == content
    now = [*holder, *holder.values()] if isinstance(holder, dict) else holder
    then = [*content, *content.values()] if isinstance(content, dict) else content
    return all(a is b for a, b in zip(now, then, strict=True))
