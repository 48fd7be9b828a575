"""The two small ExecuTorch programs beside this file, which the tests read where ExecuTorch is not installed.

    PATH=$(dirname $(which python)):$PATH python benchmarks/hostile/pte/write.py

int8.pte is a network in int8 as one delegate; mixed.pte a float one of two delegates, with kernels and a branch between
them, and constant methods. Written with ExecuTorch 1.5.1 and torch 2.14.1.
"""

from __future__ import annotations

from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

FOLDER = Path(__file__).parent


class Int8(nn.Module):
    """Convolutions of three kinds, a sum, an average and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide, self.point = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.wide(torch.relu(self.first(x)))
        return self.head(nn.functional.adaptive_avg_pool2d(x + self.point(x), 1).flatten(1))


class Mixed(nn.Module):
    """A convolution, a sum along channels that no delegate takes, a branch, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cumsum(torch.relu(self.first(x)), 1).mean((2, 3))
        x = torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x * 2, (x,))
        return self.head(x)


def main(folder: Path = FOLDER) -> None:
    """Write both into a folder, the one of this file."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 8, 8)
    prepared = prepare_pt2e(
        torch.export.export(Int8().eval(), (image,)).module(),
        XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True)),
    )
    for _ in range(4):
        prepared(torch.randn(1, 3, 8, 8))
    texts = {"fxconv_metadata": '{"schema": 1, "inputs": [{"shape": [1, 3, 8, 8]}]}', "fxconv_golden": '{"format": 1}'}
    write(folder / "int8.pte", convert_pt2e(prepared), image, texts)
    write(folder / "mixed.pte", Mixed().eval(), image, {"labels": "cat\ndog", "classes": 5, "sides": [8, 8]})


def write(path: Path, module: nn.Module, image: torch.Tensor, constants: dict[str, object]) -> None:
    exported = torch.export.export(module, (image,))
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()], constant_methods=constants)
    path.write_bytes(lowered.to_executorch().buffer)


if __name__ == "__main__":
    main()
