"""What int8 keeps of the finer parts behind the last layers: each kind, and its twin, which stays in int8."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxconv.config import Arithmetic, Config, Recipe
from fxconv.data.calibration import as_data
from fxconv.job import open_job
from fxconv.quantization import calibrate, engine
from fxconv.quantization.quantize import QuantizedModel, quantize

FACTORS = (640.0, 640.0, 640.0, 640.0, 1.0, 1.0, 1.0)


class Net(nn.Module):
    """Features of an image, and what `forward` makes of them with these parts."""

    def __init__(self, ends: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1)
        self.fc = nn.Linear(8, 5)
        self.register_buffer("factors", torch.tensor(FACTORS).view(1, 7, 1, 1))
        for name, part in parts.items():
            setattr(self, name, part)
        self.ends = ends
        with torch.no_grad():
            for part in self.modules():
                if isinstance(part, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)):
                    part.weight.mul_(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.ends(self, self.body(x))


def images(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=generator) * 2
    return F.interpolate(coarse, (16, 16), mode="bilinear", align_corners=False)


def net(ends: Callable[..., Tensor], **parts: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return Net(ends, **parts).eval()


def shifted(layer: nn.Module, by: float | Tensor) -> nn.Module:
    with torch.no_grad():
        layer.bias.add_(by)
    return layer


def quantized(model: nn.Module, **options: object) -> QuantizedModel:
    config = Config(**{"recipe": (Recipe.none,), **options})
    job = open_job(model, as_data([images(4), images(4, 1)]), None, config, None, (), lambda *_: None)
    with engine.engine("qnnpack"):
        return quantize(job.task)


def worst(model: nn.Module, made: QuantizedModel, dim: int = 1) -> float:
    """The worst SQNR of a channel about its own mean, in dB."""
    with torch.no_grad(), engine.engine("qnnpack"):
        wanted, got = model(images(4, 2)).double(), made.int8(images(4, 2)).double()
    found = []
    for one, other in zip(wanted.transpose(0, dim).flatten(1), got.transpose(0, dim).flatten(1), strict=True):
        power = (one - one.mean()).square().sum()
        noise = ((one - one.mean()) - (other - other.mean())).square().sum()
        found.append(math.inf if noise == 0 else 10 * math.log10(power / noise))
    return min(found)


def reasons(made: QuantizedModel) -> dict[str, str]:
    return {node: island.reason for island in made.rewritten.islands for node in island.nodes}


def sigmoids(self: Net, f: Tensor, factor: float = 640.0) -> list[Tensor]:
    return [torch.sigmoid(self.boxes(f)) * factor, torch.sigmoid(self.scores(f))]


def nested(self: Net, f: Tensor) -> Tensor:
    inner = torch.cat(sigmoids(self, f), 1)
    return torch.cat([inner, self.boxes(f) * 100], 1).permute(0, 2, 3, 1)


def stacked(self: Net, f: Tensor) -> Tensor:
    return torch.stack([self.fc(f.mean((2, 3))) * 100, self.fc2(f.mean((2, 3)))], 1)


def split_head(self: Net, f: Tensor) -> Tensor:
    boxes, scores = torch.cat([self.boxes(f), self.scores(f)], 1).split([4, 3], 1)
    return torch.cat([boxes * 640, torch.sigmoid(scores)], 1).flatten(2)


KINDS = {
    "boxes and scores": (lambda self, f: torch.cat(sigmoids(self, f), 1), "cat"),
    "seen through views": (lambda self, f: torch.cat(sigmoids(self, f), 1).flatten(2).chunk(2, 2)[0], "cat"),
    "one cat in another": (nested, "cat"),
    "cut from one tensor and joined again": (split_head, "cat_1"),
    "an activation behind it": (lambda s, f: torch.cat([s.boxes(f) * 40, s.scores(f)], 1).sigmoid(), "cat"),
    "times a constant tensor": (lambda s, f: torch.cat([s.boxes(f), s.scores(f)], 1) * s.factors, "mul"),
    "plus a number": (lambda s, f: s.boxes(f) + 1000.0, "add"),
}


@pytest.mark.parametrize(("ends", "at"), KINDS.values(), ids=KINDS.keys())
def test_a_fine_part_keeps_its_steps(ends, at):
    model = net(ends)
    made = quantized(model)
    assert at in reasons(made)
    assert worst(model, made) > 14


def test_tensors_that_are_stacked():
    model = net(stacked, fc2=nn.Linear(8, 5))
    made = quantized(model)
    assert "in int8 fc2 would have" in reasons(made)["stack"]
    assert worst(model, made) > 8


TWINS = {
    "alike scales": lambda self, f: torch.cat(sigmoids(self, f, 2.0), 1),
    "a layer reads it": lambda self, f: self.out(torch.cat(sigmoids(self, f), 1)),
    "an ordinary number": lambda self, f: self.boxes(f) + 0.5,
    "an ordinary bias": lambda self, f: self.boxes(f),
}


@pytest.mark.parametrize("ends", TWINS.values(), ids=TWINS.keys())
def test_what_is_sound_stays_in_int8(ends):
    made = quantized(net(ends, out=nn.Conv2d(7, 3, 1)))
    assert made.rewritten.islands == () and made.rewritten.tolerance == 0


def test_why_it_is_in_float():
    made = quantized(net(lambda self, f: torch.cat(sigmoids(self, f), 1)))
    (island,) = made.rewritten.islands
    assert island.nodes == ("cat",)
    assert island.reason == (
        "it joins tensors of different scales: in int8 sigmoid_1 would have less than one of 256 steps"
    )


@pytest.mark.parametrize("arithmetic", [Arithmetic.wrap, Arithmetic.functional])
def test_by_either_arithmetic(arithmetic):
    model = net(lambda self, f: torch.cat(sigmoids(self, f), 1) + 1000.0)
    made = quantized(model, arithmetic=arithmetic)
    assert {"cat", "add"} <= reasons(made).keys()
    assert worst(model, made) > 14


BIASES = {
    "linear": ("fc", lambda self, f: self.last(f.flatten(2).transpose(1, 2)), lambda: nn.Linear(8, 6), 2),
    "convolution": ("conv", lambda self, f: self.last(f).permute(0, 2, 3, 1), lambda: nn.Conv2d(8, 6, 1), 3),
    "transposed": ("transposed", lambda self, f: self.last(f), lambda: nn.ConvTranspose2d(8, 6, 2, 2), 1),
    "with a ReLU": ("relu", lambda self, f: self.last(f).relu(), lambda: nn.Conv2d(8, 6, 1), 1),
}


@pytest.mark.parametrize("offset", [1000.0, torch.tensor([1000.0, 0, 0, 0, 0, 0])], ids=["all", "one channel"])
@pytest.mark.parametrize(("_", "ends", "layer", "dim"), BIASES.values(), ids=BIASES.keys())
def test_a_bias_that_dwarfs_the_products_is_added_behind(_, ends, layer, dim, offset):
    model = net(ends, last=shifted(layer(), offset))
    made = quantized(model)
    assert made.rewritten.key_map["last.bias"] == "last_bias" and made.rewritten.tolerance == 1e-5
    assert reasons(made)["last_add"].startswith("the bias of last dwarfs its products: in int8 they would have ")
    assert ".quantized" in type(made.int8.get_submodule("last")).__module__
    assert worst(model, made, dim) > 14


def test_the_bias_of_a_layer_that_is_called_twice_at_the_end():
    model = net(lambda self, f: (self.last(f), self.last(f * 0.5)), last=shifted(nn.Conv2d(8, 6, 1), 1000.0))
    made = quantized(model)
    assert {"last_add", "last_1_add"} <= reasons(made).keys()
    assert made.rewritten.key_map["last.bias"] == "last_bias"
    assert ".quantized" in type(made.int8.get_submodule("last")).__module__


def test_the_bias_of_a_fused_batch_norm():
    head = nn.Sequential(nn.Conv2d(8, 6, 1), shifted(nn.BatchNorm2d(6), 800.0))
    model = net(lambda self, f: self.head(f), head=head)
    made = quantized(model)
    assert "head_bn_add" in reasons(made)
    assert worst(model, made) > 14


def test_a_bias_before_another_layer_stays():
    made = quantized(
        net(lambda self, f: self.out(self.first(f)), first=shifted(nn.Conv2d(8, 4, 1), 300.0), out=nn.Conv2d(4, 3, 1))
    )
    assert made.rewritten.islands == ()


def test_a_sigmoid_of_values_near_each_other():
    model = net(lambda self, f: torch.sigmoid(self.scores(f) * 0.01))
    made = quantized(model)
    assert reasons(made)["sigmoid"].startswith("the steps of its kernel are fixed: in int8 sigmoid would have ")
    assert worst(model, made) > 14


@pytest.mark.parametrize(
    ("recipe", "first"),
    [((Recipe.none,), None), ((Recipe.auto,), None), ((Recipe.auto,), 4)],
    ids=["none", "auto", "auto, the first ones apart"],
)
def test_the_images_are_looked_at_once(recipe, first, monkeypatch):
    seen = []
    monkeypatch.setattr("fxconv.quantization.quantize.first_images", lambda *_: first)
    observe = calibrate._Watched._observe

    def observing(self, batch):
        seen.append(len(batch[0]))
        observe(self, batch)

    monkeypatch.setattr(calibrate._Watched, "_observe", observing)
    model = net(
        lambda s, f: torch.cat([s.last(f), torch.sigmoid(s.scores(f))], 1), last=shifted(nn.Conv2d(8, 6, 1), 900.0)
    )
    made = quantized(model, recipe=recipe)
    assert {"cat", "last_add"} <= reasons(made).keys()
    assert sum(seen) == 8
    assert worst(model, made) > 14


@pytest.mark.parametrize(
    ("offset", "looked_at", "is_moved"),
    [(900.0, 8, True), (30_000.0, 16, True), (1e8, 8, False)],
    ids=["observed with its bias", "too fine for that", "too fine for float32"],
)
def test_what_the_bias_leaves_in_float32_is_what_counts(offset, looked_at, is_moved, monkeypatch):
    seen = []
    observe = calibrate._Watched._observe
    monkeypatch.setattr(
        calibrate._Watched, "_observe", lambda self, batch: (seen.append(len(batch[0])), observe(self, batch))
    )
    made = quantized(net(lambda self, f: self.last(f), last=shifted(nn.Conv2d(8, 6, 1), offset)))
    assert ("last_add" in reasons(made)) is is_moved
    assert sum(seen) == looked_at


def test_kept_in_float_by_name_it_says_so():
    model = net(lambda self, f: torch.cat(sigmoids(self, f), 1))
    made = quantized(model, keep_float=("cat",))
    assert reasons(made) == {"cat": "kept in float: --keep-float cat"}
    assert worst(model, made) > 14
