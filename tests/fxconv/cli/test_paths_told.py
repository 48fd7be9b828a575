"""Paths are told as they were given: nothing that is printed or written names the current folder in full."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NET = """
import os
import torch
from torch import nn

class Branch(nn.Module):
    def forward(self, x):
        if x.abs().max() >= 0:
            return torch.sigmoid(x)
        return x

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.branch, self.fc = nn.Conv2d(3, 4, 3), Branch(), nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.fc(self.branch(x + 1).mean((2, 3)))

class Failing(Net):
    def forward(self, x):
        raise ValueError(f"not in {os.path.abspath('data/x.bin')}")

def unreadable():
    return open(os.path.abspath("data/x.bin"))
"""
WORDS = ("--input-size", "16", "--calib-count", "4", "--recipe", "none", "--min-sqnr", "-100")


@pytest.fixture
def folder(command) -> Path:
    """The current folder, with a model and photographs in folders of their own."""
    here = Path.cwd()
    (here / "nets").mkdir()
    (here / "nets" / "net.py").write_text(NET)
    (here / "photos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(here / f"photos/{number}.png")
    (here / "photos" / "broken.png").write_text("none")
    return here


def test_of_a_conversion(command, folder):
    written = ("-o", "net.ptl", "--html", "net.html", "--json", "net.json", "--save-config", "net.cfg")
    asked = ("--calib", "photos", "--method", "trace", "--allow-frozen-branches", "--report", "--full")
    run = command("convert", "nets/net.py:Net", *WORDS, *asked, *written)
    assert run.status == 0, run.stderr
    assert "nets/net.py:8 (if x.abs().max() >= 0:)" in run.stdout
    texts = {"stdout": run.stdout.encode(), "stderr": run.stderr.encode()}
    texts |= {name: Path(name).read_bytes() for name in written[1::2]}
    with zipfile.ZipFile("net.ptl") as archive:
        texts |= {name: archive.read(name) for name in archive.namelist()}
    assert [name for name, text in texts.items() if str(folder).encode() in text] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("convert", "nets/net.py:Failing"), "the code in nets/net.py, line 23 (raise ValueError(f"),
        (("convert", "nets/net.py:Failing"), "failed with ValueError: not in data/x.bin on an input of"),
        (("convert", "nets/net.py:unreadable"), "No such file or directory: 'data/x.bin'"),
        (("convert", "nets/net.py:Net", "-o", "link.ptl"), "-o link.ptl: there is no folder gone; make it"),
        (("convert", "nets/net.py:Net", "--calib", "nets"), "--calib nets: no photographs in it"),
    ],
)
def test_of_mistakes(words, said, command, folder):
    Path("link.ptl").symlink_to("gone/x.ptl")
    run = command(*words, *WORDS)
    assert run.status == 2
    assert said in run.stderr
    assert str(folder) not in run.stderr + run.stdout
