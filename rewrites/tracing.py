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
import logging
import operator
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.utils._pytree import tree_any, tree_leaves, tree_map

from rewrites.frames import FromColumns, FromFrames, ToColumns, ToFrames
from rewrites.location import short, where
from rewrites.memory import AUGMENTED
from rewrites.modules import AddReLU, Arithmetic, CappedReLU, LinearRows, Wrapped

# Modules of the rewritten form, and torch's own, are operations; everything else is looked into.
_WAYS = (ToFrames, FromFrames, ToColumns, FromColumns)
_OWN_LEAVES = (Arithmetic, AddReLU, CappedReLU, LinearRows, Wrapped, QuantStub, DeQuantStub, *_WAYS)

# Methods that make a tensor of their own out of sizes alone: it is made while tracing, as torch.zeros is.
_MAKERS = frozenset({"new_zeros", "new_ones", "new_full", "new_tensor"})
# Methods that hand what is in a tensor to Python: of a buffer the numbers that are in it.
_HANDING_OUT = frozenset({"item", "tolist", "numpy"})

_UNKNOWN = object()


@dataclass(frozen=True)
class FloatLeaf:
    """A module that did not trace: its path, and the reason with the file and line that stopped it."""

    path: str
    reason: str


@dataclass(frozen=True)
class Fixed:
    """A decision that the forward takes by the size of its input, taken once while tracing, for the example's size."""

    place: str
    code: str


class UntraceableError(Exception):
    """Not even the outermost forward traces; the message says which line stopped it."""


class _Attribute(fx.proxy.Attribute):
    """An attribute of a proxy, such as `x.T`; everything but asking for it is as for `_Value`."""


class _Value(fx.Proxy):
    """A proxy that knows the shape or number it stands for, when its tracer was given an example."""

    def __getattr__(self, name: str) -> Any:
        known, members = _known(self), cast(Any, self)
        if isinstance(known, dict) and name in ("values", "items", "get"):
            return getattr({key: members[key] for key in known}, name)
        if name.startswith("__") and name.endswith("__"):  # a protocol, such as numpy's, that a value may lack
            raise AttributeError(name)
        if isinstance(known, Tensor) and not hasattr(Tensor, name):  # such as what tells a parameter
            raise AttributeError(f"'Tensor' object has no attribute {name!r}")
        return _Attribute(self, name)


def _known(proxy: fx.Proxy) -> Any:
    return proxy.node.meta.get("value", _UNKNOWN)


def _is_constant(known: Any) -> bool:
    """Whether a known value is a tensor with its numbers: a buffer, or what is computed from buffers alone."""
    return isinstance(known, Tensor) and not isinstance(known, FakeTensor)


def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    def record(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


def _set_item(self: fx.Proxy, index: Any, value: Any) -> None:
    self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


def _length(self: fx.Proxy) -> int:
    known = _known(self)
    if isinstance(known, (list, tuple, dict, str)) or _is_constant(known):
        return len(known)
    raise fx.proxy.TraceError("len() of a value that is not known while tracing")


def _number(self: fx.Proxy) -> Any:
    known = _known(self)
    if isinstance(known, (bool, int, float)) or _is_constant(known):
        self.tracer.fix(self)  # type: ignore[attr-defined]
        return known.item() if isinstance(known, Tensor) else known
    raise fx.proxy.TraceError("a number is needed that is not known while tracing")


_proxies_of_ours: Any = (_Value, _Attribute)
for _proxy in _proxies_of_ours:
    for _function in AUGMENTED:
        setattr(_proxy, f"__{_function.__name__}__", _in_place(_function))
    _proxy.__setitem__ = _set_item
    _proxy.__len__ = _length
    _proxy.__index__ = _proxy.__int__ = _number
    _proxy.__float__ = lambda self: float(_number(self))
    _proxy.__array_ufunc__ = None  # numpy.sqrt(64) * x is for x to work out


class _Tracer(fx.Tracer):
    record_stack_traces = True
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
        known = _known(obj)
        if known is _UNKNOWN or isinstance(known, FakeTensor):
            return super().to_bool(obj)
        self.fix(obj)
        return bool(known)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The members of a tuple, list, dict or buffer; those of another tensor are as many as the batch is large."""
        known = _known(obj)
        if isinstance(known, dict):
            return iter(known)
        if isinstance(known, (tuple, list)) or _is_constant(known):
            return iter([obj[index] for index in range(len(known))])  # type: ignore[index]
        return super().iter(obj)

    def keys(self, obj: fx.Proxy) -> Any:
        """The keys of a dict, of which the values are its members."""
        known = _known(obj)
        return known.keys() if isinstance(known, dict) else super().keys(obj)

    def fix(self, proxy: fx.Proxy) -> None:
        """Note the line that takes a decision by `proxy`, if sizes have a say in it."""
        if not _depends_on_size(proxy.node):
            return
        frame = inspect.currentframe()
        while frame is not None and (frame.f_code.co_filename == __file__ or "/torch/fx/" in frame.f_code.co_filename):
            frame = frame.f_back
        if frame is not None:
            info = inspect.getframeinfo(frame)
            code = info.code_context[0].strip() if info.code_context else ""
            self.fixed[Fixed(f"{short(info.filename)}:{info.lineno}", code)] = None

    # -- recording -----------------------------------------------------------------------------------

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def create_arg(self, a: Any) -> Any:
        if type(a) in (_Value, _Attribute):  # isinstance() would take it for the tensor it stands for
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
        if kind == "call_method" and target in _HANDING_OUT and _is_constant(_known(args[0])):
            return getattr(_known(args[0]), target)(*args[1:], **kwargs)
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        value = self._evaluated(kind, target, args, kwargs)
        if value is not _UNKNOWN:
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
            proxy.node.meta["value"] = tree_map(_faked, given[name])
        return proxy

    def _made(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A constant tensor whose size the example gives."""
        like = _known(args[0])
        if not isinstance(like, Tensor):
            raise fx.proxy.TraceError(f"{method} of a tensor whose type is not known while tracing")
        for proxy in _proxies((args[1:], kwargs)):
            self.fix(proxy)
        args, kwargs = _plain((args[1:], kwargs))
        return getattr(torch.empty(0, dtype=like.dtype), method)(*args, **kwargs)

    def _is_made_of_sizes(self, args: Any, kwargs: Any) -> bool:
        """Whether a call reads known numbers, and tensors that the forward itself made of such numbers."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if type(leaf) not in (_Value, _Attribute)]
        tensors = [leaf for leaf in tensors if isinstance(leaf, Tensor)]
        if not tensors or any(id(tensor) in self.own_tensors for tensor in tensors):
            return False
        return all(isinstance(_known(proxy), (bool, int, float)) for proxy in _proxies((args, kwargs)))

    def _worked_out(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for proxy in _proxies((args, kwargs)):
            self.fix(proxy)
        args, kwargs = _plain((args, kwargs))
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
        """The value of a call on empty tensors of the known shapes; _UNKNOWN where it needs the numbers in them.

        Buffers have their numbers, in memory of their own, and so has what is computed from them alone: a forward may
        loop over a buffer of strides.
        """
        if any(_known(proxy) is _UNKNOWN for proxy in _proxies((args, kwargs))):
            return _UNKNOWN
        self.is_evaluating = True
        try:
            if kind == "get_attr":
                value = operator.attrgetter(target)(self.root)
                if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                    return value.detach().clone()
                with self.fake:
                    return _faked(value) if isinstance(value, Tensor) else _UNKNOWN
            args, kwargs = _plain((args, kwargs))
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            is_constant = bool(given) and all(map(_is_constant, given)) and kind != "call_module"
            function = target
            if kind == "call_method":
                function, args = getattr(args[0], target), args[1:]
            elif kind == "call_module":
                function = self.root.get_submodule(target)
            if function is getattr and args[1] == "data":
                return args[0]
            with nullcontext() if is_constant else self.fake, torch.no_grad():
                return function(*args, **kwargs)
        except Exception:  # it needs numbers, or an operator that does not say what shape it gives
            return _UNKNOWN
        finally:
            self.is_evaluating = False

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


def _faked(value: Any) -> Any:
    """An empty tensor of the same shape; under a FakeTensorMode it holds no memory."""
    return torch.empty(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else value


def _proxies(value: Any) -> list[fx.Proxy]:
    found: list[fx.Proxy] = []
    _mapped(value, lambda proxy: found.append(proxy))
    return found


def _plain(value: Any) -> Any:
    """The same arguments with known values in the place of proxies."""
    return _mapped(value, _known)


def _mapped(value: Any, change: Callable[[fx.Proxy], Any]) -> Any:
    """`change` on every proxy in nested tuples, lists, dicts and slices."""
    if type(value) in (_Value, _Attribute):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)([_mapped(item, change) for item in value])
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_mapped(item, change) for item in (value.start, value.stop, value.step)))
    return value


def _is_instance(value: Any, kinds: Any) -> bool:
    """isinstance() of the value that a proxy stands for, so that `isinstance(x, Tensor)` takes the branch it takes.

    A proxy that claims to be a tensor by itself is believed by torch's argument parser too, which then reads a tensor's
    memory where there is none.
    """
    known = _known(value) if type(value) in (_Value, _Attribute) else _UNKNOWN
    return isinstance(value if known is _UNKNOWN else known, kinds)


def _is_tensor(value: Any) -> bool:
    return _is_instance(value, Tensor)


@contextmanager
def _asked_for_the_class(model: nn.Module) -> Iterator[None]:
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
def _quiet() -> Iterator[None]:
    """An operator that does not say what shape it gives is not worth a traceback on stderr."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@contextmanager
def _hidden_functions_looked_into(tracer: _Tracer) -> Iterator[None]:
    """While tracing, functions of the user's that torch.fx.wrap hides are looked into."""
    hidden = {key: scope for key, scope in fx._symbolic_trace._wrapped_fns_to_patch.items() if _is_users(scope, key[1])}
    originals = {key: scope[key[1]] for key, scope in hidden.items()}
    for key, scope in hidden.items():
        del fx._symbolic_trace._wrapped_fns_to_patch[key]
        scope[key[1]] = _looking_into(tracer, originals[key])
    try:
        yield
    finally:
        for key, scope in hidden.items():
            fx._symbolic_trace._wrapped_fns_to_patch[key] = scope
            scope[key[1]] = originals[key]


def _looking_into(tracer: _Tracer, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if _proxies((args, kwargs)):
            return tracer.looked_into(function, args, kwargs)
        return function(*args, **kwargs)

    return called


def _is_users(scope: Mapping[str, Any], name: str) -> bool:
    """Whether a name stands for Python code from outside of torch."""
    function = scope.get(name)
    home = getattr(function, "__module__", None) or ""
    return isinstance(function, types.FunctionType) and home.partition(".")[0] not in ("torch", "math", "rewrites")


def _depends_on_size(node: fx.Node) -> bool:
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
        if not isinstance(current.meta.get("value", _UNKNOWN), FakeTensor):
            queue.extend(current.all_input_nodes)
    return False


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
    it is known, a node's `meta["shape"]` is the shape of its value, and `meta["members"]` how many tensors it holds.
    Raises `UntraceableError` when the outermost forward itself does not trace.
    """
    with _unchanged(model):
        return _trace(model, example)


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
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


def _trace(model: nn.Module, example: Mapping[str, Any] | None) -> tuple[fx.GraphModule, tuple[FloatLeaf, ...]]:
    leaves: dict[str, FloatLeaf] = {}
    own, kept = set(dir(model)), set(model.state_dict())
    held = (value for part in model.modules() for value in (*vars(part).values(), *part._buffers.values()))
    tensors = {id(value) for value in (*held, *model.parameters()) if isinstance(value, Tensor)}
    while True:
        tracer = _Tracer(set(leaves), example, tensors)
        try:
            with _unchanged(model), _hidden_functions_looked_into(tracer), _asked_for_the_class(model), _quiet():
                graph = tracer.trace(model)
                made = {name: value for name, value in vars(model).items() if name.startswith("_tensor_constant")}
            break
        except Exception as error:
            reason = f"{where(error)}: {str(error).strip().splitlines()[0] if str(error) else type(error).__name__}"
            path = tracer.failed
            if not path or path in leaves:
                raise UntraceableError(f"the model's own forward does not trace: {reason}") from error
            leaves[path] = FloatLeaf(path, f"does not trace: {reason}")
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
