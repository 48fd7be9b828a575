"""Convolutions however they are called: from the model to a verified file, all in int8 when their weight is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import fxconv


def drawn(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / torch.Size(shape[1:]).numel() ** 0.5)


class Known(nn.Module):
    """Weights that are standardized, masked, tied, transposed, in buffers, cast and expanded; every padding mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1, padding_mode="reflect")
        self.standardized, self.masked, self.tied = drawn(8, 8, 3, 3), drawn(8, 8, 3, 3), drawn(8, 8, 3, 3)
        self.register_buffer("mask", (torch.rand(8, 8, 3, 3) > 0.3).float())
        self.register_buffer("blur", torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16, persistent=False)
        self.norm = nn.BatchNorm2d(8)
        self.replicated = nn.Conv2d(8, 8, 3, padding=1, padding_mode="replicate")
        self.round = nn.Conv2d(8, 8, 3, padding="same", padding_mode="circular")
        self.up, self.mix, self.classes = drawn(8, 8, 4, 4), drawn(8, 8), drawn(8, 5)

    def forward(self, x):
        x = F.relu(self.first(x))
        std, mean = torch.std_mean(self.standardized, (1, 2, 3), keepdim=True)
        x = F.relu(self.norm(F.conv2d(x, (self.standardized - mean) / std, padding=1)))
        x = F.relu(F.conv2d(x, self.masked * self.mask, padding=1))
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), self.blur.to(x).expand(x.shape[1], 1, 3, 3), groups=x.shape[1])
        for _ in range(2):
            x = F.relu(F.conv2d(x, self.tied, padding="same"))
        x = self.round(F.relu(self.replicated(x)))
        x = F.relu(F.conv_transpose2d(x, self.up, stride=2, padding=1))
        x = torch.einsum("bchw,oc->bohw", x, self.mix)
        return x.mean((2, 3)) @ F.normalize(self.classes, dim=0)


def test_all_of_it_is_int8():
    torch.manual_seed(0)
    model = Known().eval()
    conversion = fxconv.convert(model, [torch.randn(4, 3, 16, 16) for _ in range(2)], recipe=("none",))
    assert conversion.verdict == "converted and verified" and conversion.rewritten.islands == ()
    images = torch.randn(2, 3, 24, 16)  # neither the size nor the batch it was traced with
    wanted = model(images).detach()
    error = conversion.int8(images) - wanted
    assert 10 * torch.log10(wanted.square().sum() / error.square().sum()) > 20


class Masked(nn.Conv2d):
    """PixelCNN's convolution: what the weight may not see is set to zero in place, in every run."""

    def __init__(self, *sizes: int, sees_itself: bool) -> None:
        super().__init__(*sizes, padding=sizes[2] // 2, bias=sees_itself)
        self.register_buffer("mask", torch.ones_like(self.weight))
        middle = sizes[2] // 2
        self.mask[:, :, middle, middle + sees_itself :] = 0
        self.mask[:, :, middle + 1 :] = 0

    def forward(self, x):
        self.weight.data *= self.mask
        return super().forward(x)


class MaskedWavelets(nn.Module):
    """Wavelets of the image, one kernel for each of its channels, and masked convolutions of them."""

    def __init__(self) -> None:
        super().__init__()
        sums = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
        self.haar = nn.Parameter(sums.view(4, 1, 2, 2), requires_grad=False)
        self.mix, self.norm = nn.Conv2d(12, 8, 1), nn.BatchNorm2d(8)
        self.first, self.second = Masked(8, 8, 5, sees_itself=False), Masked(8, 12, 3, sees_itself=True)

    def forward(self, x):
        kernel = self.haar.repeat(x.shape[1], 1, 1, 1)
        y = F.relu(self.mix(F.conv2d(x, kernel, stride=2, groups=x.shape[1])))
        y = self.second(F.relu(self.norm(self.first(y))))
        return F.conv_transpose2d(y, kernel, stride=2, groups=x.shape[1])


def test_masked_weights_and_wavelets_are_int8():
    torch.manual_seed(0)
    model = MaskedWavelets().eval()
    conversion = fxconv.convert(model, [torch.randn(4, 3, 16, 16) for _ in range(2)], recipe=("none",))
    assert conversion.verdict == "converted and verified" and conversion.rewritten.islands == ()
    assert conversion.rewritten.unfolded_norms == ()
    images = torch.randn(2, 3, 24, 16)
    wanted = model(images).detach()
    error = conversion.int8(images) - wanted
    assert 10 * torch.log10(wanted.square().sum() / error.square().sum()) > 20
