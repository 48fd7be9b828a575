"""Values while tracing: proxies that know the shape or number they stand for, as far as an example tells it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor

from rewrites.memory import AUGMENTED

UNKNOWN = object()


class Attribute(fx.proxy.Attribute):
    """An attribute of a proxy, such as `x.T`; everything but asking for it is as for `Value`."""


class Value(fx.Proxy):
    """A proxy that knows the shape or number it stands for, when its tracer was given an example."""

    def __getattr__(self, name: str) -> Any:
        known, members = known_value(self), cast(Any, self)
        if isinstance(known, dict) and name in ("values", "items", "get"):
            return getattr({key: members[key] for key in known}, name)
        if name.startswith("__") and name.endswith("__"):  # a protocol, such as numpy's, that a value may lack
            raise AttributeError(name)
        if isinstance(known, Tensor) and not hasattr(Tensor, name):  # such as what tells a parameter
            raise AttributeError(f"'Tensor' object has no attribute {name!r}")
        return Attribute(self, name)


def known_value(proxy: fx.Proxy) -> Any:
    return proxy.node.meta.get("value", UNKNOWN)


def is_constant(known: Any) -> bool:
    """Whether a known value is a tensor with its numbers: a buffer, or what is computed from buffers alone."""
    return isinstance(known, Tensor) and not isinstance(known, FakeTensor)


def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    def record(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


def _set_item(self: fx.Proxy, index: Any, value: Any) -> None:
    self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


def _length(self: fx.Proxy) -> int:
    known = known_value(self)
    if isinstance(known, (list, tuple, dict, str)) or is_constant(known):
        return len(known)
    raise fx.proxy.TraceError("len() of a value that is not known while tracing")


def _number(self: fx.Proxy) -> Any:
    known = known_value(self)
    if isinstance(known, (bool, int, float)) or is_constant(known):
        self.tracer.fix(self)  # type: ignore[attr-defined]
        return known.item() if isinstance(known, Tensor) else known
    raise fx.proxy.TraceError("a number is needed that is not known while tracing")


_kinds: Any = (Value, Attribute)
for _proxy in _kinds:
    for _function in AUGMENTED:
        setattr(_proxy, f"__{_function.__name__}__", _in_place(_function))
    _proxy.__setitem__ = _set_item
    _proxy.__len__ = _length
    _proxy.__index__ = _proxy.__int__ = _number
    _proxy.__float__ = lambda self: float(_number(self))
    _proxy.__array_ufunc__ = None  # numpy.sqrt(64) * x is for x to work out


def faked(value: Any) -> Any:
    """An empty tensor of the same shape; under a FakeTensorMode it holds no memory."""
    return torch.empty(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else value


def proxies_in(value: Any) -> list[fx.Proxy]:
    found: list[fx.Proxy] = []
    mapped(value, lambda proxy: found.append(proxy))
    return found


def plain(value: Any) -> Any:
    """The same arguments with known values in the place of proxies."""
    return mapped(value, known_value)


def mapped(value: Any, change: Callable[[fx.Proxy], Any]) -> Any:
    """`change` on every proxy in nested tuples, lists, dicts and slices."""
    if type(value) in (Value, Attribute):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)([mapped(item, change) for item in value])
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(mapped(item, change) for item in (value.start, value.stop, value.step)))
    return value


def depends_on_size(node: fx.Node) -> bool:
    """Whether a number comes from the size of a tensor, and not only from its rank or type."""
    seen, queue = set(), [node]
    while queue:
        current = queue.pop()
        if current in seen:
            continue
        seen.add(current)
        is_shape = current.target is getattr and current.args[1] == "shape"
        if is_shape or (current.op == "call_method" and current.target in ("size", "numel", "nelement", "stride")):
            return True
        if not isinstance(current.meta.get("value", UNKNOWN), FakeTensor):
            queue.extend(current.all_input_nodes)
    return False
