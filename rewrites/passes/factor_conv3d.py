"""Conv3d and BatchNorm3d  ->  Conv2d and BatchNorm2d on the frames or columns of the video."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.frames import ToColumns, ToFrames
from rewrites.passes._images import COLUMNS, FRAMES, Form, form_of, take_images
from rewrites.values import calls_of, modules_read_inside, submodule


def _within_columns(conv: nn.Conv3d) -> bool:
    """Whether each pixel is convolved along time alone."""
    return conv.kernel_size[1:] == conv.stride[1:] == (1, 1) and conv.padding[1:] == (0, 0)


def _form(graph_module: fx.GraphModule, node: fx.Node, conv: nn.Conv3d) -> Form:
    """The images on which a 2-D convolution computes what `conv` does on the video. Raises `Refusal` for none."""
    if conv.padding_mode != "zeros":
        raise Refusal(f"quantized convolutions pad with zeros only, not {conv.padding_mode!r}")
    if isinstance(conv.padding, str):
        raise Refusal(f"its padding is not in numbers but {conv.padding!r}")
    if not conv.weight.is_contiguous():
        raise Refusal("its weights do not lie in memory in the order of their dimensions")
    if not _within_columns(conv):
        return FRAMES
    is_pointwise = conv.kernel_size[0] == conv.stride[0] == 1 and conv.padding[0] == 0
    return form_of(graph_module, node.all_input_nodes[0]) or FRAMES if is_pointwise else COLUMNS


def _windows(conv: nn.Conv3d) -> ToFrames:
    """The frames each result is made of."""
    taps, spread = conv.kernel_size[0], conv.dilation[0]
    return ToFrames(taps, conv.stride[0], int(conv.padding[0]), spread if taps > 1 else 1)


def _conv2d(conv: nn.Conv3d, form: Form) -> nn.Conv2d:
    """The convolution on images; its weight is a view of the original's, its bias the same parameter."""
    weight = conv.weight.detach()
    weight = weight.flatten(3) if form is COLUMNS else weight.flatten(1, 2)

    def both(values: tuple[int, ...], across: int) -> tuple[int, int]:
        return (values[0], across) if form is COLUMNS else (values[1], values[2])

    made = nn.Conv2d(
        weight.shape[1] * conv.groups,
        conv.out_channels,
        (weight.shape[2], weight.shape[3]),
        both(conv.stride, 1),
        both(conv.padding, 0),  # type: ignore[arg-type]
        both(conv.dilation, 1),
        conv.groups,
        device="meta",
    )
    made.weight, made.bias = nn.Parameter(weight, conv.weight.requires_grad), conv.bias
    return made


def _batch_norm2d(norm: nn.BatchNorm3d) -> nn.BatchNorm2d:
    """The same batch norm, on images: its parameters and statistics are the same tensors."""
    made = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, "meta")
    for name, parameter in norm._parameters.items():
        made.register_parameter(name, parameter)
    for name, buffer in norm._buffers.items():
        made.register_buffer(name, buffer)
    return made


def _check_readers(graph_module: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Refuses when the module is also reached in other ways than by calls of the graph."""
    if id(module) in modules_read_inside(graph_module):
        raise Refusal(f"the weights of {node.target} are also read by name")
    for other in graph_module.graph.nodes:
        whole = submodule(graph_module, other)
        if whole is not None and whole is not module and any(part is module for part in whole.modules()):
            raise Refusal(f"it is also called inside {other.target}, on videos")


class FactorConv3d(RewritePass):
    """A 3-D convolution becomes a 2-D one on the frames of a video, or on its columns.

    What it does: a kernel 1xkxk convolves the frames of all videos as one batch of images; a kernel kx1x1 an image a
    video with time as its height and all pixels as its width: between int8 layers neither moves a byte. A kernel that
    spans time and space takes the frames it spans as channels of one image, for which they are copied. The batch norm
    behind it becomes a 2-D one with it. Weights are views of the original ones, so old checkpoints load.

    Why: qnnpack cannot save a quantized 3-D convolution, so all of these would run in float.

    Leaves alone: padding with anything but zeros, which no quantized convolution does; it runs in float, with the
    reason. Declared tolerance: 1e-5 of the output's largest magnitude, because a 2-D convolution sums in another order.
    """

    name = "factor-conv3d"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            module = submodule(editor.graph_module, node)
            if type(module) not in (nn.Conv3d, nn.BatchNorm3d) or "float_reason" in node.meta:
                continue
            try:
                _check_readers(editor.graph_module, node, module)  # type: ignore[arg-type]
                if isinstance(module, nn.Conv3d):
                    form = _form(editor.graph_module, node, module)
                    self._replace(editor, node, _conv2d(module, form), form, module)
                else:
                    self._factor_norm(editor, node, module)  # type: ignore[arg-type]
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                if isinstance(module, nn.Conv3d):
                    editor.keep_float(node, str(refusal))

    @staticmethod
    def _replace(editor: Editor, node: fx.Node, made: nn.Module, form: Form, old: nn.Module) -> None:
        calls = calls_of(editor.graph_module, node)
        words = "each frame is an image" if form is FRAMES else "time is its height, all pixels its width"
        for path in dict.fromkeys(str(call.target) for call in calls):
            first = next(call for call in calls if call.target == path)
            editor.replace_module(first, made, f"it computes the same in two dimensions: {words}")
        for call in calls:
            there: nn.Module = ToColumns()
            if form is FRAMES:
                there = _windows(old) if isinstance(old, nn.Conv3d) else ToFrames()
            take_images(editor, call, form, there, words)

    def _factor_norm(self, editor: Editor, node: fx.Node, norm: nn.BatchNorm3d) -> None:
        if norm.running_mean is None:
            raise Refusal("it keeps no running statistics, which its kernel needs")
        video = node.all_input_nodes[0]
        if type(submodule(editor.graph_module, video)) in (nn.Conv3d, nn.ConvTranspose3d):
            raise Refusal(f"it is fused with {video.name}, which stays three-dimensional")
        self._replace(editor, node, _batch_norm2d(norm), form_of(editor.graph_module, video) or FRAMES, norm)

    @staticmethod
    def example() -> nn.Module:
        class Separable(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.within = nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1))
                self.along = nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0))
                self.bn = nn.BatchNorm3d(8)

            def forward(self, x: Tensor) -> Tensor:
                video = torch.stack([x, x.flip(1)], 2)
                return self.bn(self.along(self.within(video))).mean(2)

        return Separable()
