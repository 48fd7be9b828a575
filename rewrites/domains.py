"""Where each node runs: in int8 or in float, decided from the kernel table. Changes nothing."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.diff import call_name
from rewrites.fusion import Fusion
from rewrites.intervals import interval
from rewrites.kernels import KERNELS, MOVES, MULTIPLY_ACCUMULATE, Verdict, verdict
from rewrites.modules import Cat, Stack, WrappedCat
from rewrites.readers import asks_shape_alone, value_readers
from rewrites.values import callee, modules_read_inside, several_tensors, submodule, tensor_nodes


@dataclass(frozen=True)
class Island:
    """Float operations that touch each other, with the reasons why they are not int8."""

    nodes: tuple[str, ...]
    reason: str


@dataclass
class Domains:
    """`int8` and `floating` partition the tensor nodes; `reasons` says why an operation is in float.

    Inputs, parameters and the stubs themselves are in a domain but have no reason: they are no operations.
    """

    int8: set[fx.Node] = field(default_factory=set)
    floating: set[fx.Node] = field(default_factory=set)
    reasons: dict[fx.Node, str] = field(default_factory=dict)

    def islands(self) -> tuple[Island, ...]:
        """The float operations, grouped by adjacency, in running order."""
        found = []
        for group in _components(set(self.reasons)):
            whys = dict.fromkeys(self.reasons[node] for node in sorted(group))
            own = [why for why in whys if not why.startswith("follows ")] or list(whys)
            found.append(Island(tuple(node.name for node in sorted(group)), "; ".join(own)))
        return tuple(found)


def _components(nodes: set[fx.Node]) -> Iterator[set[fx.Node]]:
    """The connected groups of `nodes`, along the graph's edges, in running order."""
    left = set(nodes)
    for start in sorted(nodes):
        if start not in left:
            continue
        group, queue = {start}, [start]
        left.discard(start)
        while queue:
            node = queue.pop()
            for other in (*node.users, *node.all_input_nodes):
                if other in left:
                    left.discard(other)
                    group.add(other)
                    queue.append(other)
        yield group


_TAKES_A_LIST = (Cat, Stack, WrappedCat)


def _taken_apart(
    graph_module: fx.GraphModule, node: fx.Node, several: set[fx.Node], forced: dict[fx.Node, str]
) -> bool:
    """Whether whoever reads this tuple of tensors takes single ones out of it, or joins them in int8."""
    for user in value_readers(node):
        if user.op == "output" or user in forced or "float_reason" in user.meta:
            return False
        if user in several and not _taken_apart(graph_module, user, several, forced):
            return False
        if callee(graph_module, user) not in (operator.getitem, *_TAKES_A_LIST):
            return False
    return True


def _several_at_once(
    graph_module: fx.GraphModule, node: fx.Node, several: set[fx.Node], domains: Domains, forced: dict[fx.Node, str]
) -> str | None:
    """Why a node that gives or takes a tuple of tensors must be in float: a stub converts one tensor at a time."""
    if node in several and not _taken_apart(graph_module, node, several, forced):
        return "several tensors are handed on at once, and a stub takes one"
    if callee(graph_module, node) in _TAKES_A_LIST and isinstance(node.args[0], fx.Node):
        source = node.args[0]
        return None if source in domains.int8 else f"follows {source.name}, which is in float"
    return None


def _of_what_it_is_folded_into(
    graph_module: fx.GraphModule, norm: fx.Node, fusion: Fusion, domains: Domains, forced: dict[fx.Node, str]
) -> str | None:
    """Why a batch norm that is folded into the layers behind it runs in float; None when all of them are int8."""
    for layer in fusion.forward[norm]:
        head = fusion.heads.get(layer, layer)
        if head in forced or layer in forced or "float_reason" in head.meta or head in domains.floating:
            return f"follows {layer.name}, which reads it"
        if head in domains.int8:
            continue
        if head in fusion.forward:
            if (why := _of_what_it_is_folded_into(graph_module, head, fusion, domains, forced)) is not None:
                return why
        elif ruling(graph_module, head) is not Verdict.INT8:
            return f"follows {layer.name}, which reads it"
    return None


def _assign_once(graph_module: fx.GraphModule, forced: dict[fx.Node, str], emulated: Collection[fx.Node]) -> Domains:
    domains = Domains()
    fusion = Fusion(graph_module)
    heads = fusion.heads
    tensors, several = tensor_nodes(graph_module), several_tensors(graph_module)
    read = modules_read_inside(graph_module)
    for node in graph_module.graph.nodes:
        if node not in tensors:
            continue
        module = submodule(graph_module, node)
        inputs = [n for n in node.all_input_nodes if n in tensors and not asks_shape_alone(node, n)]
        is_member = callee(graph_module, node) is operator.getitem and node.args[0].op == "placeholder"
        is_given = node.op in ("placeholder", "get_attr") or (is_member and node.args[0] in several)
        if is_given or isinstance(module, DeQuantStub):
            domains.floating.add(node)
            continue
        if isinstance(module, QuantStub):
            domains.int8.add(node)
            continue
        why = forced.get(node) or node.meta.get("float_reason")
        if why is None and id(module) in read:
            why = f"the weights of {node.target} are also read by name"
        if why is None and node in heads:
            if heads[node] in domains.int8:
                domains.int8.add(node)
                continue
            why = f"follows {heads[node].name}, with which it is fused"
        if why is None and node in fusion.forward:
            why = _of_what_it_is_folded_into(graph_module, node, fusion, domains, forced)
            if why is None:
                domains.int8.add(node)
                continue
        if why is None:
            ruling, reason = verdict(callee(graph_module, node), module, node)
            ruling = Verdict.INT8 if node in emulated else ruling
            why = _several_at_once(graph_module, node, several, domains, forced)
            if why is not None:
                domains.floating.add(node)
                domains.reasons[node] = why
                continue
            if ruling is Verdict.INT8 or (ruling is Verdict.FOLLOWS and inputs and domains.int8.issuperset(inputs)):
                domains.int8.add(node)
                continue
            if ruling is Verdict.FOLLOWS:
                first = next((n for n in inputs if n not in domains.int8), node)
                why = f"follows {first.name}, which is in float"
            else:
                why = f"{call_name(graph_module, node)}: {reason}"
        domains.floating.add(node)
        domains.reasons[node] = why
    _quantize_inputs_first(graph_module, domains, forced)
    _measured_alone(graph_module, domains, forced)
    return domains


def _measured_alone(graph_module: fx.GraphModule, domains: Domains, forced: dict[fx.Node, str]) -> None:
    """A view of a float value that is asked for its shape and for nothing else is no operation in float."""
    measured: set[fx.Node] = set()
    for node in reversed(graph_module.graph.nodes):
        is_free = node in domains.reasons and node not in forced and "float_reason" not in node.meta
        is_view = is_free and bool(node.users) and callee(graph_module, node) in MOVES
        if is_view and measured.issuperset(value_readers(node)):
            measured.add(node)
            del domains.reasons[node]


def _quantize_inputs_first(graph_module: fx.GraphModule, domains: Domains, forced: dict[fx.Node, str]) -> None:
    """What is only moved from an input or parameter to int8 operations is quantized before that: fewer bytes."""
    tensors = tensor_nodes(graph_module)
    moved = {node for node in tensors if node.op in ("placeholder", "get_attr")}
    for node in graph_module.graph.nodes:
        sources = tensors.intersection(node.all_input_nodes)
        free = node in domains.reasons and node not in forced and "float_reason" not in node.meta
        if free and sources and moved.issuperset(sources):
            kind, module = callee(graph_module, node), submodule(graph_module, node)
            if kind in MOVES and verdict(kind, module, node)[0] is Verdict.FOLLOWS:
                moved.add(node)
    for node in reversed(graph_module.graph.nodes):
        readers = [user for user in node.users if user in tensors or user.op == "output"]
        if node in moved and node in domains.reasons and readers and domains.int8.issuperset(readers):
            domains.floating.discard(node)
            domains.reasons.pop(node, None)
            domains.int8.add(node)


def _called_in_both(graph_module: fx.GraphModule, domains: Domains) -> Iterator[tuple[fx.Node, str]]:
    """The int8 calls of modules that are also called in float; their one set of weights cannot be both."""
    in_float = {id(submodule(graph_module, n)): n for n in domains.floating if n.op == "call_module"}
    for node in sorted(domains.int8):
        if node.op == "call_module" and id(submodule(graph_module, node)) in in_float:
            other = in_float[id(submodule(graph_module, node))]
            yield node, f"{node.target} is also called in float, at {other.name}, with the same weights"


def ruling(graph_module: fx.GraphModule, node: fx.Node) -> Verdict:
    """What the kernel table says of one call."""
    return verdict(callee(graph_module, node), submodule(graph_module, node), node)[0]


def _emulated_beside_float(
    graph_module: fx.GraphModule, domains: Domains, emulated: Collection[fx.Node]
) -> Iterator[tuple[fx.Node, str]]:
    """The int8 calls whose kernels compute in float, next to an operation that does so without the detour."""
    for node in sorted(domains.int8):
        row = KERNELS.get(callee(graph_module, node))  # type: ignore[arg-type]
        is_emulated = node in emulated or (row is not None and row.emulated)
        if is_emulated and not domains.reasons.keys().isdisjoint((*node.all_input_nodes, *node.users)):
            yield node, f"{call_name(graph_module, node)}: its kernel computes in float, like the operation beside it"


def _conversions(around: set[fx.Node], int8: set[fx.Node], tensors: set[fx.Node]) -> int:
    """How many of the values `around` need a stub: they are read in the other domain."""

    def crosses(value: fx.Node, user: fx.Node) -> bool:
        if asks_shape_alone(user, value):
            return False
        return value in int8 if user.op == "output" else user in tensors and (user in int8) != (value in int8)

    return sum(any(crosses(value, user) for user in value.users) for value in around & tensors)


def _pays(graph_module: fx.GraphModule, domains: Domains, group: set[fx.Node], tensors: set[fx.Node]) -> bool:
    """Whether this group of int8 operations had better be in float: fewer conversions are needed then.

    When as many are, it stays in int8, unless it feeds an operation to which the steps of int8 are too coarse, or makes
    one island of several.
    """
    around = group.union(*(node.all_input_nodes for node in group))
    stays = _conversions(around, domains.int8, tensors)
    moved = _conversions(around, domains.int8 - group, tensors)
    if moved != stays:
        return moved < stays
    readers = {user for node in group for user in node.users} & domains.reasons.keys()
    if any(ruling(graph_module, node) is Verdict.COARSE for node in readers):
        return True
    beside = readers.union(*(node.all_input_nodes for node in group))
    return sum(not beside.isdisjoint(island) for island in _components(set(domains.reasons))) > 1


def _better_in_float(graph_module: fx.GraphModule, domains: Domains) -> Iterator[tuple[fx.Node, str]]:
    """The int8 operations beside float ones whose move spares conversions.

    First what only float operations read, where one conversion before does the work of several behind, and of it the
    views, which cost as little in float as in int8; then whatever lies between layers.
    """
    tensors = tensor_nodes(graph_module)
    fusion = Fusion(graph_module)
    fixed = {*fusion.heads, *fusion.heads.values(), *fusion.forward}
    movable: dict[fx.Node, Verdict] = {}
    for node in sorted(domains.int8 - fixed):
        kind = callee(graph_module, node)
        if kind not in MULTIPLY_ACCUMULATE and kind is not QuantStub:
            movable[node] = ruling(graph_module, node)
    views = {node for node, ruling in movable.items() if ruling is Verdict.FOLLOWS}
    for candidates, among_float in ((views, True), (set(movable), True), (set(movable), False)):
        found: set[fx.Node] = set()
        for node in sorted(candidates, reverse=True):
            readers = [user for user in node.users if user in tensors or user.op == "output"]
            if readers and all(not among_float or user not in domains.int8 or user in found for user in readers):
                found.add(node)
        paying = [group for group in _components(found) if _pays(graph_module, domains, group, tensors)]
        if paying:
            for group in paying:
                yield from ((node, "follows the float operations beside it") for node in sorted(group))
            return


# What gives averages, in int8 with the step of the values they are taken of.
_AVERAGES = frozenset(
    {
        nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
        F.avg_pool2d, F.adaptive_avg_pool2d, torch.mean, Tensor.mean,
    }
)  # fmt: skip


def _answers_too_coarse(graph_module: fx.GraphModule, domains: Domains) -> Iterator[tuple[fx.Node, str]]:
    """The int8 averages of values of either sign that the model's answer is made of, without a layer behind them.

    Such values cancel, and the step of what they are taken of is too coarse for what is left. Nothing is saved by int8:
    what the average is taken of is converted in its place.
    """
    for node in sorted(domains.int8):
        if callee(graph_module, node) not in _AVERAGES or interval(graph_module, node)[0] >= 0:
            continue
        behind, queue = {node}, list(node.users)
        while queue:
            user = queue.pop()
            if user not in behind:
                behind.add(user)
                queue += user.users
        if any(callee(graph_module, user) in MULTIPLY_ACCUMULATE for user in behind):
            continue
        why = f"{call_name(graph_module, node)}: an average of values of either sign, which the model returns"
        for one in sorted(behind & domains.int8):
            yield one, why if one is node else "follows the float operations beside it"


def assign(graph_module: fx.GraphModule, emulated: Collection[fx.Node] = ()) -> Domains:
    """Decide for every tensor node whether it runs in int8 or in float; the nodes `emulated` as if they had a kernel.

    The kernel table rules first; then, where it leaves a choice, the fewer conversions decide:

    - An int8 region without any multiply-accumulate that is fed by a float operation is given up: quantizing it alone
      would add conversions and save nothing.
    - An average of values of either sign that is returned is in float: too little is left of it in int8.
    - A kernel that computes in float itself joins a float operation beside it.
    - What lies between float operations is in float where that spares conversions.
    - A view of an input or a parameter that is read in int8 only is a view in int8.
    - A module runs in one domain wherever it is called.
    """
    forced: dict[fx.Node, str] = {}
    while True:
        domains = _assign_once(graph_module, forced, emulated)
        given_up = dict(_called_in_both(graph_module, domains))
        for region in _components(domains.int8):
            kinds = {callee(graph_module, node) for node in region}
            feeds = {n for node in region for n in node.all_input_nodes}
            if kinds & MULTIPLY_ACCUMULATE or QuantStub in kinds or not feeds & set(domains.reasons):
                continue
            why = "lies behind a float operation, with no convolution or linear layer to quantize for"
            given_up |= dict.fromkeys(region, why)
        given_up = given_up or dict(_answers_too_coarse(graph_module, domains))
        given_up = given_up or dict(_emulated_beside_float(graph_module, domains, emulated))
        given_up = given_up or dict(_better_in_float(graph_module, domains))
        if not given_up:
            return domains
        forced |= given_up
