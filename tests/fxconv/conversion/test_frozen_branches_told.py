"""A model that can only be traced and decides by the numbers in a tensor: refused, or told in every view."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import fxconv
from fxconv.errors import UserError
from fxconv.replay import extra_file
from fxconv.targets.mobile.lite_file import load_lite

SOURCE = '''
import torch
from torch import nn


class Named(dict):
    """What TorchScript does not know: a class of somebody's own."""


class Leaf(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x, flag):
        {question}
        return Named(last=self.conv(x) * factor)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.leaf = nn.Conv2d(3, 8, 3, padding=1), Leaf()

    def forward(self, x):
        return self.leaf(self.stem(x).relu(), (x[0, 0, 0, 0] > 0).float())["last"]


def make_net():
    torch.manual_seed(0)
    return Net()
'''
BRANCH = "factor = 2 if torch.equal(flag, torch.ones_like(flag)) else -1"
CHECK = "assert not x.isnan().any()\n        factor = 2 if x.shape[1] == 8 else -1"
WORDS = ("--input-size", "3x16x16", "--calib", "images.npy", "--calib-count", "4", "--recipe", "none", "-o", "x.ptl")


@pytest.fixture
def convert(command, tmp_path):
    """`convert(question, "--report")`: the model that asks this, from the command line."""

    def run(question: str, *words: str):
        path = tmp_path / "torch" / "net.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(SOURCE.replace("{question}", question))
        images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        images[:, 0, 0, 0] = 1
        np.save(tmp_path / "cwd" / "images.npy", images.numpy())
        return command("convert", f"{path}:make_net", *WORDS, *words)

    return run


@pytest.mark.parametrize("method", ["auto", "trace"])
def test_it_is_refused_in_one_line_and_nothing_is_written(convert, method):
    run = convert(BRANCH, "--json", "report.json", "--method", method)
    assert run.status == 2
    (line,) = [line for line in run.stderr.splitlines() if "error:" in line]
    assert "tracing would freeze, as the example takes it, what is decided by the numbers in a tensor at " in line
    assert f"net.py:16 ({BRANCH})" in line and line.endswith("--allow-frozen-branches")
    assert run.files == ["images.npy"]


def test_with_leave_every_view_repeats_it(convert):
    views = ("--report", "--json", "report.json", "--html", "report.html", "--save-config", "choices.json")
    run = convert(BRANCH, "--allow-frozen-branches", *views)
    assert run.status == 0, run.stderr
    place = f"net.py:16 ({BRANCH})"
    told = f"frozen, as the example took them: what is decided by the numbers in a tensor at {place}"
    assert run.report["tracing"]["frozen_branches"] == [place]
    assert told in run.report["warnings"]
    assert run.stdout.count(place) >= 2  # in the summary, and among the warnings
    assert (run.folder / "report.html").read_text().count(place.replace("'", "&#x27;")) >= 2
    assert json.loads((run.folder / "choices.json").read_text())["allow_frozen_branches"] is True
    said = json.loads(extra_file(str(run.folder / "x.ptl"), "fxconv.json"))
    assert said["lowering"] == {"method": "trace", "frozen_branches": 1}
    image = torch.rand(1, 3, 16, 16)
    other = image.clone()
    other[0, 0, 0, 0] = -1
    program = load_lite(run.folder / "x.ptl")
    assert (program(other) - program(image)).abs().max() < program(image).abs().max()  # not -1/2 of it: frozen


def test_without_a_report_the_summary_and_the_warnings_tell_it(convert):
    run = convert(BRANCH, "--allow-frozen-branches")
    assert run.status == 0, run.stderr
    assert f"net.py:16 ({BRANCH})" in run.stdout
    assert "warning: frozen, as the example took them: " in run.stderr


def test_a_check_that_only_raises_and_a_size_are_no_reason_to_refuse(convert):
    run = convert(CHECK, "--json", "report.json")
    assert run.status == 0, run.stderr
    assert run.report["tracing"]["frozen_branches"] == []
    (check,) = [warning for warning in run.report["warnings"] if "the check of the numbers" in warning]
    assert "net.py:16 (assert not x.isnan().any())" in check


def test_from_python_it_is_a_choice_too():
    class Sided(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 1)

        def forward(self, x, *unused):
            return self.conv(x) * (2 if x.sum() > 0 else -1)

    torch.manual_seed(0)
    images = [torch.rand(2, 3, 8, 8)]
    with pytest.raises(UserError, match=r"numbers in a tensor at .*allow_frozen_branches=True"):
        fxconv.convert(Sided().eval(), images, recipe=("none",))
    found = fxconv.convert(Sided().eval(), images, recipe=("none",), allow_frozen_branches=True)
    assert found.verified and len(found.frozen_branches) == 1
