"""The operation that makes a new tensor of what an in-place operation would have left."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal
from rewrites.memory import AUGMENTED, inplace_position
from rewrites.passes._writes.builder import Form, example
from rewrites.values import calls_of, submodule

# What gives a tensor another memory, or tells something about it.
_OF_MEMORY = frozenset({"resize_", "resize_as_", "set_", "requires_grad_", "share_memory_", "rename_"})


def twin(graph_module: fx.GraphModule, node: fx.Node) -> Form:
    """The out-of-place form of an in-place node."""
    target, args, kwargs = node.target, node.args, dict(node.kwargs)
    if (into := kwargs.pop("out", None)) is not None:
        if not isinstance(into, fx.Node) or "dtype" not in into.meta:
            raise Refusal(f"it writes into {into}, which out= names")
        return Form(node.op, target, args, kwargs)
    if node.op == "call_module":
        if not type(submodule(graph_module, node)).__module__.startswith("torch.nn"):
            raise Refusal(f"what {node.target} changes in place cannot be seen from outside")
        if len(calls_of(graph_module, node)) > 1:
            raise Refusal(f"{node.target} is called several times; each call needs a module of its own first")
        return Form("call_module", target, args, kwargs)
    if node.op == "call_function" and target in AUGMENTED:
        return Form("call_function", AUGMENTED[target], args, kwargs)
    if node.op == "call_function" and (position := inplace_position(target)) is not None:
        kwargs.pop("inplace", None)
        return Form("call_function", target, (*args[:position], *args[position + 1 :]), kwargs)
    name = name_of(node)
    for home in (Tensor,) if node.op == "call_method" else (torch, nn.functional):
        function = getattr(home, name[:-1], None)
        if callable(function) and not name.endswith("__") and name not in _OF_MEMORY:
            return Form(node.op, name[:-1] if node.op == "call_method" else function, args, kwargs)
    raise Refusal(f"{name} has no out-of-place twin")


def promoted(node: fx.Node, form: Form, value: fx.Node) -> torch.dtype | None:
    """The type of the changed value, where the out-of-place form would give another; None where it gives the same."""
    wanted = value.meta.get("dtype")
    if wanted is None or node.op == "call_module":
        return None
    given = {one: example(one) for one in sorted(_nodes_in(form))}
    if any(one is None for one in given.values()):
        return None
    args, kwargs = fx.node.map_arg((form.args, form.kwargs), given.__getitem__)
    try:
        made = (
            form.target(*args, **kwargs)
            if form.op == "call_function"
            else getattr(args[0], form.target)(*args[1:], **kwargs)
        )
    except (RuntimeError, TypeError, ValueError, NotImplementedError):  # nothing that could be known without numbers
        return None
    return wanted if isinstance(made, Tensor) and made.dtype is not wanted else None


def _nodes_in(form: Form) -> set[fx.Node]:
    found: set[fx.Node] = set()
    fx.node.map_arg((form.args, form.kwargs), found.add)
    return found


def name_of(node: fx.Node) -> str:
    """The name of what a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
