"""images -> video -> images, and what stands in between: on images throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites import modules as m
from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.frames import FromColumns, FromFrames, ToColumns, ToFrames
from rewrites.passes._images import COLUMNS, as_video, form_of, images, is_plain, size, take_images
from rewrites.values import callee, submodule

# What is computed of each value alone gives the same on images.
_POINTWISE: frozenset[Callable[..., Any]] = frozenset(
    {
        nn.ReLU, nn.ReLU6, nn.Hardtanh, m.CappedReLU, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
        nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus, m.AddScalar, m.MulScalar,
    }
)  # fmt: skip
_WAYS = (ToFrames, FromFrames, ToColumns, FromColumns)


class JoinImages(RewritePass):
    """Neighbouring layers on the same images of a video hand on the images themselves.

    What it does: where a video made of images is taken apart into the same images again, the ways there and back
    vanish. An activation behind them is computed on the images, a concatenation of channels on columns.

    Why: an activation is fused with a convolution it follows directly, and every way there or back is an operation.

    Leaves alone: what needs the video as such (a pool over all of it), and sums and products, whose operands may differ
    in shape.
    """

    name = "join-images"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            called = callee(editor.graph_module, node)
            if called in _POINTWISE:
                form = form_of(editor.graph_module, node.all_input_nodes[0])
                if form is not None:
                    take_images(editor, node, form, form.there(), "it is computed of each value alone")
            elif called is m.Cat:
                self._join_channels(editor, node)
            else:
                self._cancel(editor, node)
        for node in reversed(list(editor.nodes())):
            unread = node.op == "call_method" and node.target == "size" and node.meta.get("rule")
            if not node.users and (unread or callee(editor.graph_module, node) in _WAYS):
                editor.erase(node, "nobody reads it any more")

    @staticmethod
    def _join_channels(editor: Editor, node: fx.Node) -> None:
        """A concatenation along the channels of videos made of images, whichever."""
        graph_module, cat = editor.graph_module, submodule(editor.graph_module, node)
        videos = node.all_input_nodes
        if getattr(cat, "dim", None) not in (1, -4) or not all(form_of(graph_module, video) for video in videos):
            return
        back = size(editor, videos[0], COLUMNS.dim, node)
        for video in videos:
            taken = images(editor, video, ToColumns(), node, "channels are joined where they stand")
            editor.redirect(node, video, taken, "channels are joined where they stand")
        editor.set_attribute(node, "dim", 1, "the channels of images")
        as_video(editor, node, COLUMNS, back)

    @staticmethod
    def _cancel(editor: Editor, node: fx.Node) -> None:
        """A way there right behind the way back, or a size of a video that its images tell."""
        module = submodule(editor.graph_module, node)
        video = node.args[0] if node.args else None
        form = form_of(editor.graph_module, video)
        if form is None or not isinstance(video, fx.Node):
            return
        if type(module) is form.there and is_plain(module):
            editor.remove(node, video.args[0], "the images it makes are those the video was made of")  # type: ignore[arg-type]
        elif node.op == "call_method" and node.target == "size" and node.args[1:] == (form.dim,):
            editor.remove(node, video.args[1], "the images tell it")  # type: ignore[arg-type]

    @staticmethod
    def example() -> nn.Module:
        class Neighbours(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.to_frames, self.from_frames = ToFrames(), FromFrames()
                self.act = nn.ReLU()

            def forward(self, x: Tensor) -> Tensor:
                video = self.from_frames(torch.cat([x, x.flip(1)]), 1)
                return self.to_frames(self.act(video))

        return Neighbours()
