"""The scale an int8 value will have, told from the observers, against the scale it has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fxconv.config import Config
from fxconv.quantization import engine, scales, static
from fxconv.quantization.passes import selected
from rewrites import rewrite


class Scaled(nn.Module):
    """A convolution, then what is asked for, then one that reads it."""

    def __init__(self, between) -> None:
        super().__init__()
        self.conv, self.last, self.between = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), between

    def forward(self, x):
        return self.last(self.between(self.conv(x)))


BETWEEN = {
    "nothing": lambda y: y,
    "what follows": lambda y: torch.flip(nn.functional.max_pool2d(torch.relu(y), 2), [3]),
    "a product": lambda y: y * 1e-6,
    "a negative product": lambda y: y * -3.0,
    "nothing times": lambda y: y * 0.0,
    "a constant within the range": lambda y: y + 0.1,
    "a constant far above": lambda y: y + 70.0,
    "a constant far below": lambda y: y - 70.0,
    "several": lambda y: torch.relu(y * -2.0 + 5.0) * 1e3 - 1e4,
    "a sigmoid": torch.sigmoid,
    "a hardsigmoid": nn.functional.hardsigmoid,
    "a tanh": lambda y: torch.tanh(y) * 2.0,
    "a hardswish": nn.functional.hardswish,
    "a sum": lambda y: y + y.mean((2, 3), keepdim=True),
    "a concatenation": lambda y: torch.cat([y, y * 2.0], 2),
    "a chunk": lambda y: y.chunk(2, 2)[1],
}


@pytest.mark.parametrize("name", BETWEEN)
def test_the_scale_told_is_the_scale_it_has(name):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 8, 8)
    with engine.engine("qnnpack"), torch.no_grad():
        observed = static.observe(rewrite(Scaled(BETWEEN[name]).eval(), selected(Config())).graph_module, Config())
        observed(x)
        reader = next(node for node in observed.graph.nodes if node.name == "last")
        told = scales.source(observed, reader.args[0]).qparams()
        seen = []
        int8 = static.convert_observed(observed)
        int8.get_submodule("last").register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        int8(x)
    assert told[0] == pytest.approx(seen[0].q_scale(), rel=1e-6)
    assert told[1] == seen[0].q_zero_point()
