"""A saved config repeats the result, bit for bit, and says what must be repeated or is not what it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fxconv_commands import NETWORKS, assert_user_error
from PIL import Image

MODEL = ("resnet18", "--input-size", "3x32x32", "--recipe", "none", "--no-golden")


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(10):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def test_the_file_alone_gives_the_same_bytes(warm, tmp_path, photographs):
    def command(*words):
        return warm.command(tmp_path, *words)

    from torchvision.models import resnet18

    torch.manual_seed(1)
    torch.save(resnet18(num_classes=4).state_dict(), tmp_path / "own.pth")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    run = command(
        *("convert", *MODEL, "--weights", f"{tmp_path}/own.pth", "--calib", str(photographs), "--calib-count", "6"),
        *("--seed", "3", "--preprocess", "unit", "--labels", f"{tmp_path}/names.txt", "--min-sqnr", "0"),
        *("--save-config", f"{tmp_path}/c.json", "-o", "a.ptl"),
    )
    assert run.status == 0, run.stderr
    saved = json.loads((tmp_path / "c.json").read_text())
    inputs = saved["inputs"]
    assert {key: inputs[key] for key in ("model", "weights", "calib", "labels", "input_size", "targets")} == {
        "model": "resnet18",
        "weights": "own.pth",
        "calib": "photographs",
        "labels": "names.txt",
        "input_size": "3x32x32",
        "targets": ["mobile"],
    }
    assert {"--weights", "--calib", "--labels", "the weights"} == set(inputs["digests"])
    again = command("convert", "--config", f"{tmp_path}/c.json", "-o", "b.ptl")
    assert (again.status, again.stderr) == (0, "")
    assert (run.folder / "a.ptl").read_bytes() == (run.folder / "b.ptl").read_bytes()

    (tmp_path / "moved").mkdir()
    for name in ("own.pth", "names.txt", "photographs", "c.json"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    moved = command("convert", "--config", f"{tmp_path}/moved/c.json", "-o", "c.ptl")
    assert (moved.status, moved.stderr) == (0, "")
    assert (run.folder / "a.ptl").read_bytes() == (run.folder / "c.ptl").read_bytes()

    torch.manual_seed(2)
    torch.save(resnet18(num_classes=4).state_dict(), tmp_path / "moved" / "own.pth")
    next((tmp_path / "moved" / "photographs").iterdir()).unlink()
    other = command("convert", "--config", f"{tmp_path}/moved/c.json", "-o", "d.ptl", "--min-sqnr", "0")
    told = [line.partition(":")[2].partition(":")[0].strip() for line in other.stderr.splitlines()]
    assert set(told) == {"--weights", "--calib"}
    assert f"not what {tmp_path}/moved/c.json was saved with (SHA-256 " in other.stderr


def test_what_names_code_must_be_repeated(warm, tmp_path):
    def command(*words):
        return warm.command(tmp_path, *words)

    (tmp_path / "own.py").write_text(
        "import torch\nfrom torchvision import transforms as T\n"
        "transform = T.Compose([T.Resize((32, 32)), T.ToTensor()])\n"
    )
    model, own = f"{NETWORKS}:tiny", f"{tmp_path}/own.py:transform"
    common = ("--calib-count", "4", "--recipe", "none", "--no-golden")
    run = command("convert", model, "--preprocess", own, *common, "--save-config", "c.json", "-o", "a.ptl")
    assert run.status == 0, run.stderr
    alone = command("convert", "--config", "c.json", "-o", "b.ptl")
    assert alone.status == 2
    assert "names code that would run, which a file alone must not decide; look at it, and give " in alone.stderr
    assert ":tiny --preprocess own.py:transform beside --config" in alone.stderr
    again = command("convert", model, "--config", "c.json", "--preprocess", own, "-o", "b.ptl")
    assert (again.status, again.stderr) == (0, run.stderr)
    assert (run.folder / "a.ptl").read_bytes() == (run.folder / "b.ptl").read_bytes()


def test_without_a_model(command, tmp_path):
    assert_user_error(command("convert"), "missing argument 'MODEL' (fxconv convert --help)")
    (tmp_path / "c.json").write_text("{}")
    assert_user_error(command("convert", "--config", f"{tmp_path}/c.json"), "missing argument 'MODEL'")
    (tmp_path / "c.json").write_text('{"inputs": {"modle": "x"}}')
    assert_user_error(
        command("convert", "--config", f"{tmp_path}/c.json"),
        f"--config {tmp_path}/c.json: 'inputs': unknown key 'modle'",
    )
