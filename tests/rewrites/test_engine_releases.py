"""What a release of torch computes otherwise, and that the others do not."""

import re

import pytest
import torch
from torch import Tensor

from rewrites.engine_releases import DIFFERENCES, Difference

RELEASE = ".".join(re.findall(r"\d+", torch.__version__)[:2])
# The middles between steps of 1, and as many values as fill the widest registers.
MIDDLES = (torch.arange(-8, 8) + 0.5).repeat(16)


def adds_before_it_rounds() -> bool:
    """Whether a quantized value is the rounded sum of steps and zero point, and not the sum of rounded steps and it."""

    def steps(zero_point: int) -> Tensor:
        return torch.quantize_per_tensor(MIDDLES, 1.0, zero_point, torch.quint8).int_repr().int()

    assert torch.equal(steps(20), (torch.round(MIDDLES) + 20).int())  # an even one makes no difference
    after, before = (torch.round(MIDDLES) + 21).int(), torch.round(MIDDLES + 21).int()
    found = steps(21)
    assert torch.equal(found, after) or torch.equal(found, before)
    return torch.equal(found, before)


SHOWN = {"torch.quantize_per_tensor": adds_before_it_rounds}


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: f"{row.operation} in {row.release}")
def test_it_differs_in_its_release_and_in_no_other(row: Difference):
    assert SHOWN[row.operation]() is (row.release == RELEASE)


def test_each_is_shown():
    assert {row.operation for row in DIFFERENCES} == SHOWN.keys()
