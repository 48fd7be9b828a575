"""A file given as MODEL; the lines themselves are those of tests/fxconv/cli/test_likeliest_mistakes.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fxconv import calibration_file, config_file
from fxconv.config import Config
from fxconv.errors import UserError
from fxconv.models.checkpoint_file import content_of
from fxconv.models.model_file import refusal


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", ["resnet18", "", "x" * 5000, "a\0b", "mobilenet.v3"])
def test_a_name_is_no_file(text):
    assert refusal(text) is None or text == ""


def test_what_is_not_there_is_meant_as_a_file_by_its_suffix_or_folder():
    assert "no such file" in str(refusal("x.pth"))
    assert "no such file" in str(refusal("nets/x"))


def test_a_file_that_does_not_parse(here):
    (here / "net.py").write_text("def f(:\n")
    assert (
        str(refusal("net.py")) == "net.py is a Python file that does not parse (invalid syntax, line 1); mend it there"
    )


def test_a_damaged_file_is_told_in_the_words_of_inspect(here):
    torch.save(nn.Linear(99, 99).state_dict(), here / "x.pth")
    (here / "x.pth").write_bytes((here / "x.pth").read_bytes()[:5000])
    words = "its zip directory is missing (it ends after 5,000 bytes); copy it again"
    assert str(refusal("x.pth")) == f"x.pth is truncated: {words}"


def test_a_pickled_model_whose_class_is_found_here(here, monkeypatch):
    (here / "net_of_mine.py").write_text("from torch import nn\n\n\nclass Net(nn.Linear):\n    pass\n")
    monkeypatch.syspath_prepend(str(here))
    import net_of_mine

    torch.save(net_of_mine.Net(2, 2), here / "a file.pth")
    assert str(refusal("a file.pth")) == (
        "a file.pth is a pickled module (net_of_mine.Net): fxconv convert net_of_mine.py:Net --weights 'a file.pth' "
        "--unsafe-load takes its weights, and runs the code in it: only for a file you trust"
    )


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["config.json", "model.safetensors"], "fxconv convert transformers:CLASS --weights d/model.safetensors"),
        (["last.ckpt"], "fxconv convert MODEL --weights d/last.ckpt takes weights in it"),
        (["saved_model.pb"], "of TensorFlow's or Core ML's, no model of PyTorch's; name the model's Python source"),
        (["net.py"], "name a file in it and what makes the model: d/net.py:FACTORY"),
        (["cat.jpg"], "give photographs with --calib d"),
    ],
)
def test_folders(files, words, here):
    (here / "d").mkdir()
    for name in files:
        (here / "d" / name).write_text("")
    assert words in str(refusal("d/" if files == ["last.ckpt"] else "d"))


def test_a_calibration_that_was_saved(here):
    # what fxconv.calibration_file writes, with ranges left out: its format says what it is
    torch.save({"format": calibration_file._FORMAT, "text": "{}", "rows": [(torch.ones(1, 3, 4, 4),)]}, here / "a c.pt")
    said = "a calibration that fxconv saved"
    assert str(refusal("a c.pt")) == f"a c.pt is {said}; fxconv convert --calibration 'a c.pt'"
    with pytest.raises(UserError) as refused:
        content_of(Path("a c.pt"))
    assert str(refused.value) == f"--weights a c.pt: is {said}, no weights; fxconv convert --calibration 'a c.pt'"


@pytest.mark.parametrize(
    ("text", "is_ours"),
    [
        (config_file.text(Config()), True),
        ('{"schema": 1, "inputs": {}}', True),
        ('{"schema": 1, "mode": "static", "verdict": "converted"}', False),
        ('{"mode": "static"}', False),
        ("[1]", False),
        ("{", False),
    ],
)
def test_the_choices_of_a_conversion(here, text, is_ours):
    (here / "a c.json").write_text(text)
    ours = "a c.json holds the choices of a conversion; fxconv convert --config 'a c.json'"
    assert (str(refusal("a c.json")) == ours) is is_ours
    if not is_ours:
        assert str(refusal("a c.json")).startswith("a c.json is a JSON file")


def test_a_damaged_onnx_file(here):
    (here / "x.onnx").write_bytes(b"\x08\x07\x12\x07" + bytes(99))
    begins = "08 07 12 07 00 00 00 00"
    assert str(refusal("x.onnx")) == (
        f"x.onnx is a damaged ONNX file (it begins with the bytes {begins}); copy it again, or export it anew"
    )
