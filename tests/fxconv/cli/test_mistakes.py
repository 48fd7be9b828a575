"""The command line when something is wrong: one line, the right exit status, nothing left behind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fxconv_commands import NETWORKS, SMALL, assert_user_error, run_process


def test_an_unknown_model_as_a_process(tmp_path):
    run = run_process(tmp_path, "convert", "mobilenet_v3_smal")
    assert_user_error(run, "unknown model 'mobilenet_v3_smal'; did you mean mobilenet_v3_small", "fxconv models")
    assert run.files == []


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["resnet"], ["unknown model 'resnet'", "did you mean resnet"]),
        (["quantized_resnet18"], ["quantized by torchvision already; name the float one: resnet18"]),
        ([f"{NETWORKS}:tinny"], ["has no 'tinny'; did you mean tiny"]),
        (["nowhere.py:net"], ["nowhere.py: no such file; expected FILE.py:NAME"]),
        (["no_such_package.models:net"], ["no_such_package.models does not import"]),
        ([f"{NETWORKS}:needs_an_argument"], ["() needs width; give --model-arg width=VALUE, or a default"]),
        ([f"{NETWORKS}:not_a_module"], ["gave an int, not an nn.Module"]),
        ([f"{NETWORKS}:quantized_already"], ["Conv2d is quantized already; give the float model"]),
        ([f"{NETWORKS}:tiny", "--input-size", "4x32x32"], ["cannot take an input of 4x32x32", "--input-size"]),
        ([f"{NETWORKS}:tiny", "--input-size", "big"], ["--input-size big: expected N, HxW, CxHxW or CxTxHxW in"]),
        ([f"{NETWORKS}:tiny", "--input-size", "3x0x32"], ["--input-size 3x0x32: expected"]),
        ([f"{NETWORKS}:tiny", "--input-size", "1x2x3x4x5"], ["--input-size 1x2x3x4x5: expected"]),
        ([*SMALL, "--weights", "gone.pth"], ["--weights gone.pth: no such file; give a checkpoint, or auto, or"]),
        ([*SMALL, "--calib", "gone"], ["--calib gone: no such file or folder"]),
        ([*SMALL, "--example", "gone.npy"], ["--example gone.npy: no such file"]),
        ([*SMALL, "--skip", "fold-relu"], ["unknown pass 'fold-relu'; did you mean fold-relu6", "fxconv passes"]),
        ([*SMALL, "--skip", "quant-boundaries"], ["quant-boundaries cannot be skipped", "--until"]),
        ([*SMALL, "--skip", "wrap-arithmetic"], ["pass 'wrap-arithmetic' does not run in this conversion"]),
        ([*SMALL, "--pass", "Mine"], ["--pass Mine: expected FILE.py:NAME or PACKAGE.MODULE:NAME"]),
        ([*SMALL, "--pass", "no_such_module:Mine"], ["--pass no_such_module:Mine: no_such_module does not import"]),
        ([*SMALL, "--pass", f"{NETWORKS}:Gone"], ["has no 'Gone'"]),
        ([*SMALL, "--pass", f"{NETWORKS}:Tiny"], [":Tiny: it is not a subclass of rewrites.RewritePass"]),
        ([*SMALL, "-o", "gone/x.ptl"], ["-o gone/x.ptl: there is no folder gone"]),
        ([*SMALL, "-o", "."], ["-o .: is a folder; give a file name"]),
        ([*SMALL, "--json", "gone/report.json"], ["--json gone/report.json: there is no folder gone"]),
        ([*SMALL, "--engine", "gpu"], ["'--engine': 'gpu' is not one of 'qnnpack'", "(fxconv convert --help)"]),
        ([*SMALL, "--method", "onnx"], ["'--method'", "'script', 'trace'"]),
        ([*SMALL, "--block", "nothing"], ["'--block'", "'insert-fold-prepack-ops'"]),
        ([*SMALL, "--calib-count", "0"], ["'--calib-count'"]),
        ([*SMALL, "--seed", "-1"], ["'--seed'"]),
        ([*SMALL, "--fast"], ["no such option: --fast", "(fxconv convert --help)"]),
        ([], ["missing argument 'MODEL'"]),
    ],
    ids=lambda value: " ".join(value).replace(str(NETWORKS), "FILE.py")[:60],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(words, fragments, command):
    assert_user_error(command("convert", *words), *fragments)


def test_an_unknown_command_is_told_in_one_line(command):
    assert_user_error(command("transmogrify"), "no such command 'transmogrify'", "(fxconv --help)")


def test_an_unknown_pass_cannot_be_explained(command):
    assert_user_error(command("explain", "fold-relu"), "unknown pass 'fold-relu'; did you mean fold-relu6")
    assert_user_error(command("explain", f"{NETWORKS}:Tiny"), ":Tiny: it is not a subclass of rewrites.RewritePass")


@pytest.mark.parametrize(
    ("owner", "attribute", "replacement", "fragment"),
    [
        (torch, "__version__", "2.11.0", "is older than 2.12"),
        (
            torch.backends,
            "quantized",
            SimpleNamespace(supported_engines=["none", "fbgemm"]),
            "has no quantized engine 'qnnpack'",
        ),
    ],
)
def test_an_unsuitable_torch_is_told_before_any_work(owner, attribute, replacement, fragment, command, monkeypatch):
    def loaded(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("fxconv.models.loading.load", loaded)
    with monkeypatch.context() as patch:
        patch.setattr(owner, attribute, replacement)
        run = command("convert", *SMALL)
    assert_user_error(run, "torch 2.", fragment, 'install "torch>=2.12,<2.15"')


def test_no_output_lies_over_an_input_or_another_output(command, tmp_path):
    own = tmp_path / "own.py"
    own.write_text("from torch import nn\n\n\ndef net():\n    return nn.Conv2d(3, 4, 3)\n")
    run = command("convert", f"{own}:net", "--input-size", "16", "-o", str(own))
    assert_user_error(run, "is the same file as the model; choose another name")
    assert own.read_text().startswith("from torch import nn")
    twice = command("convert", *SMALL, "-o", "same.ptl", "--json", "same.ptl")
    assert_user_error(twice, "--json same.ptl: is the same file as", "choose another name")


def test_a_model_file_that_exits_is_a_mistake(command, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit(0)\n")
    assert_user_error(command("convert", f"{script}:net"), "does not import: SystemExit")


def test_lists_of_mixed_types_are_not_scripted_for_the_interpreter_crashes(command, tmp_path):
    nested = tmp_path / "nested.py"
    nested.write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 4, 3)\n\n"
        "    def forward(self, x):\n"
        "        y = self.conv(x)\n"
        "        return [y, [y, y]]\n"
    )
    words = ["convert", f"{nested}:Net", "--input-size", "16", "--calib-count", "4"]
    run = command(*words, "--method", "script")
    assert_user_error(run, "the outputs mix types in one list or dict", "return a tuple of tensors instead")
    traced = command(*words, "-o", "nested.ptl")
    assert traced.status == 0 and "traced, because it cannot be scripted: the outputs mix types" in traced.stderr
