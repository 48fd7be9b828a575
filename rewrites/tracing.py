"""Symbolic tracing that never gives up on the whole.

Every recorded value carries its shape or number, as far as an example input tells it, so that a forward may ask for
ranks and sizes, loop over a list and assert what it expects. What depends on the numbers in a tensor is not followed:
the smallest module with such a forward becomes a float leaf, called as it stands, and the line that stopped the tracer
is kept as the reason. Unlike torch's own tracer this one keeps `x += y` on tensors an in-place operation, so that
another name for the same tensor sees the change, as it does in eager mode.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import keyword
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.func import functional_call
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property
from torch.utils._pytree import tree_any, tree_leaves, tree_map

from rewrites.decisions import REWRITES, TORCH, Decisions, Fixed
from rewrites.frames import FromColumns, FromFrames, ToColumns, ToFrames
from rewrites.frozen_norms import frozen_batch_norm
from rewrites.location import short, where
from rewrites.memory import AUGMENTED
from rewrites.modules import AddReLU, Arithmetic, CappedReLU, LinearRows, Wrapped
from rewrites.naming import identifier
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
from rewrites.surroundings import forget_proxies, hidden_functions_looked_into, quiet, seen_through, unchanged

# Modules of the rewritten form, and torch's own, are operations; everything else is looked into.
_WAYS = (ToFrames, FromFrames, ToColumns, FromColumns)
_OWN_LEAVES = (Arithmetic, AddReLU, CappedReLU, LinearRows, Wrapped, QuantStub, DeQuantStub, *_WAYS)

# Modules that return a tensor of their input's shape and type.
_KEEPING_SHAPE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Dropout)

# Methods that make a tensor of their own out of sizes alone.
_MAKERS = frozenset({"new_zeros", "new_ones", "new_full", "new_tensor"})
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


@dataclass(frozen=True)
class FloatLeaf:
    """A module that did not trace: its path, and the reason with the file and line that stopped it.

    `place` is how the reason gives that file and line, "" where it gives none.
    """

    path: str
    reason: str
    place: str = ""


class UntraceableError(Exception):
    """Not even the outermost forward traces; the message says which line stopped it."""


class _Calls(TorchFunctionMode):
    """Sees the calls of torch that are given proxies of numbers alone, which torch would read as numbers."""

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self.tracer = tracer
        self.read_before: dict[str, fx.Proxy] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.tracer.is_evaluating:
            return func(*args, **kwargs)
        args, kwargs = self._with_proxies(func, args, kwargs)
        if not (proxies := proxies_in((args, kwargs))):
            return func(*args, **kwargs)
        if func in _ASKING:
            return _ASKING[func](*args)
        self.tracer.decisions.nothing_decided()
        if not all(_is_made_of_numbers(known_value(proxy)) for proxy in proxies):
            try:
                return func(*args, **kwargs)
            finally:
                self.tracer.decisions.nothing_decided()
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves((args, kwargs))):
            kind = "call_method" if is_tensor_method_or_property(func) else "call_function"
            return self.tracer.create_proxy(kind, func.__name__ if kind == "call_method" else func, args, kwargs)
        return self.tracer.made_of_sizes(func, args, kwargs)

    def _with_proxies(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The same arguments, parameters and buffers that were read past the tracer among them, as its own reads."""
        if getattr(func, "__name__", "") == "__get__":
            return args, kwargs

        def read(leaf: Any) -> Any:
            if is_value(leaf) or not isinstance(leaf, Tensor) or id(leaf) not in self.tracer.named_tensors:
                return leaf
            return self.tracer.getattr("", leaf, self.read_before)

        return cast("tuple[Any, Any]", tree_map(read, (args, kwargs)))


# What Python asks of a tensor by its own name, and the function of Python's that asks it.
_ASKING: dict[Any, Callable[..., Any]] = {
    Tensor.__bool__: bool, Tensor.__int__: int, Tensor.__float__: float, Tensor.__index__: operator.index,
    Tensor.__len__: len, Tensor.__format__: format, Tensor.__repr__: repr, Tensor.__iter__: iter,
}  # fmt: skip


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def __init__(
        self, leaves: set[str], example: Mapping[str, Any] | None, own_tensors: set[int], frozen: set[nn.Module]
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.leaves = leaves
        self.failed: str | None = None
        self.example = example
        self.decisions = Decisions(_trace.__code__)
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.is_evaluating = False
        self.own_tensors = own_tensors
        self.attribute_paths: dict[int, str] = {}
        self.has_hashed = False
        self.hooked: set[str] = set()
        self.asked: set[str] = set()

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
        elif is_given(proxy) and _cuts(proxy.node, len(known)):
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
        if value is not UNKNOWN:
            meta["value"] = value
        meta["given"] = kind != "get_attr" and (kind == "call_module" or not proxies or any(map(is_given, proxies)))
        if kind == "get_attr":
            meta["by_buffer"] = is_constant(value)
        elif not meta["given"]:
            meta["by_buffer"] = any(proxy.node.meta.get("by_buffer") for proxy in proxies)
        elif not _holds_tensors(value) or is_constant(value):
            self._measured(meta, target, args, proxies)
        return proxy

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
            raise fx.proxy.TraceError("items are assigned in a tensor that does not come from the input")
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
            function = {"new_zeros": torch.zeros, "new_ones": torch.ones, "new_full": torch.full}.get(method)
            sizes = args[1:] if method == "new_full" or (len(args) == 2 and _is_several(args[1])) else (args[1:],)
            options = {"dtype": like.dtype, **{k: v for k, v in kwargs.items() if k in ("dtype", "size")}}
            if function is None:
                function, sizes = torch.tensor, args[1:]
            return self.create_proxy("call_function", function, sizes, options)
        for proxy in proxies:
            self.decided(proxy, None)
        args, kwargs = plain((args[1:], kwargs))
        return getattr(torch.empty(0, dtype=like.dtype), method)(*args, **kwargs)

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


def _holds_tensors(value: Any) -> bool:
    return value is UNKNOWN or any(isinstance(leaf, Tensor) for leaf in tree_leaves(value))


def _cuts(node: fx.Node, members: int) -> bool:
    """Whether a tensor of another size may be cut into another number of parts; in two it is, but for one image."""
    name = getattr(node.target, "__name__", node.target)
    if name == "chunk":
        return members != 2 or _cut_along(node) == 0
    given = {**dict(zip(("parts",), node.args[1:], strict=False)), **node.kwargs}
    size = given.get("parts", given.get("split_size", given.get("split_size_or_sections")))
    return name == "unbind" or (name == "split" and not isinstance(size, (tuple, list)))


def _cut_along(node: fx.Node) -> int:
    """The dimension along which a node cuts a tensor into parts."""
    at = 1 if getattr(node.target, "__name__", node.target) == "unbind" else 2
    dim = node.args[at] if len(node.args) > at else node.kwargs.get("dim", 0)
    return dim if isinstance(dim, int) else 0


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


def _scope(node: fx.Node) -> str:
    """Path of the module whose forward made this node; for a call of a leaf, of the module that calls it."""
    paths = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    if node.op == "call_module":
        paths = paths[:-1]
    return paths[-1] if paths else ""


def _read_attributes_once(graph: fx.Graph) -> None:
    """One node for each parameter, buffer or constant, so that whoever reads it reads the same value."""
    first: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr" and first.setdefault(node.target, node) is not node:
            node.replace_all_uses_with(first[node.target])
            graph.erase_node(node)


def _keep_out_of_checkpoints(graph_module: fx.GraphModule, kept: set[str]) -> None:
    """A GraphModule makes persistent buffers of all tensors its graph reads; only those that were stay so."""
    for path, _ in list(graph_module.named_buffers(remove_duplicate=False)):
        if path not in kept:
            holder, _, leaf = path.rpartition(".")
            graph_module.get_submodule(holder)._non_persistent_buffers_set.add(leaf)


def _made_in_forward(graph_module: fx.GraphModule, own: set[str]) -> dict[str, str]:
    """Paths of the tensors the forward made without any input, and a word for the memory each lies in."""
    paths = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    return {
        path: hex(getattr(graph_module, path).untyped_storage().data_ptr())
        for path in sorted(paths)
        if path.startswith("_tensor_constant") and path not in own
    }


def trace(model: nn.Module, example: Mapping[str, Any] | None = None) -> tuple[fx.GraphModule, tuple[FloatLeaf, ...]]:
    """Trace `model` in eval mode into a GraphModule that shares its modules; the model itself is not changed.

    `example` are arguments of its forward by name, of which the shapes count; without them nothing is known of any
    value. Returns the graph module and the modules that stayed whole. `graph_module.meta["classes"]` maps every module
    path of the original to its class, and `meta["fixed"]` lists the decisions taken for the example's sizes. As far as
    it is known, a node's `meta["shape"]` is the shape of its value, `meta["members"]` how many tensors it holds, and
    `meta["source"]` the file and line that called it, outside torch.
    Raises `UntraceableError` when the outermost forward itself does not trace.
    """
    with unchanged(model):
        return _trace(model, example)


def _trace(model: nn.Module, example: Mapping[str, Any] | None) -> tuple[fx.GraphModule, tuple[FloatLeaf, ...]]:
    leaves: dict[str, FloatLeaf] = {}
    own, kept = set(dir(model)), set(model.state_dict())
    held = (value for part in model.modules() for value in (*vars(part).values(), *part._buffers.values()))
    tensors = {id(value) for value in (*held, *model.parameters()) if isinstance(value, Tensor)}
    frozen = {part for part in model.modules() if frozen_batch_norm(part) is not None}
    while True:
        tracer = _Tracer(set(leaves), example, tensors, frozen)
        try:
            with (
                unchanged(model),
                hidden_functions_looked_into(tracer.looked_into),
                seen_through(model, tracer.decisions.told),
                quiet(),
                _Calls(tracer),
            ):
                graph = tracer.trace(model)
                made = {name: value for name, value in vars(model).items() if name.startswith("_tensor_constant")}
            break
        except Exception as error:
            place = where(error)
            reason = f"{place}: {str(error).strip().splitlines()[0] if str(error) else type(error).__name__}"
            path = tracer.failed
            if not path or path in leaves:
                raise UntraceableError(f"the model's own forward does not trace: {reason}") from error
            leaves[path] = FloatLeaf(path, f"does not trace: {reason}", place)
        finally:
            if tracer.has_hashed:
                forget_proxies()
    vars(model).update(made)
    _read_attributes_once(graph)
    graph._tracer_cls = None  # a graph read back from a file is traced by torch's own
    with _readable(model, graph) as word:
        reads = tracer.decisions.by_buffers(fx.GraphModule(model, graph)) if tracer.decisions.has_read else ()
        _drop_unused_numbers(graph)
        graph_module = fx.GraphModule(model, graph, identifier(type(model).__name__))
    leaves = {word(path): replace(leaf, path=word(path)) for path, leaf in leaves.items()}
    _keep_out_of_checkpoints(graph_module, {word(path) for path in kept})
    graph_module.meta["constants"] = _made_in_forward(graph_module, own)
    graph_module.meta["classes"] = {path: type(module) for path, module in model.named_modules()}
    graph_module.meta["fixed"] = tuple(
        dict.fromkeys((*tracer.decisions.by_sizes(), *_counts_by_size(graph_module, tracer.decisions.counts)))
    )
    graph_module.meta["reads"] = reads
    graph_module.meta["asked"] = frozenset(tracer.asked)
    graph_module.meta["hooked"] = tuple(map(word, tracer.hooked))
    for node in graph.nodes:
        node.meta["scope"] = _scope(node)
        for name in _WHILE_TRACING:
            node.meta.pop(name, None)
        value = node.meta.pop("value", None)
        if isinstance(value, Tensor):
            node.meta["shape"] = tuple(value.shape)
        elif isinstance(value, (tuple, list)) and value and all(isinstance(member, Tensor) for member in value):
            node.meta["members"] = len(value)
        if isinstance(node.type, str) or node.op == "output":
            # `from __future__ import annotations` makes annotations text, which TorchScript could not look up
            # outside the model's file; without one it takes a value for a tensor. What is returned in eval mode need
            # not be what the annotation says.
            node.type = None
        if node.op == "call_module" and node.target in leaves:
            node.meta["float_reason"] = leaves[node.target].reason
    graph_module.recompile()
    return graph_module, tuple(leaves.values())


def _counts_by_size(graph_module: fx.GraphModule, counts: Mapping[fx.Node, Fixed]) -> list[Fixed]:
    """Of the lines that ask into how many parts a tensor is cut those that cut what another size or batch makes longer.

    A graph that takes no other size cannot be asked; then each of them may be one.
    """
    if not counts:
        return []
    given = [node.meta.get("value", UNKNOWN) for node in graph_module.graph.nodes if node.op == "placeholder"]
    found = dict[fx.Node, None]()
    for other in (_larger, _more):
        seen = _Cuts(graph_module, counts)
        with suppress(Exception), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            seen.run(*(tree_map(other, value) for value in given))
        found.update(dict.fromkeys(node for node in counts if node not in seen.same))
    return [counts[node] for node in found]


class _Cuts(fx.Interpreter):
    """Runs a graph to see which of some nodes cut a tensor that is as long as it was in the example."""

    def __init__(self, graph_module: fx.GraphModule, asked: Mapping[fx.Node, Fixed]) -> None:
        super().__init__(graph_module)
        self.asked, self.same = asked, set[fx.Node]()

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        if n in self.asked:
            dim = _cut_along(n)
            cut = n.all_input_nodes[0]
            if self.env[cut].shape[dim] == cut.meta["value"].shape[dim]:
                self.same.add(n)
        return super().run_node(n)


def _larger(value: Any) -> Any:
    """A tensor of twice the size: the last two dimensions of images, the last one of anything else."""
    if not isinstance(value, Tensor):
        return value
    at = value.ndim - min(value.ndim, 2 if value.ndim > 3 else 1)
    return torch.empty((*value.shape[:at], *(2 * size for size in value.shape[at:])), dtype=value.dtype)


def _more(value: Any) -> Any:
    """Twice as many of them."""
    if not isinstance(value, Tensor) or not value.ndim:
        return value
    return torch.empty((2 * value.shape[0], *value.shape[1:]), dtype=value.dtype)


# What the tracer notes of a node for itself.
_WHILE_TRACING = ("given", "by_size", "by_batch", "by_buffer")


@contextmanager
def _readable(model: nn.Module, graph: fx.Graph) -> Iterator[Callable[[str], str]]:
    """A model whose modules and tensors have names that code can be written with, and the word for a path.

    What is called `for` or `None`, a key of a ModuleDict as a rule, is called `for_` and `None_` in the graph. The
    model has its own names back afterwards.
    """
    held = [names for part in model.modules() for names in (part._modules, part._parameters, part._buffers)]
    odd = [names for names in held if any(map(keyword.iskeyword, names))]
    before: list[dict[str, Any]] = [dict(names) for names in odd]
    taken, words = {name for names in held for name in names}, dict[str, str]()
    for name in filter(keyword.iskeyword, taken):
        words[name] = next(new for count in itertools.count(1) if (new := name + "_" * count) not in taken)

    def word(path: str) -> str:
        return ".".join(words.get(name, name) for name in path.split("."))

    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            node.target = word(str(node.target))
    try:
        for names, own in zip(odd, before, strict=True):
            cast(Any, names).clear()
            cast(Any, names).update({word(name): value for name, value in own.items()})
        yield word
    finally:
        for names, own in zip(odd, before, strict=True):
            cast(Any, names).clear()
            cast(Any, names).update(own)


def _drop_unused_numbers(graph: fx.Graph) -> None:
    """Take out what Python asked for and decided by: numbers that nothing in the graph works with, and tensors unread.

    What is only looked at has no reader, and what stands before it can be fused.
    """
    for node in reversed(list(graph.nodes)):
        if node.users or node.op in ("placeholder", "output") or _writes(node):
            continue
        if (
            node.op == "get_attr"
            or not node.meta.get("given", True)
            or not _holds_tensors(node.meta.get("value", UNKNOWN))
        ):
            graph.erase_node(node)


def _writes(node: fx.Node) -> bool:
    """Whether a node may do more than give a value."""
    name = str(getattr(node.target, "__name__", node.target))
    return (
        node.op == "call_module" or name.endswith("_") or node.target in (operator.setitem, torch._assert, *AUGMENTED)
    )
