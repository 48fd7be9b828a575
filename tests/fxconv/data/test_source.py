"""What a user feeds in, through the command line: what is used, what is refused, and in which words."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import fxconv_networks as networks
import numpy as np
import pytest
import torch
from fxconv_commands import NETWORKS, PLAIN, assert_user_error
from PIL import Image
from torch import nn
from torchvision.models import get_model

import fxconv


def photographs(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def test_photographs_that_cannot_be_read_are_named_and_counted(command, tmp_path):
    folder = photographs(tmp_path / "my photographs", 5)
    for index in range(7):
        (folder / f"broken {index}.jpg").write_text("junk")
    run = command("convert", *PLAIN, "--calib", str(folder), "--calib-count", "100", "--json", "report.json")
    assert run.status == 0
    *named, last, _ = run.stderr.splitlines()
    assert len(named) == 5
    for line in named:
        assert line.startswith("warning: broken ")
        assert line.endswith(".jpg was left out of calibration: its content is no image of a known kind")
    assert last == "warning: 2 more photographs were left out of calibration"
    source = f"5 of 12 photographs in {folder}, seed 0; 7 could not be read"
    assert f"calibrated on  {source}\n" in run.stdout
    calibration = run.report["calibration"]
    assert (calibration["source"], calibration["images"], calibration["skipped"]) == (source, 5, 7)


def test_an_array_in_an_npz_calibrates_and_another_is_the_example(command, tmp_path):
    path = tmp_path / "arrays.npz"
    rng = np.random.default_rng(0)
    np.savez_compressed(
        path,
        pixels=rng.integers(0, 256, (9, 40, 32, 3), dtype=np.uint8),
        inputs=rng.normal(size=(2, 3, 32, 32)).astype(np.float16),
    )
    assert_user_error(command("convert", *PLAIN, "--calib", str(path)), "holds several arrays (pixels uint8 (9, 40, 32")
    over = command("convert", *PLAIN, "--calib", f"{path}:pixels", "-o", str(path))
    assert_user_error(over, f"-o {path}: is the same file as --calib; choose another name")
    arguments = ("--calib", f"{path}:pixels", "--method", "trace", "--example", f"{path}:inputs")
    run = command("convert", *PLAIN, *arguments, "--preprocess", "torchvision")
    assert (run.status, run.stderr) == (0, "")
    assert f"calibrated on  8 of 9 uint8 images in {path}:pixels, seed 0\n" in run.stdout


def test_float_pixels_are_warned_of(command, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.linspace(0, 255, 8 * 3 * 32 * 32, dtype=np.float32).reshape(8, 3, 32, 32))
    run = command("convert", *PLAIN, "--calib", str(path))
    assert run.status == 0
    assert run.stderr == (
        f"warning: {path} holds values from 0 to 255, as pixels have before they are preprocessed, and float arrays "
        "are used as they are: scale and normalize them, or save the pixels as uint8 [N, H, W, C]\n"
    )


def test_a_checkpoint_of_other_classes_is_converted_and_told(command, tmp_path):
    path = tmp_path / "x.pth"
    torch.manual_seed(0)
    torch.save(get_model("resnet18", weights=None, num_classes=10), path)
    arguments = ("convert", "resnet18", "--input-size", "32", "--calib-count", "4", "--weights", str(path))
    refused = command(*arguments)
    assert_user_error(refused, f"--weights {path}: holds pickled Python objects (torchvision.models.resnet.ResNet)")
    assert_user_error(refused, "unpickling runs whatever code is in the file", "--unsafe-load if you trust the file")
    assert_user_error(command("diff", *arguments[1:4], "--weights", str(path)), "holds pickled Python objects")
    run = command(*arguments, "--unsafe-load", "--recipe", "none", "--json", "report.json")
    assert run.status == 0
    assert run.report["model"]["weights"] == f"{path}, head sized to its 10 classes"
    assert f"weights        {path}, head sized to its 10 classes\n" in run.stdout
    assert command("diff", *arguments[1:4], "--weights", str(path), "--unsafe-load").status == 0


def test_a_batch_norm_of_no_variance_converts_with_a_warning(command, tmp_path):
    path = tmp_path / "x.pth"
    torch.manual_seed(0)
    state = networks.tiny().state_dict()
    state["stem.1.running_var"][3:6] = 0
    torch.save(state, path)
    run = command("convert", *PLAIN, "--weights", str(path), "--json", "report.json")
    assert run.status == 0
    assert run.stderr.startswith("warning: batch norms with a running variance of 0: stem.1 (3 of 16 channels); ")
    assert run.report["verdict"] == "converted and verified"
    assert next(row for row in run.report["parity"] if row["stage"] == "int8")["sqnr_db"] > 30


@pytest.mark.parametrize("size", ["96x160", "97x131", "1", "3x5"])
def test_inputs_that_are_odd_or_not_square(size, command):
    run = command("convert", f"{NETWORKS}:tiny", "--input-size", size, "--calib-count", "4", "--json", "report.json")
    assert run.status == 0
    height, _, width = size.partition("x")
    assert run.report["model"]["input_size"] == [3, int(height), int(width or height)]


SHRINKING = """
import torch
from torch import nn
from torch.nn import functional as F

class Shrinking(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x)[:, :, 8:, 8:]).mean((2, 3))

class Blind(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)[:, :, 8:, 8:].mean((2, 3))
"""


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("squeezenet1_0", "8", "squeezenet1_0 cannot take an input of 3x8x8 (Given input size: (96x1x1). Calculated"),
        ("densenet121", "16", "densenet121 cannot take an input of 3x16x16 (Given input size: (512x1x1). Calculated"),
        ("alexnet", "30x40", "alexnet cannot take an input of 3x30x40 (Given input size: "),
        (
            "shrinking.py:Shrinking",
            "10",
            "cannot take an input of 3x10x10 (relu leaves nothing of it: (1, 4, 0, 0)); set",
        ),
        ("shrinking.py:Blind", "10", "cannot take an input of 3x10x10 (its outputs are NaN); set --input-size"),
    ],
)
def test_sizes_the_network_cannot_take(model, size, message, command):
    Path("shrinking.py").write_text(SHRINKING)
    for name in ("convert", "diff"):
        run = command(name, model, "--input-size", size, "--weights", "random" if "." not in model else "auto")
        assert_user_error(run, message, "; set --input-size")


def test_a_size_the_network_can_take_is_no_mistake(command):
    Path("shrinking.py").write_text(SHRINKING)
    assert command("diff", "shrinking.py:Shrinking", "--input-size", "12").status == 0


def test_a_model_that_cannot_be_copied_is_told_in_one_line(command):
    Path("locked.py").write_text(
        "import threading\nfrom torch import nn\n\n\ndef net():\n"
        "    model = nn.Conv2d(3, 4, 3)\n    model.lock = threading.Lock()\n    return model\n"
    )
    for name in ("convert", "diff"):
        run = command(name, "locked.py:net", "--input-size", "16")
        assert_user_error(run, "locked.py:net cannot be copied (TypeError: cannot pickle '_thread.lock' object); take")


def test_random_weights_are_prepared_one_image_at_a_time_too(command):
    arguments = (
        "--weights",
        "random",
        "--input-size",
        "32",
        "--calib-count",
        "3",
        "--batch-size",
        "1",
        "--recipe",
        "none",
    )
    assert "INTERNAL" not in command("convert", "resnet18", *arguments).stderr


class Trained(nn.Module):
    """A network in the middle of its training: modes, hooks, frozen parameters, gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.net = networks.tiny()
        self.net.stem.eval()
        self.net.head.requires_grad_(False)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def count_call(module: nn.Module, inputs: object, output: object) -> None:
    """A hook of the user's, on the backward pass, of which no artifact has any."""


def test_a_model_in_the_middle_of_its_training_is_left_exactly_as_it_was(batches):
    torch.manual_seed(0)
    model = Trained().train()
    model.net.stem.eval()
    model(batches[0]).sum().backward()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    modes = {name: module.training for name, module in model.named_modules()}
    wanted = {name: p.requires_grad for name, p in model.named_parameters()}
    identities = [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    hook = model.net.stem.register_full_backward_hook(count_call)
    random.seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()

    conversion = fxconv.convert(model, calibration=batches, recipe=("none",))

    assert conversion.verified
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert dict(model.net.stem._backward_hooks) == {hook.id: count_call}
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: p.requires_grad for name, p in model.named_parameters()} == wanted
    assert [id(tensor) for tensor in (*model.parameters(), *model.buffers())] == identities
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for name, p in model.named_parameters():
        assert (p.grad is None) if gradients[name] is None else torch.equal(p.grad, gradients[name])
    model.eval()
    expected = model(batches[0])
    assert torch.allclose(conversion.int8(batches[0]), expected, atol=0.2 * expected.abs().max().item())


def test_a_factory_may_give_a_model_in_train_mode(command):
    Path("net.py").write_text(
        f"import sys\nsys.path.insert(0, {str(NETWORKS.parent)!r})\nimport fxconv_networks\n\n\n"
        "def net():\n    return fxconv_networks.tiny().train()\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert command("convert", "net.py:net", "--input-size", "32", "--calib-count", "4").status == 0


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
        expected = "holds pickled Python objects (fxconv_networks.Tiny), not only tensors, and unpickling runs whatever"
    elif content == "text":
        path.write_text("hello world\n")
    else:
        torch.jit.script(networks.tiny()).save(str(path))
        expected = "a TorchScript archive, not a checkpoint; save model.state_dict() instead"
    assert_user_error(command("convert", *PLAIN, "--weights", str(path)), f"--weights {path}", expected)


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
        ("integers", "values of type int64; expected float32 (preprocessed) or uint8 (pixels)"),
        ("not finite", "row 1 holds values that are not finite"),
    ],
)
def test_a_calibration_array_that_does_not_fit_is_told_in_one_line(kind, fragment, command, tmp_path):
    path = tmp_path / "inputs.npy"
    np.save(path, _array(kind))
    assert_user_error(command("convert", *PLAIN, "--calib", str(path)), f"--calib {path}", fragment)


def test_pickled_arrays_are_refused(command, tmp_path):
    path = tmp_path / "inputs.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    assert_user_error(command("convert", *PLAIN, "--calib", str(path)), "holds Python objects, which are not unpickled")


def test_a_folder_without_photographs_is_told_in_one_line(command, tmp_path):
    (tmp_path / "notes.txt").write_text("no photograph")
    folder = tmp_path / "empty"
    folder.mkdir()
    for place in (folder, tmp_path):
        run = command("convert", *PLAIN, "--calib", str(place))
        assert_user_error(run, f"--calib {place}: no photographs in it; expected files of these kinds: bmp gif jpeg")


def test_a_folder_of_unreadable_photographs_is_told_in_one_line(command, tmp_path):
    (tmp_path / "a.jpg").write_text("no photograph")
    run = command("convert", *PLAIN, "--calib", str(tmp_path))
    assert_user_error(
        run, "none of the photographs in it could be read (1 tried); the first is a.jpg: its content is no"
    )


def test_a_file_of_another_kind_is_no_calibration(command, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"")
    run = command("convert", *PLAIN, "--calib", str(path))
    assert_user_error(run, "expected a folder of photographs, an .npy or an .npz file, not .jpg")


def test_an_example_that_does_not_fit_is_told_in_one_line(command, tmp_path):
    path = tmp_path / "example.npy"
    np.save(path, np.zeros((1, 3, 32, 16), np.float32))
    run = command("convert", *PLAIN, "--method", "trace", "--example", str(path))
    assert_user_error(run, f"--example {path}: float32 (1, 3, 32, 16) is not float [3, 32, 32], preprocessed")


def test_an_example_of_no_numbers_is_told_in_one_line(command, tmp_path):
    path = tmp_path / "example.npz"
    np.savez(path, np.full((3, 32, 32), np.inf, np.float32))
    run = command("convert", *PLAIN, "--method", "trace", "--example", str(path))
    assert_user_error(run, f"--example {path}:arr_0: holds values that are not finite (NaN or infinite)")
