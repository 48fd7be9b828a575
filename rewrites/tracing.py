"""Symbolic tracing that never gives up on the whole.

Every recorded value carries its shape or number, as far as an example input tells it, so that a forward may ask for
ranks and sizes, loop over a list and assert what it expects. What depends on the numbers in a tensor is not followed:
the smallest module with such a forward becomes a float leaf, called as it stands, and the line that stopped the tracer
is kept as the reason. Unlike torch's own tracer this one keeps `x += y` on tensors an in-place operation, so that
another name for the same tensor sees the change, as it does in eager mode.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.func import functional_call
from torch.utils._pytree import tree_any, tree_leaves, tree_map

from rewrites.frames import FromColumns, FromFrames, ToColumns, ToFrames
from rewrites.location import short, where
from rewrites.modules import AddReLU, Arithmetic, CappedReLU, LinearRows, Wrapped
from rewrites.proxies import (
    UNKNOWN,
    Attribute,
    Value,
    depends_on_size,
    faked,
    is_constant,
    known_value,
    plain,
    proxies_in,
)
from rewrites.surroundings import asked_for_the_class, hidden_functions_looked_into, quiet, unchanged

# Modules of the rewritten form, and torch's own, are operations; everything else is looked into.
_WAYS = (ToFrames, FromFrames, ToColumns, FromColumns)
_OWN_LEAVES = (Arithmetic, AddReLU, CappedReLU, LinearRows, Wrapped, QuantStub, DeQuantStub, *_WAYS)

# Modules that return a tensor of their input's shape and type.
_KEEPING_SHAPE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Dropout)

# Methods that make a tensor of their own out of sizes alone: it is made while tracing, as torch.zeros is.
_MAKERS = frozenset({"new_zeros", "new_ones", "new_full", "new_tensor"})
# Methods that hand what is in a tensor to Python: of a buffer the numbers that are in it.
_HANDING_OUT = frozenset({"item", "tolist", "numpy"})
# Where nobody wrote a model: torch, and what traces it.
_TORCH, _REWRITES = (f"{Path(file).parent}/" for file in (torch.__file__, __file__))


@dataclass(frozen=True)
class FloatLeaf:
    """A module that did not trace: its path, and the reason with the file and line that stopped it.

    `place` is how the reason gives that file and line, "" where it gives none.
    """

    path: str
    reason: str
    place: str = ""


@dataclass(frozen=True)
class Fixed:
    """A decision that the forward takes by the size of its input, taken once while tracing, for the example's size."""

    place: str
    code: str


def _frame_outside(*folders: str) -> FrameType | None:
    """The innermost frame of the forward that runs no file of these folders; None of a model of torch's own modules.

    What lies outside the tracing itself called for it, and wrote no model.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not _trace.__code__:
        if not frame.f_code.co_filename.startswith(folders):
            return frame
        frame = frame.f_back
    return None


class UntraceableError(Exception):
    """Not even the outermost forward traces; the message says which line stopped it."""


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def __init__(self, leaves: set[str], example: Mapping[str, Any] | None, own_tensors: set[int]) -> None:
        super().__init__()
        self.leaves = leaves
        self.failed: str | None = None
        self.example = example
        self.fixed: dict[Fixed, None] = {}
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.is_evaluating = False
        self.own_tensors = own_tensors

    # -- what the forward may ask a value ----------------------------------------------------------

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The truth of a number, a list or a buffer; that of any other tensor is not known."""
        known = known_value(obj)
        if known is UNKNOWN or isinstance(known, FakeTensor):
            return super().to_bool(obj)
        self.fix(obj)
        return bool(known)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The members of a tuple, list, dict or buffer; those of another tensor are as many as the batch is large."""
        known = known_value(obj)
        if isinstance(known, dict):
            return iter(known)
        if isinstance(known, (tuple, list)) or is_constant(known):
            return iter([obj[index] for index in range(len(known))])  # type: ignore[index]
        return super().iter(obj)

    def keys(self, obj: fx.Proxy) -> Any:
        """The keys of a dict, of which the values are its members."""
        known = known_value(obj)
        return known.keys() if isinstance(known, dict) else super().keys(obj)

    def fix(self, proxy: fx.Proxy) -> None:
        """Note the line that takes a decision by `proxy`, if sizes have a say in it."""
        if not depends_on_size(proxy.node):
            return
        frame = _frame_outside(_REWRITES, f"{_TORCH}fx/")
        if frame is not None:
            info = inspect.getframeinfo(frame)
            code = info.code_context[0].strip() if info.code_context else ""
            self.fixed[Fixed(f"{short(info.filename)}:{info.lineno}", code)] = None

    # -- recording -----------------------------------------------------------------------------------

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Value(node, self)

    def create_arg(self, a: Any) -> Any:
        if type(a) in (Value, Attribute):  # isinstance() would take it for the tensor it stands for
            return a.node
        if type(a).__module__ == "numpy" and getattr(a, "ndim", None) == 0:  # numpy.sqrt(64): a number as any other
            return a.item()
        return super().create_arg(a)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        return attr_val if self.is_evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_proxy(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *rest: Any, **more: Any
    ) -> Any:
        if kind == "placeholder":
            return self._placeholder(target, args, kwargs, *rest, **more)
        if kind == "call_method" and target == "__setitem__":
            raise fx.proxy.TraceError("items are assigned in a tensor that does not come from the input")
        if kind == "call_method" and target in _MAKERS:
            return self._made(target, args, kwargs)
        if kind in ("call_function", "call_method") and self._is_made_of_sizes(args, kwargs):
            return self._worked_out(kind, target, args, kwargs)
        if kind == "call_method" and target in _HANDING_OUT and is_constant(known_value(args[0])):
            return getattr(known_value(args[0]), target)(*args[1:], **kwargs)
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        if kind.startswith("call_") and (frame := _frame_outside(_REWRITES, _TORCH)) is not None:
            proxy.node.meta["source"] = f"{short(frame.f_code.co_filename)}:{frame.f_lineno}"
        value = self._evaluated(kind, target, args, kwargs)
        if value is not UNKNOWN:
            proxy.node.meta["value"] = value
        return proxy

    def _placeholder(self, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> Any:
        """An input. An optional one that is not given keeps its default, and so does one that is not a tensor.

        A proxy would be a tensor that is never there (`if mask is not None`).
        """
        name = str(target).lstrip("*")
        given = self.example or {}
        starred = str(target).startswith("*")
        if name not in given and args and not isinstance(args[0], Tensor):
            return args[0]
        proxy = super().create_proxy("placeholder", target, args, kwargs, *rest, **more)
        if name not in given:
            if starred and self.example is not None:
                proxy.node.meta["value"] = {} if str(target).startswith("**") else ()
            return proxy
        if not starred and not tree_any(lambda leaf: isinstance(leaf, Tensor), given[name]):
            return given[name]
        with self.fake:
            proxy.node.meta["value"] = tree_map(faked, given[name])
        return proxy

    def _made(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A constant tensor whose size the example gives."""
        like = known_value(args[0])
        if not isinstance(like, Tensor):
            raise fx.proxy.TraceError(f"{method} of a tensor whose type is not known while tracing")
        for proxy in proxies_in((args[1:], kwargs)):
            self.fix(proxy)
        args, kwargs = plain((args[1:], kwargs))
        return getattr(torch.empty(0, dtype=like.dtype), method)(*args, **kwargs)

    def _is_made_of_sizes(self, args: Any, kwargs: Any) -> bool:
        """Whether a call reads known numbers, and tensors that the forward itself made of such numbers."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if type(leaf) not in (Value, Attribute)]
        tensors = [leaf for leaf in tensors if isinstance(leaf, Tensor)]
        if not tensors or any(id(tensor) in self.own_tensors for tensor in tensors):
            return False
        return all(isinstance(known_value(proxy), (bool, int, float)) for proxy in proxies_in((args, kwargs)))

    def _worked_out(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for proxy in proxies_in((args, kwargs)):
            self.fix(proxy)
        args, kwargs = plain((args, kwargs))
        return getattr(args[0], target)(*args[1:], **kwargs) if kind == "call_method" else target(*args, **kwargs)

    def looked_into(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a function hidden by torch.fx.wrap returns, recorded as if it were not.

        One that does not trace leaves nothing behind and is called as a whole.
        """
        before, fixed = len(self.graph.nodes), dict(self.fixed)
        try:
            return function(*args, **kwargs)
        except Exception:
            for node in reversed(list(self.graph.nodes)[before:]):
                self.graph.erase_node(node)
            self.fixed = fixed
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
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            has_numbers = bool(given) and all(map(is_constant, given)) and kind != "call_module"
            function = target
            if kind == "call_method":
                function, args = getattr(args[0], target), args[1:]
            elif kind == "call_module":
                function = self.root.get_submodule(target)
                if type(function).__module__.startswith("torch.nn."):
                    return self._called(function, args, kwargs)
            if function is getattr and args[1] == "data":
                return args[0]
            with nullcontext() if has_numbers else self.fake, torch.no_grad():
                return function(*args, **kwargs)
        except Exception:  # it needs numbers, or an operator that does not say what shape it gives
            return UNKNOWN
        finally:
            self.is_evaluating = False

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What one of torch's own modules returns, as far as shapes go: its weights have none but a shape either."""
        with self.fake, torch.no_grad():
            if isinstance(module, _KEEPING_SHAPE) and args and isinstance(args[0], FakeTensor):
                return args[0]
            state = {name: faked(value) for name, value in (*module.named_parameters(), *module.named_buffers())}
            return functional_call(module, state, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.leaves or isinstance(m, _OWN_LEAVES) or is_frozen_batch_norm(m):
            return True
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.is_evaluating or not self._is_installed(m):
            return forward(*args, **kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            # The innermost call fails first, so the first path noted is the smallest module.
            self.failed = self.failed or self.path_of_module(m)
            raise

    def _is_installed(self, module: nn.Module) -> bool:
        """Whether a module is one of the model's, and not made in its forward, as a slice of an nn.Sequential is."""
        try:
            self.path_of_module(module)
        except NameError:
            return False
        return True


def is_frozen_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm written out with buffers, as detectors use them."""
    buffers = {"weight", "bias", "running_mean", "running_var"}
    return type(module).__name__ == "FrozenBatchNorm2d" and buffers <= set(module._buffers) and hasattr(module, "eps")


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
    while True:
        tracer = _Tracer(set(leaves), example, tensors)
        try:
            with (
                unchanged(model),
                hidden_functions_looked_into(tracer.looked_into),
                asked_for_the_class(model),
                quiet(),
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
    vars(model).update(made)
    _read_attributes_once(graph)
    graph_module = fx.GraphModule(model, graph, type(model).__name__)
    _keep_out_of_checkpoints(graph_module, kept)
    graph_module.meta["constants"] = _made_in_forward(graph_module, own)
    graph_module.meta["classes"] = {path: type(module) for path, module in model.named_modules()}
    graph_module.meta["fixed"] = tuple(tracer.fixed)
    for node in graph.nodes:
        node.meta["scope"] = _scope(node)
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
