"""Networks with every kind of int8 operation that a .pte's proof looks at, converted, and their Q/DQ forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import fxconv
from fxconv.conversion import Conversion
from fxconv.targets.qdq.form import qdq_form
from rewrites.parts import graphs_in

Image = tuple[Tensor]


class Small(nn.Module):
    """A convolution with ReLU, one without, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(F.relu(self.first(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Many(nn.Module):
    """Convolutions of all kinds, one of them shared, a sum, a product, cat, chunk, hard-swish and hard-sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depth = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(8, 6, 2, 2), nn.Linear(14, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.stem(x))
        y = F.hardswish(self.depth(x))
        w = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        y = x + y * w
        y = self.shared(F.relu(self.shared(y)))
        a, b = self.grouped(y).chunk(2, 1)
        z = torch.cat([F.max_pool2d(y, 2), F.max_pool2d(torch.cat([b, a], 1), 2)], 1)
        u = self.up(y)
        pooled = [F.adaptive_avg_pool2d(value, 1).flatten(1) for value in (u, y)]
        return self.head(torch.cat(pooled, 1)), z


class Parts(nn.Module):
    """Two parts that trace, one of them called twice, in a forward that goes through the images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.stack([image * 0.5 for image in self.body(x)])
        found: Tensor = self.head(self.body(y))
        return found


@dataclass(frozen=True)
class Made:
    """A converted network, what int8 was made of, its Q/DQ form, and two images."""

    conversion: Conversion
    int8: nn.Module
    floating: nn.Module
    qdq: nn.Module
    images: list[Image]

    def form(self, path: str = "") -> fx.GraphModule:
        """A graph of the Q/DQ form."""
        return graphs_in(self.qdq)[path]


def made(model: Callable[[], nn.Module], size: int = 16) -> Made:
    """The network with seeded weights, converted on eight images of noise."""
    torch.manual_seed(0)
    network = model().eval()
    batch = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    conversion = fxconv.convert(network, calibration=[batch], recipe=("none",), min_sqnr=-100)
    torch.backends.quantized.engine = "qnnpack"
    assert conversion.kept is not None
    images: list[Image] = [(batch[:1],), (batch[1:2],)]
    form = qdq_form(conversion.int8, images[0])
    return Made(conversion, conversion.int8, conversion.kept.quantized.floating(), form, images)
