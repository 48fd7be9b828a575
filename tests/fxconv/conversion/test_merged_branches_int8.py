"""Blocks of parallel branches, from the model to a verified file: one int8 convolution each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxconv


class Branches(nn.Module):
    """A convolution, a pointwise one, and a batch norm of the value itself where it fits."""

    def __init__(self, given: int, made: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.large = nn.Conv2d(given, made, 3, stride, 1, groups=groups, bias=False)
        self.small = nn.Conv2d(given, made, 1, stride, groups=groups, bias=False)
        self.large_norm, self.small_norm = nn.BatchNorm2d(made), nn.BatchNorm2d(made)
        self.norm = nn.BatchNorm2d(made) if given == made and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        identity = 0 if self.norm is None else self.norm(x)
        return F.relu(identity + self.large_norm(self.large(x)) + self.small_norm(self.small(x)))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.deep = Branches(3, 16, 2), Branches(16, 16), Branches(16, 16, groups=16)
        self.classes = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.deep(self.second(self.first(x))).mean((2, 3)))


def test_a_block_is_one_int8_operation():
    torch.manual_seed(0)
    model = Network()
    model(torch.randn(32, 3, 16, 16))  # so that the batch norms know what they see
    model.eval()
    conversion = fxconv.convert(model, [torch.randn(4, 3, 16, 16) for _ in range(2)], recipe=("none",))
    assert conversion.verdict == "converted and verified"
    assert conversion.rewritten.islands == conversion.rewritten.unfolded_norms == ()
    operators = [row.operator for row in conversion.audit.operations]
    assert operators == ["Quantize", *["ConvReLU2d"] * 3, ".mean()", "Linear", "DeQuantize"]
    images = torch.randn(2, 3, 24, 16)  # neither the size nor the batch it was traced with
    wanted = model(images).detach()
    error = conversion.int8(images) - wanted
    assert 10 * torch.log10(wanted.square().sum() / error.square().sum()) > 20
