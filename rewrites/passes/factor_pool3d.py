"""MaxPool3d and ZeroPad3d  ->  one in two dimensions within frames, one along time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.passes._images import COLUMNS, FRAMES, Form, images, size, take_images
from rewrites.values import submodule

_NOTHING = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}


def _triple(value: Any) -> tuple[int, int, int]:
    return (value, value, value) if isinstance(value, int) else tuple(value)


def _max_pools(pool: nn.MaxPool3d) -> list[tuple[Form, nn.Module]]:
    """The pool within frames and the one along time; the largest of the largest is the largest."""
    settings = {name: _triple(getattr(pool, name)) for name in _NOTHING}
    parts: list[tuple[Form, nn.Module]] = []
    within = {name: (height, width) for name, (_, height, width) in settings.items()}
    if any(within[name] != (nothing, nothing) for name, nothing in _NOTHING.items() if name != "dilation"):
        parts.append((FRAMES, nn.MaxPool2d(**within, ceil_mode=pool.ceil_mode)))  # type: ignore[arg-type]
    along = {name: (settings[name][0], nothing) for name, nothing in _NOTHING.items()}
    if any(along[name] != (nothing, nothing) for name, nothing in _NOTHING.items() if name != "dilation") or not parts:
        parts.append((COLUMNS, nn.MaxPool2d(**along, ceil_mode=pool.ceil_mode)))  # type: ignore[arg-type]
    return parts


def _zero_pads(pad: nn.ZeroPad3d) -> list[tuple[Form, nn.Module]]:
    """The pad within frames and the one along time."""
    *within, before, behind = pad.padding
    parts: list[tuple[Form, nn.Module]] = []
    if any(within):
        parts.append((FRAMES, nn.ZeroPad2d(tuple(within))))  # type: ignore[arg-type]
    if before or behind or not parts:
        parts.append((COLUMNS, nn.ZeroPad2d((0, 0, before, behind))))
    return parts


class FactorPool3d(RewritePass):
    """A 3-D max-pool becomes one within frames and one along time, a 3-D zero-pad likewise.

    What it does: `nn.MaxPool3d` becomes an `nn.MaxPool2d` on the frames of all videos as one batch of images, then one
    on images with time as their height; either is left out where it would do nothing. `nn.ZeroPad3d` becomes two
    `nn.ZeroPad2d` in the same way. Both give the same bits.

    Why: the engine has no quantized 3-D max-pool, and does not pad a quantized video in the memory layout in which
    convolutions hand it on.

    Leaves alone: a max-pool that also returns where its values stood, which has no quantized kernel in two dimensions
    either.
    """

    name = "factor-pool3d"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            module = submodule(editor.graph_module, node)
            if "float_reason" in node.meta:
                continue
            if type(module) is nn.MaxPool3d and module.return_indices:
                editor.skip(node, "a max-pool that returns indices has no int8 kernel")
            elif type(module) is nn.MaxPool3d:
                self._replace(
                    editor, node, _max_pools(module), "max_pool2d", "the engine has no quantized 3-D max-pool"
                )
            elif type(module) is nn.ZeroPad3d:
                why = "the engine pads no quantized video whose channels come last"
                self._replace(editor, node, _zero_pads(module), "pad", why)

    @staticmethod
    def _replace(editor: Editor, node: fx.Node, parts: list[tuple[Form, nn.Module]], stem: str, reason: str) -> None:
        video = node.all_input_nodes[0]
        for form, part in parts[:-1]:
            taken = images(editor, video, form.there(), node, reason)
            back = size(editor, video, form.dim, node)
            given = editor.insert_before(node, part, (taken,), stem, reason)
            video = editor.insert_before(node, form.back(), (given, back), f"from_{form.name}", reason)
        form, part = parts[-1]
        editor.replace_with_module(node, part, (video,), stem, reason)
        take_images(editor, node, form, form.there(), reason)

    @staticmethod
    def example() -> nn.Module:
        class Pooled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.pool = nn.MaxPool3d(3, 2, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.pool(x.unsqueeze(0)).flatten(1, 2)

        return Pooled()
