"""Layers that range their input at every call, as .pte: what runs on integers, and what is said to be held."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fxconv

pytest.importorskip("executorch")


class Perceptron(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def test_layers_that_range_their_input_are_int8_and_the_ledger_says_what_is_held(warm_processes_of_its_own) -> None:
    torch.manual_seed(0)
    network, inputs = Perceptron().eval(), [torch.randn(1, 32) for _ in range(4)]
    conversion = fxconv.convert(
        network, calibration=inputs, example_inputs=(inputs[0],), mode="dynamic", targets=("executorch",)
    )
    assert conversion.verified
    (file,) = conversion.files
    assert file.artifact.outside == () and file.artifact.int8_macs_share == 1.0
    rows = {row.stage: row for row in file.ledger}
    assert rows["operations"].rule == (
        "no operation gives int8 values; numbers holds weights, scales and biases, answers what comes out"
    )
    assert rows["numbers"].rule.startswith("equal: integers, scales, zero points, biases and all other constants")
