"""Which target a file name asks for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fxconv.config import Config
from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.registry import TARGETS, target_of
from fxconv.targets.suffixes import WRITTEN


def test_the_target_of_a_name():
    assert target_of(Path("x.PTL")) is target_of() is MOBILE


def test_the_suffixes_that_are_known_without_torch_are_theirs():
    assert tuple(target.suffix for target in TARGETS) == WRITTEN


def test_torch_runs_what_it_wrote_where_it_is():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    calls = [(torch.randn(1, 3, 8, 8),) for _ in range(2)]
    content = MOBILE.float_twin(network, calls[0], Config())
    found = MOBILE.outputs_apart(content, calls)
    assert all(
        torch.allclose(outputs[0], network(*call), atol=1e-5) for outputs, call in zip(found, calls, strict=True)
    )
