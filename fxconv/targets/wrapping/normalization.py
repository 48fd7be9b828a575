"""Normalization inside the artifact: uint8 pixels in, so that a phone cannot normalize otherwise than training did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torchvision.transforms import functional as F

from fxconv.errors import ConversionError, UserError
from fxconv.models import forward
from fxconv.models.preprocessing import Preprocessing
from fxconv.targets.wrapping.tensors import OnlyTraced
from fxconv.verification import parity
from fxconv.wording import counted


class Normalize(nn.Module):
    """uint8 `[N, C, ...]` to float32, scaled to [0, 1], less `mean`, over `std`, one of each for a channel.

    The bits are those of torchvision's convert_image_dtype and normalize.
    """

    if TYPE_CHECKING:  # TorchScript takes no class for the name of one
        mean: Tensor
        std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], rank: int = 4) -> None:
        super().__init__()
        shape = [1, -1, *[1] * (rank - 2)]
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(shape))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(shape))

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32).div(255.0).sub(self.mean).div(self.std)


class _TakingPixels(OnlyTraced):
    """A module that is no single graph, behind the normalization of each of its tensors; it can only be traced."""

    def __init__(self, module: nn.Module, normalize: Normalize) -> None:
        super().__init__()
        self.network, self.normalize = module, normalize

    def forward(self, *pixels: Tensor) -> Any:
        return self.network(*[self.normalize(each) for each in pixels])


@dataclass(frozen=True)
class InGraphNormalization:
    """How a conversion's tensors become pixels, and its modules take them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, preprocessing: Preprocessing | None, tensors: Sequence[Tensor]) -> InGraphNormalization:
        """For what one call takes. Raises `UserError` where it takes other than images that fxconv normalized."""
        option = "--normalize-in-graph"
        if preprocessing is None:
            raise UserError(f"{option}: nothing says how the arrays were normalized; calibrate on photographs or on "
                            "uint8 arrays, or give preprocessing")  # fmt: skip
        if not preprocessing.says_values:
            raise UserError(f"{option}: {preprocessing.source} preprocesses, and does not say how it normalizes; name "
                            "--mean and --std instead of a function, or leave the option out")  # fmt: skip
        for tensor in tensors:
            if tensor.ndim < 4 or tensor.shape[1] != preprocessing.channels:
                shape = "x".join(map(str, tensor.shape[1:]))
                what = f"an input of {shape} is no image of {counted(preprocessing.channels, 'channel')}"
                raise UserError(f"{option}: {what}; leave the option out")
        return cls(*preprocessing.unit_scaled)

    def module(self, module: nn.Module, count: int, rank: int = 4) -> nn.Module:
        """`module`, which takes `count` tensors, behind the normalization of each."""
        normalize = Normalize(self.mean, self.std, rank).eval()
        if not isinstance(module, fx.GraphModule):
            return _TakingPixels(module, normalize).eval()
        graph = fx.Graph()
        names = ["images"] if count == 1 else [f"images_{place}" for place in range(count)]
        pixels = [graph.placeholder(name) for name in names]
        given = tuple(graph.call_module("normalize", (each,)) for each in pixels)
        graph.output(graph.call_module("network", given))
        return fx.GraphModule({"normalize": normalize, "network": module}, graph).eval()

    def pixels(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The nearest uint8 to what these float32 tensors were before they were normalized; of photographs, theirs."""
        return tuple(
            (tensor * self._shaped(self.std, tensor) + self._shaped(self.mean, tensor))
            .mul(255)
            .round()
            .clamp(0, 255)
            .to(torch.uint8)
            for tensor in tensors
        )

    def floats(self, pixels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What these pixels are once normalized, by torchvision."""
        return tuple(self._normalized(F.convert_image_dtype(each, torch.float32)) for each in pixels)

    def _normalized(self, scaled: Tensor) -> Tensor:
        # torchvision takes [..., C, H, W]; a clip's frames stand between
        moved = scaled.movedim(1, -3)
        return F.normalize(moved, list(self.mean), list(self.std)).movedim(-3, 1).contiguous()

    @staticmethod
    def _shaped(values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).reshape(1, -1, *[1] * (like.ndim - 2))


def check_same(
    module: nn.Module, inside: nn.Module, given: InGraphNormalization, pixels: Sequence[tuple[Tensor, ...]]
) -> None:
    """Raises `ConversionError` unless a module with normalization in it gives the bits of the one without.

    That one is given what torchvision makes of the pixels.
    """
    without = forward.outputs(module, [given.floats(each) for each in pixels])
    row = parity.same_bits("normalized", without, forward.outputs(inside, pixels), has_islands=False)
    if not row.passed:
        raise ConversionError(f"normalization in the graph is not what it is outside: {row.problem}; "
                              "leave --normalize-in-graph out")  # fmt: skip
