"""An example of more rows than the images that a file is proven with."""

from __future__ import annotations

import pytest
import torch
from fxconv_executorch import needs_executorch
from torch import Tensor, nn

import fxconv
from fxconv.errors import UserError


class Net(nn.Module):
    """Two convolutions; with `keeps` the second reads half the channels, which XNNPACK takes for one batch alone."""

    def __init__(self, keeps: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.keeps = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(4 if keeps else 8, 4, 1), keeps

    def forward(self, x: Tensor) -> Tensor:
        """The maps of the second."""
        inner = torch.relu(self.first(x))
        return self.second(inner[:, :4] if self.keeps else inner)


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 8, 8, generator=generator) for _ in range(2)]


@needs_executorch
def test_a_file_of_any_batch_is_proven_image_by_image() -> None:
    done = fxconv.convert(
        Net(False).eval(), calibration=images(), example_inputs=(images()[0],), recipe="none", targets=("executorch",)
    )
    assert done.verified and done.files[0].method == "trace"


@needs_executorch
def test_a_file_of_the_example_s_batch_alone_is_refused_with_the_reason() -> None:
    given = {"calibration": images(), "example_inputs": (images()[0],), "recipe": "none"}
    with pytest.raises(UserError, match=r"a batch of 4, and the .pte would take that alone \(with another, XNNPACK"):
        fxconv.convert(Net(True).eval(), **given, targets=("executorch",))


def of_sizes(*sides: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 3, side, side, generator=generator) for side in sides * 8]


@needs_executorch
def test_images_of_several_sizes_prove_it_by_those_of_one() -> None:
    done = fxconv.convert(
        Net(False).eval(), of_sizes(8, 12), held_out=of_sizes(8, 12, 16, 40), dynamic_sizes="8:16", recipe="none",
        targets=("executorch",),
    )  # fmt: skip
    assert done.verified
    assert done.files[0].sizes and {check.size for check in done.files[0].sizes} == {(8, 16), (16, 8)}
    assert done.files[0].fidelity.images == 24, "those of 40 pixels it does not take"


@needs_executorch
def test_an_example_of_a_size_that_no_image_has_is_refused_before_any_work() -> None:
    with pytest.raises(UserError, match=r"example's size, 3x8x8, and those to calibrate with are of another, 3x12x12"):
        fxconv.convert(
            Net(False).eval(), of_sizes(12), example_inputs=(of_sizes(8)[0],), targets=("executorch",), recipe="none"
        )
