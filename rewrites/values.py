"""What the value of a node is: a tensor, several, a number; what a node calls; who reads it.

Everything here only looks at a graph. Call targets are compared as classes and callables; the name
of a method is first resolved to the method itself (`torch.Tensor.add`).
"""

from __future__ import annotations

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


def is_inside_a_call(graph_module: fx.GraphModule, path: str) -> bool:
    """Whether a module that some node calls, under whatever path, holds the parameter or buffer at `path`."""
    holder = graph_module.get_submodule(path.rpartition(".")[0])
    called = (submodule(graph_module, node) for node in graph_module.graph.nodes)
    return any(part is holder for module in called if module is not None for part in module.modules())


def attribute(root: nn.Module, path: str) -> Any:
    """The object at a dotted path below `root`."""
    return operator.attrgetter(path)(root)


def is_scalar(value: object) -> bool:
    """A literal number, as opposed to a tensor or a value computed when the model runs."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def tensor_nodes(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose value is a tensor, or a tuple or list of tensors; shapes and numbers are left out."""
    found: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        inputs_are_plain = bool(node.all_input_nodes) and not any(n in found for n in node.all_input_nodes)
        target = callee(graph_module, node)
        if node.op == "placeholder":
            plain = _is_plain_type(node.type)
        elif node.op == "get_attr":
            plain = not isinstance(attribute(graph_module, str(node.target)), torch.Tensor)
        elif node.op == "output":
            plain = True
        elif target is getattr:
            plain = node.args[1] in _PLAIN_ATTRIBUTES
        elif target in _PLAIN_METHODS or target in _PLAIN_FUNCTIONS:
            plain = True
        elif getattr(target, "__module__", None) in ("_operator", "builtins", "math"):
            plain = not any(n in found for n in node.all_input_nodes)
        else:
            plain = inputs_are_plain and node.op == "call_method"
        if not plain:
            found.add(node)
    return found


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
    found: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        target = callee(graph_module, node)
        sliced = target is operator.getitem and node.args[0] in found and isinstance(node.args[1], slice)
        joined = target in (operator.add, operator.mul) and any(n in found for n in node.all_input_nodes)
        if target in _SEVERAL or sliced or joined or "members" in node.meta:
            found.add(node)
    return found


def whole_numbers(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose value is known to be a tensor of whole numbers or truth values, such as indices and masks."""
    found: set[fx.Node] = set()
    tensors = tensor_nodes(graph_module)
    for node in graph_module.graph.nodes:
        if node not in tensors:
            continue
        target = callee(graph_module, node)
        if node.op == "get_attr":
            whole = not _is_fractional(attribute(graph_module, str(node.target)).dtype)
        elif target in (torch.Tensor.to, torch.Tensor.type):
            dtypes = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, torch.dtype)]
            whole = not _is_fractional(dtypes[0]) if dtypes else node.args[0] in found
        elif target is operator.getitem and isinstance(node.args[0], fx.Node) and node.args[1] == 1:
            source = callee(graph_module, node.args[0])
            ranked = source in _RANKED and node.args[0] in tensors
            whole = ranked or node.args[0] in found
        elif target is getattr:
            whole = node.args[1] == "indices" or node.args[0] in found
        elif target is torch.arange:
            given = [*node.args, *(value for key, value in node.kwargs.items() if key in ("start", "end", "step"))]
            dtype = node.kwargs.get("dtype")
            whole = not any(map(_is_float, given)) if dtype is None else dtype in _WHOLE_TYPES
        elif target in _FRACTIONAL or node.op in ("call_module", "placeholder"):
            whole = False
        elif target is operator.getitem:
            whole = node.args[0] in found
        else:
            operands = [n for n in node.all_input_nodes if n in tensors]
            # A whole tensor and a fractional constant make a fractional one.
            constants = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, float)]
            whole = bool(operands) and found.issuperset(operands) and not constants
        if whole or target in _WHOLE:
            found.add(node)
    return found


_WHOLE_TYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _is_float(value: object) -> bool:
    return isinstance(value, float)


def _is_fractional(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


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
