"""A profile has each operator where it runs, in order, with its layer; what it takes is never judged here."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fxconv
from fxconv.config import Recipe
from fxconv.targets.mobile.lite_file import load_lite
from fxconv.targets.mobile.op_profile import op_profile

BATCHES = [torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Linear(144, 2)

    def forward(self, x):
        return self.fc(torch.flatten(self.stem(x), 1))


@pytest.fixture
def artifact(tmp_path):
    torch.backends.quantized.engine = "qnnpack"
    path = tmp_path / "x.ptl"
    fxconv.convert(Net(), BATCHES, recipe=(Recipe.none,), min_sqnr=-1000.0).save(path)
    return path


def test_every_operator_with_its_layer(artifact):
    found = op_profile(artifact, load_lite(artifact), (BATCHES[0][:1],), runs=3, median=2.5)
    calls = found.calls
    assert [(call.operator, call.layer) for call in calls] == [
        ("aten::quantize_per_tensor", "quant_x"),
        ("aten::size", None),
        ("aten::len", None),
        ("aten::ne", None),
        ("quantized::conv2d_relu", "stem.conv"),
        ("aten::flatten", "flatten"),
        ("quantized::linear", "fc"),
        ("aten::dequantize", "dequant_fc"),
    ]
    assert sum(call.ms for call in calls) + found.between_ms == pytest.approx(2.5)
    assert [call.share for call in calls] == [pytest.approx(call.ms / 2.5) for call in calls]
    assert all(call.ms >= 0 for call in calls)
    assert found.between_ms >= 0


def test_a_file_of_others_has_operators_without_layers(tmp_path):
    path = tmp_path / "x.ptl"
    torch.jit.script(nn.Sequential(nn.ReLU(), nn.Sigmoid()))._save_for_lite_interpreter(str(path))
    calls = op_profile(path, load_lite(path), (torch.ones(2),), runs=2, median=1.0).calls
    assert [(call.operator, call.layer) for call in calls] == [("aten::relu", None), ("aten::sigmoid", None)]


def test_at_most_twenty_runs_and_as_many_beside_them_that_are_not_profiled(artifact):
    calls = []

    def run(x):
        calls.append(x)
        return torch.relu(x)

    op_profile(artifact, run, (torch.ones(1),), runs=300, median=1.0)
    assert len(calls) == (1 + 10) + 20 + (1 + 10)


def test_what_differs_from_run_to_run_has_no_profile(artifact):
    state = iter([torch.relu, torch.relu, torch.relu, torch.exp])
    found = op_profile(artifact, lambda x: next(state)(x), (torch.ones(1),), runs=2, median=3.0)
    assert (found.calls, found.between_ms) == ((), 3.0)
