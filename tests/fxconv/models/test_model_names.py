"""What MODEL may name, known without importing torch; and what is near to a name that is none."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torchvision

from fxconv.errors import UserError
from fxconv.models import detectors, loading, model_names
from fxconv.models.model_names import backbone_of, check_name, names, resolve


def test_the_names_in_the_source_are_those_that_torchvision_lists():
    assert names() == [name for name in torchvision.models.list_models() if not name.startswith("quantized_")]


def test_without_torchvision_there_is_no_name(monkeypatch):
    model_names._in_source.cache_clear()
    monkeypatch.setattr(model_names, "source_folder", lambda name: None)
    assert names() == []
    model_names._in_source.cache_clear()


def test_the_detectors_are_those_that_are_made():
    assert tuple(detectors.BACKBONES) == model_names.BACKBONE_NAMES
    assert model_names.detectors()[0] == "detector:mobilenet_v3_small"


def test_nothing_of_it_imports_torch():
    program = "import sys; from fxconv.models.model_names import names; print(len(names()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(names())} False\n"


def test_what_loading_gives_away_is_the_same():
    assert (loading.names, loading.resolve) == (names, resolve)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mobilenet_v3", "mobilenet_v3_large"),
        ("MobileNet-V3", "mobilenet_v3_large"),
        ("mobilenet_v3_small", "mobilenet_v3_small"),
        ("ResNet18", "resnet18"),
        ("efficientnet-b0", "efficientnet_b0"),
    ],
)
def test_case_and_dashes_do_not_matter(text, name):
    assert resolve(text) == name


@pytest.mark.parametrize(("text", "near"), [("mobilenetv2", "mobilenet_v2"), ("resnet_18", "resnet18")])
def test_an_unknown_name_gets_the_nearest_ones(text, near):
    with pytest.raises(UserError, match=f"unknown model '{text}'; did you mean .*{near}"):
        resolve(text)


def test_a_name_like_no_other_gets_no_wrong_advice():
    with pytest.raises(UserError, match=r"unknown model 'zzz' \(fxconv models lists all; or give FILE.py:FACTORY\)"):
        resolve("zzz")


@pytest.mark.parametrize("text", ["resnet18", "MobileNet-V3", "detector:resnet18", "net.py:Net", "a.b:Net", "timm:x",
                                  "transformers:X", "gone/net.py:Net"])  # fmt: skip
def test_a_name_that_may_be_one_passes(text):
    check_name(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mobilenet_v33", "unknown model 'mobilenet_v33'; did you mean mobilenet_v3"),
        ("quantized_resnet18", "name the float one: resnet18"),
        ("gone.onnx", "gone.onnx: no such file; check the name: MODEL is a name"),
        ("detector:resnet81", "unknown detector 'detector:resnet81'; did you mean detector:resnet18"),
    ],
)
def test_a_name_that_is_none_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        check_name(text)


def test_a_detectors_name_is_its_backbones():
    assert backbone_of("Detector:MobileNet-V3") == "mobilenet_v3_large"
