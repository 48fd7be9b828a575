"""The tensors in whatever a model returns."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fxconv.models import forward


class Output(OrderedDict):
    """A subclass that nobody told torch of."""


@dataclass
class Found:
    """Nor of this one."""

    boxes: Tensor
    scores: object = None


Pair = namedtuple("Pair", ["a", "b"])
ONE, TWO = torch.ones(1), torch.zeros(2)


@pytest.mark.parametrize(
    "value",
    [
        (ONE, TWO), {"a": ONE, "b": [TWO]}, Output(a=ONE, b=TWO), Found(ONE, TWO), Found(ONE, Output(b=(TWO,))),
        Pair(ONE, Found(TWO)), [Output(a=Found(ONE)), 3, TWO],
    ],
)  # fmt: skip
def test_tensors_in_order(value):
    first, second = forward.tensors(value)
    assert first is ONE and second is TWO
    assert forward.outputs(lambda: value, [()])[0][1].shape == (2,)


def test_leaves_that_are_no_tensors_are_told():
    assert forward.leaves(Found(ONE, {"a": 3})) == [ONE, 3]
    assert forward.leaves((None, "word", Found)) == [None, "word", Found]
