"""QuantStub and DeQuantStub where the int8 and float domains meet."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.base import RewritePass
from rewrites.domains import assign, ruling
from rewrites.edits import Editor
from rewrites.fusion import Fusion
from rewrites.kernels import Verdict
from rewrites.parts import prefixed
from rewrites.readers import asks_shape_alone
from rewrites.values import tensor_nodes


class QuantBoundaries(RewritePass):
    """A QuantStub or DeQuantStub stands wherever a value crosses between int8 and float.

    What it does: the kernel table decides for every operation whether it runs in int8. A float value read by int8
    operations gets one QuantStub, an int8 value read by float operations one DeQuantStub, shared by all who read it.

    Why: int8 kernels take quantized tensors only and float kernels float ones. As few conversions as
    possible, because each costs a pass over memory; every float island carries its reason.

    Leaves alone: operations that work on either kind of tensor follow the value they are given. Operations that the
    caller wants in float stay there, with the caller's reason.
    """

    name = "quant-boundaries"

    def __init__(self, keep_float: Mapping[str, str] | None = None) -> None:
        """`keep_float` maps names of nodes, behind the path of their graph, to why they must run in float."""
        self.kept = dict(keep_float or {})

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        for node in editor.nodes():
            if (name := prefixed(editor.path, node.name)) in self.kept:
                editor.keep_float(node, self.kept[name])
        domains = assign(graph_module)
        tensors = tensor_nodes(graph_module)
        # by what they read, which may be a stub from now on
        followers = Fusion(graph_module).forward
        refused = {node for node in domains.reasons if node in followers or ruling(graph_module, node) is Verdict.FLOAT}
        for node in editor.nodes():
            if node in domains.reasons:
                editor.skip(node, domains.reasons[node])
                if node in refused:
                    editor.keep_float(node, domains.reasons[node])
            in_int8 = node in domains.int8
            if node not in domains.int8 | domains.floating:
                continue
            users = [user for user in node.users if not asks_shape_alone(user, node)]
            across = [user for user in users if self._crosses(graph_module, user, domains.int8, in_int8, tensors)]
            if across and in_int8:
                editor.insert_module(
                    node, DeQuantStub(), f"dequant_{node.name}", across, f"{across[0].name} reads it in float"
                )
            elif across:
                editor.insert_module(
                    node, QuantStub(), f"quant_{node.name}", across, f"{across[0].name} reads it in int8"
                )

    @staticmethod
    def _crosses(
        graph_module: fx.GraphModule, user: fx.Node, int8: set[fx.Node], in_int8: bool, tensors: set[fx.Node]
    ) -> bool:
        if user.op == "call_module" and isinstance(
            graph_module.get_submodule(str(user.target)), (QuantStub, DeQuantStub)
        ):
            return False
        if user.op == "output":
            return in_int8
        return user in tensors and (user in int8) != in_int8

    @staticmethod
    def example() -> nn.Module:
        class Gated(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv1, self.act, self.conv2 = nn.Conv2d(8, 8, 1), nn.Softmax(1), nn.Conv2d(8, 8, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.conv2(self.act(self.conv1(x)))

        return Gated()
