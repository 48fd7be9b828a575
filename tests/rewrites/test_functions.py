"""Calls that are functions of one tensor, as the modules that compute the same."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import images, model, traced
from torch import nn

from rewrites.functions import function_of


def found(forward, **parts):
    graph_module = traced(model(forward, **parts))
    (node,) = (node for node in graph_module.graph.nodes if node.op not in ("placeholder", "output", "get_attr"))
    return function_of(graph_module, node)


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: torch.exp(x), lambda self, x: x.expm1(), lambda self, x: torch.log(x),
        lambda self, x: x.log1p(),
        lambda self, x: x.sqrt(), lambda self, x: torch.rsqrt(x), lambda self, x: x.reciprocal(),
        lambda self, x: abs(x), lambda self, x: torch.abs(x), lambda self, x: x.erf(), lambda self, x: torch.sin(x),
        lambda self, x: x.cos(), lambda self, x: x ** 3, lambda self, x: x.pow(-0.5), lambda self, x: x.square(),
        lambda self, x: torch.pow(input=x, exponent=2), lambda self, x: 2 ** x, lambda self, x: torch.pow(0.5, x),
        lambda self, x: 1 / x, lambda self, x: -3 / x, lambda self, x: x.clamp(-1, 1),
        lambda self, x: torch.clamp(x, max=0.5), lambda self, x: x.clamp_min(0.1),
        lambda self, x: torch.clamp_max(x, 2),
        lambda self, x: x.sum(1), lambda self, x: torch.sum(x, (2, 3), True),
        lambda self, x: x.sum(dim=-1, keepdim=True),
        lambda self, x: x.amax((2, 3)), lambda self, x: torch.amin(x, 1, keepdim=True),
        lambda self, x: F.softplus(x, 2, 10), lambda self, x: F.mish(x), lambda self, x: F.celu(x, 0.5),
        lambda self, x: F.adaptive_max_pool2d(x, 3), lambda self, x: F.softshrink(x, 0.2),
    ],
)  # fmt: skip
def test_computes_the_same_bits_and_scripts(forward):
    x = images()[0].abs() + 0.1
    module = found(forward)
    wanted = forward(None, x)
    assert torch.equal(module(x), wanted)
    assert torch.equal(torch.jit.script(module)(x), wanted)


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: x.sum(), id="no dim"),
        pytest.param(lambda self, x: x.sum(1, dtype=torch.float64), id="another type"),
        pytest.param(lambda self, x: x.clamp(self.low, self.low), id="bounds that are tensors"),
        pytest.param(lambda self, x: x**self.low, id="an exponent that is a tensor"),
        pytest.param(lambda self, x: F.mish(x, inplace=True), id="in place"),
        pytest.param(lambda self, x: torch.exp(x, out=x), id="into a tensor"),
        pytest.param(lambda self, x: F.adaptive_max_pool2d(x, 1, True), id="indices as well"),
        pytest.param(lambda self, x: x.cumsum(1), id="a function that is not known"),
        pytest.param(lambda self, x: torch.maximum(x, x), id="no function of one tensor"),
        pytest.param(lambda self, x: torch.div(-3, x), id="a quotient that rounds in another way"),
    ],
)
def test_is_no_such_function(forward):
    assert found(forward, low=torch.ones(())) is None


@pytest.mark.parametrize("layer", [nn.Mish(inplace=True), nn.MaxPool2d(2, return_indices=True), nn.PReLU(8)])
def test_layers_that_do_more_are_none(layer):
    assert found(lambda self, x: self.layer(x), layer=layer) is None


def test_a_bound_layer_is_a_clamp():
    x = images()[0]
    for layer in (nn.ReLU6(), nn.Hardtanh(-0.5, 2)):
        assert torch.equal(found(lambda self, x: self.layer(x), layer=layer)(x), layer(x))
