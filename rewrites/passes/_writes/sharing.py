"""Who sees a change of a tensor: what it is a view of, other views of that, and what is read later of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

from rewrites.base import Refusal
from rewrites.memory import changed_value, uses_after
from rewrites.passes._writes.views import disjoint, viewed


@dataclass
class Sharing:
    """Who sees a change: the tensors that the changed value is a view of, and what is read later.

    `above` begins with the changed value and ends with the outermost tensor that is read later, itself or through
    another view; `ways` has for each other view that is read later how it is taken of one of them, innermost first.
    """

    above: list[fx.Node]
    ways: dict[fx.Node, list[fx.Node]]
    changes_again: bool


def sharing_of(
    graph_module: fx.GraphModule, node: fx.Node, value: fx.Node, family: set[fx.Node], later: Sequence[fx.Node]
) -> Sharing:
    """Who sees the change, of the `family` that may share memory with the value, before the changes that come `later`.

    Refuses where it may be seen through what may be a view or a copy.
    """
    again = family | {value, node}
    changes_again = any(changed_value(other) in again for other in later)
    above = _above(graph_module, value)
    ways: dict[fx.Node, list[fx.Node]] = {}
    top = 0
    for other in sorted(family):
        if node < other or not any(True for _ in uses_after(other, node)):
            continue  # what is made of a tensor afterwards is made of what it has become
        way = _above(graph_module, other)
        met = next((at for at, tensor in enumerate(way) if tensor in above), None)
        if met is None:
            raise Refusal(f"{other.name} may share memory with {value.name}, which it changes, and is read later")
        place = above.index(way[met])
        if met and place and not changes_again and disjoint(graph_module, above[place - 1], way[met - 1]):
            continue
        top = max(top, place)
        if met:
            ways[other] = way[: met + 1]
    return Sharing(above[: top + 1], ways, changes_again)


def _above(graph_module: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """A tensor, what it is a view of, what that is a view of, and so on."""
    found = [node]
    while (tensor := viewed(graph_module, found[-1])) is not None:
        found.append(tensor)
    return found
