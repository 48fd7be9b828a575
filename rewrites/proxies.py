"""Values while tracing: proxies that know the shape or number they stand for, as far as an example tells it.

What an input cannot change is no proxy at all: rank, type and device of a value, the sizes of parameters and buffers.
Sizes are numbers that answer as numbers do, and each answer on which Python goes one way is told to the tracer.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_leaves

from rewrites.memory import AUGMENTED

UNKNOWN = object()

# What every run of a forward answers alike, whatever the numbers and sizes of its inputs.
PLAIN_ATTRIBUTES = frozenset(
    {"ndim", "dtype", "device", "layout", "requires_grad", "is_cuda", "is_cpu", "is_meta", "is_quantized", "is_sparse",
     "is_nested", "is_mkldnn", "is_mps", "is_xpu", "itemsize", "is_leaf", "grad", "grad_fn"}
)  # fmt: skip
PLAIN_METHODS = frozenset(
    {"dim", "ndimension", "is_floating_point", "is_complex", "is_signed", "element_size", "get_device"}
)
PLAIN_FUNCTIONS: dict[Callable[..., Any], str] = {
    torch.is_floating_point: "is_floating_point",
    torch.is_complex: "is_complex",
}
# What numpy's functions of numbers are as operators, by which sizes go on being worked out.
_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "true_divide": operator.truediv, "floor_divide": operator.floordiv, "remainder": operator.mod,
    "power": operator.pow, "negative": operator.neg, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge, "equal": operator.eq, "not_equal": operator.ne,
}  # fmt: skip


class Attribute(fx.proxy.Attribute):
    """An attribute of a proxy, such as `x.T`; everything but asking for it is as for `Value`."""

    def __getattr__(self, name: str) -> Any:
        return _attribute(self, name)


class Value(fx.Proxy):
    """A proxy that knows the shape or number it stands for, when its tracer was given an example."""

    def __getattr__(self, name: str) -> Any:
        return _attribute(self, name)


class Size(Value):
    """One member of a shape, which is recorded only once something is worked out from it."""

    def __init__(self, tracer: Any, shape: Callable[[], fx.Proxy], index: int, rank: int, known: int) -> None:
        self.tracer, self.of_shape, self.at, self.rank, self.known = tracer, shape, index, rank, known
        self.recorded: fx.Node | None = None

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        """The node that reads it from the shape."""
        if self.recorded is None:
            read = self.tracer.create_proxy("call_function", operator.getitem, (self.of_shape(), self.at), {})
            self.recorded = read.node
        return self.recorded


class Shape(tuple[Any, ...]):
    """The sizes of a value whose rank is known: a tuple for Python, which is recorded as the one list it is.

    `recorded` gives what stands for the whole; None where TorchScript has no word for it, as for a part backwards.
    """

    recorded: Callable[[], fx.Proxy] | None = None

    @classmethod
    def of(cls, value: fx.Proxy, known: Tensor, recorded: Callable[[], fx.Proxy]) -> Shape:
        """The shape of a value, which `recorded` reads."""
        whole = functools.cache(recorded)
        made = cls(Size(value.tracer, whole, at, known.ndim, size) for at, size in enumerate(known.shape))
        made.recorded = whole
        return made

    def __getitem__(self, index: Any) -> Any:
        taken = super().__getitem__(index)
        if not isinstance(index, slice):
            at = operator.index(index)
            is_whole = type(taken) is Size and taken.rank == len(self) and at < 0
            return Size(taken.tracer, taken.of_shape, at, taken.rank, taken.known) if is_whole else taken
        part, whole = Shape(taken), self.recorded
        if whole is not None and taken and (index.step is None or operator.index(index.step) > 0):
            tracer = self[0].tracer
            part.recorded = lambda: tracer.create_proxy("call_function", operator.getitem, (whole(), index), {})
        return part

    def numel(self) -> Any:
        """The product of the sizes, as torch.Size has it."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"


_KINDS = (Value, Attribute, Size)


def is_value(value: Any) -> bool:
    """Whether this stands for something while tracing; isinstance() would take it for the tensor it stands for."""
    return type(value) in _KINDS


def known_value(proxy: fx.Proxy) -> Any:
    if type(proxy) is Size:
        return proxy.known
    return proxy.node.meta.get("value", UNKNOWN)


def is_constant(known: Any) -> bool:
    """Whether a known value is a tensor with its numbers: a buffer, or what is computed from buffers alone."""
    return isinstance(known, Tensor) and not isinstance(known, FakeTensor)


def is_given(proxy: fx.Proxy) -> bool:
    """Whether an input of the model has a part in this value; another size, batch or number may change it then."""
    return type(proxy) is Size or bool(proxy.node.meta.get("given", True))


def by_size(proxy: fx.Proxy) -> bool:
    """Whether a number comes from the size of an input, and not only from its rank or type."""
    return type(proxy) is Size or bool(proxy.node.meta.get("by_size", False))


def by_batch(proxy: fx.Proxy) -> bool:
    """Whether a number comes from the first size of a value, which as a rule is how many images there are."""
    if type(proxy) is Size:
        return proxy.at in (0, -proxy.rank)
    return bool(proxy.node.meta.get("by_batch", False))


def is_number(known: Any) -> bool:
    return isinstance(known, (bool, int, float, complex))


def _attribute(self: fx.Proxy, name: str) -> Any:
    if name.startswith("__") and name.endswith("__"):  # a protocol, such as numpy's, that a value may lack
        raise AttributeError(name)
    known, members = known_value(self), cast(Any, self)
    if isinstance(known, dict) and name in ("values", "items", "get"):
        return getattr({key: members[key] for key in known}, name)
    if isinstance(known, Tensor):
        if name in ("shape", "ndim", "dtype"):
            cast(Any, self.tracer).asks(self, name)
        if name == "shape":
            return shape_of(self, known, lambda: Attribute(self, "shape"))
        if name in PLAIN_ATTRIBUTES:
            return plain_answer(self, known, name)
        if not hasattr(Tensor, name):  # such as what tells a parameter
            raise AttributeError(f"'Tensor' object has no attribute {name!r}")
    if is_number(known):
        if not hasattr(known, name):  # such as numpy asks for
            raise AttributeError(f"'{type(known).__name__}' object has no attribute {name!r}")
        return getattr(number(self), name)
    return Attribute(self, name)


def shape_of(value: fx.Proxy, known: Tensor, recorded: Callable[[], fx.Proxy]) -> Any:
    """The sizes of a value: numbers of no input's, or such as another input may change."""
    if is_given(value):
        return Shape.of(value, known, recorded)
    cast(Any, value.tracer).measured(value)
    return torch.Size(known.shape)


def held(root: nn.Module, path: str) -> Any:
    """What lies at a path below `root`; asked for in Python's way, a tracer would answer with a proxy."""
    holder, _, name = path.rpartition(".")
    for part in filter(None, holder.split(".")):
        root = cast(nn.Module, root._modules[part])
    found = (held[name] for held in (root._parameters, root._buffers, vars(root)) if name in held)
    return next(found)


def plain_answer(value: fx.Proxy, known: Tensor, name: str) -> Any:
    """What a value answers for an attribute that no input changes. A parameter answers as itself."""
    if name in ("requires_grad", "is_leaf", "grad", "grad_fn"):
        if value.node.op == "get_attr":
            return getattr(held(cast(Any, value.tracer).root, str(value.node.target)), name)
        return {"requires_grad": False, "is_leaf": True}.get(name)
    return getattr(known, name)


def number(self: fx.Proxy) -> Any:
    """The number that a value is, on which Python goes on; the tracer is told."""
    known = known_value(self)
    if is_number(known) or (is_constant(known) and known.numel() == 1):
        return cast(Any, self.tracer).decided(self, known.item() if isinstance(known, Tensor) else known)
    raise fx.proxy.TraceError("a number is needed that is not known while tracing")


def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    def record(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


def _set_item(self: fx.Proxy, index: Any, value: Any) -> None:
    self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


def _is_data(node: Any, of: fx.Node) -> bool:
    return isinstance(node, fx.Node) and node.target is getattr and node.args == (of, "data")


def _set_data(self: fx.Proxy, value: Any) -> None:
    """`weight.data = value`: other numbers in the same tensor, where it keeps its shape and type."""
    if is_value(value) and value.node.target in AUGMENTED and _is_data(value.node.args[0], self.node):
        return  # `weight.data *= mask` has written there, and then assigns what it has written
    known, given = known_value(self), known_value(value) if is_value(value) else value
    if not (isinstance(known, Tensor) and isinstance(given, Tensor)):
        raise fx.proxy.TraceError("the data of a tensor of unknown shape is replaced")
    if (known.shape, known.dtype) != (given.shape, given.dtype):
        raise fx.proxy.TraceError("the data of a tensor is replaced by those of another shape or type")
    self.tracer.create_proxy("call_method", "copy_", (_attribute(self, "data"), value), {})


def _get_item(self: fx.Proxy, index: Any) -> Any:
    known = known_value(self)
    if isinstance(known, (tuple, list)) and isinstance(index, slice):
        cast(Any, self.tracer).counted(self)
        # One by one, since TorchScript takes no list backwards, and of a tuple no part.
        return type(known)(self[at] for at in range(len(known))[index])  # type: ignore[index]
    return self.tracer.create_proxy("call_function", operator.getitem, (self, index), {})


def _length(self: fx.Proxy) -> int:
    known = known_value(self)
    if isinstance(known, (list, tuple, dict, str)):
        cast(Any, self.tracer).counted(self)
        return cast(int, cast(Any, self.tracer).decided(self, len(known)))
    if isinstance(known, Tensor) and known.ndim:
        size = cast(Any, self).shape[0]
        return cast(int, number(size) if is_value(size) else size)
    raise fx.proxy.TraceError("len() of a value that is not known while tracing")


def length(value: Any) -> Any:
    """len(), of a tensor a size that goes on being worked out."""
    known = known_value(value) if is_value(value) else None
    return value.shape[0] if isinstance(known, Tensor) and known.ndim else len(value)


def _hash(self: fx.Proxy) -> int:
    known = known_value(self)
    if not is_number(known):
        return object.__hash__(self)
    tracer: Any = self.tracer
    tracer.has_hashed = True
    return hash(tracer.decided(self, known))


def _text(self: fx.Proxy) -> str:
    known = known_value(self)
    return _format(self, "") if is_number(known) or is_constant(known) else fx.Proxy.__repr__(self)


def _format(self: fx.Proxy, spec: str) -> str:
    known = known_value(self)
    if not is_number(known) and not is_constant(known):
        return object.__format__(self, spec)
    return cast(str, cast(Any, self.tracer).written(self, format(known, spec)))


def _round(self: fx.Proxy, digits: int | None = None) -> Any:
    if digits is not None:
        return self.tracer.create_proxy("call_function", round, (self, digits), {})
    # TorchScript rounds to a number with a fraction
    rounded = self.tracer.create_proxy("call_function", round, (self,), {})
    return self.tracer.create_proxy("call_function", int, (rounded,), {})


def _division(self: Any, other: Any) -> Any:
    return self // other, self % other


def _division_of(self: Any, other: Any) -> Any:
    return other // self, other % self


def _calling(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: self.tracer.create_proxy("call_function", function, (self,), {})


def _array(self: fx.Proxy, dtype: Any = None, copy: Any = None) -> Any:
    """numpy's array of a number. It keeps no size: what numpy works out is fixed."""
    made = torch.tensor(number(self)).numpy()
    return made if dtype is None else made.astype(dtype)


def _array_function(self: Any, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """A numpy function of a number: what Python has an operator for goes on being worked out."""
    known = _OPERATORS.get(function.__name__) if method == "__call__" and not options else None
    if known is not None and all(_is_scalar(value) for value in inputs):
        return known(*(value if is_value(value) or not hasattr(value, "item") else value.item() for value in inputs))
    return getattr(function, method)(*(number(value) if is_value(value) else value for value in inputs), **options)


def _is_scalar(value: Any) -> bool:
    return is_value(value) or getattr(value, "ndim", 0) == 0


def _torch_function(cls: Any, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """A call of torch on values of any of these classes; torch.fx looks for those of `cls`, and for none in a shape."""
    kwargs = kwargs or {}
    if not any(map(is_value, tree_leaves((args, kwargs)))):
        args, kwargs = mapped((args, kwargs), lambda proxy: proxy)
    return fx.Proxy.__torch_function__(function, types, args, kwargs)


_kinds: Any = (Value, Attribute)
for _proxy in _kinds:
    for _function in AUGMENTED:
        setattr(_proxy, f"__{_function.__name__}__", _in_place(_function))
    _proxy.data = property(lambda self: _attribute(self, "data"), _set_data)
    _proxy.__setitem__, _proxy.__getitem__ = _set_item, _get_item
    _proxy.__len__, _proxy.__hash__ = _length, _hash
    _proxy.__index__ = number
    _proxy.__int__ = lambda self: int(number(self))
    _proxy.__float__ = lambda self: float(number(self))
    _proxy.__complex__ = lambda self: complex(number(self))
    _proxy.__round__, _proxy.__trunc__ = _round, _calling(int)
    _proxy.__floor__, _proxy.__ceil__ = _calling(math.floor), _calling(math.ceil)
    _proxy.__divmod__, _proxy.__rdivmod__ = _division, _division_of
    _proxy.__str__ = _proxy.__repr__ = _text
    _proxy.__format__ = _format
    _proxy.__array__, _proxy.__array_ufunc__ = _array, _array_function
    _proxy.__torch_function__ = classmethod(_torch_function)


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
    if type(value) in _KINDS:
        return change(value)
    if isinstance(value, Shape):
        return tuple(change(size) for size in tuple.__iter__(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        changed: Iterable[Any] = [mapped(item, change) for item in value]
        return tuple(changed) if isinstance(value, tuple) else list(changed)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(mapped(item, change) for item in (value.start, value.stop, value.step)))
    return value
