"""Graphs without inputs: how a value that no input has a part in is worked out anew, of another checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from rewrites.memory import aliases, changed_value, changes_in_place
from rewrites.values import attribute, tensor_nodes


def recipe(
    graph_module: fx.GraphModule, result: fx.Node | Sequence[fx.Node], until: fx.Node | None = None
) -> fx.GraphModule:
    """A graph without inputs that computes what a node does, or several; it shares tensors and modules with the whole.

    What is written in place into the values it needs, before the last of these nodes or the node `until`, is written
    there as well; into a copy where that is a tensor of the model's own.
    """
    wanted = [result] if isinstance(result, fx.Node) else list(result)
    changes = _changes_before(graph_module, max(wanted if until is None else [*wanted, until]))
    needed, queue = set[fx.Node](), list(wanted)
    while queue:
        current = queue.pop()
        if current not in needed:
            needed.add(current)
            queue.extend(current.all_input_nodes)
            queue.extend(change for change, changed in changes.items() if current in changed)
    changed = {id(held) for change in needed & changes.keys() for held in _held(graph_module, changes[change])}
    graph, copies, own = fx.Graph(), dict[fx.Node, fx.Node](), dict[int, fx.Node]()
    for current in graph_module.graph.nodes:
        if current not in needed:
            continue
        copies[current] = graph.node_copy(current, copies.__getitem__)
        for held in _held(graph_module, {current}):
            if id(held) in changed:
                copies[current] = own.get(id(held)) or graph.call_method("clone", (copies[current],))
                own[id(held)] = copies[current]
    graph.output(copies[result] if isinstance(result, fx.Node) else tuple(copies[node] for node in wanted))
    return made_of(graph, graph_module)


def made_of(graph: fx.Graph, graph_module: fx.GraphModule) -> fx.GraphModule:
    """A module of a graph without inputs, which shares what it reads with `graph_module`.

    All tensors that it reads are in its state, for a checkpoint to set. Those that are in no checkpoint of the model
    torch 2.12 takes in by itself, and later ones leave out.
    """
    made = fx.GraphModule(graph_module, graph, "Recipe").eval()
    for node in graph.nodes:
        if node.op == "get_attr":
            parent, _, leaf = str(node.target).rpartition(".")
            holder = made.get_submodule(parent)
            if holder is not graph_module.get_submodule(parent):
                holder._non_persistent_buffers_set.discard(leaf)
    return made


def _held(graph_module: fx.GraphModule, nodes: set[fx.Node]) -> list[object]:
    """The model's own tensors that are read at these nodes."""
    return [attribute(graph_module, str(node.target)) for node in nodes if node.op == "get_attr"]


def _changes_before(graph_module: fx.GraphModule, node: fx.Node) -> dict[fx.Node, set[fx.Node]]:
    """What each node that writes in place before `node` changes: the value and all that may share its memory."""
    tensors, changes = tensor_nodes(graph_module), dict[fx.Node, set[fx.Node]]()
    for other in graph_module.graph.nodes:
        if other is node:
            break
        value = changed_value(other) if changes_in_place(graph_module, other) else None
        if isinstance(value, fx.Node):
            changes[other] = {value, *aliases(graph_module, value, tensors, other)}
    return changes
