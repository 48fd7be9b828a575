"""Small networks the tests convert, each showing one thing; also named on command lines as FILE.py:FACTORY."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn


class Tiny(nn.Module):
    """ReLU6, a residual addition, squeeze-and-excite, dropout and a linear layer, all of which can be int8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.block(x)
        scale = F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))
        y = y * F.hardsigmoid(self.excite(scale))
        x = x + y
        return self.head(self.drop(F.adaptive_avg_pool2d(x, 1).flatten(1)))


def tiny() -> nn.Module:
    return Tiny()


def other_tiny() -> nn.Module:
    """`tiny` with other weights: the same shapes, another function."""
    torch.manual_seed(99)
    return Tiny()


# Without these passes a convolution that pads otherwise than with zeros keeps its pad, and stays in float.
PAD_INSIDE = ("padding-modes",)


class OneFloatConvolution(nn.Module):
    """An int8 convolution, then one the engine refuses: quantized convolutions pad with zeros only.

    The pass padding-modes puts a pad in front of that; a test that wants it in float skips `PAD_INSIDE`.

    At 16x16 pixels the first takes 16*16*8 * 3*3*3 = 55,296 multiply-accumulates, the second
    16*16*4 * 8*3*3 = 73,728.
    """

    INT8_SHARE = 55_296 / (55_296 + 73_728)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 3, padding=1, padding_mode="circular")

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


def one_float_convolution() -> nn.Module:
    return OneFloatConvolution()


class TwoInputs(nn.Module):
    """Two images of one scene, seen by one layer and subtracted."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.layer(left) - self.layer(right)


def two_inputs() -> nn.Module:
    return TwoInputs()


class HotReLU6(nn.Module):
    """A convolution whose outputs reach far beyond 6, then ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu6 = nn.Conv2d(3, 8, 1), nn.ReLU6()
        with torch.no_grad():
            self.conv.weight.copy_(torch.linspace(-10, 10, 24).view(8, 3, 1, 1))
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu6(self.conv(x))


class UnfoldableReLU6(nn.Module):
    """ReLU6 behind a pool: there is no range of a layer to cap."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu6(F.max_pool2d(8 * self.first(x), 2)))


class Branching(nn.Module):
    """A forward that looks at values, which no symbolic trace can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return self.conv(x)
        return self.conv(-x)


def branching() -> nn.Module:
    return Branching()


def quantized_already() -> nn.Module:
    return nn.Sequential(torch.ao.nn.quantized.Conv2d(3, 4, 1))


def needs_an_argument(width: int) -> nn.Module:
    return nn.Conv2d(3, width, 1)


def not_a_module() -> int:
    return 3


class _Pyramid(nn.Module):
    """Three scales of features, as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()) for _ in range(2)
        )
        self.out_channels = 16

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        levels = {}
        for number, stage in enumerate(self.stages):
            x = stage(x)
            levels[f"p{number}"] = x
        levels["pool"] = F.max_pool2d(x, 1, 2, 0)
        return levels


class _Heads(nn.Module):
    """Class scores and boxes for every place of every level; one set of weights for all of them."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(inplace=True))
        self.logits, self.boxes = nn.Conv2d(16, classes, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        logits, boxes = [], []
        for level in features:
            y = self.tower(level)
            logits.append(self.logits(y).flatten(2).permute(0, 2, 1))
            boxes.append(self.boxes(y).flatten(2).permute(0, 2, 1))
        return {"logits": torch.cat(logits, 1), "boxes": torch.cat(boxes, 1)}


class Detector(nn.Module):
    """Backbone, heads on a list of levels, and in plain Python the best, those above a threshold, those not hidden.

    Iterating over the images of a batch does not trace.
    """

    BEST = 40

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Pyramid()
        self.heads = _Heads(self.backbone.out_channels, 3)

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        levels = list(self.backbone(images).values())
        found = self.heads(levels)
        return [self.selected(logits, boxes) for logits, boxes in zip(found["logits"], found["boxes"], strict=True)]

    def selected(self, logits: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        scores, labels = logits.sigmoid().max(1)
        scores, best = scores.topk(self.BEST)
        above = torch.where(scores > scores.mean())[0]
        scores, boxes, labels = scores[above], boxes[best[above]], labels[best[above]]
        corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:].abs()], 1)
        kept = torchvision.ops.nms(corners, scores, 0.5)
        return {"boxes": corners[kept], "scores": scores[kept], "labels": labels[kept]}


def detector() -> nn.Module:
    return Detector()


class Islanded(nn.Module):
    """Two convolutions with a float operation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.roll(torch.relu(self.first(x)), 1, 2))
