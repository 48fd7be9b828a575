"""What the value of a node is: a tensor, several, a number; what a node calls; who reads it.

Everything here only looks at a graph. Call targets are compared as classes and callables; the name
of a method is first resolved to the method itself (`torch.Tensor.add`).
"""

from __future__ import annotations

import functools
import operator
import typing
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

# Attributes and methods of a tensor that give numbers, shapes or types instead of tensors.
_PLAIN_ATTRIBUTES = frozenset(
    {"shape", "ndim", "dtype", "device", "layout", "is_cuda", "requires_grad", "is_quantized", "training"}
)
_PLAIN_METHODS = frozenset(
    {
        torch.Tensor.size, torch.Tensor.dim, torch.Tensor.ndimension, torch.Tensor.numel,
        torch.Tensor.nelement, torch.Tensor.item, torch.Tensor.stride, torch.Tensor.is_contiguous,
        torch.Tensor.is_floating_point, torch.Tensor.tolist, torch.Tensor.get_device,
    }
)  # fmt: skip
_PLAIN_FUNCTIONS = frozenset(
    {len, int, float, bool, torch.numel, torch.is_tensor, torch.is_floating_point, isinstance, torch._assert}
)

# Calls that hand back several tensors in a tuple or list.
_SEVERAL = frozenset(
    {
        torch.chunk, torch.split, torch.tensor_split, torch.unbind, torch.hsplit, torch.vsplit, torch.dsplit,
        torch.topk, torch.sort, torch.broadcast_tensors, torch.meshgrid, torch.split_with_sizes, torch.unsafe_chunk,
        torch.unsafe_split, torch.Tensor.chunk, torch.Tensor.split, torch.Tensor.tensor_split, torch.Tensor.unbind,
        torch.Tensor.hsplit, torch.Tensor.vsplit, torch.Tensor.topk, torch.Tensor.sort,
        torch.Tensor.split_with_sizes,
    }
)  # fmt: skip

# Calls whose result is made of whole numbers or truth values, whatever they are given.
_WHOLE = frozenset(
    {
        torch.argmax, torch.argmin, torch.argsort, torch.nonzero, torch.bincount, torch.searchsorted,
        torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge, torch.isnan, torch.isinf, torch.isfinite,
        torch.logical_and, torch.logical_or, torch.logical_not, torch.logical_xor, torch.any, torch.all,
        operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.not_,
        torch.Tensor.argmax, torch.Tensor.argmin, torch.Tensor.argsort, torch.Tensor.nonzero, torch.Tensor.long,
        torch.Tensor.int, torch.Tensor.bool, torch.Tensor.short, torch.Tensor.byte, torch.Tensor.char,
        torch.Tensor.eq, torch.Tensor.ne, torch.Tensor.lt, torch.Tensor.le, torch.Tensor.gt, torch.Tensor.ge,
        torch.Tensor.isnan, torch.Tensor.any, torch.Tensor.all, torch.Tensor.count_nonzero, torch.count_nonzero,
        torch.Tensor.logical_and, torch.Tensor.logical_or, torch.Tensor.logical_not, torch.Tensor.logical_xor,
    }
)  # fmt: skip

# Calls that hand back values and, in second place, where they stood.
_RANKED = frozenset(
    {torch.max, torch.min, torch.topk, torch.sort, torch.Tensor.max, torch.Tensor.min, torch.Tensor.topk,
     torch.Tensor.sort}
)  # fmt: skip

# Calls whose result is fractional even when their arguments are whole numbers.
_FRACTIONAL = frozenset(
    {
        operator.truediv, torch.div, torch.true_divide, torch.divide, torch.sigmoid, torch.sqrt, torch.exp, torch.log,
        torch.Tensor.div, torch.Tensor.true_divide, torch.Tensor.divide, torch.Tensor.float, torch.Tensor.double,
        torch.Tensor.half, torch.Tensor.sigmoid, torch.Tensor.sqrt, torch.Tensor.exp, torch.Tensor.log,
        nn.functional.embedding,
    }
)  # fmt: skip


def submodule(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module a `call_module` node calls; None for any other node."""
    if node.op != "call_module":
        return None
    module: nn.Module | None = graph_module
    for part in str(node.target).split("."):  # asked for tens of thousands of times, get_submodule takes most of it
        module = module._modules.get(part) if module is not None else None
    return graph_module.get_submodule(str(node.target)) if module is None else module


def callee(graph_module: fx.GraphModule, node: fx.Node) -> Callable[..., Any] | type | None:
    """What `node` calls, as the key tables are written in: a module class, a function, a tensor method."""
    if node.op == "call_module":
        return type(submodule(graph_module, node))
    if node.op == "call_function":
        return node.target  # type: ignore[return-value]
    if node.op == "call_method":
        return getattr(torch.Tensor, str(node.target), None)
    return None


def calls_of(graph_module: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The nodes that call the module `node` calls, under whatever path."""
    module = submodule(graph_module, node)
    return [n for n in graph_module.graph.nodes if n.op == "call_module" and submodule(graph_module, n) is module]


def modules_read_inside(graph_module: fx.GraphModule) -> set[int]:
    """Identities of the modules one of whose parameters or buffers the graph reads by name, besides calling them."""
    holders = {str(node.target).rpartition(".")[0] for node in graph_module.graph.nodes if node.op == "get_attr"} - {""}
    return {id(graph_module.get_submodule(path)) for path in holders}


def modules_called(graph_module: fx.GraphModule) -> set[int]:
    """Identities of the modules that some node calls, and of all that is in them."""
    called = {id(module): module for node in graph_module.graph.nodes if (module := submodule(graph_module, node))}
    return {id(part) for module in called.values() for part in module.modules()}


def attribute(root: nn.Module, path: str) -> Any:
    """The object at a dotted path below `root`."""
    return operator.attrgetter(path)(root)


def is_scalar(value: object) -> bool:
    """A literal number, as opposed to a tensor or a value computed when the model runs."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class _Unsettled(Exception):
    """A rule asked about a node that is not settled yet."""


class _Settled(dict[fx.Node, bool]):
    """What is known of each node so far."""

    def __missing__(self, node: fx.Node) -> bool:
        raise _Unsettled(node)


_Rule = Callable[[fx.GraphModule, fx.Node, _Settled], bool]


def _settle(graph_module: fx.GraphModule, node: fx.Node, rule: _Rule, known: _Settled) -> bool:
    """What `rule` says of a node; of those before it only what it asks about is looked at."""
    stack = [node]
    while stack:
        try:
            known[stack[-1]] = rule(graph_module, stack[-1], known)
            stack.pop()
        except _Unsettled as asked:
            stack.append(asked.args[0])
    return known[node]


def _all_settled(graph_module: fx.GraphModule, rule: _Rule) -> set[fx.Node]:
    known = _Settled()
    return {node for node in graph_module.graph.nodes if _settle(graph_module, node, rule, known)}


def tensor_nodes(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose value is a tensor, or a tuple or list of tensors; shapes and numbers are left out."""
    return _all_settled(graph_module, _is_tensor)


class Tensors:
    """The nodes of `tensor_nodes`, each settled once, when it is asked for.

    It stays true while a graph is changed, as long as no node that was asked for becomes something else than it was.
    """

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module = graph_module
        self.known = _Settled()

    def __contains__(self, node: object) -> bool:
        if not isinstance(node, fx.Node):
            return False
        if node not in self.known:
            _settle(self.graph_module, node, _is_tensor, self.known)
        return self.known[node]


def is_tensor(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is one of `tensor_nodes`, at the cost of those it is made of alone."""
    return _settle(graph_module, node, _is_tensor, _Settled())


def _is_tensor(graph_module: fx.GraphModule, node: fx.Node, known: _Settled) -> bool:
    target = callee(graph_module, node)
    if node.op == "placeholder":
        return not _is_plain_type(node.type)
    if node.op == "get_attr":
        return isinstance(attribute(graph_module, str(node.target)), torch.Tensor)
    if node.op == "output" or target in _PLAIN_METHODS or target in _PLAIN_FUNCTIONS:
        return False
    if target is getattr:
        return node.args[1] not in _PLAIN_ATTRIBUTES
    if getattr(target, "__module__", None) in ("_operator", "builtins", "math"):
        return any(known[n] for n in node.all_input_nodes)
    return node.op != "call_method" or not node.all_input_nodes or any(known[n] for n in node.all_input_nodes)


def _is_plain_type(kind: Any) -> bool:
    """Whether what an input is said to be holds numbers, texts and None alone, such as `Optional[list[int]]`."""
    members = [member for member in typing.get_args(kind) if member is not Ellipsis]
    return kind in (int, float, bool, str, type(None)) or (bool(members) and all(map(_is_plain_type, members)))


def module_scope(node: fx.Node) -> str:
    """Dotted path of the module in whose forward the operation of `node` was written; "" is the root."""
    return str(node.meta.get("scope", ""))


def sole_user(node: fx.Node) -> fx.Node | None:
    """The only node that uses `node`, or None when there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def several_tensors(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose value is known to be a tuple or list of tensors."""
    return _all_settled(graph_module, _holds_several)


def holds_several(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is one of `several_tensors`."""
    return _settle(graph_module, node, _holds_several, _Settled())


def _holds_several(graph_module: fx.GraphModule, node: fx.Node, known: _Settled) -> bool:
    target = callee(graph_module, node)
    if target in _SEVERAL or "members" in node.meta:
        return True
    if target is operator.getitem and isinstance(node.args[1], slice):
        return isinstance(node.args[0], fx.Node) and known[node.args[0]]
    return target in (operator.add, operator.mul) and any(known[n] for n in node.all_input_nodes)


def whole_numbers(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose value is known to be a tensor of whole numbers or truth values, such as indices and masks."""
    tensors = tensor_nodes(graph_module)
    return _all_settled(graph_module, functools.partial(_is_whole, tensors.__contains__))


def is_whole(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is one of `whole_numbers`."""
    asked = Tensors(graph_module).__contains__
    return _settle(graph_module, node, functools.partial(_is_whole, asked), _Settled())


def _is_whole(
    is_tensor: Callable[[fx.Node], bool], graph_module: fx.GraphModule, node: fx.Node, known: _Settled
) -> bool:
    target = callee(graph_module, node)
    if target in _WHOLE and is_tensor(node):
        return True
    if target in _FRACTIONAL or node.op in ("call_module", "placeholder") or not is_tensor(node):
        return False
    if node.op == "get_attr":
        return not _is_fractional(attribute(graph_module, str(node.target)).dtype)
    if target in (torch.Tensor.to, torch.Tensor.type):
        dtypes = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, torch.dtype)]
        return not _is_fractional(dtypes[0]) if dtypes else known[node.all_input_nodes[0]]
    if target is operator.getitem and isinstance(node.args[0], fx.Node):
        ranked = node.args[1] == 1 and callee(graph_module, node.args[0]) in _RANKED and is_tensor(node.args[0])
        return ranked or known[node.args[0]]
    if target is getattr:
        return bool(node.args[1] == "indices") or known[node.all_input_nodes[0]]
    if target is torch.arange:
        given = [*node.args, *(value for key, value in node.kwargs.items() if key in ("start", "end", "step"))]
        dtype = node.kwargs.get("dtype")
        return not any(map(_is_float, given)) if dtype is None else dtype in _WHOLE_TYPES
    operands = [n for n in node.all_input_nodes if is_tensor(n)]
    # A whole tensor and a fractional constant make a fractional one.
    constants = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, float)]
    return bool(operands) and not constants and all(known[n] for n in operands)


_WHOLE_TYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _is_float(value: object) -> bool:
    return isinstance(value, float)


def _is_fractional(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def is_float32(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node's value is known to be a tensor of float32, whatever the model is given."""
    return _settle(graph_module, node, _is_float32, _Settled())


def _is_float32(graph_module: fx.GraphModule, node: fx.Node, known: _Settled) -> bool:
    if "dtype" in node.meta:
        return node.meta["dtype"] is torch.float32
    if node.op == "get_attr":
        tensor = attribute(graph_module, str(node.target))
        return isinstance(tensor, torch.Tensor) and tensor.dtype is torch.float32
    module = submodule(graph_module, node)
    if module is None or not type(module).__module__.startswith("torch.nn."):
        return callee(graph_module, node) in _KEEPS_TYPE and known[node.all_input_nodes[0]]
    # a layer of torch's takes what is of its parameters' type and gives the same
    types = {parameter.dtype for parameter in module.parameters()}
    return types == {torch.float32} or (not types and all(known[one] for one in node.all_input_nodes))


# Of these the first argument's type is that of the result.
_KEEPS_TYPE = frozenset(
    {
        torch.relu, torch.Tensor.relu, nn.functional.relu, nn.functional.relu6, nn.functional.silu,
        nn.functional.gelu, torch.sigmoid, torch.Tensor.sigmoid, torch.tanh, torch.Tensor.tanh, torch.Tensor.float,
        torch.flatten, torch.Tensor.flatten, torch.reshape, torch.Tensor.reshape, torch.Tensor.view,
        torch.permute, torch.Tensor.permute, torch.transpose, torch.Tensor.transpose, torch.Tensor.contiguous,
    }
)  # fmt: skip


def is_truth(node: object) -> bool:
    """Whether a node's value is known to be a tensor of truth values, as a mask that selects is."""
    return isinstance(node, fx.Node) and node.meta.get("dtype") is torch.bool


def constant_tensor(graph_module: fx.GraphModule, node: fx.Node) -> torch.Tensor | None:
    """The value of a node that is made of parameters, buffers and literals alone; None when an input has a part in it.

    It is worked out on the values the model holds now: look at its type and shape, another checkpoint has others.
    """
    nodes, queue = {node}, [node]
    while queue:
        for given in queue.pop().all_input_nodes:
            if given not in nodes:
                nodes.add(given)
                queue.append(given)
    if any(n.op not in ("get_attr", "call_function", "call_method") for n in nodes):
        return None
    known: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for part in sorted(nodes):
            if part.op == "get_attr":
                known[part] = attribute(graph_module, str(part.target))
                continue
            args, kwargs = fx.node.map_arg((part.args, part.kwargs), lambda n: known[n])
            target: Any = part.target if part.op == "call_function" else getattr(torch.Tensor, str(part.target))
            known[part] = target(*args, **kwargs)
    return known[node] if isinstance(known[node], torch.Tensor) else None
