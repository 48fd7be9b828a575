"""Detectors that find objects as the peaks of a heatmap, on torchvision's backbones.

Zhou et al. 2019, Objects as Points: a backbone of output stride 32, three transposed convolutions that bring it to
stride 4, and for each head a 3x3 convolution, a ReLU and a 1x1 convolution. `HeatmapPeaks` makes detections of the
first head.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision import models as zoo

from fxconv.models.heatmap_peaks import HeatmapPeaks

__all__ = ["BACKBONES", "HeatmapDetector", "HeatmapPeaks", "detector", "heads_in"]

# Channels of the three transposed convolutions, and of a head's hidden layer, as in the paper's ResNets.
UPSAMPLED, HIDDEN = 256, 64
# The bias of a heatmap's last layer: -log((1 - p) / p) for p = 0.1, so that training does not begin with peaks all over
# (Lin et al. 2017, Focal Loss for Dense Object Detection, 3.3).
PRIOR = -2.19
STRIDE = 4
HEADS: Mapping[str, int] = {"hm": 1}


class HeatmapDetector(nn.Module):
    """From images `[N, 3, H, W]`, H and W multiples of 32, to heatmaps of logits `[N, C, H / 4, W / 4]`.

    `backbone` are the feature layers by torchvision's own names (`features`, or `conv1` to `layer4`), so that the
    backbone of a torchvision checkpoint loads by `load_backbone`; they end in `channels` channels. `heads` are names
    and channels. With one head the output is its tensor, with several a dict of them by their names. A head whose name
    begins with `hm` is a heatmap: its last bias starts at -2.19.

    Raises `ValueError` for heads without a usable name or without channels.
    """

    def __init__(
        self,
        backbone: Mapping[str, nn.Module],
        channels: int,
        heads: Mapping[str, int] = HEADS,
        hidden: int = HIDDEN,
    ) -> None:
        super().__init__()
        for name, module in backbone.items():
            self.add_module(name, module)
        self.stages, self.heads = tuple(backbone), dict(heads)
        self.deconv_layers = nn.Sequential(*_upsampling(channels))
        if not heads:
            raise ValueError("a detector needs at least one head, such as hm:1")
        for name, size in heads.items():
            if not name.isidentifier() or hasattr(self, name):
                raise ValueError(f"head {name!r}: give a name that is a word and not taken, such as hm, wh or reg")
            if size < 1:
                raise ValueError(f"head {name}: {size} channels; give at least 1")
            self.add_module(name, _head(name, size, hidden))

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Logits of the only head, or of each head by its name."""
        features = images
        for name in self.stages:
            features = getattr(self, name)(features)
        features = self.deconv_layers(features)
        if len(self.heads) == 1:
            only: Tensor = getattr(self, next(iter(self.heads)))(features)
            return only
        return {name: getattr(self, name)(features) for name in self.heads}

    def load_backbone(self, state: Mapping[str, Tensor]) -> None:
        """Take the feature layers of a torchvision classifier. Raises `RuntimeError` if its state_dict lacks some."""
        own = [name for name in self.state_dict() if name.partition(".")[0] in self.stages]
        missing = [name for name in own if name not in state]
        if missing:
            raise RuntimeError(f"the checkpoint lacks {len(missing)} of the backbone's tensors, such as {missing[0]}")
        self.load_state_dict({**self.state_dict(), **{name: state[name] for name in own}})


def _upsampling(channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for given in (channels, UPSAMPLED, UPSAMPLED):
        up = nn.ConvTranspose2d(given, UPSAMPLED, 4, stride=2, padding=1, bias=False)
        _interpolate_bilinearly(up)
        layers += [up, nn.BatchNorm2d(UPSAMPLED), nn.ReLU(inplace=True)]
    return layers


def _interpolate_bilinearly(up: nn.ConvTranspose2d) -> None:
    """Give every kernel the shape of bilinear interpolation, and keep the size and sign that it was drawn with.

    The paper's code sets it for one input channel of each output alone, which only a depthwise layer can do with.
    """
    size = up.kernel_size[0]
    centre = (size - 1) / 2
    slope = 1 - (torch.arange(size) - centre).abs() / math.ceil(size / 2)
    kernel = slope[:, None] * slope[None]
    with torch.no_grad():
        up.weight.copy_(up.weight.mean((2, 3), keepdim=True) * size * kernel)


def _head(name: str, size: int, hidden: int) -> nn.Sequential:
    last = nn.Conv2d(hidden, size, 1)
    nn.init.constant_(last.bias, PRIOR if name.startswith("hm") else 0.0)  # type: ignore[arg-type]
    return nn.Sequential(nn.Conv2d(UPSAMPLED, hidden, 3, padding=1), nn.ReLU(inplace=True), last)


def _of_features(name: str) -> tuple[dict[str, nn.Module], int]:
    features = getattr(zoo, name)(weights=None).features
    return {"features": features}, features[-1][0].out_channels


def _of_resnet(name: str) -> tuple[dict[str, nn.Module], int]:
    network = getattr(zoo, name)(weights=None)
    stages = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return OrderedDict((stage, getattr(network, stage)) for stage in stages), network.fc.in_features


BACKBONES = {"mobilenet_v3_small": _of_features, "mobilenet_v3_large": _of_features, "resnet18": _of_resnet}
"""The backbones that can be named, and what makes their feature layers and counts their channels."""


def detector(backbone: str, heads: Mapping[str, int] = HEADS, hidden: int = HIDDEN) -> HeatmapDetector:
    """A detector on one of `BACKBONES`, with fresh weights. Raises `KeyError` for another name."""
    layers, channels = BACKBONES[backbone](backbone)
    return HeatmapDetector(layers, channels, heads, hidden)


def heads_in(state: Mapping[str, Tensor]) -> tuple[dict[str, int], int]:
    """Names and channels of the heads a detector's state_dict has, in their order, and their hidden channels."""
    found = {
        name.removesuffix(".2.weight"): (len(weight), weight.shape[1])
        for name, weight in state.items()
        if name.count(".") == 2 and name.endswith(".2.weight") and weight.shape[2:] == (1, 1)
    }
    return {name: size for name, (size, _) in found.items()}, next((hidden for _, hidden in found.values()), HIDDEN)
