"""int8 is made of what calibration found, without the images, to the last bit."""

from __future__ import annotations

import io

import pytest
import torch
from fxconv_networks import tiny
from torch import nn

from fxconv.config import Config
from fxconv.data.calibration import as_data
from fxconv.errors import ConversionError
from fxconv.job import open_job
from fxconv.quantization.engine import engine
from fxconv.quantization.kept_ranges import KeptRanges, kept_ranges, quantized_of
from fxconv.quantization.quantize import quantize


class Sums(nn.Module):
    """A residual block with a depthwise layer, and a layer alone, for equalization and absorption."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        nn.init.constant_(self.first[1].bias, 4.0)  # every channel carries something, which may be moved
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.alone = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        nn.init.constant_(self.alone[0].bias, 4.0)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        y = self.alone(self.first(x))
        return self.head((y + self.deep(y)).mean((2, 3)))


def images(count=40):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 3, 16, 16, generator=generator)]


def made(model, recipe, **more):
    config = Config(recipe=recipe, **more)
    job = open_job(model, as_data(images()), None, config)
    with engine("qnnpack"):
        return job.task, quantize(job.task)


def written_and_read(kept):
    """Through a file that holds nothing but numbers, texts and tensors."""
    held = io.BytesIO()
    torch.save(kept.plain(), held)
    held.seek(0)
    return KeptRanges(**torch.load(held, weights_only=True))


def same(one, other):
    """Whether two int8 modules have the same state and answers."""
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for key, value in first.items():
        for ours, theirs in zip(_flat(value), _flat(second[key]), strict=True):
            assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs, key
    x = images(3)[0]
    assert torch.equal(one(x), other(x))
    return True


def _flat(value):
    return [part for item in value for part in _flat(item)] if isinstance(value, tuple) else [value]


RECIPES = {
    "none": ("none",),
    "auto": ("auto",),
    "all named": ("equalization", "bias-absorption", "reader-ranges", "bias-correction", "weight-ranges"),
    "rounded": ("bias-correction", "adaround"),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_same_int8_module_comes_out(recipe, monkeypatch):
    monkeypatch.setattr("fxconv.quantization.recipes.adaround.ITERATIONS", 20)
    torch.manual_seed(0)
    task, quantized = made(Sums().eval(), recipe)
    kept = written_and_read(kept_ranges(quantized))
    with engine("qnnpack"):
        again = quantized_of(task, kept)
        assert same(quantized.int8, again.int8)
    assert again.recipe.steps == quantized.recipe.steps
    assert again.recipe.gains == quantized.recipe.gains
    assert again.calibration == quantized.calibration
    assert again.ranges == quantized.ranges
    assert [type(one) for one in again.recipe.changes] == [type(one) for one in quantized.recipe.changes]


def test_what_is_kept_in_float_stays_so():
    torch.manual_seed(0)
    task, quantized = made(Sums().eval(), ("none",), keep_float=("deep*",))
    with engine("qnnpack"):
        again = quantized_of(task, written_and_read(kept_ranges(quantized)))
        assert same(quantized.int8, again.int8)
    assert [island.nodes for island in again.rewritten.islands] == [
        island.nodes for island in quantized.rewritten.islands
    ]
    assert again.rewritten.islands


def test_another_model_is_told():
    torch.manual_seed(0)
    _, quantized = made(Sums().eval(), ("none",))
    task, _ = made(tiny().eval(), ("none",))
    with engine("qnnpack"), pytest.raises(ConversionError, match="the saved calibration is of another model: "):
        quantized_of(task, kept_ranges(quantized))


class Otherwise(Sums):
    """The same layers and weights, another forward: what was fused before is not now."""

    def forward(self, x):
        y = self.alone[2](torch.sigmoid(self.alone[0](self.first(x))))
        return self.head((y + self.deep(y)).mean((2, 3)))


def test_other_code_with_the_same_weights_is_told():
    torch.manual_seed(0)
    model = Sums().eval()
    _, quantized = made(model, RECIPES["all named"])
    other = Otherwise().eval()
    other.load_state_dict(model.state_dict())
    task, _ = made(other, ("none",))
    with engine("qnnpack"), pytest.raises(ConversionError, match="the saved calibration is of another model: "):
        quantized_of(task, kept_ranges(quantized))
