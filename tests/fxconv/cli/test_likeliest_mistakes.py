"""The likeliest mistakes: each is told in one line, which says what is wrong and what to type, and leaves nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import mobilenet_v3_small

# Longer lines are not read.
LONGEST = 400
NET = """
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3)

    def forward(self, x):
        return self.conv(x)


class Net(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.block = Block(channels)

    def forward(self, x):
        return self.block(x).relu()


class Grey(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 5), nn.Linear(4 * 28 * 28, 10)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 32 * 32, 10)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


class OfDicts(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, batch):
        return self.conv(batch["pixels"])


def make_net():
    return Net()


def sized(width, depth):
    return nn.Sequential(nn.Conv2d(3, width, 3))


def forgets():
    Net()


def pair():
    return Net(), {}


def weights():
    return Net().state_dict()


def kind():
    return Net


def halved():
    return Net().half()


def failing():
    sizes = [3, 4]
    return nn.Conv2d(3, sizes[2], 3)
"""
QUANTIZED = """
import torch
from torch import nn


def trained():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).train()
    net.qconfig = torch.ao.quantization.get_default_qat_qconfig("qnnpack")
    return torch.ao.quantization.prepare_qat(net)


def converted():
    return nn.Sequential(torch.ao.nn.quantized.Conv2d(3, 4, 1))
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """A folder with what people give for a model, an artifact or images."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "net.py").write_text(NET)
    (folder / "quantized.py").write_text(QUANTIZED)
    (folder / "script.py").write_text("print('hello')\n")
    (folder / "needs.py").write_text("import einops_of_nobody\n\n\ndef net():\n    return 1\n")
    (folder / "train.ipynb").write_text(json.dumps({"cells": [], "nbformat": 4}))
    (folder / "choices.yaml").write_text("seed: 3\n")
    (folder / "loose").mkdir()
    (folder / "loose" / "net.py").write_text("from .blocks import Block\n\n\ndef net():\n    return Block()\n")
    (folder / "empty").mkdir()
    (folder / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(folder / "photos" / "cat.jpg")
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    traced = torch.jit.trace(model, torch.zeros(1, 3, 8, 8))
    traced.save(str(folder / "scripted.pt"))
    traced._save_for_lite_interpreter(str(folder / "old.ptl"))
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 8, 8),)), folder / "exported.pt2")
    # ModelProto: ir_version, producer_name, graph
    (folder / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch:\x02\x12\x00")
    (folder / "net.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(50))
    state = mobilenet_v3_small(num_classes=10).state_dict()
    torch.save(state, folder / "small.pth")
    torch.save({"net": {"w": torch.ones(3)}, "critic": {"v": torch.ones(3)}}, folder / "two.pth")
    ours = {f"block.conv.{key}": value for key, value in nn.Conv2d(3, 3, 3).state_dict().items()}
    wrong = {f"backbone.{key}": value for key, value in ours.items()}
    torch.save({"state_dict": {**wrong, "loss.weight": torch.ones(2)}}, folder / "inner.ckpt")
    torch.save({"model": {"other": torch.ones(2)}, "model_ema": ours}, folder / "ema.pth")
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3)), folder / "pickled.pth")
    np.save(folder / "images.npy", np.zeros((2, 3, 32, 32), np.float32))
    return folder


MISTAKES = {
    "a mistyped model": (
        "convert mobilenet_v3_smal",
        "unknown model 'mobilenet_v3_smal'; did you mean mobilenet_v3_small, mobilenet_v3, mobilenet_v3_large? "
        "(fxconv models lists all; or give FILE.py:FACTORY)",
    ),
    "a Python file alone": (
        "convert net.py",
        "net.py is a Python file; name what makes the model in it: net.py:make_net or net.py:failing or "
        "net.py:Net (and 4 more)",
    ),
    "a Python file without a model": (
        "convert script.py",
        "script.py is a Python file, in which nothing seems to make a model; name what does: script.py:FACTORY",
    ),
    "a file that is not there": (
        "convert model.pt",
        "model.pt: no such file; check the name: MODEL is a name (fxconv models lists them) or FILE.py:FACTORY",
    ),
    "TorchScript": (
        "convert scripted.pt",
        "scripted.pt is a TorchScript archive, which cannot be rewritten; name the model's Python source, "
        "FILE.py:FACTORY, with --weights FILE for what model.state_dict() saved",
    ),
    "an ONNX file": (
        "convert net.onnx",
        "net.onnx is an ONNX model, an artifact already; fxconv inspect net.onnx says what is in it; to convert, "
        "name the model's Python source, FILE.py:FACTORY",
    ),
    "an exported program": (
        "convert exported.pt2",
        "exported.pt2 is an exported program (torch.export), an artifact already; fxconv inspect exported.pt2 "
        "says what is in it; to convert, name the model's Python source, FILE.py:FACTORY",
    ),
    "a TensorFlow Lite file": (
        "convert net.tflite",
        "net.tflite is a TensorFlow Lite model, an artifact already; fxconv inspect net.tflite says what is in "
        "it; to convert, name the model's Python source, FILE.py:FACTORY",
    ),
    "an artifact": (
        "diff old.ptl",
        "old.ptl is a lite-interpreter archive, an artifact already; fxconv inspect old.ptl and fxconv verify "
        "old.ptl look at it; to convert anew, name the model's Python source, FILE.py:FACTORY",
    ),
    "a notebook": (
        "convert train.ipynb",
        "train.ipynb is a notebook; move the model's code into a file, FILE.py:FACTORY, or call "
        "fxconv.convert(model) in the notebook",
    ),
    "weights without a model": (
        "convert small.pth",
        "small.pth is a state_dict, weights without a model, by their names mobilenet_v3_small's: fxconv convert "
        "mobilenet_v3_small --weights small.pth",
    ),
    "weights of a model of one's own": (
        "convert ema.pth",
        "ema.pth is a checkpoint, weights without a model: fxconv convert MODEL --weights ema.pth, with MODEL a "
        "name or FILE.py:FACTORY",
    ),
    "a pickled model": (
        "convert pickled.pth",
        "pickled.pth is a pickled module (torch.nn.modules.container.Sequential): fxconv convert FILE.py:FACTORY "
        "--weights pickled.pth --unsafe-load takes its weights, and runs the code in it: only for a file you "
        "trust",
    ),
    "a folder": (
        "convert photos",
        "photos is a folder, no model; name the model's Python source, FILE.py:FACTORY, and give photographs with"
        " --calib photos",
    ),
    "a photograph": (
        "convert photos/cat.jpg",
        "photos/cat.jpg is a JPEG image, no model; a folder of them is what --calib takes: fxconv convert MODEL "
        "--calib photos",
    ),
    "a package that is not installed": (
        "convert timm:resnet18",
        "timm:resnet18: the package timm is not installed: pip install timm",
    ),
    "a name that is not in the file": (
        "convert net.py:make_nte",
        "model net.py:make_nte: net.py has no 'make_nte'; did you mean make_net?",
    ),
    "an import that is missing": (
        "convert needs.py:net",
        "model needs.py:net: needs.py does not import: ModuleNotFoundError: No module named 'einops_of_nobody', "
        "in needs.py, line 1 (import einops_of_nobody); install what has einops_of_nobody, or mend it there",
    ),
    "a relative import without a package": (
        "convert loose/net.py:net",
        "loose/net.py: imports .blocks from its package, and is in none: put an __init__.py beside it, or type "
        "loose.net:NAME here",
    ),
    "a factory that needs arguments": (
        "convert net.py:sized --model-arg width=4",
        "net.py:sized() needs depth; give --model-arg depth=VALUE, or a default",
    ),
    "a factory that fails": (
        "convert net.py:failing",
        "net.py:failing() failed with IndexError: list index out of range, in net.py, line 80 (return "
        "nn.Conv2d(3, sizes[2], 3)); mend it there",
    ),
    "a factory that returns nothing": (
        "convert net.py:forgets",
        "net.py:forgets() gave nothing; return the model at its end",
    ),
    "a factory that returns a pair": (
        "convert net.py::pair",
        "net.py:pair() gave a tuple (Net, dict), not an nn.Module; return the module alone",
    ),
    "a factory that returns weights": (
        "convert net.py:weights",
        "net.py:weights() gave a state_dict, weights without a model; load them into the model and return that, "
        "or save them and give --weights FILE",
    ),
    "a factory that returns a class": (
        "convert net.py:kind",
        "net.py:kind() gave the class Net, not a module of it; return Net()",
    ),
    "a model of one channel": (
        "convert net.py:Grey",
        "net.py:Grey cannot take an input of 3x224x224 (Given groups=1, weight of size [4, 1, 5, 5], expected "
        "input[1, 3, 224, 224] to have 1 channels, but got 3 channels instead); set --input-size 1x32x32",
    ),
    "a model of another size": (
        "convert net.py:Small",
        "net.py:Small cannot take an input of 3x224x224 (mat1 and mat2 shapes cannot be multiplied (1x200704 and "
        "4096x10)); set --input-size 3x32x32",
    ),
    "a model that takes a dict": (
        "convert net.py:OfDicts",
        "net.py:OfDicts takes a dict, batch, and a file takes tensors alone; put the model into a module whose "
        "forward makes the dict, and name that: def forward(self, pixels): return self.model({'pixels': pixels})",
    ),
    "a model in half precision": (
        "convert net.py:halved",
        "net.py:halved: block.conv.weight is float16, and float32 is needed; call .float() on the model",
    ),
    "a model that is quantized": (
        "convert quantized.py:converted",
        "quantized.py:converted: 0: Conv2d is quantized already; give the float model that it was made of, from "
        "before torch.ao.quantization.convert",
    ),
    "a model that rounds in training": (
        "convert quantized.py:trained",
        "quantized.py:trained: 0: Conv2d rounds as prepare_qat has it; give the float model that it was made of, "
        "and fxconv trains it itself with --mode qat",
    ),
    "a quantized name of torchvision's": (
        "convert quantized_resnet18",
        "model 'quantized_resnet18' is quantized by torchvision already; name the float one: resnet18",
    ),
    "TorchScript for weights": (
        "convert net.py:Net --weights scripted.pt",
        "--weights scripted.pt: a TorchScript archive, not a checkpoint; save model.state_dict() instead",
    ),
    "an ONNX file for weights": (
        "convert net.py:Net --weights net.onnx",
        "--weights net.onnx: an ONNX model, not a checkpoint; save model.state_dict() with torch.save",
    ),
    "a Python file for weights": (
        "convert net.py:Net --weights script.py",
        "--weights script.py: a Python file, not a checkpoint; MODEL names it, script.py:FACTORY",
    ),
    "a pickled model for weights": (
        "convert net.py:Net --weights pickled.pth",
        "--weights pickled.pth: holds pickled Python objects (Sequential), not only tensors, and unpickling runs "
        "whatever code is in the file; save model.state_dict() instead, or give --unsafe-load if you trust the "
        "file",
    ),
    "weights of two networks": (
        "convert net.py:Net --weights two.pth",
        "--weights two.pth does not fit net.py:Net: it lacks block.conv.weight, block.conv.bias; the model has no"
        " w; there is critic in the file, too (--weights-key)",
    ),
    "an average that fits": (
        "convert net.py:Net --weights ema.pth",
        "--weights ema.pth does not fit net.py:Net: it lacks block.conv.weight, block.conv.bias; the model has no"
        " other; model_ema in the file fits: --weights-key model_ema",
    ),
    "a prefix": (
        "convert net.py:Net --weights inner.ckpt",
        "--weights inner.ckpt does not fit net.py:Net: it lacks block.conv.weight, block.conv.bias; the model has"
        " no backbone.block.conv.weight, backbone.block.conv.bias, loss.weight; its names under backbone. fit: "
        "--weights-prefix backbone.",
    ),
    "a key that is not there": (
        "convert net.py:Net --weights ema.pth --weights-key ema",
        "--weights-key ema: ema.pth has no state_dict there; it has model, model_ema",
    ),
    "a key without a checkpoint": (
        "convert net.py:Net --weights-key ema",
        "--weights-key ema: is of a checkpoint, and there is none; give --weights FILE",
    ),
    "a folder of images that is not there": (
        "convert net.py:Net --calib fotos",
        "--calib fotos: no such file or folder; check the name",
    ),
    "an empty folder of images": (
        "convert net.py:Net --calib empty",
        "--calib empty: no photographs in it; expected files of these kinds: bmp gif jpeg jpg pgm png ppm tif "
        "tiff webp",
    ),
    "one photograph": (
        "convert net.py:Net --calib photos/cat.jpg",
        "--calib photos/cat.jpg: is a JPEG image; expected a folder of photographs, an .npy or an .npz file, not "
        ".jpg; give its folder, --calib photos",
    ),
    "weights for an example": (
        "convert net.py:Net --example small.pth",
        "--example small.pth: is a state_dict; expected an .npy or an .npz file, not .pth",
    ),
    "a Python file for a pass": (
        "convert net.py:Net --pass script.py",
        "--pass script.py: expected FILE.py:NAME or PACKAGE.MODULE:NAME",
    ),
    "a configuration that is no JSON": (
        "convert net.py:Net --config choices.yaml",
        "--config choices.yaml: is not JSON (line 1: Expecting value); --save-config writes such a file",
    ),
    "a folder for labels": (
        "convert net.py:Net --labels photos",
        "--labels photos: is a folder; --eval takes it, with a folder in it for each class",
    ),
    "a size with a comma": (
        "convert net.py:Net --input-size 224,224",
        "--input-size 224,224: expected N, HxW, CxHxW or CxTxHxW in pixels, such as 224, 240x320, 1x28x28 or "
        "3x16x112x112",
    ),
    "no images at all": (
        "convert net.py:Net --calib-count 0",
        "invalid value for '--calib-count': Input should be greater than or equal to 1 (fxconv convert --help)",
    ),
    "a mistyped option": (
        "convert net.py:Net --calbi photos",
        "no such option: --calbi (Possible options: --calib, --calibration, --eval) (fxconv convert --help)",
    ),
    "an unknown recipe": (
        "convert net.py:Net --recipe equalisation",
        "invalid value for '--recipe': 'equalisation' is not one of 'auto', 'none', 'reader-ranges', 'bias-"
        "correction', 'weight-ranges', 'equalization', 'bias-absorption', 'adaround' (fxconv convert --help)",
    ),
    "a file of TensorFlow Lite's asked for": (
        "convert net.py:Net -o out.tflite",
        "-o out.tflite: fxconv writes .ptl or .pte only, no TensorFlow Lite file; write out.ptl",
    ),
    "an ONNX file asked for": (
        "convert net.py:Net -o out.ONNX",
        "-o out.ONNX: fxconv writes .ptl or .pte only, no ONNX file; write out.ptl",
    ),
    "a name without a suffix": (
        "convert net.py:Net -o out",
        "-o out: has no suffix, as the files that fxconv writes do; write out.ptl",
    ),
    "a version for a suffix": (
        "convert net.py:Net -o net.v2",
        "-o net.v2: does not end in .ptl or .pte, as the files that fxconv writes do; write net.v2.ptl",
    ),
    "a folder that is not there": (
        "convert net.py:Net -o build/out.ptl",
        "-o build/out.ptl: there is no folder build; make it, or write elsewhere",
    ),
    "a model for an artifact": (
        "verify resnet18",
        "resnet18: no such file; give a .ptl or .pte",
    ),
    "a Python file for an artifact": (
        "bench net.py",
        "net.py: is a Python file, no .ptl; fxconv convert writes one of a model",
    ),
    "an ONNX file for an artifact": (
        "verify net.onnx",
        "net.onnx: is no archive of the lite interpreter (ONNX model); give a .ptl; fxconv inspect net.onnx says "
        "what is in it",
    ),
    "artifacts for reports": (
        "compare old.ptl old.ptl",
        "old.ptl: is a lite-interpreter archive, no JSON report of a conversion; give what fxconv convert --json "
        "wrote; fxconv bench compares files by their latency",
    ),
    "a picture of an error": (
        "doctor photos/cat.jpg",
        "photos/cat.jpg: is a JPEG image, whose text fxconv does not read; type the error text, in quotes",
    ),
    "an artifact for an error": (
        "doctor old.ptl",
        "old.ptl: is a lite-interpreter archive, no error text; fxconv inspect old.ptl says what is in it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("typed", "line"), MISTAKES.values(), ids=MISTAKES)
def test_the_line(typed, line, given, command, monkeypatch):
    monkeypatch.chdir(given)
    monkeypatch.setitem(sys.modules, "timm", None)
    before = sorted(path.relative_to(given) for path in given.rglob("*") if "__pycache__" not in path.parts)
    run = command(*typed.split())
    assert run.stderr == f"fxconv: error: {line}\n"
    assert (run.status, run.stdout) == (2, "")
    assert len(str(line)) <= LONGEST
    assert sorted(path.relative_to(given) for path in given.rglob("*") if "__pycache__" not in path.parts) == before


def test_there_are_enough_of_them():
    assert len(MISTAKES) >= 25
