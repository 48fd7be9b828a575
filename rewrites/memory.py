"""What changes a tensor in place, and which values may share memory. Everything here only looks at a graph.

Whether an operation hands on its argument's memory is read from the schema of the aten operator of the
same name; the few that do so without saying it are in `VIEWS`.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Collection, Container, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.values import Tensors, callee, is_tensor, submodule

AUGMENTED: dict[Callable[..., Any], Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imatmul: operator.matmul,
    operator.imod: operator.mod,
    operator.ipow: operator.pow,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ixor: operator.xor,
    operator.ilshift: operator.lshift,
    operator.irshift: operator.rshift,
}

# Calls whose result may be the argument itself or a view of it, although no schema says so.
VIEWS: frozenset[Callable[..., Any]] = frozenset(
    {
        operator.getitem, operator.pos, getattr, torch.einsum, Tensor.type_as, Tensor.type,
        Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.cuda, Tensor.view_as,
        torch.broadcast_tensors, torch.atleast_1d, torch.atleast_2d, torch.atleast_3d, torch.meshgrid,
        torch.dropout, torch.alpha_dropout, torch.feature_dropout, torch.feature_alpha_dropout,
        F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
        F.pixel_shuffle, F.pixel_unshuffle, F.channel_shuffle, F.native_channel_shuffle,
        nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
        nn.AlphaDropout, nn.FeatureAlphaDropout, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle,
    }
)  # fmt: skip


@functools.cache
def inplace_position(function: Callable[..., Any]) -> int | None:
    """Where `inplace` stands among the arguments of a Python function; None when it has no such argument."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin without a signature has no `inplace`
        return None
    return names.index("inplace") if "inplace" in names else None


def _asks_for_inplace(node: fx.Node) -> bool:
    position = inplace_position(node.target)
    if position is None:
        return False
    return (node.args[position] if len(node.args) > position else node.kwargs.get("inplace")) is True


def changes_in_place(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` writes into one of its arguments."""
    if node.kwargs.get("out") is not None:
        return True
    if node.op == "call_module":
        return getattr(submodule(graph_module, node), "inplace", False) is True
    if node.op == "call_method":
        name = str(node.target)
        return callee(graph_module, node) is not None and (
            (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__delitem__")
        )
    if node.op != "call_function":
        return False
    name = getattr(node.target, "__name__", "")
    return (
        node.target in AUGMENTED
        or node.target is operator.setitem
        or (name.endswith("_") and not name.endswith("__") and _is_torchs(node.target))
        or _asks_for_inplace(node)
    )


def only_gives_a_value(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` is known to do nothing but return something: it writes nowhere, and raises nothing on purpose.

    Of functions and modules that are not torch's or this package's, nobody can tell from outside.
    """
    if node.op in ("placeholder", "output") or changes_in_place(graph_module, node):
        return False
    called = callee(graph_module, node)
    if node.op == "get_attr" or isinstance(called, type):
        return called is None or called.__module__.startswith(("torch.", "rewrites."))
    if called is None or getattr(called, "__name__", "").startswith(("_assert", "_check", "set_", "manual_seed")):
        return False
    home = getattr(called, "__module__", None) or ""
    return home in ("_operator", "math") or home.startswith("rewrites.") or _is_torchs(called)


def is_writing(kind: str, target: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call of a function or method writes into its first argument, or into that of `out`."""
    if kind not in ("call_function", "call_method"):
        return False
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    is_named = name.endswith("_") and not name.endswith("__")
    return kwargs.get("out") is not None or target is operator.setitem or target in AUGMENTED or is_named


def changed_value(node: fx.Node) -> Any:
    """What an in-place `node` writes into."""
    if node.kwargs.get("out") is not None:
        return node.kwargs["out"]
    return node.args[0] if node.args else node.kwargs.get("input")


def changes_between(graph_module: fx.GraphModule, first: fx.Node, last: fx.Node) -> bool:
    """Whether anything is changed in place after `first` ran and before `last` does."""
    node = first.next
    while node is not last:
        if changes_in_place(graph_module, node):
            return True
        node = node.next
    return False


def _is_torchs(target: Any) -> bool:
    home = getattr(target, "__module__", None) or getattr(target, "__objclass__", type(None)).__module__
    return home.split(".")[0] == "torch"


@functools.cache
def _may_hand_on(target: Callable[..., Any]) -> bool:
    if target in VIEWS:
        return True
    if isinstance(target, type):
        # A module that is not torch's own may hand back its input; nobody can tell from outside.
        return not target.__module__.startswith(("torch.nn", "torch.ao.nn", "rewrites."))
    home = getattr(target, "__module__", None) or ""
    if home in ("_operator", "math"):
        return False
    overloads = getattr(torch.ops.aten, getattr(target, "__name__", ""), None)
    if overloads is None or not (_is_torchs(target) or getattr(Tensor, target.__name__, None) is target):
        return not home.startswith("torch.nn.functional")
    schemas = [(name, getattr(overloads, name)._schema) for name in overloads.overloads()]
    # An overload with out= returns that argument and nothing else.
    return any(
        result.alias_info is not None
        for _, schema in schemas
        if not any(argument.is_out for argument in schema.arguments)
        for result in schema.returns
    )


def shared_arguments(graph_module: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The arguments whose memory the value of `node` may share."""
    if node.op not in ("call_module", "call_function", "call_method"):
        return []
    if changes_in_place(graph_module, node):
        value = changed_value(node)
        return [value] if isinstance(value, fx.Node) else []
    target = callee(graph_module, node)
    if target is operator.getitem and not is_basic_index(graph_module, node.args[1]):
        return []  # what tensors and lists pick out is copied
    return node.all_input_nodes if target is None or _may_hand_on(target) else []


def is_basic_index(graph_module: fx.GraphModule, index: Any) -> bool:
    """Whether an index is made of numbers and slices alone, and gives a view."""
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, (list, Tensor)) or (isinstance(item, fx.Node) and is_tensor(graph_module, item)):
            return False
    return True


def aliases(graph_module: fx.GraphModule, node: fx.Node, tensors: Container[fx.Node], beyond: fx.Node) -> set[fx.Node]:
    """The other tensor nodes that may share memory with `node`, through views upstream and downstream.

    What is reached only through the node `beyond` is left out.
    """
    seen, queue = {node, beyond}, [node]
    while queue:
        current = queue.pop()
        linked = [
            user for user in current.users if user not in seen and current in shared_arguments(graph_module, user)
        ]
        for other in (*linked, *shared_arguments(graph_module, current)):
            if other not in seen and other in tensors:
                seen.add(other)
                queue.append(other)
    return seen - {node, beyond}


def changes_touching(
    graph_module: fx.GraphModule, wanted: Collection[fx.Node]
) -> Iterator[tuple[fx.Node, set[fx.Node]]]:
    """The nodes that change what may share memory with one of `wanted`, each with all that may share that memory.

    Which nodes are linked at all is looked at once, so that many changes of other tensors cost nothing. The graph is
    not edited meanwhile.
    """
    nodes = graph_module.graph.nodes
    changed = {node: changed_value(node) for node in nodes if changes_in_place(graph_module, node)}
    if not changed:
        return
    tensors, family = Tensors(graph_module), _families(graph_module)
    families = {family[node] for node in wanted}
    for node, value in changed.items():
        if isinstance(value, fx.Node) and family[value] in families:
            yield node, {value, *aliases(graph_module, value, tensors, node)}


def _families(graph_module: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """For each node the first of those that it is linked with by memory they may share, directly or through others."""
    linked: dict[fx.Node, list[fx.Node]] = {node: [] for node in graph_module.graph.nodes}
    for node in linked:
        for other in shared_arguments(graph_module, node):
            linked[node].append(other)
            linked[other].append(node)
    first: dict[fx.Node, fx.Node] = {}
    for root in linked:
        queue = [root]
        while queue:
            node = queue.pop()
            if node not in first:
                first[node] = root
                queue += linked[node]
    return first


def uses_after(node: fx.Node, moment: fx.Node) -> Iterator[fx.Node]:
    """The users of `node` that run after `moment`."""
    return (user for user in node.users if user is not moment and moment < user)
