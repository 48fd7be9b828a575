"""A batch norm of joined convolutions is folded into each, within the tolerance, whatever checkpoint is loaded."""

import copy
from types import ModuleType

import pytest
import torch
from passcheck import alive, assert_same_results, check, conv, images, model
from torch import nn

import fxconv
from rewrites import rewrite
from rewrites.emit import emit
from rewrites.passes import JoinedNorms

RULE = JoinedNorms()
SIZES = [(1, 8, 8, 8), (3, 8, 5, 11)]


def mixed(self, x):
    return self.act(self.bn(torch.cat([self.small(x), self.large(x)], dim=1)))


def parts(act=None, norm=None, **settings):
    """Two convolutions of different kernels, with 6 and 10 channels."""
    return {
        "small": conv(8, 6, 3, padding=1, groups=2, bias=False),
        "large": conv(8, 10, 5, padding=2),
        "bn": nn.BatchNorm2d(16, **settings) if norm is None else norm,
        "act": act or nn.Identity(),
    }


@pytest.mark.parametrize("act", [nn.Identity(), nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.SiLU()], ids=str)
@pytest.mark.parametrize("settings", [{}, {"affine": False}, {"eps": 0.1, "momentum": None}], ids=str)
def test_each_convolution_has_its_share(act, settings):
    original = alive(model(mixed, **parts(act, **settings)))
    checked = check(RULE, original)
    kinds = [type(module) for module in checked.graph_module.modules()]
    assert nn.BatchNorm2d not in kinds and checked.skips == {}
    assert checked.whole.unfolded_norms == () and checked.whole.islands == ()
    for number, shape in enumerate(SIZES):
        batch = [images(number, shape)]
        assert_same_results(copy.deepcopy(original), checked.graph_module, batch, RULE.tolerance)
        assert_same_results(copy.deepcopy(original), checked.whole.graph_module, batch, checked.whole.tolerance)


def test_one_dimension():
    one = {"small": nn.Conv1d(8, 4, 1), "large": nn.Conv1d(8, 4, 3, padding=1), "bn": nn.BatchNorm1d(8)}
    original = alive(model(mixed, act=nn.ReLU(), **one))
    rewritten = rewrite(original, example=(torch.randn(2, 8, 9),))
    assert rewritten.unfolded_norms == ()
    assert_same_results(original, rewritten.graph_module, [(torch.randn(3, 8, 12),)], rewritten.tolerance)


def read_elsewhere(self, x):
    joined = torch.cat([self.small(x), self.large(x)], 1)
    return self.bn(joined) + joined


def part_read_elsewhere(self, x):
    small = self.small(x)
    return self.bn(torch.cat([small, self.large(x)], 1)), small


def called_twice(self, x):
    both = torch.cat([self.small(x), self.large(x)], 1), torch.cat([self.small(-x), self.large(x)], 1)
    return self.bn(both[0]) + self.bn(both[1])


def weight_read(self, x):
    return self.bn(torch.cat([self.small(x), self.large(x)], 1)) * self.small.weight.mean()


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (read_elsewhere, "what it normalizes is read elsewhere too, by add"),
        (part_read_elsewhere, "small, a part of what it normalizes, is read elsewhere too, by output"),
        (called_twice, "bn is called 2 times, with one set of weights"),
        (weight_read, "the weights of small are also read by name"),
    ],
)
def test_refuses(forward, reason):
    checked = check(RULE, alive(model(forward, **parts())))
    assert checked.result.edits == () and reason in checked.skips.values()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.bn(torch.cat([self.small(x).relu(), self.large(x)], 1)), id="an activation"),
        pytest.param(lambda self, x: self.bn(torch.cat([x, x], 1)), id="no convolutions"),
        pytest.param(lambda self, x: self.bn2(torch.cat([self.small(x), self.small2(x)], 0)), id="along the batch"),
    ],
)
def test_left_as_it_is(forward):
    more = {"small2": conv(8, 6, 1), "bn2": nn.BatchNorm2d(6)}
    checked = check(RULE, alive(model(forward, **parts(), **more)))
    assert checked.result.edits == () and checked.skips == {}


def test_other_checkpoints_give_other_kernels():
    original, other = alive(model(mixed, **parts(nn.ReLU()))), alive(model(mixed, **parts(nn.ReLU())), seed=7)
    rewritten = rewrite(original, example=images(shape=SIZES[0]))
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images(shape=SIZES[1])], rewritten.tolerance)


def test_the_emitted_file_works_them_out_too():
    original, other = alive(model(mixed, **parts(nn.ReLU()))), alive(model(mixed, **parts(nn.ReLU())), seed=7)
    file = ModuleType("emitted")
    exec(compile(emit(rewrite(original, example=images(shape=SIZES[0]))), "<emitted>", "exec"), file.__dict__)
    for one in (original, other):
        assert_same_results(one, file.build(one.state_dict()), [images(5, (1, 8, 9, 6))], RULE.tolerance)


def test_in_an_int8_file_no_norm_is_left():
    torch.manual_seed(0)
    network = alive(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), model(mixed, **parts(nn.ReLU6())), nn.Conv2d(16, 4, 1)))
    conversion = fxconv.convert(network.eval(), [torch.randn(4, 3, 16, 16) for _ in range(2)], recipe=("none",))
    assert conversion.verdict == "converted and verified"
    operators = [row.operator for row in conversion.audit.operations]
    assert operators == ["Quantize", "Conv2d", "ConvReLU2d", "ConvReLU2d", "Cat", "Conv2d", "DeQuantize"]
