"""SiLU becomes x * sigmoid(x), within the declared tolerance."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, check, conv, images, model, text, traced
from torch import nn

from rewrites.passes import Decompose, FunctionalToModule, OutOfPlace
from rewrites.runner import run_pass

RULE = Decompose()


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(nn.ReLU(), id="relu has a kernel"),
        pytest.param(nn.Hardswish(), id="so has hardswish"),
        pytest.param(nn.Mish(), id="mish has no exact equal"),
    ],
)
def test_left_as_it_is(act):
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=act))
    assert checked.result.edits == ()


def test_module():
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.SiLU()))
    assert checked.changes == text("""
        -act = self.act(conv)  # SiLU()
        +sigmoid = self.sigmoid(conv)  # Sigmoid()
        +act = self.silu(conv, sigmoid)  # Mul()
    """)
    assert checked.whole.islands == ()
    assert checked.whole.tolerance == RULE.tolerance == 1e-5


@pytest.mark.parametrize("inplace", [False, True])
def test_function(inplace):
    original = model(lambda self, x: F.silu(self.conv(x), inplace), conv=conv())
    checked = check(RULE, original, before=(OutOfPlace(), FunctionalToModule()))
    assert checked.lines[2:4] == (
        "sigmoid = self.sigmoid(conv)  # Sigmoid()",
        "silu = self.silu_1(conv, sigmoid)  # Mul()",
    )


def test_each_call_gets_its_own():
    original = model(lambda self, x: self.act(self.conv(self.act(x))), conv=conv(), act=nn.SiLU())
    checked = check(RULE, original)
    assert [line.split("#")[1].strip() for line in checked.lines if "#" in line] == [
        "Sigmoid()", "Mul()", "Conv2d", "Sigmoid()", "Mul()",
    ]  # fmt: skip


def test_refuses_what_changes_its_input():
    def forward(self, x):
        y = self.conv(x)
        self.act(y.view(2, -1))
        return y * 2

    checked = check(RULE, model(forward, conv=conv(), act=nn.SiLU(inplace=True)))
    assert checked.skips == {"act": "it changes its input in place; the product would not"}


def pool(*settings: object, **named: object) -> nn.Module:
    return model(lambda self, x: self.pool(self.conv(x)), conv=conv(), pool=nn.MaxPool2d(*settings, **named))


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(pool(2, 2), id="a window of four"),
        pytest.param(pool((1, 2), 2), id="a window of two"),
        pytest.param(model(lambda self, x: self.pool(x), pool=nn.AvgPool2d(1, 2)), id="an average"),
        pytest.param(pool(1, 2, return_indices=True), id="indices too"),
    ],
)
def test_pools_left_as_they_are(original):
    assert check(RULE, original).result.edits == ()


@pytest.mark.parametrize(
    ("original", "index"),
    [
        (pool(1, 2), ":, :, ::2, ::2"),
        (pool((1, 1), (2, 4)), ":, :, ::2, ::4"),
        (pool(1, 3), ":, :, ::3, ::3"),
        (pool(1), ":, :, ::1, ::1"),
        (pool(1, 3, ceil_mode=True), ":, :, ::3, ::3"),
        (pool(1, 2, dilation=3), ":, :, ::2, ::2"),
        (pool(1, 5, ceil_mode=True), ":, :, ::5, ::5"),
    ],
    ids=str,
)
def test_a_max_pool_over_single_values(original, index):
    checked = check(RULE, original)
    assert checked.changes == [f"-pool = self.pool(conv)  # {checked.changes[0].partition('# ')[2]}",
                               f"+pool = conv[{index}]"]  # fmt: skip
    assert checked.result.edits[0].reason.startswith("the engine refuses 1x1 pooling")
    assert checked.whole.islands == ()


def test_the_last_level_of_a_feature_pyramid():
    checked = check(RULE, model(lambda self, x: F.max_pool2d(self.conv(x), 1, 2, 0), conv=conv()),
                    before=(FunctionalToModule(),))  # fmt: skip
    assert checked.changes[1] == "+max_pool2d = conv[:, :, ::2, ::2]"


WRITTEN_OUT = {
    "a factor of the second": lambda self, y, z: torch.add(y, z, alpha=0.3),
    "a factor of what is subtracted": lambda self, y, z: y.sub(z, alpha=-0.7),
    "the other way round": lambda self, y, z: torch.rsub(y, z, alpha=0.5),
    "a factor of a constant": lambda self, y, z: y.subtract(1, alpha=2) + z,
    "addcmul": lambda self, y, z: torch.addcmul(y, z, y, value=0.5),
    "addcmul, as a method": lambda self, y, z: y.addcmul(z, y),
    "addcdiv by a constant": lambda self, y, z: torch.addcdiv(y, z, self.scale, value=2),
    "lerp": lambda self, y, z: torch.lerp(y, z, 0.3),
    "lerp by a tensor": lambda self, y, z: y.lerp(z, y.sigmoid()),
    "a stack and its sum": lambda self, y, z: torch.stack([y, z], dim=-1).sum(dim=-1),
    "a sum of four": lambda self, y, z: torch.sum(torch.stack((y, z, y, z)), 0),
    "Python's sum": lambda self, y, z: sum([y, z, y]),
    "divided by a parameter": lambda self, y, z: y / self.weight + z,
    "normalized": lambda self, y, z: (y - self.scale) / self.scale + z,
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_written_out(name):
    def forward(self, x):
        return self.conv(WRITTEN_OUT[name](self, self.conv(x), self.other(x)))

    scale = torch.linspace(0.5, 2, 8).view(1, 8, 1, 1)
    original = model(forward, conv=conv(), other=conv(), scale=scale, weight=nn.Parameter(scale.flip(1)))
    checked = check(RULE, original)
    assert checked.result.edits and checked.whole.islands == ()
    assert_same_results(original, checked.whole.graph_module, [images(5, (1, 8, 3, 5))], 1e-5)


def test_the_sum_of_a_stack_is_a_sum():
    checked = check(RULE, model(lambda self, x: torch.stack([x, self.conv(x), x], -1).sum(-1), conv=conv()))
    assert checked.changes == text("""
        -stack = torch.stack([x, conv, x], -1)
        -sum_1 = stack.sum(-1)
        +sum_1_add = x + conv
        +sum_1 = sum_1_add + x
    """)


def test_python_sum_begins_with_nothing():
    checked = check(RULE, model(lambda self, x: sum([self.conv(x), x]), conv=conv()))
    assert checked.changes == text("""
        -add = 0 + conv
        -add_1 = add + x
        +add_1 = conv + x
    """)


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: torch.stack([x, self.conv(x)], -1).sum(1), id="a sum along another dim"),
        pytest.param(lambda self, x: torch.stack([x, self.conv(x)], 0).sum(0, keepdim=True), id="a dim is kept"),
        pytest.param(lambda self, x: torch.stack([x] * 9, 0).sum(0), id="many"),
        pytest.param(lambda self, x: torch.add(self.conv(x), x, alpha=1), id="no factor"),
        pytest.param(lambda self, x: x * 2 + 1 - 0.5, id="constants that are not neutral"),
        pytest.param(lambda self, x: self.conv(x).argmax(1) * 1 + 0, id="whole numbers"),
        pytest.param(lambda self, x: 1 / self.conv(x), id="a quotient of 1"),
        pytest.param(lambda self, x: self.whole / self.conv(x), id="a constant divided"),
        pytest.param(lambda self, x: self.conv(x) / self.whole, id="divided by whole numbers"),
    ],
)
def test_not_written_out(forward):
    checked = check(RULE, model(forward, conv=conv(), whole=torch.tensor([2])))
    assert checked.result.edits == () and checked.skips == {}


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda self, x: torch.addcdiv(x, x, x.abs() + 1), "dividing tensors has no int8 kernel"),
        (lambda self, x: torch.add(x, self.conv(x), alpha=x.shape[1]), "alpha is no constant"),
    ],
)
def test_refuses_to_write_out(forward, reason):
    checked = check(RULE, model(forward, conv=conv()))
    assert checked.result.edits == () and list(checked.skips.values()) == [reason]


def test_refuses_to_divide_by_what_has_no_reciprocal():
    result = run_pass(traced(model(lambda self, x: x / self.tiny, tiny=torch.tensor([1e-39]))), RULE)
    assert result.edits == ()
    assert [skip.reason for skip in result.skips] == [
        "a number that it divides by is 0, or too small to have a reciprocal"
    ]
