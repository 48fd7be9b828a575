"""What traces a forward: the modules that are looked into, what stands for inputs, calls past the modules."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property
from torch.utils._pytree import tree_any, tree_leaves, tree_map

from rewrites.decisions import Decisions
from rewrites.frames import FromColumns, FromFrames, ToColumns, ToFrames
from rewrites.memory import AUGMENTED
from rewrites.modules import AddReLU, Arithmetic, CappedReLU, LinearRows, Wrapped
from rewrites.proxies import (
    UNKNOWN,
    faked,
    is_number,
    is_value,
    known_value,
    proxies_in,
)
from rewrites.recorder import Recorder

# Modules of the rewritten form, and torch's own, are operations; everything else is looked into.
_WAYS = (ToFrames, FromFrames, ToColumns, FromColumns)
_OWN_LEAVES = (Arithmetic, AddReLU, CappedReLU, LinearRows, Wrapped, QuantStub, DeQuantStub, *_WAYS)


class Calls(TorchFunctionMode):
    """Sees the calls of torch that are given proxies of numbers alone, which torch would read as numbers."""

    def __init__(self, tracer: Recorder) -> None:
        super().__init__()
        self.tracer = tracer
        self.read_before: dict[str, fx.Proxy] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.tracer.evaluation.is_running:
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
        if not all(_are_numbers(known_value(proxy)) for proxy in proxies):
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


def _are_numbers(known: Any) -> bool:
    members = known if isinstance(known, (tuple, list)) else (known,)
    return all(map(is_number, members))


class Tracer(Recorder):
    """Records the forward of a model once.

    `leaves` are paths of modules that stay whole, `example` the arguments by name, `frozen` its batch norms written
    out; the others are the recorder's.
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
        super().__init__(decisions, own_tensors)
        self.leaves = leaves
        self.example = example
        self.frozen = frozen
        self.failed: str | None = None
        self.hooked: set[str] = set()

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
        with self.evaluation.fake:
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
        if self.evaluation.is_running or not self._is_installed(m):
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
