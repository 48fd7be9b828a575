"""Artifacts that take pixels and normalize them themselves."""

from __future__ import annotations

import json

import fxconv_networks
import pytest
import torch
from torch import nn
from torchvision.transforms import functional as F

import fxconv
from fxconv import replay
from fxconv.errors import ConversionError, UserError
from fxconv.models import forward
from fxconv.models.preprocessing import Preprocessing
from fxconv.targets.mobile.lite_file import load_lite
from fxconv.targets.proof import metadata
from fxconv.targets.wrapping.normalization import InGraphNormalization, Normalize, check_same

HOW = Preprocessing(32, 32)


class Pair(nn.Module):
    """Two images, as optical flow takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)

    def forward(self, first, second):
        return self.convolution(first) + self.convolution(second)


class Listed(nn.Module):
    """A list of images, as detection models take them; nothing of it traces."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))

    def forward(self, images: list[torch.Tensor]):
        batch = torch.stack([image * 2 for image in images])
        return {"features": self.convolution(batch)}


@pytest.fixture(autouse=True)
def on_a_phones_engine():
    torch.backends.quantized.engine = "qnnpack"


def pixels_of(shape=(4, 3, 32, 32)):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def normalized(pixels):
    return F.normalize(F.convert_image_dtype(pixels, torch.float32), list(HOW.mean), list(HOW.std))


def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 100))
    return nn.Sequential(*layers).eval()


def test_normalize_gives_torchvisions_bits():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(1, 3, 1, 1)
    assert torch.equal(Normalize(HOW.mean, HOW.std)(pixels), normalized(pixels))


def test_pixels_come_back_from_what_was_made_of_them():
    inside, pixels = InGraphNormalization(HOW.mean, HOW.std), torch.arange(256, dtype=torch.uint8).repeat(1, 3, 2, 1)
    assert torch.equal(inside.pixels([normalized(pixels)])[0], pixels)
    assert torch.equal(inside.floats([pixels])[0], normalized(pixels))
    clip = pixels[:, :, None].repeat(1, 1, 4, 1, 1)
    assert torch.equal(inside.pixels(inside.floats([clip]))[0], clip)
    assert torch.equal(inside.floats([clip])[0][:, :, 1], normalized(pixels))


def test_the_artifact_takes_pixels_and_computes_what_it_would_of_normalized_ones(tmp_path):
    pixels = pixels_of()
    data, path = [normalized(pixels)], tmp_path / "x.ptl"
    without = fxconv.convert(network(), calibration=data, recipe=("none",))
    inside = fxconv.convert(network(), calibration=data, preprocessing=HOW, normalize_in_graph=True, recipe=("none",))
    assert inside.verified, inside.verdict
    assert inside.config.method.value == "script"  # for all sizes, as without
    inside.save(path)
    module = load_lite(path)
    for image in pixels.split(1):
        with torch.no_grad():
            assert torch.equal(module(image), without.int8(normalized(image)))
    assert all(row.max_abs_diff == 0 for row in inside.ledger if row.against == "int8")
    said = metadata.metadata_in(path)
    assert said["inputs"][0]["dtype"] == "uint8" and said["preprocessing"]["in_graph"]
    told = replay.replayed(str(path))
    assert told["exact"] and replay.golden_in(str(path))["inputs"] == [{"shape": [1, 3, 32, 32], "dtype": "uint8"}]


def test_two_images_and_dynamic_quantization(tmp_path):
    batch = normalized(pixels_of())
    pair = fxconv.convert(
        Pair().eval(), calibration=[(batch, batch)], preprocessing=HOW, normalize_in_graph=True, recipe=("none",)
    )
    assert pair.verified
    pair.save(tmp_path / "pair.ptl")
    one, other = pixels_of((2, 1, 3, 32, 32))
    with torch.no_grad():
        found = load_lite(tmp_path / "pair.ptl")(one, other)
        assert torch.equal(found, pair.int8(normalized(one), normalized(other)))
    dynamic = fxconv.convert(network(), calibration=[batch], mode="dynamic", preprocessing=HOW, normalize_in_graph=True)
    assert dynamic.verified, dynamic.verdict


def test_a_model_that_takes_a_list_is_traced_behind_it(tmp_path):
    batch = normalized(pixels_of((2, 3, 32, 32)))
    found = fxconv.convert(
        Listed().eval(), calibration=[batch], preprocessing=HOW, normalize_in_graph=True, recipe=("none",)
    )
    assert found.verified, found.verdict
    assert found.config.method.value == "trace"
    assert not [warning for warning in found.warnings if "cannot be scripted" in warning]
    found.save(tmp_path / "x.ptl")
    assert replay.replayed(str(tmp_path / "x.ptl"))["passed"]


@pytest.mark.parametrize(
    ("how", "tensors", "words"),
    [
        (None, [torch.zeros(1, 3, 8, 8)], "nothing says how the arrays were normalized"),
        (HOW, [torch.zeros(1, 1, 8, 8)], "an input of 1x8x8 is no image of 3 channels"),
        (HOW, [torch.zeros(1, 3, 8, 8), torch.zeros(1, 7)], "an input of 7 is no image"),
    ],
)
def test_what_is_no_image_that_fxconv_normalized_is_refused(how, tensors, words):
    with pytest.raises(UserError, match=f"^--normalize-in-graph: {words}"):
        InGraphNormalization.of(how, tensors)


def test_it_is_refused_before_any_work(monkeypatch):
    from fxconv import conversion

    monkeypatch.setattr(conversion, "quantize", lambda *given: pytest.fail("worked"))
    with pytest.raises(UserError, match="nothing says how the arrays were normalized"):
        fxconv.convert(network(), calibration=[torch.randn(2, 3, 32, 32)], normalize_in_graph=True)


def test_another_normalization_in_the_graph_is_no_conversion():
    model, given = network(), InGraphNormalization(HOW.mean, HOW.std)
    wrong = InGraphNormalization(HOW.mean, (0.2, 0.2, 0.2)).module(model, 1)
    check_same(model, given.module(model, 1), given, [(pixels_of(),)])
    with pytest.raises(ConversionError, match=r"not what it is outside: SQNR .* dB.*; leave --normalize-in-graph out"):
        check_same(model, wrong, given, [(pixels_of(),)])


def test_photographs_say_how_they_were_normalized(command):
    run = command(
        "convert", f"{fxconv_networks.__file__}:tiny", "--input-size", "3x32x32", "--calib-count", "4",
        "--normalize-in-graph", "-o", "x.ptl", "--json", "report.json",
    )  # fmt: skip
    assert run.status == 0, run.stderr
    said = metadata.metadata_in(run.folder / "x.ptl")
    assert (said["preprocessing"]["mean"], said["preprocessing"]["in_graph"]) == (list(HOW.mean), True)
    assert run.report["config"]["normalize_in_graph"] is True
    pixels = pixels_of((1, 3, 32, 32))
    assert forward.outputs(load_lite(run.folder / "x.ptl"), [(pixels,)])
    assert json.loads(replay.extra_file(str(run.folder / "x.ptl"), metadata.FILE)) == said
