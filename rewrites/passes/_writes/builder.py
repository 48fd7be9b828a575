"""New operations in front of a node, each with the shape and type that its value has as far as that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from rewrites.edits import Editor

# What is known of a value: its shape, its type, and whether it lies in memory in the order of its dims.
KNOWN = ("shape", "dtype", "contiguous")


@dataclass(frozen=True)
class Form:
    """One operation, as an fx.Node has it."""

    op: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def function(cls, target: Any, *args: Any) -> Form:
        """A call of a function."""
        return cls("call_function", target, args)

    @classmethod
    def method(cls, name: str, *args: Any) -> Form:
        """A call of a method of a tensor."""
        return cls("call_method", name, args)


@dataclass
class Builder:
    """Puts operations in front of `before`, for what was written at the node `written_at`."""

    editor: Editor
    before: fx.Node
    written_at: fx.Node
    reason: str = ""
    inserted: list[fx.Node] = field(default_factory=list)

    @property
    def graph_module(self) -> fx.GraphModule:
        """What is built into."""
        return self.editor.graph_module

    def insert(self, form: Form, like: fx.Node | None = None, stem: str = "") -> fx.Node:
        """One operation more, whose value is of the shape and type of `like`."""
        name = f"{self.written_at.name}_{stem or getattr(form.target, '__name__', form.target)}"
        fresh = self.editor.insert_call(
            self.before, form.op, form.target, form.args, name, self.reason,
            kwargs=form.kwargs, written_at=self.written_at,
        )  # fmt: skip
        self.inserted.append(fresh)
        for key in KNOWN:
            fresh.meta.pop(key, None)
        if like is not None:
            know_as(fresh, like)
        return fresh

    def constant(self, value: Any, dtype: torch.dtype | None) -> fx.Node:
        """A tensor without dims that holds a number."""
        tensor = torch.tensor(value) if dtype is None else torch.tensor(value, dtype=dtype)
        if dtype is None and not tensor.is_floating_point():
            tensor = tensor.float()
        return self.held(tensor, "value")

    def held(self, tensor: Tensor, stem: str) -> fx.Node:
        """A constant tensor."""
        fresh = self.editor.insert_constant(self.before, tensor, f"{self.written_at.name}_{stem}", self.reason)
        self.inserted.append(fresh)
        return fresh

    def take_back(self) -> None:
        """Drop what was put in."""
        self.editor.take_back(self.inserted)
        self.inserted.clear()

    def evaluated(self, node: fx.Node, inputs: Sequence[fx.Node]) -> None:
        """Note the shape and type of a new node, by what is known of what it is made of."""
        known = {value: example(value) for value in inputs}
        if any(value is None for value in known.values()):
            return
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: known.get(n))
        try:
            if node.op == "call_method":
                value = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                assert callable(node.target)
                value = node.target(*args, **kwargs)
        except (RuntimeError, TypeError, IndexError, ValueError):  # a size or number that the graph works out
            return
        if isinstance(value, Tensor):
            node.meta["shape"], node.meta["dtype"] = tuple(value.shape), value.dtype


def example(node: fx.Node) -> Tensor | None:
    """A tensor without memory of the shape and type that a value is known to have."""
    if "shape" not in node.meta or "dtype" not in node.meta:
        return None
    return torch.empty(node.meta["shape"], dtype=node.meta["dtype"], device="meta")


def know_as(node: fx.Node, like: fx.Node) -> None:
    """Note that a value is of the shape and type of another."""
    node.meta.update({key: like.meta[key] for key in KNOWN if key in like.meta})
