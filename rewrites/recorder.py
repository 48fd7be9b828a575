"""What records the calls of a forward on values that answer what is known of them.

Every recorded value carries its shape or number, as far as an example input tells it. What Python asks of it is either
the same for every input, or a decision that is noted, or not known, which stops the tracer.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_leaves

from rewrites.counts import cuts
from rewrites.decisions import REWRITES, TORCH, Decisions
from rewrites.evaluation import MADE_ANEW, Evaluation
from rewrites.location import short
from rewrites.memory import is_writing
from rewrites.proxies import (
    PLAIN_FUNCTIONS,
    PLAIN_METHODS,
    UNKNOWN,
    Shape,
    Size,
    Value,
    by_batch,
    by_size,
    faked,
    is_constant,
    is_given,
    is_number,
    is_value,
    known_value,
    number,
    plain,
    plain_answer,
    proxies_in,
    shape_of,
)

# Methods that make a tensor of their own out of sizes alone.
_MAKERS = frozenset({"new_zeros", "new_ones", "new_full", "new_tensor"})
# The functions that do the same, by name; while a model is traced, others stand in for torch's own.
_FUNCTIONS: dict[str, Callable[..., Any]] = {"new_zeros": torch.zeros, "new_ones": torch.ones, "new_full": torch.full}
# Methods that hand what is in a tensor to Python: of a buffer the numbers that are in it.
_HANDING_OUT = frozenset({"item", "tolist", "numpy"})
# Methods and attributes that give numbers by the size of a tensor.
_MEASURING = frozenset({"size", "numel", "nelement", "stride", "storage_offset"})
# Casts that name no type, and the type they cast to.
_CASTS = {"float": torch.float32, "double": torch.float64, "half": torch.float16, "bfloat16": torch.bfloat16,
          "int": torch.int32, "long": torch.int64, "bool": torch.bool, "cpu": None, "to": None, "type": None,
          "type_as": None}  # fmt: skip


class Recorder(fx.Tracer):
    """Records calls, and answers what Python asks of their values.

    `decisions` takes what is decided on the way; `own_tensors` are the identities of the tensors that the model holds.
    """

    def __init__(self, decisions: Decisions, own_tensors: set[int]) -> None:
        super().__init__()
        self.decisions = decisions
        self.evaluation = Evaluation()
        self.own_tensors = own_tensors
        self.attribute_paths: dict[int, str] = {}
        self.has_hashed = False
        self.asked: set[str] = set()
        self.filled: dict[int, tuple[Tensor, fx.Proxy]] = {}

    # -- what the forward may ask a value ----------------------------------------------------------

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The truth of a number, a list or a buffer; that of any other tensor is not known."""
        known = known_value(obj)
        if known is UNKNOWN or isinstance(known, FakeTensor):
            return super().to_bool(obj)
        if isinstance(known, (tuple, list)):
            return len(cast(Any, obj)) > 0
        return bool(self.decided(obj, known))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The members of a tuple, list, dict or buffer; of any other tensor there are as many as the batch is large.

        Those are not counted once and for all: code that goes through a batch stays as it is, for any number of images.
        """
        known, members = known_value(obj), cast(Any, obj)
        if isinstance(known, dict):
            return iter(known)
        if isinstance(known, (tuple, list)) or (isinstance(known, Tensor) and known.ndim and not is_given(obj)):
            return iter([members[index] for index in range(len(members))])
        return super().iter(obj)

    def keys(self, obj: fx.Proxy) -> Any:
        """The keys of a dict, of which the values are its members."""
        known = known_value(obj)
        return known.keys() if isinstance(known, dict) else super().keys(obj)

    def decided(self, proxy: fx.Proxy, known: Any) -> Any:
        """What is known of a proxy, by which Python now goes one way; noted, if sizes or buffers have a say in it."""
        if by_size(proxy):
            if self.decisions.is_formatting():
                self.decisions.by_text(str(known))
            else:
                self.decisions.by_size()
        for node in () if type(proxy) is Size else _read_from_buffers(proxy.node):
            self.decisions.by_buffer(node)
        return known

    def asks(self, proxy: fx.Proxy, name: str) -> None:
        """Note that the forward asked for the rank or type of what an input has a part in: the graph holds for that."""
        if is_given(proxy):
            self.asked.add("rank" if name in ("ndim", "dim", "ndimension", "shape") else "type")

    def counted(self, proxy: fx.Proxy) -> None:
        """How many members there are in a tuple or list is asked for."""
        known = known_value(proxy)
        if by_size(proxy):
            self.decisions.by_size()
        elif is_given(proxy) and cuts(proxy.node, len(known)):
            self.decisions.by_count(proxy.node)

    def measured(self, proxy: fx.Proxy) -> None:
        """The shape of what is made of buffers alone is asked for: how many of a mask are set is in their numbers."""
        if proxy.node.op != "get_attr" and proxy.node.meta.get("by_buffer"):
            self.decisions.by_buffer(self.create_proxy("call_function", getattr, (proxy, "shape"), {}).node)

    def written(self, proxy: fx.Proxy, text: str) -> str:
        """The text that a number was written as."""
        if by_size(proxy):
            self.decisions.by_text(text)
        else:
            self.decided(proxy, text)
        return text

    # -- recording -----------------------------------------------------------------------------------

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Value(node, self)

    def create_arg(self, a: Any) -> Any:
        if is_value(a):
            return a.node
        if self.filled and isinstance(a, Tensor) and (filled := self.filled_with(a)) is not None:
            return filled.node
        if isinstance(a, Shape):
            return a.recorded().node if a.recorded is not None else tuple(self.create_arg(size) for size in a)
        if isinstance(a, dict):  # one of the user's may answer for any attribute
            return {key: self.create_arg(value) for key, value in a.items()}
        if type(a).__module__ == "numpy" and getattr(a, "ndim", None) == 0:  # numpy.sqrt(64): a number as any other
            return a.item()
        return super().create_arg(a)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if self.evaluation.is_running or not isinstance(attr_val, Tensor):
            return attr_val
        path = self.named_tensors.get(id(attr_val))
        if path is None:
            return attr_val
        if path not in parameter_proxy_cache:
            parameter_proxy_cache[path] = self.create_proxy("get_attr", path, (), {})
        return parameter_proxy_cache[path]

    @property
    def named_tensors(self) -> dict[int, str]:
        """The path of each parameter and buffer; searched for each time, they take most of the time of a large one."""
        if not self.attribute_paths:
            named = (*self.root.named_parameters(), *self.root.named_buffers())
            self.attribute_paths.update({id(value): path for path, value in reversed(named)})
        return self.attribute_paths

    def create_proxy(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *rest: Any, **more: Any
    ) -> Any:
        if kind == "placeholder":
            return super().create_proxy(kind, target, args, kwargs, *rest, **more)
        if (answer := self._without_a_node(kind, target, args, kwargs)) is not UNKNOWN:
            return answer
        proxies = proxies_in((args, kwargs))
        numbers = kind != "call_module" and bool(proxies) and all(is_number(known_value(p)) for p in proxies)
        if numbers and self._is_made_of_sizes(args, kwargs):
            return self._worked_out(kind, target, args, kwargs)
        if kind == "call_function" and "device" in kwargs and not isinstance(kwargs["device"], fx.Proxy):
            kwargs = {name: value for name, value in kwargs.items() if name != "device"}  # the CPU's, as all there is
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        meta = proxy.node.meta
        if kind.startswith("call_") and (frame := self.decisions.innermost(REWRITES, TORCH)) is not None:
            meta["source"] = f"{short(frame.f_code.co_filename)}:{frame.f_lineno}"
        value = self.evaluation.value_of(self.root, kind, target, args, kwargs)
        if is_writing(kind, target, kwargs):
            self._forget_numbers(args, kwargs)
        if value is not UNKNOWN:
            meta["value"] = value
        meta["given"] = kind != "get_attr" and (kind == "call_module" or not proxies or any(map(is_given, proxies)))
        if kind == "get_attr":
            meta["by_buffer"] = is_constant(value)
        elif not meta["given"]:
            meta["by_buffer"] = any(proxy.node.meta.get("by_buffer") for proxy in proxies)
        elif not holds_tensors(value) or is_constant(value):
            self._measured(meta, target, args, proxies)
        return proxy

    def _forget_numbers(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Of a tensor that something is written into whose numbers are not known, they are not known any more."""
        into: Any = kwargs.get("out", args[0] if args else None)
        known = known_value(into) if is_value(into) else None
        if not isinstance(known, Tensor) or not is_constant(known):
            return
        if all(is_constant(value) or is_number(value) for value in tree_leaves(plain((args, kwargs)))):
            return
        memory = known.untyped_storage().data_ptr()
        for node in self.graph.nodes:
            value = node.meta.get("value")
            if isinstance(value, Tensor) and is_constant(value) and value.untyped_storage().data_ptr() == memory:
                with self.evaluation.fake:
                    node.meta["value"] = faked(value)

    def _measured(self, meta: dict[str, Any], target: Any, args: tuple[Any, ...], proxies: list[fx.Proxy]) -> None:
        """Note where a number comes from the size of an input, or from how many there are."""
        measures = target in _MEASURING or target in (torch.numel, len) or target is getattr
        meta["by_size"] = measures or any(map(by_size, proxies))
        is_one = target == "size" and len(args) > 1
        meta["by_batch"] = (measures and (not is_one or args[1] == 0)) or any(map(by_batch, proxies))
        if target is operator.getitem and isinstance(args[1], int):  # of a shape
            meta["by_batch"] = args[1] == 0

    def _without_a_node(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What needs no operation: what no input changes, a cast to the type a value has; UNKNOWN when it needs one."""
        if kind == "call_function" and target in PLAIN_FUNCTIONS:
            kind, target = "call_method", PLAIN_FUNCTIONS[target]
        if target is operator.mul and any(isinstance(value, (list, tuple, str)) for value in args):
            return operator.mul(*(number(value) if is_value(value) else value for value in args))
        if kind != "call_method":
            return UNKNOWN
        if target == "__setitem__":
            return self.create_proxy("call_function", operator.setitem, args, kwargs)
        if target in _MAKERS:
            return self._made(target, args, kwargs)
        if not args or not is_value(args[0]) or not isinstance(known := known_value(args[0]), Tensor):
            return UNKNOWN
        if target in PLAIN_METHODS:
            self.asks(args[0], target)
            return plain_answer(args[0], known, target)(*plain(args[1:]))
        if target in ("size", "stride", "numel", "nelement") and not is_given(args[0]):
            self.measured(args[0])
            return getattr(known, target)(*plain(args[1:]), **plain(kwargs))
        if target == "size" and len(args) == 1 and not kwargs:
            self.asks(args[0], "ndim")
            return shape_of(args[0], known, functools.partial(super().create_proxy, kind, target, args, kwargs))
        if target in _HANDING_OUT and is_constant(known) and not (target == "item" and is_given(args[0])):
            return getattr(self.decided(args[0], known), target)(*args[1:], **kwargs)
        return (
            args[0] if target in _CASTS and _casts_nothing(known, target, plain(args[1:]), plain(kwargs)) else UNKNOWN
        )

    def _made(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A constant tensor whose size the example gives, or one that is made anew for as many images as there are."""
        like = known_value(args[0]) if is_value(args[0]) else args[0]
        if not isinstance(like, Tensor):
            raise fx.proxy.TraceError(f"{method} of a tensor whose type is not known while tracing")
        proxies = proxies_in((args[1:], kwargs))
        self.decisions.nothing_decided()
        if any(map(by_batch, proxies)):
            function = _FUNCTIONS.get(method)
            sizes, options = args[1:], {"dtype": like.dtype, **kwargs}
            if method in ("new_zeros", "new_ones") and sizes and not _is_several(sizes[0]):
                sizes = (sizes,)  # given one by one
            return self.create_proxy("call_function", function or torch.tensor, sizes, options)
        for proxy in proxies:
            self.decided(proxy, None)
        args, kwargs = plain((args[1:], kwargs))
        return getattr(torch.empty(0, dtype=like.dtype), method)(*args, **kwargs)

    def fill(self, tensor: Tensor) -> fx.Proxy:
        """What stands from now on for a tensor that the forward made of numbers, and writes what is recorded into."""
        memory = tensor.untyped_storage().data_ptr()
        held = (value for part in self.root.modules() for value in (*vars(part).values(), *part._buffers.values()))
        own = [value for value in (*held, *self.root.parameters()) if id(value) in self.own_tensors]
        if id(tensor) in self.own_tensors or any(one.untyped_storage().data_ptr() == memory for one in own):
            raise fx.proxy.TraceError("a tensor that the model keeps between calls is written into")
        made = (value for name, value in vars(self.root).items() if name.startswith("_tensor_constant"))
        if any(one is not tensor and one.untyped_storage().data_ptr() == memory for one in made):
            raise fx.proxy.TraceError("a tensor that is written into shares memory with another that was read")
        # Each call writes into a tensor of its own.
        proxy = self.proxy(self.create_node("call_method", "clone", (self.create_arg(tensor),), {}))
        with self.evaluation.fake:
            proxy.node.meta["value"] = faked(tensor)
        proxy.node.meta["given"] = True
        self.filled[id(tensor)] = tensor, proxy
        return proxy

    def filled_with(self, tensor: Tensor) -> fx.Proxy | None:
        """What stands for a tensor that was written into; None for another."""
        if id(tensor) in self.filled:
            return self.filled[id(tensor)][1]
        if tensor.layout is torch.strided and not isinstance(tensor, FakeTensor):
            memory = tensor.untyped_storage().data_ptr()
            if memory and any(one.untyped_storage().data_ptr() == memory for one, _ in self.filled.values()):
                raise fx.proxy.TraceError("a tensor shares memory with another that was written into")
        return None

    def made_of_sizes(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What torch makes of numbers alone: a tensor is made anew in each run, anything else is worked out once."""
        if function in MADE_ANEW or any(map(by_batch, proxies_in((args, kwargs)))):
            return self.create_proxy("call_function", function, args, kwargs)
        return self._worked_out("call_function", function, args, kwargs)

    def _is_made_of_sizes(self, args: Any, kwargs: Any) -> bool:
        """Whether tensors that the forward made of known numbers take part in a call, and none of the model's."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if not is_value(leaf) and isinstance(leaf, Tensor)]
        if not tensors or any(id(tensor) in self.own_tensors for tensor in tensors):
            return False
        return not any(map(by_batch, proxies_in((args, kwargs))))

    def _worked_out(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for proxy in proxies_in((args, kwargs)):
            self.decided(proxy, None)
        args, kwargs = plain((args, kwargs))
        return getattr(args[0], target)(*args[1:], **kwargs) if kind == "call_method" else target(*args, **kwargs)

    def looked_into(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a function hidden by torch.fx.wrap returns, recorded as if it were not.

        One that does not trace leaves nothing behind and is called as a whole.
        """
        before, back = len(self.graph.nodes), self.decisions.mark()
        try:
            return function(*args, **kwargs)
        except Exception:
            for node in reversed(list(self.graph.nodes)[before:]):
                if node.op != "get_attr":  # read once for all that read it
                    self.graph.erase_node(node)
            back()
        whole = self.create_proxy("call_function", function, args, kwargs)
        whole.node.meta["is_wrapped"] = True
        return whole


def _read_from_buffers(node: fx.Node) -> list[fx.Node]:
    """What a value is made of that is read from buffers alone: itself, or what stands in it beside sizes."""
    found, queue, seen = list[fx.Node](), [node], set[fx.Node]()
    while queue:
        part = queue.pop()
        if part.meta.get("by_buffer") and not part.meta.get("given", True):
            found.append(part)
        elif part not in seen and not isinstance(part.meta.get("value", UNKNOWN), FakeTensor):
            queue += part.all_input_nodes
        seen.add(part)
    return found


def _is_several(value: Any) -> bool:
    return isinstance(value, (tuple, list))


def holds_tensors(value: Any) -> bool:
    return value is UNKNOWN or any(isinstance(leaf, Tensor) for leaf in tree_leaves(value))


def _casts_nothing(known: Tensor, method: str, args: Any, kwargs: Any) -> bool:
    """Whether a cast is to the type that a value has already: torch hands back the value itself then."""
    if kwargs.get("copy") or kwargs.get("memory_format") is not None or (len(args) > 2 and args[2]):
        return False
    wanted = [_CASTS[method]] if method not in ("to", "type", "type_as") else []
    if method == "type_as":
        wanted = [args[0].dtype if args else kwargs["other"].dtype]
    for value in (*args, *kwargs.values()) if method in ("to", "type") else ():
        if isinstance(value, Tensor):
            wanted.append(value.dtype)
        elif isinstance(value, torch.dtype):
            wanted.append(value)
        elif not isinstance(value, (torch.device, str, bool)) or (method == "type" and isinstance(value, str)):
            return False
    return bool(method != "type" or wanted) and all(dtype in (None, known.dtype) for dtype in wanted)
