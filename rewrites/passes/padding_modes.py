"""Conv2d(padding_mode="reflect")  ->  ReflectionPad2d, Conv2d; replication and circular pads  ->  slices and Cat."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.memory import changes_between
from rewrites.modules import Cat
from rewrites.values import callee, calls_of, submodule

_Convolution = nn.Conv1d | nn.Conv2d
_PADS: dict[tuple[str, type[nn.Module]], type[nn.Module]] = {
    ("reflect", nn.Conv1d): nn.ReflectionPad1d,
    ("reflect", nn.Conv2d): nn.ReflectionPad2d,
    ("replicate", nn.Conv1d): nn.ReplicationPad1d,
    ("replicate", nn.Conv2d): nn.ReplicationPad2d,
    ("circular", nn.Conv1d): nn.CircularPad1d,
    ("circular", nn.Conv2d): nn.CircularPad2d,
}
_MODES: dict[type[nn.Module], str] = {
    nn.ReplicationPad1d: "replicate",
    nn.ReplicationPad2d: "replicate",
    nn.CircularPad1d: "circular",
    nn.CircularPad2d: "circular",
}


def check_calls(graph_module: fx.GraphModule, layer: nn.Module, calls: Sequence[fx.Node]) -> None:
    """Raises `Refusal` when a call of the layer cannot get a pad of its own in front."""
    for node in graph_module.graph.nodes:
        module = submodule(graph_module, node)
        if module is not None and module is not layer and any(part is layer for part in module.modules()):
            raise Refusal(f"it is also called inside {node.target}, where no pad can be put in front of it")
    for node in calls:
        value = node.all_input_nodes[0]
        if changes_between(graph_module, value, node):
            raise Refusal(f"something is changed in place between {value.name} and it, so no pad can stand there")


def _pad_of(graph_module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, list[int], str] | None:
    """What a pad by replication or round the circle pads, by how many on each side, last dimension first."""
    module = submodule(graph_module, node)
    if module is not None:
        known = _MODES.get(type(module))
        return None if known is None else (node.all_input_nodes[0], list(cast(Any, module).padding), known)
    if callee(graph_module, node) is not F.pad:
        return None
    given: dict[str, Any] = dict(zip(("input", "pad", "mode"), node.args, strict=False)) | dict(node.kwargs)
    value, sides, mode = given["input"], given["pad"], given.get("mode", "constant")
    if mode not in ("replicate", "circular"):
        return None
    sides = [sides] * 4 if isinstance(sides, int) else sides
    if not isinstance(value, fx.Node) or not all(isinstance(side, int) for side in sides):
        raise Refusal("how much it pads is computed when the model runs")
    return value, list(sides), mode


def _check_sides(sides: Sequence[int]) -> None:
    if any(side < 0 for side in sides):
        raise Refusal("it cuts off where it is padded by a negative number, which no pad of slices does")
    if len(sides) > 4:
        raise Refusal("videos have no int8 kernel that joins their frames")


def _cut(behind: int, first: int | None, last: int | None) -> tuple[Any, ...]:
    """The index of a slice of the dimension that so many follow."""
    return (Ellipsis, slice(first, last), *(slice(None) for _ in range(behind)))


class PaddingModes(RewritePass):
    """A padding mode of a convolution becomes a pad in front; one that has no kernel becomes slices, joined.

    What it does: `nn.Conv1d` and `nn.Conv2d` with `padding_mode` `"reflect"`, `"replicate"` or `"circular"` become the
    pad of this kind and the layer without padding, which is how torch computes them. Pads by replication and round the
    circle, be they modules, `F.pad` or such a layer's, become slices of the image that are concatenated.

    Why: quantized convolutions pad with zeros only. The engine pads by reflection; the other two have no kernel, but
    slices and concatenation have.

    Leaves alone: pads by sizes computed when the model runs or by negative ones, videos, a layer in front of one of
    whose calls no pad can be put.
    """

    name = "padding-modes"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            try:
                self._set_apart(editor, node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
        for node in editor.nodes():
            try:
                found = _pad_of(editor.graph_module, node)
                if found is not None:
                    _check_sides(found[1])
                    self._cut_and_join(editor, node, *found)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                editor.keep_float(node, str(refusal))

    @staticmethod
    def _set_apart(editor: Editor, node: fx.Node) -> None:
        conv = submodule(editor.graph_module, node)
        kind = _PADS.get((getattr(conv, "padding_mode", "zeros"), type(conv)))  # type: ignore[arg-type]
        if kind is None:
            return
        assert isinstance(conv, _Convolution)
        mode, sides, calls = (
            conv.padding_mode,
            tuple(conv._reversed_padding_repeated_twice),
            calls_of(editor.graph_module, node),
        )
        if any(sides):
            check_calls(editor.graph_module, conv, calls)
            reason = f"int8 convolutions pad with zeros, not {mode!r}"
            for call in calls:
                pad = kind(sides)
                editor.insert_module(call.all_input_nodes[0], pad, "pad", [call], reason, written_at=call)
        conv._reversed_padding_repeated_twice = [0] * len(sides)
        editor.set_attribute(node, "padding", (0,) * len(conv.kernel_size), "the pad in front does it")
        editor.set_attribute(node, "padding_mode", "zeros", "the pad in front does it")

    @staticmethod
    def _cut_and_join(editor: Editor, node: fx.Node, value: fx.Node, sides: list[int], mode: str) -> None:
        reason = f"no int8 kernel pads in mode {mode!r}, but slices can be joined"

        def cut(behind: int, first: int | None, last: int | None) -> fx.Node:
            args = (value, _cut(behind, first, last))
            return editor.insert_call(node, "call_function", operator.getitem, args, f"{node.name}_side", reason)

        for behind, (before, after) in enumerate(zip(sides[::2], sides[1::2], strict=True)):
            front, back = list[fx.Node](), list[fx.Node]()
            if mode == "circular":
                front = [cut(behind, -before, None)] if before else []
                back = [cut(behind, None, after)] if after else []
            else:
                front = [cut(behind, None, 1)] * before if before else []
                back = [cut(behind, -1, None)] * after if after else []
            if front or back:
                value = editor.insert_before(node, Cat(-1 - behind), ([*front, value, *back],), "cat", reason)
        editor.remove(node, value, reason)

    @staticmethod
    def example() -> nn.Module:
        class Mirrored(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.mirrored = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
                self.round = nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")

            def forward(self, x: Tensor) -> Tensor:
                return self.round(self.mirrored(x))

        return Mirrored()
