"""Statistics over a batch: which models must see their images one by one, and that these do so everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, Mode
from fxconv.data.calibration import Batches
from fxconv.models.signature import InputSignature
from fxconv.quantization.calibrate import must_be_single
from fxconv.quantization.passes import rewrite_with, selected

SINGLE = (1, 2, 3)


class Between(nn.Module):
    """Two convolutions and a head, and `what` between them."""

    def __init__(self, what: Callable[[Tensor], Tensor] | nn.Module, after: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)
        self.what, self.after = what, after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.after(self.what(torch.relu(self.first(x))))
        return self.head(torch.relu(self.second(y)).mean((2, 3)))


def asked(model: nn.Module, images: Tensor) -> bool:
    rewritten = rewrite_with(model, selected(Config()), (images[:1],))
    return must_be_single(model, rewritten, InputSignature.of(model), Batches([images]))


def seeded(model: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return model().eval()


def photographs(count: int = 16) -> Tensor:
    made = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 20, 20, generator=made) * (torch.arange(count).view(-1, 1, 1, 1) % 4 + 1) / 4


# What a model computes of all its batch, and the same of each image.
TWINS = {
    "largest": (lambda y: y / y.max(), lambda y: y / y.amax(SINGLE, keepdim=True)),
    "min-max": (
        lambda y: (y - y.min()) / (y.max() - y.min()),
        lambda y: (y - y.amin(SINGLE, keepdim=True)) / (y.amax(SINGLE, keepdim=True) - y.amin(SINGLE, keepdim=True)),
    ),
    "deviation": (
        lambda y: (y - y.mean()) / y.std(),
        lambda y: (y - y.mean(SINGLE, keepdim=True)) / y.std(SINGLE, keepdim=True),
    ),
    "positive": (lambda y: y - y[y > 0].mean(), lambda y: y - y.clamp(min=0).mean(SINGLE, keepdim=True)),
    "softmax": (lambda y: y.softmax(0), lambda y: y.softmax(1)),
    "norm": (lambda y: y / y.norm(), lambda y: y / y.square().sum(SINGLE, keepdim=True).sqrt()),
    "neighbour": (lambda y: y - y[:1], lambda y: y - y[:, :1]),
}


@pytest.mark.parametrize("kind", TWINS)
def test_statistics_over_the_batch_are_told_from_those_of_an_image(kind):
    whole, each = TWINS[kind]
    assert asked(seeded(lambda: Between(whole)), photographs())
    assert not asked(seeded(lambda: Between(each)), photographs())


def test_batch_norms_without_running_statistics():
    assert asked(seeded(lambda: Between(nn.BatchNorm2d(8, track_running_stats=False))), photographs())
    assert not asked(seeded(lambda: Between(nn.BatchNorm2d(8))), photographs())
    assert not asked(seeded(lambda: Between(nn.InstanceNorm2d(8))), photographs())


def test_images_that_happen_to_be_alike_do_not_hide_them():
    assert asked(seeded(lambda: Between(lambda y: y / y.max())), photographs(1).repeat(8, 1, 1, 1))


def test_what_the_output_hides_is_seen_inside():
    # the norm takes out again by what the batch was divided; the range before it is another one all the same
    whole, each = TWINS["largest"]
    assert asked(seeded(lambda: Between(whole, nn.GroupNorm(1, 8, eps=0))), photographs())
    assert not asked(seeded(lambda: Between(each, nn.GroupNorm(1, 8, eps=0))), photographs())


class Two(nn.Module):
    """A plain output, and one that is divided by a norm over the batch."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.dims = nn.Conv2d(3, 8, 3), dims

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.layer(x).mean((2, 3))
        return 1000 * y, y / y.square().sum(self.dims, keepdim=True).sqrt(), torch.arange(3.0)


def test_every_output_is_looked_at():
    assert asked(seeded(lambda: Two((0, 1))), photographs())
    assert not asked(seeded(lambda: Two((1,))), photographs())


class SequenceFirst(nn.Module):
    """Answers with its images along the second dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).flatten(2).permute(2, 0, 1)


def test_images_may_lie_along_another_dimension():
    assert not asked(seeded(SequenceFirst), photographs())


def test_a_model_that_takes_one_image_only():
    assert asked(seeded(lambda: Between(lambda y: y.view(1, 8, 9, 9))), photographs())


def test_one_image_has_no_company():
    assert not asked(seeded(lambda: Between(lambda y: y / y.max())), photographs(1))


def test_batches_of_one_are_put_together_too():
    model = seeded(lambda: Between(lambda y: y / y.max()))
    rewritten = rewrite_with(model, selected(Config()), (photographs(1),))
    assert must_be_single(model, rewritten, InputSignature.of(model), Batches(photographs().split(1)))


def test_such_a_model_is_calibrated_and_trained_image_by_image():
    model, calls = seeded(lambda: Between(nn.BatchNorm2d(8, track_running_stats=False))), photographs(24)
    conversion = fxconv.convert(model, [calls], recipe=("none",))
    assert conversion.verified and not any(check.problem for check in conversion.batches)
    row = next(row for row in conversion.ledger if row.stage == "int8")
    assert row.sqnr_db > 20
    trained = fxconv.convert(model, [calls], recipe=("none",), mode=Mode.qat, epochs=2, batch_size=8)
    assert trained.verified and trained.training is not None
    assert trained.training.epochs[0].loss < 1  # of the teacher's own variance, which is each image's by itself
