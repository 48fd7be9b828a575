"""self.table[self.index].permute(2, 0, 1)  ->  a constant."""

from __future__ import annotations

import operator
from collections.abc import Container, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils._python_dispatch import TorchDispatchMode

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.memory import aliases, changes_touching
from rewrites.values import attribute, submodule, tensor_nodes


class _Chance(TorchDispatchMode):
    """Notices when random numbers are drawn."""

    drawn = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.drawn |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def _may_be_constant(graph_module: fx.GraphModule, node: fx.Node, constant: set[fx.Node]) -> bool:
    """Whether a node computes the same in every run, but for chance: from parameters and buffers alone."""
    if node.op == "get_attr":
        return isinstance(attribute(graph_module, str(node.target)), Tensor)
    if node.op not in ("call_function", "call_method", "call_module") or not node.all_input_nodes:
        return False
    if "float_reason" in node.meta:
        return False
    module = submodule(graph_module, node)
    if module is not None and not type(module).__module__.startswith("torch.nn"):
        return False
    return constant.issuperset(node.all_input_nodes)


@dataclass(frozen=True)
class _Write:
    """A node that writes in place, and the nodes whose values may share the memory it writes into."""

    node: fx.Node
    shared: set[fx.Node]

    @property
    def reads(self) -> list[fx.Node]:
        """The parameters and buffers among them."""
        return [node for node in self.shared if node.op == "get_attr"]


def _memory(graph_module: fx.GraphModule, read: fx.Node) -> int:
    return int(attribute(graph_module, str(read.target)).untyped_storage().data_ptr())


def _may_be_constants(graph_module: fx.GraphModule, random: Container[fx.Node] = ()) -> set[fx.Node]:
    """What reads parameters and buffers alone, whatever is written into it; none is one of `random`."""
    found: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        if node not in random and _may_be_constant(graph_module, node, found):
            found.add(node)
    return found


def _writes(graph_module: fx.GraphModule) -> list[_Write]:
    """All writes that may touch a constant; a parameter that is read at several nodes is one tensor."""
    may_be, found = _may_be_constants(graph_module), list[_Write]()
    reads: dict[int, set[fx.Node]] = {}
    for node in may_be:
        if node.op == "get_attr":
            reads.setdefault(_memory(graph_module, node), set()).add(node)
    tensors = tensor_nodes(graph_module)
    for node, touched in changes_touching(graph_module, may_be):
        shared, queue = set[fx.Node](), list(touched)
        while queue:
            one = queue.pop()
            if one in shared:
                continue
            shared.add(one)
            if one in may_be and one.op == "get_attr":
                for read in reads[_memory(graph_module, one)] - shared:
                    queue += [read, *aliases(graph_module, read, tensors, node)]
        found.append(_Write(node, shared))
    return found


def _constants(
    graph_module: fx.GraphModule,
    writes: Iterable[_Write],
    random: Container[fx.Node] = (),
    unsettled: Set[fx.Node] = frozenset(),
) -> set[fx.Node]:
    """The nodes whose values are the same in every run, and are changed by nothing else.

    None is one of `random`, and nothing is written into those that are `unsettled`.
    """
    constant = _may_be_constants(graph_module, random)
    for write in writes:
        if write.node not in constant or not unsettled.isdisjoint(write.shared) or _is_held(graph_module, write):
            _give_up(constant, write.shared | {write.node})
    return constant


def _is_held(graph_module: fx.GraphModule, write: _Write) -> bool:
    """Whether a write lands in what a module that is called holds, or in one of several tensors of one memory."""
    memory = {_memory(graph_module, read) for read in write.reads}
    if len({id(attribute(graph_module, str(read.target))) for read in write.reads}) > len(memory):
        return True
    called = [module for node in graph_module.graph.nodes if (module := submodule(graph_module, node)) is not None]
    held = (tensor for module in called for tensor in (*module.parameters(), *module.buffers()))
    return bool(memory) and any(tensor.untyped_storage().data_ptr() in memory for tensor in held)


def _give_up(constant: set[fx.Node], nodes: Iterable[fx.Node]) -> None:
    """Take nodes, and whatever is computed from them, out of the constants."""
    queue = list(nodes)
    while queue:
        node = queue.pop()
        if node in constant:
            constant.discard(node)
            queue.extend(node.users)


@dataclass(frozen=True)
class _Constants:
    """What the constant nodes compute, which of them drew random numbers, and which are another thing later on."""

    values: dict[fx.Node, Any]
    random: set[fx.Node]
    unsettled: set[fx.Node]


def _values(
    graph_module: fx.GraphModule, constant: set[fx.Node], written: Container[fx.Node], own: Mapping[int, Tensor]
) -> _Constants:
    """What the constant nodes compute in a run; `own` has copies of the parameters that are written into.

    Unsettled is what others read before the last write into it, and found other numbers there.
    """
    found: dict[fx.Node, Any] = {}
    random: set[fx.Node] = set()
    read: list[tuple[fx.Node, Tensor]] = []
    with torch.no_grad(), torch.random.fork_rng(devices=()):
        for node in graph_module.graph.nodes:
            if node not in constant:
                given = [one for one in node.all_input_nodes if one in written and isinstance(found.get(one), Tensor)]
                read += [(one, found[one].clone()) for one in given]
                continue
            if node.op == "get_attr":
                held = attribute(graph_module, str(node.target))
                found[node] = own.get(id(held), held.detach())
                continue
            args, kwargs = map_arg((node.args, node.kwargs), found.__getitem__)
            function: Any = node.target
            if node.op == "call_method":
                function = operator.methodcaller(str(node.target), *args[1:], **kwargs)
                args, kwargs = args[:1], {}
            elif node.op == "call_module":
                function = graph_module.get_submodule(str(node.target))
            with _Chance() as chance:
                found[node] = function(*args, **kwargs)
            if chance.drawn:
                random.add(node)
    return _Constants(found, random, {node for node, before in read if not torch.equal(before, found[node])})


def _evaluated(graph_module: fx.GraphModule, constant: set[fx.Node], writes: Iterable[_Write]) -> _Constants:
    """What the constant nodes compute; those are unsettled that a second run makes another thing of.

    That a parameter which is written into is the same ever after has to hold for any numbers in it, and not by chance
    for those of this checkpoint: `weight *= mask` does, `bias *= 0.99` does not, even where the bias is 0.
    """
    written = {node for write in writes if write.node in constant for node in write.shared}
    reads = {node for node in written if node.op == "get_attr"}
    tensors = [attribute(graph_module, str(node.target)).detach() for node in reads]
    held = {id(attribute(graph_module, str(node.target))): one for node, one in zip(reads, tensors, strict=True)}
    own = {key: tensor.clone() for key, tensor in held.items()}
    result = _values(graph_module, constant, written, own)
    if not own:
        return result
    generator = torch.Generator().manual_seed(0)
    drawn = {
        key: torch.randn(one.shape, generator=generator).to(one) if one.is_floating_point() else one.clone()
        for key, one in held.items()
    }
    unsettled = set(result.unsettled)
    for memory, first in (own, result), (drawn, None):
        try:
            one = first or _values(graph_module, constant, written, memory)
            before = {node: value.clone() for node, value in one.values.items() if isinstance(value, Tensor)}
            again = {key: tensor.clone() for key, tensor in memory.items()}
            two = _values(graph_module, constant, written, again)
        except RuntimeError:  # it cannot be computed of any numbers
            unsettled |= reads
            continue
        unsettled |= one.unsettled | two.unsettled
        unsettled |= {node for node, value in before.items() if not torch.equal(value, two.values[node])}
    return _Constants(result.values, result.random, _made_of(unsettled) & written)


def _made_of(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    found, queue = set[fx.Node](), list(nodes)
    while queue:
        node = queue.pop()
        if node not in found:
            found.add(node)
            queue += node.all_input_nodes
    return found


def _known(graph_module: fx.GraphModule) -> tuple[set[fx.Node], _Constants]:
    """The constant nodes, and what they compute; `random` has all that drew numbers on the way."""
    writes, random, unsettled = _writes(graph_module), set[fx.Node](), set[fx.Node]()
    while True:
        constant = _constants(graph_module, writes, random, unsettled)
        result = _evaluated(graph_module, constant, writes)
        if result.random <= random and result.unsettled <= unsettled:
            return constant, _Constants(result.values, random, unsettled)
        random |= result.random
        unsettled |= result.unsettled


def constant_nodes(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes that compute the same in every run: parameters and buffers, and what is made of them alone."""
    return _known(graph_module)[0]


def random_nodes(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes that draw random numbers for what is otherwise made of parameters and buffers."""
    return _known(graph_module)[1].random


class FoldConstants(RewritePass):
    """What is computed from parameters alone is computed once.

    What it does: `self.table[self.index].permute(2, 0, 1)`, `scale.clamp(max=4.6).exp()`, a multi-layer perceptron over
    a table of coordinates: whatever reads parameters and buffers and nothing else becomes a constant. Loading
    an original checkpoint into the rewritten model works it out again.

    Why: relative position biases and the like would be float islands, worked out anew for every image, and a layer on
    constants would be quantized for nothing.

    A parameter that the forward writes into, `self.weight.data *= self.mask`, is what it is after the write, when a
    second write changes nothing more, whatever its numbers are.

    Leaves alone: what is random, what is changed in place by something that depends on the input or to another value in
    each run, a parameter itself.
    """

    name = "fold-constants"

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        constant, known = _known(graph_module)
        writes = [write for write in _writes(graph_module) if write.node in constant]
        written = {node for write in writes for node in write.shared}
        folded = [
            node
            for node in editor.nodes()
            if node in constant
            and (node.op != "get_attr" or node in written)
            and isinstance(known.values[node], Tensor)
            and not constant.issuperset(node.users)
        ]
        end = max(write.node for write in writes).next if writes else None
        for node in folded:
            is_read = node.op == "get_attr"
            reason = "every run writes the same into it" if is_read else "it reads parameters alone, so it is the same"
            editor.fold(node, known.values[node], reason + ("" if is_read else " for every input"), end)
        for node in reversed(list(graph_module.graph.nodes)):
            if node in constant and node.op != "get_attr" and not node.users:
                editor.erase(node, "only constants were made of it")
        editor.forget_unread()

    @staticmethod
    def example() -> nn.Module:
        class Biased(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.table = nn.Parameter(torch.linspace(-1, 1, 16).view(2, 8))

            def forward(self, x: Tensor) -> Tensor:
                return x + self.table.sum(0).view(1, 8, 1, 1)

        return Biased()
