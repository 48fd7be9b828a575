"""bn(torch.cat([conv1(x), conv2(y)], 1))  ->  torch.cat of two convolutions, each with its share of the batch norm."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.fusion import CONVOLUTIONS, keeps_statistics
from rewrites.memory import changes_between
from rewrites.passes._branches import Owners, hold
from rewrites.readers import sole_reader, value_readers
from rewrites.values import callee, submodule

_JOINS = frozenset({torch.cat, torch.concat, torch.concatenate})


class JoinedNorms(RewritePass):
    """A batch norm of joined convolutions is folded into each of them.

    What it does: where all that `torch.cat` joins along the channels are convolutions, and a batch norm alone reads the
    result (MixNet's mixed kernels), each convolution takes its channels' share of the batch norm into its weight and
    bias. A ReLU behind the batch norm is put behind each. The weights are worked out in float64; loading an original
    checkpoint into the rewritten model works them out again.

    Why: a batch norm folds into the layer in front of it, and between these two stands the join; by itself it is one
    operation more on the widest tensors of the network, and its input has one range for all that is joined.

    Leaves alone: a join of anything else than convolutions, along another dimension, or that is read elsewhere too;
    convolutions that are called several times or whose weights are worked out of others.

    Declared tolerance: 1e-5 of the output's largest magnitude, because the weights are scaled, and not their sums.
    """

    name = "joined-norms"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            norm = submodule(editor.graph_module, node)
            if not keeps_statistics(norm) or callee(editor.graph_module, node.all_input_nodes[0]) not in _JOINS:
                continue
            join = node.all_input_nodes[0]
            parts = _joined(editor.graph_module, join)
            if parts is None:
                continue
            try:
                self._check(editor.graph_module, node, join, parts)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            self._fold(editor, node, join, parts)

    @staticmethod
    def _check(graph_module: fx.GraphModule, node: fx.Node, join: fx.Node, parts: list[fx.Node]) -> None:
        norm: Any = submodule(graph_module, node)
        if sole_reader(join) is None:
            readers = ", ".join(user.name for user in value_readers(join) if user is not node)
            raise Refusal(f"what it normalizes is read elsewhere too, by {readers}")
        owners = Owners(graph_module)
        for one in (node, *parts):
            owners.check(one)
        for part in parts:
            if sole_reader(part) is None:
                readers = ", ".join(user.name for user in value_readers(part) if user is not join)
                raise Refusal(f"{part.name}, a part of what it normalizes, is read elsewhere too, by {readers}")
        layers: list[Any] = [submodule(graph_module, part) for part in parts]
        if any(CONVOLUTIONS[type(layer)] is not type(norm) for layer in layers):
            raise Refusal("it normalizes in other dimensions than what is joined has")
        if sum(layer.out_channels for layer in layers) != norm.num_features:
            raise Refusal("it normalizes other channels than those that are joined")
        if changes_between(graph_module, min(parts), node):
            raise Refusal(f"something is changed in place between {min(parts).name} and it")

    @staticmethod
    def _fold(editor: Editor, node: fx.Node, join: fx.Node, parts: list[fx.Node]) -> None:
        graph_module, start = editor.graph_module, 0
        relu = sole_reader(node)
        if relu is not None and type(submodule(graph_module, relu)) not in (nn.ReLU, nn.ReLU6):
            relu = None
        activation: Any = None if relu is None else submodule(graph_module, relu)
        reason = f"the batch norm {node.target} reads what is joined of it alone"
        for part in parts:
            conv: Any = submodule(graph_module, part)
            layer = type(conv)(
                conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
                conv.groups, False, conv.padding_mode, device="meta",
            )  # fmt: skip
            for name, graph in _shares(graph_module, node, part, start).items():
                hold(layer, name, editor.work_out(graph))
            start += conv.out_channels
            editor.replace_with_module(part, layer, (part.all_input_nodes[0],), "conv", reason, str(part.target))
            if activation is not None:
                behind = f"what {relu.name} does to all that is joined it does to each"  # type: ignore[union-attr]
                fresh = editor.insert_before(join, type(activation)(), (part,), "relu", behind, written_at=part)
                editor.redirect(join, part, fresh, behind)
        editor.remove(node, join, "each convolution that is joined has its share of it")
        if relu is not None:
            editor.remove(relu, join, "it stands behind each convolution that is joined")

    @staticmethod
    def example() -> nn.Module:
        class Mixed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.small = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
                self.large = nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False)
                self.bn = nn.BatchNorm2d(8)

            def forward(self, x: Tensor) -> Tensor:
                first, second = x.chunk(2, 1)
                return self.bn(torch.cat([self.small(first), self.large(second)], 1))

        return Mixed()


def _joined(graph_module: fx.GraphModule, join: fx.Node) -> list[fx.Node] | None:
    """The convolutions that a call joins along the channels; None when it joins anything else."""

    def bind(tensors: Any, dim: Any = 0, axis: Any = None, out: Any = None) -> tuple[Any, Any, Any]:
        return tensors, dim if axis is None else axis, out

    parts, dim, out = bind(*join.args, **join.kwargs)
    if out is not None or dim != 1 or not isinstance(parts, (list, tuple)):
        return None
    are_convolutions = all(
        isinstance(part, fx.Node) and type(submodule(graph_module, part)) in CONVOLUTIONS for part in parts
    )
    return list(parts) if are_convolutions and len(set(parts)) == len(parts) else None


def _shares(graph_module: fx.GraphModule, norm: fx.Node, part: fx.Node, start: int) -> dict[str, fx.Graph]:
    """The graphs without inputs that work out a convolution's kernel and bias with its share of the batch norm."""
    return {name: _Share(graph_module, norm, part, start).written(name) for name in ("weight", "bias")}


class _Share:
    """Writes one such graph, in float64; the convolution's channels begin at the batch norm's channel `start`."""

    def __init__(self, graph_module: fx.GraphModule, norm: fx.Node, part: fx.Node, start: int) -> None:
        self.norm, self.part, self.start, self.graph = norm, part, start, fx.Graph()
        self.own: Any = submodule(graph_module, norm)
        self.conv: Any = submodule(graph_module, part)

    def written(self, name: str) -> fx.Graph:
        found = self._kernel() if name == "weight" else self._bias()
        self.graph.output(self.graph.call_method("float", (found,)))
        return self.graph

    def _kernel(self) -> fx.Node:
        behind = (1,) * (self.conv.weight.dim() - 1)
        shaped = self.graph.call_method("view", (self._factor(), -1, *behind))
        return self._call(operator.mul, self._double(self.part, "weight"), shaped)

    def _bias(self) -> fx.Node:
        found = self.graph.call_method("neg", (self._narrow("running_mean"),))
        if self.conv.bias is not None:
            found = self._call(operator.add, found, self._double(self.part, "bias"))
        found = self._call(operator.mul, found, self._factor())
        return found if self.own.bias is None else self._call(operator.add, found, self._narrow("bias"))

    def _factor(self) -> fx.Node:
        shifted = self._call(operator.add, self._narrow("running_var"), self.own.eps)
        factor = self.graph.call_method("rsqrt", (shifted,))
        return factor if self.own.weight is None else self._call(operator.mul, factor, self._narrow("weight"))

    def _narrow(self, tensor: str) -> fx.Node:
        whole = self._double(self.norm, tensor)
        return self.graph.call_method("narrow", (whole, 0, self.start, self.conv.out_channels))

    def _double(self, holder: fx.Node, tensor: str) -> fx.Node:
        return self.graph.call_method("double", (self.graph.get_attr(f"{holder.target}.{tensor}"),))

    def _call(self, function: Any, *operands: Any) -> fx.Node:
        return self.graph.call_function(function, operands)
