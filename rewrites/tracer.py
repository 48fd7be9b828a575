"""What records a forward: the calls it makes, on values that answer what is known of them.

Every recorded value carries its shape or number, as far as an example input tells it. What Python asks of it is either
the same for every input, or a decision that is noted, or not known, which stops the tracer.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.func import functional_call
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property
from torch.utils._pytree import tree_any, tree_leaves, tree_map

from rewrites.counts import cuts
from rewrites.decisions import REWRITES, TORCH, Decisions
from rewrites.frames import FromColumns, FromFrames, ToColumns, ToFrames
from rewrites.location import short
from rewrites.memory import AUGMENTED, is_writing
from rewrites.modules import AddReLU, Arithmetic, CappedReLU, LinearRows, Wrapped
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

# Modules of the rewritten form, and torch's own, are operations; everything else is looked into.
_WAYS = (ToFrames, FromFrames, ToColumns, FromColumns)
_OWN_LEAVES = (Arithmetic, AddReLU, CappedReLU, LinearRows, Wrapped, QuantStub, DeQuantStub, *_WAYS)

# Modules that return a tensor of their input's shape and type.
_KEEPING_SHAPE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Dropout)

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
# Functions that make a tensor of numbers alone, as the sizes of each run have it; of the first few nobody knows the
# numbers.
_RANDOM = frozenset({torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.empty})
_MADE_ANEW = frozenset(
    {torch.zeros, torch.ones, torch.full, torch.arange, torch.linspace, torch.logspace, torch.eye, torch.tensor,
     torch.as_tensor, torch.tril_indices, torch.triu_indices, torch._assert, *_RANDOM}
)  # fmt: skip


class Calls(TorchFunctionMode):
    """Sees the calls of torch that are given proxies of numbers alone, which torch would read as numbers."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer
        self.read_before: dict[str, fx.Proxy] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.tracer.is_evaluating:
            return func(*args, **kwargs)
        args, kwargs = self._with_proxies(func, args, kwargs)
        args, kwargs = self._with_what_is_filled(func, args, kwargs)
        if not (proxies := proxies_in((args, kwargs))):
            return func(*args, **kwargs)
        if func in _ASKING:
            return _ASKING[func](*args)
        if self.tracer.filled and args and is_value(args[0]) and _is_method(func):
            return getattr(args[0], func.__name__)(*args[1:], **kwargs)  # a method of tensors takes no proxy for one
        self.tracer.decisions.nothing_decided()
        if not all(_is_made_of_numbers(known_value(proxy)) for proxy in proxies):
            try:
                return func(*args, **kwargs)
            finally:
                self.tracer.decisions.nothing_decided()
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves((args, kwargs))):
            kind = "call_method" if _is_method(func) else "call_function"
            return self.tracer.create_proxy(kind, func.__name__ if kind == "call_method" else func, args, kwargs)
        return self.tracer.made_of_sizes(func, args, kwargs)

    def _with_proxies(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The same arguments, parameters and buffers that were read past the tracer among them, as its own reads."""
        if getattr(func, "__name__", "") == "__get__":
            return args, kwargs

        def read(leaf: Any) -> Any:
            if is_value(leaf) or not isinstance(leaf, Tensor):
                return leaf
            if self.tracer.filled and (filled := self.tracer.filled_with(leaf)) is not None:
                return filled
            return self.tracer.getattr("", leaf, self.read_before) if id(leaf) in self.tracer.named_tensors else leaf

        return cast("tuple[Any, Any]", tree_map(read, (args, kwargs)))

    def _with_what_is_filled(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The same arguments, with a proxy for a tensor that the forward made and now writes a proxy into."""
        name, into = getattr(func, "__name__", ""), kwargs.get("out", args[0] if args else None)
        is_written = "out" in kwargs or name in _WRITING or (name.endswith("_") and not name.endswith("__"))
        if not is_written or is_value(into) or not isinstance(into, Tensor) or not proxies_in((args, kwargs)):
            return args, kwargs
        filled = self.tracer.fill(into)
        return (args, kwargs | {"out": filled}) if "out" in kwargs else ((filled, *args[1:]), kwargs)


def _is_method(function: Any) -> bool:
    """Whether this is a method of tensors; some stand in for torch's own while a model is traced."""
    own = getattr(Tensor, getattr(function, "__name__", ""), None)
    return own is function or is_tensor_method_or_property(function)


# Methods that write into their tensor without saying so in their name.
_WRITING = frozenset({"__setitem__", *(f"__{function.__name__}__" for function in AUGMENTED)})

# What Python asks of a tensor by its own name, and the function of Python's that asks it.
_ASKING: dict[Any, Callable[..., Any]] = {
    Tensor.__bool__: bool, Tensor.__int__: int, Tensor.__float__: float, Tensor.__index__: operator.index,
    Tensor.__len__: len, Tensor.__format__: format, Tensor.__repr__: repr, Tensor.__iter__: iter,
}  # fmt: skip


class Tracer(fx.Tracer):
    """Records the forward of a model once.

    `decisions` takes what is decided on the way. `leaves` are paths of modules that stay whole, `example` the arguments
    by name, `own_tensors` the identities of the tensors that the model holds, `frozen` its batch norms written out.
    """

    proxy_buffer_attributes = True

    def __init__(
        self,
        decisions: Decisions,
        leaves: set[str],
        example: Mapping[str, Any] | None,
        own_tensors: set[int],
        frozen: set[nn.Module],
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.leaves = leaves
        self.failed: str | None = None
        self.example = example
        self.decisions = decisions
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.is_evaluating = False
        self.own_tensors = own_tensors
        self.attribute_paths: dict[int, str] = {}
        self.has_hashed = False
        self.hooked: set[str] = set()
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
        if self.is_evaluating or not isinstance(attr_val, Tensor):
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
        value = self._evaluated(kind, target, args, kwargs)
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
                with self.fake:
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
        with self.fake:
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
        if function in _MADE_ANEW or any(map(by_batch, proxies_in((args, kwargs)))):
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

    def _evaluated(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value of a call on empty tensors of the known shapes; UNKNOWN where it needs the numbers in them.

        Buffers have their numbers, in memory of their own, and so has what is computed from them alone: a forward may
        loop over a buffer of strides.
        """
        if any(known_value(proxy) is UNKNOWN for proxy in proxies_in((args, kwargs))):
            return UNKNOWN
        self.is_evaluating = True
        try:
            if kind == "get_attr":
                value = operator.attrgetter(target)(self.root)
                if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                    return value.detach().clone()
                with self.fake:
                    return faked(value) if isinstance(value, Tensor) else UNKNOWN
            args, kwargs = plain((args, kwargs))
            leaves = tree_leaves((args, kwargs))
            given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            if kind == "call_function" and not given and getattr(target, "__module__", None) in _OF_NUMBERS:
                return target(*args, **kwargs)
            has_numbers = all(map(is_constant, given)) and kind != "call_module"
            has_numbers = has_numbers and (bool(given) or (target in _MADE_ANEW and target not in _RANDOM))
            function = target
            if kind == "call_method":
                function, args = getattr(args[0], target), args[1:]
            elif kind == "call_module":
                function = self.root.get_submodule(target)
                if type(function).__module__.startswith("torch.nn."):
                    return self._called(function, args, kwargs)
                with _without_hooks(function), self.fake, torch.no_grad():
                    return function(*args, **kwargs)
            is_kept = function is F.batch_norm or (function is getattr and args[1] == "data")
            if is_kept and args and isinstance(args[0], FakeTensor):  # of its input's shape and type
                return args[0]
            with nullcontext() if has_numbers else self.fake, torch.no_grad():
                return function(*args, **kwargs)
        except Exception:  # it needs numbers, or an operator that does not say what shape it gives
            return UNKNOWN
        finally:
            self.is_evaluating = False

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What one of torch's own modules returns, as far as shapes go: its weights have none but a shape either."""
        with _without_hooks(module), self.fake, torch.no_grad():
            if isinstance(module, _KEEPING_SHAPE) and args and isinstance(args[0], FakeTensor):
                return args[0]
            state = {name: faked(value) for name, value in (*module.named_parameters(), *module.named_buffers())}
            return functional_call(module, state, args, kwargs)

    # -- the inputs ------------------------------------------------------------------------------------

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """A call of the model's own forward, be it decorated or set on the instance, and what it is given."""
        args, kwargs = self._inputs(inspect.signature(self.root.forward))

        def called() -> Any:
            return self.root.forward(*args, **kwargs)

        return called, []

    def _inputs(self, signature: inspect.Signature) -> tuple[list[Any], dict[str, Any]]:
        """A placeholder for each input that holds tensors; any other has the value of the example, or its default.

        Without an example each parameter takes a tensor, unless its default is something else.
        """
        given, args, kwargs = self.example, list[Any](), dict[str, Any]()
        for name, parameter in signature.parameters.items():
            default = parameter.default
            has_default = default is not parameter.empty and not (given is None and isinstance(default, Tensor))
            if parameter.kind is parameter.VAR_POSITIONAL:
                several = (given or {}).get(name, ()) if args or given is not None else (UNKNOWN,)
                args += [self._input(f"{name}_{index}", parameter, value) for index, value in enumerate(several)]
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs |= {
                    key: self._input(key, parameter, value) for key, value in (given or {}).get(name, {}).items()
                }
            else:
                value = (given or {}).get(name, UNKNOWN)
                taken = default if value is UNKNOWN and has_default else self._input(name, parameter, value)
                if parameter.kind is parameter.KEYWORD_ONLY:
                    kwargs[name] = taken
                else:
                    args.append(taken)
        is_optional = True  # Python wants those without a default before all others
        for node in reversed(self.graph.nodes):
            is_optional = is_optional and bool(node.args)
            node.args = node.args if is_optional else ()
        return args, kwargs

    def _input(self, name: str, parameter: inspect.Parameter, value: Any) -> Any:
        """The placeholder of an input, or its value when it holds no tensor."""
        default = () if parameter.default is parameter.empty else (parameter.default,)
        said = None if parameter.annotation is parameter.empty else parameter.annotation
        if isinstance(value, Tensor) and said is not Tensor:  # TorchScript takes no Optional for the tensor it is
            said = None
        proxy = super().create_proxy("placeholder", name, default, {}, type_expr=said)
        if value is UNKNOWN:
            return proxy
        if not tree_any(lambda leaf: isinstance(leaf, Tensor), value):
            return value
        with self.fake:
            proxy.node.meta["value"] = tree_map(faked, value)
        return proxy

    # -- modules ---------------------------------------------------------------------------------------

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.leaves or isinstance(m, _OWN_LEAVES) or m in self.frozen:
            return True
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.is_evaluating or not self._is_installed(m):
            return forward(*args, **kwargs)
        try:
            if not (m._forward_hooks or m._forward_pre_hooks) or not self.is_leaf_module(m, self.path_of_module(m)):
                return super().call_module(m, forward, args, kwargs)
            return self._hooked(m, forward, args, kwargs)
        except Exception:
            # The innermost call fails first, so the first path noted is the smallest module.
            self.failed = self.failed or self.path_of_module(m)
            raise

    def _hooked(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call of an operation that the model hooked: the hooks are traced, and not left on the layer."""
        self.hooked.add(self.path_of_module(m))
        for key, before in m._forward_pre_hooks.items():
            if key in m._forward_pre_hooks_with_kwargs:
                changed = before(m, args, kwargs)
                args, kwargs = (args, kwargs) if changed is None else changed
            elif (changed := before(m, args)) is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = super().call_module(m, forward, args, kwargs)
        for key, after in m._forward_hooks.items():
            named = (kwargs,) if key in m._forward_hooks_with_kwargs else ()
            changed = after(m, args, *named, result)
            result = result if changed is None else changed
        return result

    def _is_installed(self, module: nn.Module) -> bool:
        """Whether a module is one of the model's, and not made in its forward, as a slice of an nn.Sequential is."""
        try:
            self.path_of_module(module)
        except NameError:
            return False
        return True


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


# Where functions lie that work with numbers alone.
_OF_NUMBERS = ("_operator", "math", "builtins")


@contextmanager
def _without_hooks(module: nn.Module) -> Iterator[None]:
    """A module that is only asked for a shape: its hooks are run when it is called in earnest."""
    before = module._forward_pre_hooks, module._forward_hooks
    module._forward_pre_hooks, module._forward_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        module._forward_pre_hooks, module._forward_hooks = before


def _is_made_of_numbers(known: Any) -> bool:
    members = known if isinstance(known, (tuple, list)) else (known,)
    return all(map(is_number, members))


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
