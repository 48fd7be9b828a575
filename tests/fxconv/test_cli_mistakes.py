"""The command line when something is wrong: one line, the right exit status, nothing left behind."""

from __future__ import annotations

from types import SimpleNamespace

import fxconv_networks as networks
import numpy as np
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
        ([f"{NETWORKS}:needs_an_argument"], ["failed with TypeError", "it must need no arguments"]),
        ([f"{NETWORKS}:not_a_module"], ["gave a int, not an nn.Module"]),
        ([f"{NETWORKS}:quantized_already"], ["Conv2d is quantized already; rewriting starts from the float model"]),
        ([f"{NETWORKS}:branching", "--input-size", "32", "--calib-count", "2"], ["does not trace", "if x.sum() > 0:"]),
        ([f"{NETWORKS}:tiny", "--input-size", "4x32x32"], ["cannot take an input of 4x32x32", "--input-size"]),
        ([f"{NETWORKS}:tiny", "--input-size", "big"], ["--input-size big: expected N, HxW or CxHxW in pixels"]),
        ([f"{NETWORKS}:tiny", "--input-size", "3x0x32"], ["--input-size 3x0x32: expected"]),
        ([f"{NETWORKS}:tiny", "--input-size", "1x2x3x4"], ["--input-size 1x2x3x4: expected"]),
        ([*SMALL, "--weights", "gone.pth"], ["--weights gone.pth: no such file; give a checkpoint, or auto, or"]),
        ([*SMALL, "--calib", "gone"], ["--calib gone: no such file or folder"]),
        ([*SMALL, "--example", "gone.npy"], ["--example gone.npy: no such file"]),
        ([*SMALL, "--skip", "fold-relu"], ["unknown pass 'fold-relu'; did you mean fold-relu6?", "fxconv passes"]),
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
    assert_user_error(command("explain", "fold-relu"), "unknown pass 'fold-relu'; did you mean fold-relu6?")


@pytest.mark.parametrize("content", ["state", "model", "text", "script"])
def test_a_checkpoint_that_does_not_fit_is_told_in_one_line(content, command, tmp_path):
    path = tmp_path / "checkpoint.pth"
    expected = "not a torch checkpoint"
    if content == "state":
        state = networks.tiny().state_dict()
        del state["head.bias"]
        torch.save({**state, "stem.0.weight": torch.zeros(16, 1, 3, 3), "tail.weight": torch.zeros(1)}, path)
        expected = (
            "it lacks head.bias; the model has no tail.weight; stem.0.weight is (16, 1, 3, 3), the model's is (16, 3, "
        )
    elif content == "model":
        torch.save(networks.tiny(), path)
        expected = "holds pickled Python objects, not only tensors; save model.state_dict() instead"
    elif content == "text":
        path.write_text("hello world\n")
    else:
        torch.jit.script(networks.tiny()).save(str(path))
        expected = "a TorchScript archive, not a checkpoint; save model.state_dict() instead"
    assert_user_error(command("convert", *SMALL, "--weights", str(path)), f"--weights {path}", expected)


def _array(kind: str) -> np.ndarray:
    zeros = np.zeros((2, 3, 32, 32), np.float32)
    return {
        "another size": np.zeros((2, 3, 24, 32), np.float32),
        "channels": np.zeros((2, 4, 32, 32), np.float32),
        "pixels, channels first": np.zeros((2, 3, 32, 32), np.uint8),
        "dimensions": zeros[0],
        "none": zeros[:0],
        "integers": zeros.astype(np.int64),
        "not finite": np.where(np.arange(2).reshape(2, 1, 1, 1) == 1, np.nan, zeros).astype(np.float32),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "fragment"),
    [
        ("another size", "images of 24x32, the network's input is 32x32; preprocess them to that size or set"),
        ("channels", "4 channels in shape (2, 4, 32, 32) read as [N, C, H, W]; the network takes 3"),
        ("pixels, channels first", "32 channels in shape (2, 3, 32, 32) read as [N, H, W, C]; the network takes 3"),
        ("dimensions", "shape (3, 32, 32) is not [N, 3, H, W] (float, preprocessed) or [N, H, W, 3] (uint8 pixels)"),
        ("none", "with N at least 1"),
        ("integers", "values of type int64; expected float32 or uint8"),
        ("not finite", "row 1 holds values that are not finite"),
    ],
)
def test_a_calibration_array_that_does_not_fit_is_told_in_one_line(kind, fragment, command, tmp_path):
    path = tmp_path / "inputs.npy"
    np.save(path, _array(kind))
    assert_user_error(command("convert", *SMALL, "--calib", str(path)), f"--calib {path}", fragment)


def test_pickled_arrays_are_refused(command, tmp_path):
    path = tmp_path / "inputs.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    assert_user_error(command("convert", *SMALL, "--calib", str(path)), "not a readable .npy array")


def test_a_folder_without_photographs_is_told_in_one_line(command, tmp_path):
    (tmp_path / "notes.txt").write_text("no photograph")
    folder = tmp_path / "empty"
    folder.mkdir()
    for place in (folder, tmp_path):
        run = command("convert", *SMALL, "--calib", str(place))
        assert_user_error(run, f"--calib {place}: no photographs in it; expected files of these kinds: bmp gif jpeg")


def test_a_folder_of_unreadable_photographs_is_told_in_one_line(command, tmp_path):
    (tmp_path / "a.jpg").write_text("no photograph")
    run = command("convert", *SMALL, "--calib", str(tmp_path))
    assert_user_error(run, "none of the 1 photographs drawn could be read")


def test_a_file_of_another_kind_is_no_calibration(command, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"")
    run = command("convert", *SMALL, "--calib", str(path))
    assert_user_error(run, "expected a folder of photographs or an .npy file, not .jpg")


def test_an_example_that_does_not_fit_is_told_in_one_line(command, tmp_path):
    path = tmp_path / "example.npy"
    np.save(path, np.zeros((1, 3, 32, 16), np.float32))
    run = command("convert", *SMALL, "--method", "trace", "--example", str(path))
    assert_user_error(run, f"--example {path}: float32 (1, 3, 32, 16) is not float [3, 32, 32], preprocessed")


@pytest.mark.parametrize(
    ("attribute", "replacement", "fragment"),
    [
        ("xnnpack", SimpleNamespace(enabled=False), "is built without XNNPACK"),
        ("quantized", SimpleNamespace(supported_engines=["none", "fbgemm"]), "has no quantized engine 'qnnpack'"),
    ],
)
def test_an_unsuitable_torch_is_told_before_any_work(attribute, replacement, fragment, command, monkeypatch):
    def loaded(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("fxconv.models.load", loaded)
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends, attribute, replacement)
        run = command("convert", *SMALL)
    assert_user_error(run, f"torch {torch.__version__}", fragment, 'install "torch>=2.12,<2.13"')


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


def test_lists_of_mixed_types_are_refused_before_the_interpreter_crashes(command, tmp_path):
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
    run = command("convert", f"{nested}:Net", "--input-size", "16", "--calib-count", "4")
    assert_user_error(run, "the outputs mix types in one list or dict", "return a tuple of tensors instead")


def test_a_model_of_two_inputs_is_told_how_many_it_may_have(command, tmp_path):
    two = tmp_path / "two.py"
    two.write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, x, y):\n        return x + y\n"
    )
    run = command("convert", f"{two}:Net", "--input-size", "16")
    assert_user_error(run, "takes 2 inputs (x, y); only one image is supported")
