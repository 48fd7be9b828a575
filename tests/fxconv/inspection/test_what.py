"""What a file is in a few words, nothing in it run."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fxconv.inspection import Kind
from fxconv.inspection.what import kind_of, what_is


def _array(path):
    np.savez(path.open("wb"), x=np.zeros(3))


def _zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


@pytest.mark.parametrize(
    ("name", "write", "what"),
    [
        ("x", lambda path: path.mkdir(), "a folder"),
        ("x.py", lambda path: path.write_text("raise SystemExit\n"), "a Python file"),
        ("x.ipynb", lambda path: path.write_text(json.dumps({"cells": []})), "a notebook"),
        ("x.json", lambda path: path.write_text("{}"), "a JSON file"),
        ("x.yml", lambda path: path.write_text("a: 1"), "a YAML file"),
        ("x.txt", lambda path: path.write_text("hello there"), 'a text that begins "hello there"'),
        ("x.pth", lambda path: torch.save(nn.Conv2d(1, 1, 1).state_dict(), path), "a state_dict"),
        ("x.pth", lambda path: torch.save({"epoch": 1, "model": {"w": torch.ones(1)}}, path), "a checkpoint"),
        ("x.pth", lambda path: torch.save(nn.Conv2d(1, 1, 1), path), "a pickled module"),
        ("x.pt", lambda path: torch.jit.script(nn.Conv2d(1, 1, 1)).save(str(path)), "a TorchScript archive"),
        ("x.tflite", lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(9)), "a TensorFlow Lite model"),
        ("x.onnx", lambda path: path.write_bytes(b"\x08\x07\x12\x07" + bytes(99)), "a damaged ONNX file"),
        ("x.onnx", lambda path: path.write_text("<html> gone"), 'a text that begins "<html> gone"'),
        ("x.png", lambda path: Image.new("L", (2, 2)).save(path), "a PNG image"),
        ("x.jpg", lambda path: Image.new("L", (2, 2)).save(path), "a JPEG image"),
        ("x.gif", lambda path: Image.new("L", (2, 2)).save(path), "a GIF image"),
        ("x.webp", lambda path: Image.new("RGB", (2, 2)).save(path), "a WebP image"),
        ("x.tif", lambda path: Image.new("L", (2, 2)).save(path), "a TIFF image"),
        ("x.h5", lambda path: path.write_bytes(b"\x89HDF" + bytes(9)), "an HDF5 file"),
        ("x.npz", _array, "a NumPy archive"),
        ("x.zip", _zip, "a zip archive"),
        ("x.pth", lambda path: None, "no such file"),
    ],
)
def test_what_there_is(name, write, what, tmp_path):
    write(tmp_path / name)
    assert what_is(tmp_path / name) == what


def test_a_binary_file_called_py_is_no_python_file(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "x.py")
    assert what_is(tmp_path / "x.py") == "a state_dict"
    assert kind_of(tmp_path / "x.py") is Kind.STATE_DICT
    assert kind_of(tmp_path / "gone") is None
