"""x += y, x.mul_(y), ReLU(inplace=True)  ->  their out-of-place twins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.memory import (
    AUGMENTED,
    aliases,
    changed_value,
    changes_in_place,
    inplace_position,
    shared_arguments,
    uses_after,
)
from rewrites.values import callee, calls_of, submodule, tensor_nodes


def _twin(graph_module: fx.GraphModule, node: fx.Node) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    """(op, target, args, kwargs) of the out-of-place form of an in-place node."""
    target, args, kwargs = node.target, node.args, dict(node.kwargs)
    if kwargs.get("out") is not None:
        raise Refusal(f"it writes into {kwargs['out']}, which out= names")
    if node.op == "call_module":
        if not type(submodule(graph_module, node)).__module__.startswith("torch.nn"):
            raise Refusal(f"what {node.target} changes in place cannot be seen from outside")
        if len(calls_of(graph_module, node)) > 1:
            raise Refusal(f"{node.target} is called several times; each call needs a module of its own first")
        return "call_module", target, args, kwargs
    if node.op == "call_function" and target in AUGMENTED:
        return "call_function", AUGMENTED[target], args, kwargs
    if node.op == "call_function" and (position := inplace_position(target)) is not None:
        kwargs.pop("inplace", None)
        return "call_function", target, (*args[:position], *args[position + 1 :]), kwargs
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    for home in (Tensor,) if node.op == "call_method" else (torch, nn.functional):
        twin = getattr(home, name[:-1], None)
        if callable(twin) and not name.endswith("__"):
            return node.op, name[:-1] if node.op == "call_method" else twin, args, kwargs
    raise Refusal(f"{name} has no out-of-place twin")


def _outlives_a_call(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the tensor of a get_attr node is the model's own; a tensor made in the forward is new in every call."""
    made: dict[str, str] = graph_module.meta.get("constants", {})
    if node.target not in made:
        return True
    memory = made[str(node.target)]
    return any(path != node.target and other == memory for path, other in made.items())


def _check_sharing(graph_module: fx.GraphModule, node: fx.Node, tensors: set[fx.Node]) -> fx.Node:
    """The value `node` mutates; refuses where a later reader would see the change through another tensor."""
    value = changed_value(node)
    if not isinstance(value, fx.Node):
        raise Refusal("it changes something that is not a tensor of this graph")
    shared = aliases(graph_module, value, tensors, node)
    for other in (value, *sorted(shared)):
        if other.op == "get_attr" and _outlives_a_call(graph_module, other):
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

    Leaves alone: a change that somebody sees through a view, that lands in a parameter or buffer, or that is made by
    `out=`, by an item assignment or by a module that did not trace. Such a node and what shares its memory or reads it
    stay in float, with the reason; what is made of it afterwards does not.
    """

    name = "out-of-place"

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        for node in editor.nodes():
            if not changes_in_place(graph_module, node):
                continue
            tensors = tensor_nodes(graph_module)
            try:
                op, target, args, kwargs = _twin(graph_module, node)
                value = _check_sharing(graph_module, node, tensors)
            except Refusal as refusal:
                self._leave_in_float(editor, node, tensors, str(refusal))
                continue
            later = list(uses_after(value, node))
            reason = f"{value.name} is not changed in place, so each value is observed once"
            if op == "call_module":
                editor.set_attribute(node, "inplace", False, reason)
            else:
                editor.retarget(node, op, target, args, kwargs, reason)
            for user in later:
                editor.redirect(user, value, node, f"it ran after {value.name} was changed in place")

    @staticmethod
    def _leave_in_float(editor: Editor, node: fx.Node, tensors: set[fx.Node], reason: str) -> None:
        """Everything that may see the change has to read one and the same float tensor."""
        editor.skip(node, reason)
        graph_module = editor.graph_module
        value = changed_value(node)
        shared = {node}
        if isinstance(value, fx.Node) and value in tensors:
            shared |= {value, *aliases(graph_module, value, tensors, value)}
        for root in sorted(shared):
            settled = all(callee(graph_module, user) is Tensor.contiguous for user in root.users)
            if root.op not in ("placeholder", "get_attr") and not settled and not shared_arguments(graph_module, root):
                # A view of an int8 convolution's channels_last output would be a copy, and the change be lost.
                shared.add(editor.insert_method(root, "contiguous", "views of it share its memory in one layout only"))
                shared.discard(root)
        # What is made of it afterwards holds what the change left; a change behind that speaks for itself.
        before = {member for member in shared if member < node}
        views = {member for member in before if shared_arguments(graph_module, member)}
        readers = {user for member in before for user in member.users if user.op != "output"}
        for member in {node} | views | readers:
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
