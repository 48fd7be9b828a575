"""x += y, x.mul_(y), ReLU(inplace=True)  ->  their out-of-place twins."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.values import aliases, callee, may_alias_input, submodule, tensor_nodes, uses_after

_OPERATORS = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.imatmul: operator.matmul,
    operator.ipow: operator.pow,
}


def _twin(graph_module: fx.GraphModule, node: fx.Node) -> tuple[str, Any, dict[str, Any]] | None:
    """(op, target, kwargs) of the out-of-place form of an in-place node; None when it is not in place."""
    target, kwargs = node.target, dict(node.kwargs)
    if node.op == "call_module":
        return (
            ("call_module", target, kwargs)
            if getattr(submodule(graph_module, node), "inplace", False) is True
            else None
        )
    if node.op == "call_method":
        name = str(target)
        if not name.endswith("_") or name.endswith("__") or callee(graph_module, node) is None:
            return None
        if getattr(Tensor, name[:-1], None) is None:
            raise Refusal(f"Tensor.{name} has no out-of-place twin")
        return "call_method", name[:-1], kwargs
    if node.op != "call_function":
        return None
    if target in _OPERATORS:
        return "call_function", _OPERATORS[target], kwargs
    if kwargs.get("inplace") is True:
        return "call_function", target, {key: value for key, value in kwargs.items() if key != "inplace"}
    name = getattr(target, "__name__", "")
    for home in (torch, nn.functional):
        if name.endswith("_") and not name.endswith("__") and getattr(home, name, None) is target:
            return "call_function", getattr(home, name[:-1]), kwargs
    return None


def _check_sharing(graph_module: fx.GraphModule, node: fx.Node, tensors: set[fx.Node]) -> fx.Node:
    """The value `node` mutates; refuses where a later reader would see the change through another tensor."""
    value = node.args[0]
    if not isinstance(value, fx.Node) or value not in tensors:
        raise Refusal("it changes something that is not a tensor of this graph")
    shared = aliases(graph_module, value, tensors) - {node}
    for other in (value, *sorted(shared)):
        if other.op == "get_attr":
            raise Refusal(f"it changes {other.target}, which the model keeps between calls")
        if other is not value and any(True for _ in uses_after(other, node)):
            raise Refusal(f"{other.name} may share memory with {value.name}, which it changes, and is read later")
    return value


class OutOfPlace(RewritePass):
    """In-place operations become out-of-place ones; later readers of the changed value read the result.

    What it does: `x += y`, `x.mul_(y)`, `F.relu(x, inplace=True)` and modules with `inplace=True`
    are replaced by the form that makes a new tensor. Every node that read `x` afterwards now reads
    the new tensor, so the meaning stays what it was in eager mode.

    Why: an observer has to see each value once, unchanged, and a fused activation has no tensor of
    its own to change. The other passes then only meet the plain operators.

    Leaves alone: a change that somebody sees through a view, or that lands in a parameter or buffer.
    Such a node and the nodes that share its memory stay in float, with the reason.
    """

    name = "out-of-place"

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        for node in editor.nodes():
            tensors = tensor_nodes(graph_module)
            try:
                twin = _twin(graph_module, node)
                if twin is None:
                    continue
                value = _check_sharing(graph_module, node, tensors)
            except Refusal as refusal:
                self._leave_in_float(editor, node, tensors, str(refusal))
                continue
            later = list(uses_after(value, node))
            op, target, kwargs = twin
            reason = f"{value.name} is not changed in place, so each value is observed once"
            if op == "call_module":
                editor.set_attribute(node, "inplace", False, reason)
            else:
                editor.retarget(node, op, target, node.args, kwargs, reason)
            for user in later:
                editor.redirect(user, value, node, f"it ran after {value.name} was changed in place")

    @staticmethod
    def _leave_in_float(editor: Editor, node: fx.Node, tensors: set[fx.Node], reason: str) -> None:
        """Everything that may see the change has to read one and the same float tensor."""
        editor.skip(node, reason)
        graph_module = editor.graph_module
        shared = {node, *aliases(graph_module, node, tensors)}
        if node.args and isinstance(node.args[0], fx.Node):
            shared |= {node.args[0], *aliases(graph_module, node.args[0], tensors)}
        views = {member for member in shared if member is node or may_alias_input(graph_module, member)}
        readers = {user for member in shared for user in member.users if user.op != "output"}
        for member in views | readers:
            why = reason if member is node else f"shares memory with what {node.name} changes in place"
            editor.keep_float(member, why)

    @staticmethod
    def example() -> nn.Module:
        class Residual(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                y = x * 2
                y += x
                return y * x

        return Residual()
