"""What the value of a node is: tensor or not, who calls it, and what may share its memory.

Everything here only looks at a graph. Call targets are compared as classes and callables; the name
of a method is first resolved to the method itself (`torch.Tensor.add`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
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
_PLAIN_FUNCTIONS = frozenset({len, int, float, bool, torch.numel, torch.is_tensor, torch.is_floating_point, isinstance})

# Calls whose result may be the argument itself or a view of it.
VIEWS = frozenset(
    {
        operator.getitem, getattr,
        torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze,
        torch.chunk, torch.split, torch.unbind, torch.narrow, torch.select, torch.detach, torch.movedim,
        torch.swapaxes, torch.unflatten, torch.t, torch.ravel, nn.functional.dropout,
        torch.Tensor.view, torch.Tensor.reshape, torch.Tensor.flatten, torch.Tensor.permute,
        torch.Tensor.transpose, torch.Tensor.squeeze, torch.Tensor.unsqueeze, torch.Tensor.chunk,
        torch.Tensor.split, torch.Tensor.unbind, torch.Tensor.narrow, torch.Tensor.select,
        torch.Tensor.detach, torch.Tensor.expand, torch.Tensor.expand_as, torch.Tensor.view_as,
        torch.Tensor.contiguous, torch.Tensor.t, torch.Tensor.to, torch.Tensor.float, torch.Tensor.type,
        torch.Tensor.unfold, torch.Tensor.swapaxes, torch.Tensor.unflatten, torch.Tensor.ravel,
        torch.Tensor.diagonal, torch.Tensor.movedim, torch.Tensor.reshape_as,
        nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
        nn.AlphaDropout, nn.FeatureAlphaDropout,
    }
)  # fmt: skip


def submodule(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module a `call_module` node calls; None for any other node."""
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def callee(graph_module: fx.GraphModule, node: fx.Node) -> Callable[..., Any] | type | None:
    """What `node` calls, as the key tables are written in: a module class, a function, a tensor method."""
    if node.op == "call_module":
        return type(submodule(graph_module, node))
    if node.op == "call_function":
        return node.target  # type: ignore[return-value]
    if node.op == "call_method":
        return getattr(torch.Tensor, str(node.target), None)
    return None


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
            plain = node.type in (int, float, bool, str)
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


def module_scope(node: fx.Node) -> str:
    """Dotted path of the module in whose forward the operation of `node` was written; "" is the root."""
    return str(node.meta.get("scope", ""))


def sole_user(node: fx.Node) -> fx.Node | None:
    """The only node that uses `node`, or None when there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def uses_after(node: fx.Node, moment: fx.Node) -> Iterator[fx.Node]:
    """The users of `node` that run after `moment`."""
    return (user for user in node.users if user is not moment and moment < user)


def may_alias_input(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the value of `node` may be its input itself or a view of it."""
    if node.op not in ("call_module", "call_function", "call_method"):
        return False
    target = callee(graph_module, node)
    # A module that is not torch's own may hand back its input; nobody can tell from outside.
    foreign = isinstance(target, type) and not target.__module__.startswith(("torch.nn", "torch.ao.nn", "rewrites."))
    return target is None or target in VIEWS or foreign


def aliases(graph_module: fx.GraphModule, node: fx.Node, tensors: set[fx.Node]) -> set[fx.Node]:
    """The other tensor nodes that may share memory with `node`, through views upstream and downstream."""
    seen, queue = {node}, [node]
    while queue:
        current = queue.pop()
        linked = [user for user in current.users if user in tensors and may_alias_input(graph_module, user)]
        if may_alias_input(graph_module, current):
            linked += current.all_input_nodes
        for other in linked:
            if other in tensors and other not in seen:
                seen.add(other)
                queue.append(other)
    return seen - {node}
