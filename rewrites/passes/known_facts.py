"""self.kernel.to(x).expand(x.shape[1], 1, 3, 3)  ->  self.kernel.to(torch.float32).expand(16, 1, 3, 3)."""

from __future__ import annotations

import functools
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.passes.fold_constants import constant_nodes
from rewrites.passes.functional_convolution import FACTORIES
from rewrites.values import attribute, callee, submodule

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CASTS = (Tensor.to, Tensor.type_as)
_PLAIN = (torch.conv1d, torch.conv2d, torch.conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

# What gives as many channels as its first argument has.
_KEEPING: frozenset[Any] = frozenset(
    {
        nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU,
        nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Identity, nn.Dropout, nn.Dropout2d,
        nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
        nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d, nn.ZeroPad1d, nn.ZeroPad2d,
        nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ConstantPad2d,
        nn.CircularPad2d, nn.Upsample, nn.InstanceNorm2d, nn.GroupNorm, nn.PReLU,
        F.relu, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish,
        F.softplus, F.dropout, F.dropout2d, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.interpolate,
        F.batch_norm, F.group_norm, F.instance_norm, torch.relu, torch.relu_, torch.sigmoid, torch.tanh,
        Tensor.relu, Tensor.relu_, Tensor.sigmoid, Tensor.tanh, Tensor.contiguous, Tensor.clone, Tensor.detach,
        Tensor.float, Tensor.clamp, torch.clamp, Tensor.type_as,
    }
)  # fmt: skip
_JOINING: frozenset[Any] = frozenset(
    {operator.add, operator.sub, operator.mul, torch.add, torch.sub, torch.mul, Tensor.add, Tensor.sub, Tensor.mul,
     operator.iadd, operator.imul, Tensor.add_, Tensor.mul_}
)  # fmt: skip


def _argument(node: fx.Node, position: int, name: str) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name)


class _Channels:
    """How many channels, in dimension 1, values have in every run that does not fail."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module = graph_module
        self.known: dict[fx.Node, int] = {}

    @functools.cached_property
    def constant(self) -> set[fx.Node]:
        """The nodes that are the same in every run."""
        return constant_nodes(self.graph_module)

    def counted(self, node: fx.Node) -> int | None:
        """What a node counts that reads `x.shape[1]`, `x.size(1)` or an image's `x.shape[-3]`; None for any other."""
        if node not in self.known and (value := self._measured(node)) is not None:
            count = self.of(value)
            if count is None:
                return None
            self.known[node] = count
        return self.known.get(node)

    def _measured(self, node: fx.Node) -> fx.Node | None:
        """The value whose channels a node counts; None of a node that counts none."""
        value: Any = None
        shape: Any = None
        if callee(self.graph_module, node) is Tensor.size and len(node.args) == 2:
            value, dim = node.args
        elif node.target is operator.getitem and isinstance(node.args[0], fx.Node):
            shape, dim = node.args
            is_shape = shape.target is getattr and shape.args[1] == "shape"
            is_size = callee(self.graph_module, shape) is Tensor.size and len(shape.args) == 1
            value = shape.args[0] if is_shape or is_size else None
        if not isinstance(value, fx.Node) or not isinstance(dim, int):
            return None
        rank = len(value.meta.get("shape", ()))
        return value if dim == 1 or (rank > 2 and dim % rank == 1) else None

    def of(self, node: Any) -> int | None:
        """The channels of a value, by what made it or else by what reads it; None when the input decides."""
        start = self._start(node)
        if start is None:
            return None
        made = self._made(start)
        return self.needed(start) if made is None else made

    def _start(self, node: Any) -> fx.Node | None:
        """The value of as many channels that this one is made of, as far back as can be told."""
        while isinstance(node, fx.Node) and self._keeps(node):
            node = _argument(node, 0, "input")
        return node if isinstance(node, fx.Node) else None

    def _keeps(self, node: fx.Node) -> bool:
        target, rank = callee(self.graph_module, node), len(node.meta.get("shape", ()))
        return target in _KEEPING or (target is F.pad and _pads_no_channels(node, rank))

    def _made(self, node: fx.Node) -> int | None:
        """The channels of a value by the layer that made it."""
        target, module = callee(self.graph_module, node), submodule(self.graph_module, node)
        rank = len(node.meta.get("shape", ()))
        if isinstance(module, _CONVOLUTIONS):
            return module.out_channels if rank == module.weight.ndim else None
        if isinstance(module, _BATCH_NORMS):
            return int(module.num_features)
        if target in FACTORIES:
            return self._of_a_function(node, rank)
        return self._joined(node, rank) if target in _JOINING else None

    def needed(self, value: fx.Node) -> int | None:
        """The channels that a value must have for its readers: with any others the model fails."""
        rank = len(value.meta.get("shape", ()))
        for user in value.users:
            if _argument(user, 0, "input") is not value:
                continue
            module, found = submodule(self.graph_module, user), None
            if isinstance(module, _CONVOLUTIONS):
                found = module.in_channels if rank == module.weight.ndim else None
            elif isinstance(module, nn.Linear):
                found = module.in_features if rank == 2 else None
            elif isinstance(module, _BATCH_NORMS):
                found = int(module.num_features)
            elif user.target in _PLAIN:
                found = self._needed_by_a_function(user, value, rank)
            elif self._keeps(user):
                found = self.needed(user)
            if found is not None:
                return found
        return None

    def _needed_by_a_function(self, node: fx.Node, value: fx.Node, rank: int) -> int | None:
        """The channels that a functional convolution of images takes, by its weight or by what it has to give."""
        weight, groups = _argument(node, 1, "weight"), _argument(node, 6, "groups") or 1
        if weight in self.constant:
            shape = self._shape(weight)
            return shape[1] * groups if len(shape) == rank and isinstance(groups, int) else None
        rows, given = self._rows(weight, value), self.needed(node)
        return given // rows if rows and given is not None and given % rows == 0 else None

    def _rows(self, weight: Any, value: fx.Node) -> int | None:
        """How many rows a kernel has for each channel of a value, by which it is repeated; None when it is not."""
        while isinstance(weight, fx.Node) and (self._keeps(weight) or callee(self.graph_module, weight) in _CASTS):
            weight = weight.args[0] if weight.args else None
        way = callee(self.graph_module, weight) if isinstance(weight, fx.Node) else None
        if way not in (Tensor.repeat, Tensor.expand):
            return None
        kernel, *sizes = weight.args
        if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
            sizes = list(sizes[0])
        count = self._measured(sizes[0]) if sizes and isinstance(sizes[0], fx.Node) else None
        if kernel not in self.constant or count is None or self._start(count) is not self._start(value):
            return None
        shape = self._shape(kernel)
        return shape[0] if way is Tensor.repeat and len(shape) == len(sizes) else 1

    def _shape(self, constant: fx.Node) -> tuple[int, ...]:
        """The shape of a constant, which no input changes."""
        is_read = constant.op == "get_attr"
        shape = attribute(self.graph_module, str(constant.target)).shape if is_read else constant.meta.get("shape", ())
        return tuple(int(size) for size in shape)

    def _of_a_function(self, node: fx.Node, rank: int) -> int | None:
        """The channels that a functional convolution of images gives, by its weight; a transposed one is not asked."""
        weight = _argument(node, 1, "weight")
        if node.target not in _PLAIN or weight not in self.constant:
            return None
        shape = self._shape(weight)
        return shape[0] if len(shape) == rank else None

    def _joined(self, node: fx.Node, rank: int) -> int | None:
        """Of operands that broadcast: more than one channel in one of them is what the result has."""
        for operand in node.args[:2]:
            if isinstance(operand, fx.Node) and len(operand.meta.get("shape", ())) == rank:
                channels = self.of(operand)
                if channels is not None and channels > 1:
                    return channels
        return None

    def note(self, node: fx.Node) -> None:
        """Take in a node that has been changed, and what is made of it: it may be a constant by now."""
        queue = [node]
        while queue:
            one = queue.pop()
            if one.op != "output" and one.all_input_nodes and self.constant.issuperset(one.all_input_nodes):
                self.constant.add(one)
                queue.extend(one.users)

    def makes_a_constant(self, user: fx.Node, count: fx.Node) -> bool:
        """Whether a node makes something of constants alone, but for counts of channels."""
        others = [given for given in user.all_input_nodes if given is not count]
        known = all(one in self.constant or self.counted(one) is not None for one in others)
        return user.op != "output" and known and any(one in self.constant for one in others)


def _pads_no_channels(node: fx.Node, rank: int) -> bool:
    pad = _argument(node, 1, "pad")
    return isinstance(pad, (tuple, list)) and len(pad) <= 2 * (rank - 2)


class KnownFacts(RewritePass):
    """What is known of a value beforehand is written out where a constant is made by it.

    What it does: `x.shape[1]`, where x comes from a layer with a fixed number of channels or is read by one, is that
    number in the `groups` of a functional convolution, and where a constant is expanded, repeated or sliced by it. So
    it is where the convolution with a kernel that is repeated for each channel is read by such a layer. A constant that
    is cast to the type of a value, `kernel.to(x)`, is cast to that type by its name.

    Why: a kernel that is repeated for each channel is a constant then, and the convolution with it a layer; blur pools
    are written like that.

    Leaves alone: channels of the model's input that no layer fixes, and sizes that are read for anything else.
    """

    name = "known-facts"

    def run(self, editor: Editor) -> None:
        channels = _Channels(editor.graph_module)
        for node in editor.graph.nodes:
            channels.counted(node)  # before any is written out, which may be what tells of the others
        for node in editor.nodes():
            if callee(editor.graph_module, node) in _CASTS:
                _name_type(editor, node, channels)
                continue
            count = channels.counted(node)
            if count is None:
                continue
            for user in list(node.users):
                makes_a_constant = channels.makes_a_constant(user, node)
                if makes_a_constant or callee(editor.graph_module, user) in FACTORIES:
                    _put(editor, user, node, count)
                    channels.note(user)
            if not node.users:
                _erase(editor, node)

    @staticmethod
    def example() -> nn.Module:
        class Blurred(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
                self.kernel = nn.Parameter(torch.full((1, 1, 3, 3), 1 / 9))

            def forward(self, x: Tensor) -> Tensor:
                x = self.norm(self.conv(x))
                return F.conv2d(x, self.kernel.repeat(x.shape[1], 1, 1, 1), groups=x.shape[1])

        return Blurred()


def _name_type(editor: Editor, node: fx.Node, channels: _Channels) -> None:
    """Let a constant that is cast to the type of a value be cast to that type by its name."""
    value, like = node.args if len(node.args) == 2 and not node.kwargs else (None, None)
    dtype = like.meta.get("dtype") if isinstance(like, fx.Node) else None
    if isinstance(dtype, torch.dtype) and value in channels.constant and like not in channels.constant:
        editor.retarget(node, "call_method", "to", (value, dtype), {}, f"{like} is {dtype}")
        channels.note(node)


def _put(editor: Editor, user: fx.Node, count: fx.Node, channels: int) -> None:
    args, kwargs = map_arg((user.args, user.kwargs), lambda one: channels if one is count else one)
    editor.retarget(user, user.op, user.target, args, kwargs, f"{count.name} is always {channels}")


def _erase(editor: Editor, node: fx.Node) -> None:
    """Drop a count that nobody reads, and the shape it was taken from."""
    shape = node.args[0]
    editor.erase(node, "the number stands where it was read")
    if isinstance(shape, fx.Node) and not shape.users and shape.target in (getattr, "size"):
        editor.erase(shape, "the number stands where it was read")
