"""ExecuTorch's own way to an int8 .pte, as it is documented: prepare_pt2e, XNNPACKQuantizer, XnnpackPartitioner."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fxconv.targets.executorch.quiet import quiet


def lowered(model: nn.Module, images: Iterable[Tensor]) -> bytes:
    """The int8 program of a float model, its ranges from `images`, each `[1, C, H, W]`; weights have a scale a channel.

    Shapes are those of the first image, which is what the documentation does, too.
    """
    with quiet():
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        given = [image.contiguous() for image in images]
        exported = torch.export.export(model, (given[0],)).module()
        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(exported, quantizer)
        with torch.no_grad():
            for image in given:
                prepared(image)
        return _program(convert_pt2e(prepared), given[0])


def floating(model: nn.Module, image: Tensor) -> bytes:
    """The float program of a model, lowered in the same way."""
    with quiet():
        return _program(model, image.contiguous())


def _program(module: nn.Module, image: Tensor) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(module, (image,))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    return bytes(edge.to_executorch().buffer)
