"""bn1(conv3x3(x)) + bn2(conv1x1(x)) + bn3(x)  ->  one convolution of x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.fusion import keeps_statistics
from rewrites.memory import changes_between
from rewrites.modules import Add, AddReLU, CappedReLU, MulScalar
from rewrites.passes._branches import Branch, Kernels, Owners, Shape, hold
from rewrites.passes._operators import Operation, operation
from rewrites.readers import sole_reader
from rewrites.values import submodule

_NORMS: dict[type, type[nn.Module]] = {nn.BatchNorm1d: nn.Conv1d, nn.BatchNorm2d: nn.Conv2d}
_CONVOLUTIONS = tuple(_NORMS.values())


class MergeBranches(RewritePass):
    """Convolutions and batch norms of one value whose results are added become one convolution.

    What it does: the sum of convolutions with or without their batch norms, of batch norms alone and, beside depthwise
    ones, of the value itself (RepVGG, MobileOne, FastViT, ACNet, RepLKNet as they are trained) becomes the one
    convolution that their authors deploy. A smaller kernel stands in the middle of the largest one. Kernel and bias are
    worked out in float64; loading an original checkpoint into the rewritten model works them out again. A ReLU that was
    in the sum follows. Training while rounded trains the merged kernel, as it trains folded batch norms.

    Why: each branch is an int8 operation of its own, and so is each addition; a batch norm that is a branch by itself
    is folded into nothing.

    Leaves alone: branches that are read elsewhere too, are called several times, or of which no convolution has the
    stride, groups and padding of all others. Also a value that is added as it is to what a convolution over several
    channels makes of it, as in a residual block: the kernel would hold a 1 beside weights of some hundredths, which
    share its int8 scale. In a depthwise kernel they are few, and larger.

    Declared tolerance: 1e-5 of the output's largest magnitude, because the products are summed in another order.
    """

    name = "merge-branches"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        for node in reversed(list(editor.nodes())):
            if not node._erased and "float_reason" not in node.meta and _terms(editor.graph_module, node):
                _Sum(editor, node).merge()

    @staticmethod
    def example() -> nn.Module:
        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv3, self.bn3 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
                self.conv1, self.bn1 = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)
                self.bn = nn.BatchNorm2d(8)

            def forward(self, x: Tensor) -> Tensor:
                return torch.relu(self.bn3(self.conv3(x)) + self.bn1(self.conv1(x)) + self.bn(x))

        return Block()


Terms = list[tuple[Any, float]]  # values, and how often each is added


def _terms(graph_module: fx.GraphModule, node: fx.Node) -> Terms | None:
    """What a call adds, be it an operator yet or a module already; None when it is no sum."""
    if type(submodule(graph_module, node)) in (Add, AddReLU):
        return [(operand, 1.0) for operand in node.args]
    found = _operation(graph_module, node)
    if found is None or type(found.module) is not Add:
        return None
    return [(one.args[0], _factor(one.module)) if isinstance(one, Operation) else (one, 1.0) for one in found.args]


def _operation(graph_module: fx.GraphModule, node: fx.Node) -> Operation | None:
    try:
        return operation(graph_module, node)
    except Refusal:  # told by the pass that makes modules of operators
        return None


def _factor(module: nn.Module) -> float:
    assert isinstance(module, MulScalar)
    return module.scalar


def _product(graph_module: fx.GraphModule, node: fx.Node) -> Terms | None:
    """The value that a call multiplies by a number, with that number; None when it does another thing."""
    module, found = submodule(graph_module, node), _operation(graph_module, node)
    if type(module) is MulScalar:
        return [(node.args[0], module.scalar)]
    if found is None or type(found.module) is not MulScalar:
        return None
    return [(found.args[0], found.module.scalar)]


class _Sum:
    """One sum, with the sums and products in it that nobody else reads."""

    def __init__(self, editor: Editor, node: fx.Node) -> None:
        self.editor, self.graph_module, self.node = editor, editor.graph_module, node
        self.inner: list[fx.Node] = []
        self.terms: list[tuple[fx.Node, float]] = []
        self._take_apart(_terms(self.graph_module, node) or [], 1.0)

    def _take_apart(self, terms: Terms, factor: float) -> None:
        for value, times in terms:
            within = _terms(self.graph_module, value) or _product(self.graph_module, value)
            is_activated = type(submodule(self.graph_module, value)) is AddReLU
            if within is None or is_activated or sole_reader(value) is None or "float_reason" in value.meta:
                self.terms.append((value, factor * times))
            else:
                self.inner.append(value)
                self._take_apart(within, factor * times)

    def merge(self) -> None:
        """Let one convolution take the place of the sum, when all its terms are branches of one value."""
        branches = self._branches()
        if branches is None or not any(branch.conv for branch in branches):
            return
        try:
            self._check(branches)
            shape = self._shape(branches)
        except Refusal as refusal:
            self.editor.skip(self.node, str(refusal))
            return
        self._replace(branches, shape)

    def _branches(self) -> list[Branch] | None:
        """The terms as branches of one value; None when they are not."""
        each = [[replace(branch, factor=factor) for branch in self._ways(value)] for value, factor in self.terms]
        for value in dict.fromkeys(branch.value for branch in each[0]):
            found = [next((one for one in ways if one.value is value), None) for ways in each]
            chosen = [one for one in found if one is not None]
            if len(chosen) == len(each) and any(one.conv for one in chosen):
                return chosen
        return None

    def _ways(self, term: fx.Node) -> list[Branch]:
        """The branches that a term may be, the longest first."""
        module, ways = submodule(self.graph_module, term), [Branch(term)]
        if type(module) in _CONVOLUTIONS:
            ways.insert(0, Branch(term.all_input_nodes[0], conv=term))
        if type(module) in _NORMS and keeps_statistics(module):
            given = term.all_input_nodes[0]
            ways.insert(0, Branch(given, norm=term))
            if type(submodule(self.graph_module, given)) is _NORMS[type(module)]:
                ways.insert(0, Branch(given.all_input_nodes[0], conv=given, norm=term))
        return ways

    def _check(self, branches: Sequence[Branch]) -> None:
        """Raises `Refusal` for branches that are more than that."""
        owners = Owners(self.graph_module)
        for node in (node for branch in branches for node in branch.nodes):
            if sole_reader(node) is None:
                readers = ", ".join(
                    user.name for user in node.users if user not in self.inner and user is not self.node
                )
                raise Refusal(f"{node.name}, a branch of it, is read elsewhere too, by {readers}")
            owners.check(node, ", a branch of it,")
        first = min(node for branch in branches for node in branch.nodes)
        if changes_between(self.graph_module, first, self.node):
            raise Refusal(f"something is changed in place between {first.name} and it")

    def _shape(self, branches: Sequence[Branch]) -> Shape:
        """The shape of the convolution that does the work of all. Raises `Refusal` when there is none."""
        convs = {branch.conv: submodule(self.graph_module, branch.conv) for branch in branches if branch.conv}
        for node, conv in convs.items():
            if conv.padding_mode != "zeros" or isinstance(conv.padding, str):  # type: ignore[union-attr]
                raise Refusal(f"{node.target} does not pad with zeros, so many on each side")
            reach = zip(conv.dilation, conv.kernel_size, strict=True)  # type: ignore[union-attr,arg-type]
            if any(spread > 1 and taps > 1 for spread, taps in reach):
                raise Refusal(f"{node.target} is dilated: merged, most of its kernel would be zeros")
        largest = max(convs, key=lambda node: convs[node].weight[0, 0].numel())  # type: ignore[index,union-attr]
        whole = Shape.of(convs[largest])
        for branch in branches:
            own = Shape.of(convs[branch.conv]) if branch.conv else whole.of_identity()
            _check_fit(own, whole, str(branch.nodes[0].target) if branch.nodes else branch.value.name, largest)
            if not branch.nodes and whole.groups != whole.channels[0]:
                raise Refusal(
                    f"{branch.value.name} itself is added: among the weights of {largest.target}, its 1 would take "
                    "most of their int8 steps"
                )
        return whole

    def _replace(self, branches: Sequence[Branch], shape: Shape) -> None:
        editor, relu = self.editor, submodule(self.graph_module, self.node)
        reason = f"{len(branches)} branches of {branches[0].value.name} are added, which one convolution does"
        layer, made_of = shape.layer(), self._written(branches, shape)
        for name, graph in made_of.items():
            hold(layer, name, editor.work_out(graph))
        parts = dict.fromkeys((*self.inner, *(node for branch in branches for node in branch.nodes)))
        used = [self.node, *parts]
        merged = editor.insert_before(min(used), layer, (branches[0].value,), "conv", reason, written_at=self.node)
        for node in parts:  # who asks for the shape of one of them
            for user in [user for user in node.users if user not in used]:
                editor.redirect(user, node, merged, reason)
        if isinstance(relu, AddReLU):
            cap = getattr(relu.op, "cap", None)
            activation = nn.ReLU() if cap is None else CappedReLU(cap)
            editor.replace_with_module(self.node, activation, (merged,), "relu", "the sum is taken in the convolution")
        else:
            editor.remove(self.node, merged, reason)
        for node in sorted(parts, reverse=True):
            editor.erase(node, reason)

    def _written(self, branches: Sequence[Branch], shape: Shape) -> dict[str, fx.Graph]:
        """The graphs that work out the kernel, and the bias if there is one."""
        first = next(branch.conv for branch in branches if branch.conv)
        kernels, biases = Kernels(shape, first), Kernels(shape, first)
        weights, shifts = list[fx.Node](), list[fx.Node]()
        for branch in branches:
            conv = None if branch.conv is None else submodule(self.graph_module, branch.conv)
            norm = None if branch.norm is None else submodule(self.graph_module, branch.norm)
            weights.append(kernels.kernel(branch, shape.of_identity() if conv is None else Shape.of(conv), norm))
            if (shift := biases.bias(branch, conv, norm)) is not None:
                shifts.append(shift)
        made = {"weight": kernels.finish(weights)}
        return made | ({"bias": biases.finish(shifts)} if shifts else {})


def _check_fit(own: Shape, whole: Shape, name: str, largest: fx.Node) -> None:
    """Raises `Refusal` for a branch whose kernel does not stand in the middle of the largest."""
    beside = f"{name} beside {largest.target}"
    if own.kind is not whole.kind:
        raise Refusal(f"{beside} convolves in other dimensions")
    if own.channels != whole.channels:
        raise Refusal(f"{beside} has {own.channels[0]} channels in and {own.channels[1]} out, not {whole.channels}")
    if own.stride != whole.stride:
        raise Refusal(f"{beside} has stride {own.stride}, not {whole.stride}")
    if own.groups != whole.groups:
        raise Refusal(f"{beside} has {own.groups} groups, not {whole.groups}")
    rooms = [big - small for big, small in zip(whole.kernel, own.kernel, strict=True)]
    sides = [more - less for more, less in zip(whole.padding, own.padding, strict=True)]
    if any(room < 0 for room in rooms):
        raise Refusal(f"{beside} has kernel {own.kernel}, which does not lie within {whole.kernel}")
    if any(room != 2 * side for room, side in zip(rooms, sides, strict=True)):
        raise Refusal(
            f"{beside} pads by {own.padding} round kernel {own.kernel}, so that it does not stand in the middle of "
            f"{whole.kernel} padded by {whole.padding}"
        )
