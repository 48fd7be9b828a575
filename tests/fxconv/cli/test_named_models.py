"""MODEL of an installed package, and --model-arg, on the commands that take them."""

from __future__ import annotations

import json
import sys
import zipfile
from importlib.machinery import ModuleSpec

import fxconv_packages
import numpy as np
import pytest
from fxconv_commands import assert_user_error
from PIL import Image

import fxconv
from fxconv.cli import completion
from fxconv.errors import UserError

NET = """
from torch import nn

def net(width, depth=1):
    layers = [layer for _ in range(depth) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 3, 3), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, width))
"""
SMALL = ("--weights", "random", "--input-size", "16", "--calib-count", "8", "--recipe", "none", "--min-sqnr", "0")


@pytest.fixture
def net(command, tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_conversion_tells_the_arguments_everywhere(command, net):
    files = [net / name for name in ("x.ptl", "x.json", "x.html", "saved.json")]
    written = [
        word for pair in zip(("-o", "--json", "--html", "--save-config"), map(str, files), strict=True) for word in pair
    ]
    run = command("convert", "nets.py:net", *SMALL, "--model-arg", "width=5", "--model-arg", "depth=2", *written)
    assert run.status == 0, run.stderr
    assert "arguments      width=5, depth=2" in run.stdout
    assert json.loads(files[1].read_text())["config"]["model_arg"] == ["width=5", "depth=2"]
    assert "width=5, depth=2" in files[2].read_text()
    assert json.loads(files[3].read_text())["model_arg"] == ["width=5", "depth=2"]
    with zipfile.ZipFile(files[0]) as archive:
        (said,) = [archive.read(name) for name in archive.namelist() if name.endswith("fxconv.json")]
    assert json.loads(said)["model"]["arguments"] == ["width=5", "depth=2"]
    again = command("convert", "nets.py:net", *SMALL, "--config", str(files[3]), "--dry-run")
    assert (again.status, "arguments: width=5, depth=2" in again.stdout) == (0, True)
    other = command("convert", "nets.py:net", *SMALL, "--config", str(files[3]), "--dry-run", "--model-arg", "width=4")
    assert (other.status, "arguments: width=4)" in other.stdout) == (0, True)


def test_a_diff_tells_them_in_its_title(command, net):
    run = command("diff", "nets.py:net", "--input-size", "16", "--model-arg", "width=5", "--format", "markdown")
    assert run.status == 0 and run.stdout.startswith("# net width=5: ")


@pytest.mark.parametrize("name", ["convert", "diff", "sensitivity", "study"])
def test_every_command_takes_them(name, command, net):
    assert_user_error(command(name, "nets.py:net", "--model-arg", "widht=5"), "--model-arg widht", "did you mean width")


def test_verify_and_example_take_them(command, net):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(net / "a.png")
    words = ("example", str(net), "-o", "e.npy", "--model", "nets.py:net", "--input-size", "16")
    assert command(*words, "--model-arg", "width=5").status == 0
    assert np.load(net / "e.npy").shape == (1, 3, 16, 16)
    assert_user_error(command(*words, "--model-arg", "widht=5"), "--model-arg widht", "did you mean width")
    assert_user_error(command("example", str(net), "--model-arg", "width=5"), "--model-arg width=5: goes with --model")


def test_a_model_that_is_given_has_no_arguments(batches):
    import torch

    with pytest.raises(UserError, match="model_arg width=5: of a model that is named; this one is made"):
        fxconv.convert(torch.nn.Conv2d(3, 4, 1), batches, model_arg=("width=5",))


@pytest.fixture
def packages(monkeypatch):
    fxconv_packages.timm(monkeypatch)
    fxconv_packages.transformers(monkeypatch)


def test_a_model_of_a_package_is_shown_and_named_in_its_file(command, packages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = command("diff", "timm:small_net", "--input-size", "16", "--format", "markdown")
    assert run.status == 0 and run.stdout.startswith("# timm:small_net: ")
    run = command("convert", "timm:Small-Net", *SMALL, "--quiet")
    assert (run.status, (tmp_path / "small_net.ptl").exists()) == (0, True), run.stderr
    name = "transformers:SmallForImageClassification"
    run = command("diff", name, "--model-arg", "hidden_size=6", "--format", "json")
    assert json.loads(run.stdout)["config"]["model_arg"] == ["hidden_size=6"]


def test_a_missing_package_ends_with_status_2(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # Python's own word for what must not be imported
    assert_user_error(command("diff", "timm:resnet18"), "timm:resnet18: the package timm", "pip install timm")


def test_models_are_listed_by_pattern(command, packages):
    lines = command("models", "resnet1*").stdout.split()
    assert lines == ["resnet101", "resnet152", "resnet18"]
    assert command("models", "timm:").stdout.split() == [
        f"timm:{n}" for n in ("small_net", "small_vit_patch16_32", "failing_net")
    ]
    assert command("models", "TIMM:*vit*").stdout.split() == ["timm:small_vit_patch16_32"]
    assert_user_error(command("models", "timm:nothing"), "models timm:nothing: no name fits", "timm:'*nothing*'")
    assert "mobilenet_v3 (means mobilenet_v3_large)" in command("models", "mobilenet_v3").stdout


def test_names_of_a_package_are_completed_from_its_source(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.py").write_text("@register_model\ndef net_a():\n  pass\n")
    spec = ModuleSpec("timm", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("fxconv.models.installed_packages.find_spec", lambda name: spec if name == "timm" else None)
    assert completion.models("timm:n") == ["timm:net_a"]
    assert completion.models("timm:x") == completion.models("transformers:") == []
