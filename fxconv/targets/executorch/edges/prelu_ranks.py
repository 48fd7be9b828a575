"""PReLU on values that are no images."""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from fxconv.targets.executorch.edges.values import rank, sizes, word


def prelu_ranks(graph_module: fx.GraphModule) -> None:
    """A PReLU of signals, of rows or of videos is one of images, between reshapes.

    The delegate takes it for any number of dimensions, but has it in channels_last alone, which four dimensions have:
    its pass stops at others.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if word(node) != "prelu" or rank(node) in (0, 1, 4):
            continue
        given, before = node.args[0], _as_image(sizes(node))
        after = _with_one_free(sizes(node))
        if before is None or after is None:
            continue
        image = _reshaped(node, given, before)
        with graph.inserting_before(node):
            result = graph.call_function(node.target, (image, *node.args[1:]), node.kwargs)
        result.meta = {**node.meta, "val": image.meta["val"]}
        node.replace_all_uses_with(_reshaped(node, result, after))
        graph.erase_node(node)


def _as_image(shape: tuple[Any, ...]) -> list[int] | None:
    """The sizes of the image: rows, channels, the next dimension, and all others as one; one of them -1 if free."""
    inner = list(shape[2:4]) if len(shape) < 5 else [shape[2], _product(shape[3:])]
    return _with_one_free((shape[0], shape[1], *[*inner, 1, 1][:2]))


def _product(shape: tuple[Any, ...]) -> Any:
    return math.prod(shape) if all(isinstance(size, int) for size in shape) else shape[0] * math.prod(shape[1:])


def _with_one_free(shape: tuple[Any, ...]) -> list[int] | None:
    """The sizes, -1 for the one that is no number; None where several are none."""
    free = [size for size in shape if not isinstance(size, int)]
    return None if len(free) > 1 else [size if isinstance(size, int) else -1 for size in shape]


def _reshaped(at: fx.Node, value: Any, shape: list[int]) -> fx.Node:
    """A reshape of `value`, before `at`, that stands for what `at` stands for."""
    from executorch.exir.dialects._ops import ops

    with at.graph.inserting_before(at):
        made = at.graph.call_function(ops.edge.aten.view_copy.default, (value, shape))
    made.meta = {**at.meta, "val": value.meta["val"].reshape(shape)}
    return made
