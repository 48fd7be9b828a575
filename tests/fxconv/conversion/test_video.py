"""Networks on videos [N, C, T, H, W]: whole in int8, from calibration to the written file."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fxconv
from fxconv.conversion import Conversion
from fxconv.quantization import engine
from fxconv.targets.mobile.lite_file import load_lite_bytes


def unit(channels_in: int, channels_out: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Sequential:
    strides = tuple(stride if size > 1 else 1 for size in kernel)
    padding = tuple(size // 2 for size in kernel)
    conv = nn.Conv3d(channels_in, channels_out, kernel, strides, padding, bias=False)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.BatchNorm3d(channels_out), nn.ReLU(inplace=True))


class Branches(nn.Module):
    """A convolution in space and time, one of each pixel, and one behind a pool, side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.space, self.time = unit(channels, 16, (1, 3, 3)), unit(16, 16, (3, 1, 1))
        self.pixel = unit(channels, 8, (1, 1, 1))
        self.pool, self.pooled = nn.MaxPool3d(3, 1, 1), unit(channels, 8, (1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.pixel(x), self.time(self.space(x)), self.pooled(self.pool(x))], 1)


class Residual(nn.Module):
    """Two separated convolutions that halve the video, and a shortcut past them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.space, self.time = unit(channels, 24, (1, 3, 3), 2), nn.Conv3d(24, 32, (3, 1, 1), (2, 1, 1), (1, 0, 0))
        self.norm, self.shortcut = nn.BatchNorm3d(32), nn.Conv3d(channels, 32, 1, 2)
        self.gate = nn.Conv3d(32, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.time(self.space(x)))
        y = torch.relu(y + self.shortcut(x))
        return y * torch.sigmoid(self.gate(y.mean((2, 3, 4), keepdim=True)))


class Video(nn.Module):
    """A stem, branches, a residual block, a pool over all of it, and a classifier on what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(unit(3, 16, (1, 5, 5), 2), unit(16, 16, (5, 1, 1), 2))
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.branches, self.residual = Branches(16), Residual(32)
        self.average, self.classifier = nn.AvgPool3d((2, 2, 2), stride=1), nn.Conv3d(32, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.residual(self.branches(self.pool(self.stem(x))))
        return self.classifier(self.average(x)).mean((2, 3, 4))


class Spanning(nn.Module):
    """Kernels that span time and space at once, padded at all ends, one of them depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = unit(3, 16, (3, 5, 5), 2), unit(16, 16, (3, 3, 3))
        self.depthwise, self.head = nn.Conv3d(16, 16, 3, 1, 1, groups=16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.stem(x))
        x = torch.relu(self.depthwise(x) + x)
        return self.head(nn.functional.adaptive_avg_pool3d(x, 1).flatten(1))


class Patches(nn.Module):
    """A patch embedding, whose kernels span time and space and do not overlap, and a layer on its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv3d(3, 24, (2, 4, 4), (2, 4, 4)), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x).flatten(2).transpose(1, 2)).mean(1)


def converted(model: nn.Module, shape: tuple[int, ...] = (3, 8, 24, 20)) -> Conversion:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, *shape, generator=generator) for _ in range(3)]
    with torch.no_grad():
        for norm in (part for part in model.train().modules() if isinstance(part, nn.BatchNorm3d)):
            norm.momentum = None
        model(torch.cat(batches))
    return fxconv.convert(model.eval(), batches, recipe=("none",))


@pytest.mark.parametrize("kind", [Video, Spanning, Patches])
def test_wholly_right(kind):
    torch.manual_seed(0)
    conversion = converted(kind())
    assert conversion.verdict == "converted and verified"
    assert conversion.artifact.int8_macs_share == 1.0
    # an average of values of either sign that is the answer is worked out behind int8
    answers = set() if kind is Spanning else {"aten::mean"}
    assert {name for name in conversion.artifact.float_calls if "squeeze" not in name} == answers
    assert len(conversion.rewritten.islands) == len(answers)
    assert conversion.artifact.calls["aten::quantize_per_tensor"] == conversion.artifact.calls["aten::dequantize"] == 1
    assert [row.max_abs_diff for row in conversion.ledger[3:]] == [0, 0, 0]
    assert conversion.audit.worst <= 1


def test_the_artifact_takes_as_many_frames_and_pixels_as_the_model():
    torch.manual_seed(0)
    model = nn.Sequential(unit(3, 8, (1, 3, 3), 2), unit(8, 8, (3, 1, 1), 2), nn.MaxPool3d(3, 2, 1), nn.Conv3d(8, 8, 1))
    conversion = converted(model)
    with engine.engine("qnnpack"):
        module = load_lite_bytes(conversion.artifact.data)
    for shape in [(1, 3, 8, 24, 20), (1, 3, 11, 17, 33), (3, 3, 4, 16, 16)]:
        video = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad(), engine.engine("qnnpack"):
            assert torch.equal(module(video), conversion.int8(video))
            assert module(video).shape == model(video).shape
