"""`timm:NAME`: what it means, of which size it is, and where its weights come from."""

from __future__ import annotations

import fxconv_packages
import pytest
import torch
from torchvision.transforms import InterpolationMode

from fxconv.errors import UserError
from fxconv.models import loading, timm_models


@pytest.fixture
def timm(monkeypatch):
    return fxconv_packages.timm(monkeypatch)


def test_a_name_gives_the_model_with_the_input_of_its_configuration(timm):
    loaded = loading.load("timm:small_net", "random")
    assert (loaded.name, loaded.weights, loaded.is_random) == ("timm:small_net", "random, seed 0", True)
    how = loaded.preprocessing
    assert (how.shape, how.mean, how.std, how.resize) == ((3, 48, 48), (0.5,) * 3, (0.25,) * 3, 1 / 0.875)
    assert (how.interpolation, how.source) == (InterpolationMode.BICUBIC, "timm's configuration of small_net")
    assert timm.calls == [("small_net", {"pretrained": False, "overlay": None})]


@pytest.mark.parametrize("text", ["timm:Small-Net", "TIMM:small_net", "timm:small_net.in1k"])
def test_case_and_dashes_do_not_matter_and_a_tag_may_stand_there(text, timm):
    assert loading.load(text, "random").name in ("timm:small_net", "timm:small_net.in1k")


def test_the_seed_makes_the_weights(timm):
    first, again, other = (loading.load("timm:small_net", "random", seed=seed).module for seed in (0, 0, 1))
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_arguments_reach_the_model_and_its_input(timm):
    loaded = loading.load("timm:small_net", "random", "24", arguments=["in_chans=1", "num_classes=3", "width=5"])
    assert loaded.preprocessing.shape == (1, 24, 24)
    assert loaded.module(torch.zeros(2, 1, 24, 24)).shape == (2, 3)
    assert loaded.module.conv.out_channels == 5


def test_a_network_of_one_size_is_made_for_the_one_that_is_asked_for(timm):
    assert loading.load("timm:small_vit_patch16_32", "random").module.img_size == 32
    assert loading.load("timm:small_vit_patch16_32", "random", "16").module.img_size == 16
    given = loading.load("timm:small_vit_patch16_32", "random", arguments=["img_size=24"])
    assert (given.module.img_size, given.preprocessing.shape) == (24, (3, 24, 24))
    assert "img_size" not in timm.calls[0][1]


def test_a_checkpoint_decides_the_size_and_the_head(timm, tmp_path):
    trained = fxconv_packages.Small(num_classes=7, img_size=32)
    torch.save({"model": {f"module.{key}": value for key, value in trained.state_dict().items()}}, tmp_path / "x.pth")
    loaded = loading.load("timm:small_vit_patch16_32", str(tmp_path / "x.pth"))
    assert loaded.weights == f"{tmp_path / 'x.pth'}, its model, 'module.' stripped, head sized to its 7 classes"
    assert not loaded.is_random and torch.equal(loaded.module.head.weight, trained.head.weight)
    torch.save(fxconv_packages.Small(img_size=16).state_dict(), tmp_path / "y.pth")
    assert loading.load("timm:small_vit_patch16_32", str(tmp_path / "y.pth"), "16").module.img_size == 16
    with pytest.raises(UserError, match=r"y.pth does not fit timm:small_vit_patch16_32: position is \(1, 4, 16, 16\)"):
        loading.load("timm:small_vit_patch16_32", str(tmp_path / "y.pth"))


def test_weights_that_timm_has_fetched_before_are_used_and_none_are_fetched(timm, tmp_path, monkeypatch):
    trained = fxconv_packages.Free()
    torch.save(trained.state_dict(), tmp_path / "model.safetensors")
    fxconv_packages.hub(monkeypatch, {"timm/small_net.in1k": str(tmp_path / "model.safetensors")})
    loaded = loading.load("timm:small_net", "auto")
    assert torch.equal(loaded.module.head.weight, trained.head.weight)
    assert (loaded.is_random, loaded.warnings) == (False, ())
    assert loaded.weights == f"timm's own, from its cache ({tmp_path / 'model.safetensors'})"
    assert loading.load("timm:small_net", "random").is_random
    assert loading.load("timm:small_net", "auto", structure_only=True).is_random


def test_weights_that_are_not_cached_are_random_with_a_warning_that_says_how_to_fetch_them(timm, monkeypatch):
    fxconv_packages.hub(monkeypatch, {})
    loaded = loading.load("timm:small_net", "auto")
    (warning,) = loaded.warnings
    assert warning.startswith("RANDOM WEIGHTS: timm's weights of small_net are not in its cache")
    assert "timm.create_model('small_net', pretrained=True)" in warning and loaded.is_random
    assert not any(given["pretrained"] for _, given in timm.calls)
    (warning,) = loading.load("timm:small_net", "auto", arguments=["num_classes=3"]).warnings
    assert "nobody publishes weights of small_net with num_classes=3" in warning


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("timm:small_nett", (), r"unknown model 'timm:small_nett'; did you mean timm:small_net\b.*fxconv models"),
        ("timm:", (), r"unknown model 'timm:' \(fxconv models timm: lists all 3\)"),
        ("timm:small_net.in2k", (), r"timm has no such weights of small_net; did you mean timm:small_net.in1k\?"),
        ("timm:hf-hub:a/b", (), r"unknown model 'timm:hf-hub:a/b'"),
        ("timm:small_net", ("widht=3",), r"--model-arg widht: timm:small_net has no such argument; did you mean width"),
        ("timm:small_net", ("pretrained=True",), r"--model-arg pretrained: where the weights .* is said by --weights"),
        ("timm:small_net", ("pretrained_cfg={}",), r"--model-arg pretrained_cfg: where the weights"),
        ("timm:small_net", ("width='a'",), r"timm:small_net: timm cannot make it with width='a': TypeError"),
        ("timm:failing_net", (), r"timm:failing_net: timm cannot make it: RuntimeError: its own fault$"),
    ],
)  # fmt: skip
def test_what_timm_does_not_have(text, arguments, message, timm):
    with pytest.raises(UserError, match=message):
        loading.load(text, "random", arguments=arguments)


def test_all_names_are_listed(timm):
    assert timm_models.names() == ["timm:small_net", "timm:small_vit_patch16_32", "timm:failing_net"]
