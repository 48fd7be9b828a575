"""conv(x) with a bias  ->  conv(x) without one, plus the bias."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.fusion import fusable_nodes
from rewrites.kernels import MULTIPLY_ACCUMULATE
from rewrites.parts import prefixed
from rewrites.values import callee, calls_of, module_scope, modules_read_inside, submodule, tensor_nodes

_CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def behind(graph_module: fx.GraphModule, node: fx.Node) -> set[fx.Node]:
    """All that is computed from the tensor that `node` gives; numbers such as its sizes lead nowhere."""
    tensors, found, queue = tensor_nodes(graph_module), set[fx.Node](), [node]
    while queue:
        for user in queue.pop().users:
            if user in tensors and user not in found:
                found.add(user)
                queue.append(user)
    return found


def leading_to(graph_module: fx.GraphModule, is_layer: Callable[[fx.Node], bool]) -> set[fx.Node]:
    """The nodes whose tensors such a layer reads, at once or after any operations."""
    tensors, found = tensor_nodes(graph_module), set[fx.Node]()
    for node in reversed(graph_module.graph.nodes):
        if node in tensors and any(user in found or (user in tensors and is_layer(user)) for user in node.users):
            found.add(node)
    return found


def last_layers(graph_module: fx.GraphModule) -> dict[fx.Node, tuple[fx.Node, ...]]:
    """The convolutions and linear layers that none is behind, each with the batch norm that runs as one with it."""
    layers = {node for node in graph_module.graph.nodes if callee(graph_module, node) in MULTIPLY_ACCUMULATE}
    leads_on = leading_to(graph_module, layers.__contains__)
    norms = {
        chain[0]: chain[1]
        for chain in fusable_nodes(graph_module)
        if callee(graph_module, chain[1]) in _NORMS and chain[0] in layers
    }
    last = [node for node in graph_module.graph.nodes if node in layers - leads_on]
    return {node: (node, norms[node]) if node in norms else (node,) for node in last}


def bias_holder(graph_module: fx.GraphModule, chain: tuple[fx.Node, ...]) -> nn.Module:
    """The module of a layer, or its batch norm, whose bias is added last. Raises `Refusal` where none can be moved."""
    head, end = chain[0], chain[-1]
    layer, holder = submodule(graph_module, head), submodule(graph_module, end)
    if type(layer) not in (*_CONVOLUTIONS, nn.Linear):
        raise Refusal("it is no convolution or linear layer with a bias of its own")
    assert holder is not None
    if not isinstance(holder._parameters.get("bias"), Tensor):
        raise Refusal(f"{end.target} has no bias")
    if not set(calls_of(graph_module, head)) <= last_layers(graph_module).keys():
        raise Refusal("it is called at another place, too, where a layer reads what it gives")
    if id(holder) in modules_read_inside(graph_module):
        raise Refusal(f"the weights of {end.target} are also read by name")
    return holder


class BiasToAdd(RewritePass):
    """The bias of a layer at the end is added behind it, by an addition in float.

    What it does: the layer, or the batch norm that is fused with it, hands its bias on to an addition behind it. The
    parameter stays the one it is, under a name beside the layer's: `fc.bias` becomes `fc_bias`. An
    activation that was fused with the layer reads the sum, in float.

    Why: the int8 steps of a layer's output are spread over all of its range. Where the bias is large and the products
    vary by little, most steps are spent on values that never come, and int8 answers a constant.

    Leaves alone: layers that were not named to it (all that no other layer is behind, unless any are named), and those
    whose bias is read by name, or used in a place that is not at the end as well. Where a layer is called at several
    places at the end, its one bias is added behind each.

    Declared tolerance: 1e-5 of the output's largest magnitude, because the sum is formed in another order.
    """

    name = "bias-to-add"
    tolerance = 1e-5

    def __init__(self, layers: Mapping[str, str] | None = None) -> None:
        """`layers` maps names of nodes, behind the path of their graph, to why."""
        self.layers = layers

    def run(self, editor: Editor) -> None:
        graph_module, ends = editor.graph_module, last_layers(editor.graph_module)
        moved = set[fx.Node]()
        for node in editor.nodes():
            if node not in ends or node in moved:
                continue
            reason = "nothing but an addition behind it needs the bias"
            if self.layers is not None:
                if (name := prefixed(editor.path, node.name)) not in self.layers:
                    continue
                reason = self.layers[name]
            try:
                bias_holder(graph_module, ends[node])
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            parent, _, leaf = str(ends[node][-1].target).rpartition(".")
            path = editor.free_path(parent, f"{leaf}_bias")
            editor.move_parameter(ends[node][-1], "bias", path, reason)
            moved.update(calls_of(graph_module, node))  # the module has one bias, wherever it is called
            for call in calls_of(graph_module, node):
                self._add(editor, ends[call], path, reason)

    @staticmethod
    def _add(editor: Editor, chain: tuple[fx.Node, ...], path: str, reason: str) -> None:
        end, layer = chain[-1], submodule(editor.graph_module, chain[0])
        readers, place, scope = list(end.users), end.next, module_scope(end)
        bias = editor.insert_call(place, "get_attr", path, (), path.replace(".", "_"), reason, scope, written_at=end)
        if isinstance(layer, _CONVOLUTIONS):  # whose channels have so many dimensions behind them
            shape = (-1, *(1 for _ in layer.kernel_size))
            name = f"{bias.name}_view"
            bias = editor.insert_call(place, "call_method", "view", (bias, *shape), name, reason, scope, written_at=end)
        total = editor.insert_call(
            place, "call_function", operator.add, (end, bias), f"{end.name}_add", reason, scope, written_at=end
        )
        editor.keep_float(total, reason)
        for reader in readers:
            editor.redirect(reader, end, total, reason)

    @staticmethod
    def example() -> nn.Module:
        class Head(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

            def forward(self, x: Tensor) -> Tensor:
                return self.fc(self.conv(x).mean((2, 3)))

        return Head()
