"""Functions of one tensor between int8 operations are operations; beside float ones they stay what they are."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, check, conv, images, model
from torch import nn

from rewrites import WRAPPED_PASSES, rewrite
from rewrites.modules import Emulated, Mul
from rewrites.passes import ArithmeticToFunctional, Decompose, EmulatedFunctions, FunctionalToModule

RULE = EmulatedFunctions()
EARLIER = (FunctionalToModule(), Decompose(), ArithmeticToFunctional())


def kinds(graph_module, kind):
    return [module for module in graph_module.modules() if type(module) is kind]


FUNCTIONS = {
    "a quotient by a sum": lambda y: 1 / (1 + y.relu()),
    "a power of a number": lambda y: 2 ** -y.sigmoid(),
    "a reciprocal": lambda y: (y.sigmoid() + 0.5).reciprocal(),
    "an exponential": lambda y: torch.exp(-y.relu()),
    "a power": lambda y: y.sigmoid() ** 3,
    "an absolute value": lambda y: abs(y),
    "a clamp": lambda y: y.clamp(-1, 1),
    "a bound below": lambda y: y.clamp(min=-1),
    "mish": lambda y: F.mish(y),
    "softplus by hand": lambda y: torch.log(1 + torch.exp(y)),
    "a sum": lambda y: y.sum(1, keepdim=True).expand(-1, 8, -1, -1),
    "an average without the padding": lambda y: F.avg_pool2d(y, 3, 1, 1, count_include_pad=False) - y,
    "two behind each other": lambda y: F.softplus(y.abs()),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_between_layers(name):
    original = model(lambda self, x: self.conv2(FUNCTIONS[name](self.conv1(x))), conv1=conv(), conv2=conv())
    checked = check(RULE, original, before=EARLIER)
    assert checked.whole.islands == ()
    assert len(kinds(checked.graph_module, Emulated)) == 1
    assert_same_results(original, checked.whole.graph_module, [images(3, (1, 8, 5, 7))], checked.whole.tolerance)
    assert rewrite(original, WRAPPED_PASSES).islands == ()


@pytest.mark.parametrize("square", [lambda y: y**2, lambda y: y.pow(2), lambda y: y.square()])
def test_a_square_is_a_product(square):
    original = model(lambda self, x: self.conv(square(self.conv(x))), conv=conv())
    checked = check(RULE, original, before=EARLIER)
    assert len(kinds(checked.graph_module, Mul)) == 1 and checked.whole.islands == ()


def test_constants_before_it_go_in():
    original = model(lambda self, x: self.conv(3 / ((2 + self.conv(x).relu()) / 3)), conv=conv())
    checked = check(RULE, original, before=EARLIER)
    assert [line.partition("#")[2] for line in checked.lines].count(" Emulated()") == 1
    assert not any("Scalar" in line for line in checked.lines)


def test_a_sum_that_is_read_elsewhere_stays():
    def forward(self, x):
        y = self.conv(x).relu() + 2
        return self.conv(1 / y) + self.conv(y)

    checked = check(RULE, model(forward, conv=conv()), before=EARLIER)
    assert any("AddScalar(2)" in line for line in checked.lines) and checked.whole.islands == ()


def layer_norm_by_hand(self, x):
    y = self.conv(x)
    middle = y.mean(1, keepdim=True)
    variance = (y - middle).pow(2).mean(1, keepdim=True)
    return self.conv((y - middle) / torch.sqrt(variance + 1e-6) * self.weight + self.weight)


def root_mean_square_by_hand(self, x):
    y = self.conv(x)
    return self.conv(y * torch.rsqrt(y.pow(2).mean(1, keepdim=True) + 1e-6) * self.weight)


def softmax_by_hand(self, x):
    y = torch.exp(self.conv(x))
    return self.conv(y / y.sum(1, keepdim=True))


@pytest.mark.parametrize("forward", [layer_norm_by_hand, root_mean_square_by_hand, softmax_by_hand])
def test_what_brings_values_to_one_power_stays_in_float(forward):
    original = model(forward, conv=conv(), weight=nn.Parameter(torch.rand(1, 8, 1, 1)))
    checked = check(RULE, original, before=EARLIER)
    assert len(checked.whole.islands) == 1 and not kinds(checked.whole.graph_module, Emulated)


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: F.mish(self.conv(x)), id="at the end"),
        pytest.param(lambda self, x: F.mish(self.conv(x)) * 2 + 1, id="before arithmetic at the end"),
        pytest.param(lambda self, x: self.conv(F.mish(x.cumsum(1))), id="behind what is float"),
        pytest.param(lambda self, x: self.conv(F.mish(self.conv(x)).cumsum(1)), id="before what is float"),
        pytest.param(lambda self, x: self.conv(self.act(self.conv(x))), id="with weights"),
        pytest.param(lambda self, x: self.conv(self.conv(x).softmax(1)), id="a softmax"),
    ],
)
def test_left_as_it_is(forward):
    checked = check(RULE, model(forward, conv=conv(), act=nn.PReLU(8)), before=EARLIER)
    assert checked.result.edits == () and not kinds(checked.whole.graph_module, Emulated)
