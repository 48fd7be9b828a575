"""Conv2d(padding="same")  ->  the same layer with its padding in numbers."""

from __future__ import annotations

from torch import Tensor, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.passes.padding_modes import check_calls
from rewrites.values import calls_of, submodule

_Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
_ZERO_PADS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.ZeroPad1d,
    nn.Conv2d: nn.ZeroPad2d,
    nn.Conv3d: nn.ZeroPad3d,
}


def _sides(conv: _Convolution) -> list[tuple[int, int]]:
    """How many zeros torch puts before and behind, for each dimension: of an odd number the larger half behind."""
    if conv.padding == "valid":
        return [(0, 0) for _ in conv.kernel_size]
    totals = [dilation * (size - 1) for dilation, size in zip(conv.dilation, conv.kernel_size, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


class NumericPadding(RewritePass):
    """A convolution padded in words, `"same"` or `"valid"`, is padded in numbers.

    What it does: `"valid"` becomes 0, `"same"` the number of zeros it stands for. Where `"same"` takes an odd number of
    zeros (an even kernel), torch pads one more behind than in front: a `ZeroPad` in front of the layer adds that one.

    Why: quantized convolutions take numbers only, and in float optimize_for_mobile stops at such a layer with an
    assertion of its own.

    Leaves alone: convolutions with another padding mode (`"reflect"`, `"circular"`), of which padding-modes makes pads,
    and those with an even kernel in front of one of whose calls no pad can be put.
    """

    name = "numeric-padding"

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        for node in editor.nodes():
            conv = submodule(graph_module, node)
            if type(conv) not in _ZERO_PADS or conv.padding_mode != "zeros" or not isinstance(conv.padding, str):  # type: ignore[union-attr]
                continue
            assert isinstance(conv, _Convolution)
            word, sides = conv.padding, _sides(conv)
            # What torch does itself: the kernel pads the smaller half on both sides, so the values are the same bits.
            numbers = tuple(before for before, _ in sides)
            if any(behind > before for before, behind in sides):
                calls = calls_of(graph_module, node)
                try:
                    check_calls(graph_module, conv, calls)
                except Refusal as refusal:
                    editor.skip(node, str(refusal))
                    continue
                # A pad's sides are listed from the last dimension to the first.
                extra = [side for before, behind in reversed(sides) for side in (0, behind - before)]
                reason = f"{word!r} pads {max(extra)} more behind than in front, which a convolution cannot"
                for call in calls:
                    pad = _ZERO_PADS[type(conv)](tuple(extra))
                    editor.insert_module(call.all_input_nodes[0], pad, "pad", [call], reason, written_at=call)
            editor.set_attribute(node, "padding", numbers, f"int8 kernels take padding in numbers, not {word!r}")

    @staticmethod
    def example() -> nn.Module:
        class Same(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.odd, self.even = nn.Conv2d(8, 8, 3, padding="same"), nn.Conv2d(8, 8, 4, padding="same")

            def forward(self, x: Tensor) -> Tensor:
                return self.even(self.odd(x))

        return Same()
