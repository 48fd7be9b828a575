"""What lies beside a checkpoint says how its images were preprocessed."""

from __future__ import annotations

import json

import pytest
from torchvision.transforms import InterpolationMode

from fxconv.models.preprocessing import Origin, Preprocessing
from fxconv.models.preprocessing_files import beside

KNOWN = Preprocessing().resized(None, 32, 32)

VIT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": 40, "width": 48},
}
CLIP = {**VIT, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 36}}


def test_transformers_image_processors(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    how = beside(tmp_path / "model.safetensors", KNOWN)
    assert (how.origin, how.source) == (Origin.package, "preprocessor_config.json")
    assert (how.size, how.stretched, how.mean, how.std) == ((40, 48), (40, 48), (0.5,) * 3, (0.25,) * 3)
    assert how.interpolation is InterpolationMode.BICUBIC
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP))
    how = beside(tmp_path / "model.safetensors", KNOWN)
    assert (how.size, how.stretched, how.covered) == ((32, 32), None, (36, 36))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**VIT, "do_normalize": False, "do_rescale": False}))
    how = beside(tmp_path / "model.safetensors", KNOWN)
    assert (how.mean, how.std, how.scale) == ((0.0,) * 3, (1.0,) * 3, 1.0)


def test_timms_configuration(tmp_path):
    told = {"pretrained_cfg": {"input_size": [3, 40, 40], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.8}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    how = beside(tmp_path / "model.safetensors", KNOWN)
    assert (how.origin, how.source) == (Origin.package, "config.json beside model.safetensors")
    assert (how.size, how.covered, how.mean) == ((40, 40), (50, 50), (0.5,) * 3)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"image_mean": ["a"]}', '{"image_mean": [0.5]}', '{"size": 3.5}'])
def test_what_says_nothing_changes_nothing(content, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(content)
    assert beside(tmp_path / "model.safetensors", KNOWN) == KNOWN
    (tmp_path / "preprocessor_config.json").unlink()
    assert beside(tmp_path / "model.safetensors", KNOWN) == KNOWN
