"""Branches of one value that are added become one convolution, within the tolerance, whatever checkpoint is loaded."""

import copy
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from passcheck import alive, assert_same_results, check, conv, images, model
from torch import nn

from rewrites import DEFAULT_PASSES, WRAPPED_PASSES, rewrite
from rewrites.emit import emit
from rewrites.modules import Add, AddReLU, CappedReLU
from rewrites.passes import ArithmeticToFunctional, FunctionalToModule, MergeBranches, passes_with

RULE = MergeBranches()
SIZES = [(1, 8, 8, 8), (3, 8, 5, 11)]


def merged(forward, *before, **parts):
    """What the pass makes of this model, which is the same at other sizes and batches too."""
    original = alive(model(forward, **parts))
    checked = check(RULE, original, before=before)
    for number, shape in enumerate(SIZES):
        batch = [images(number, shape)]
        assert_same_results(copy.deepcopy(original), checked.graph_module, batch, RULE.tolerance)
        assert_same_results(copy.deepcopy(original), checked.whole.graph_module, batch, checked.whole.tolerance)
    return checked


def three(kernel=3, groups=1, channels=8, stride=1, bias=False):
    """The branches of a RepVGG block, but for the identity's."""
    settings = {"groups": groups, "stride": stride, "bias": bias}
    return {
        "large": conv(8, channels, kernel, padding=kernel // 2, **settings),
        "small": conv(8, channels, 1, **settings),
        "bn1": nn.BatchNorm2d(channels),
        "bn2": nn.BatchNorm2d(channels),
    }


def two_branches(self, x):
    return F.relu(self.bn1(self.large(x)) + self.bn2(self.small(x)))


def three_branches(self, x):
    return F.relu(self.bn1(self.large(x)) + self.bn2(self.small(x)) + self.bn(x))


def test_a_block():
    checked = merged(three_branches, **three(), bn=nn.BatchNorm2d(8))
    assert checked.lines == (
        "x: input",
        "conv = self.conv(x)  # Conv2d",
        "relu = F.relu(conv, inplace=False)",
        "return relu",
    )
    assert checked.skips == {}
    assert checked.whole.unfolded_norms == ()
    assert set(checked.whole.key_map.values()) == {None}
    assert checked.whole.tolerance == 1e-5


@pytest.mark.parametrize(
    ("forward", "parts"),
    [
        pytest.param(two_branches, three(stride=2, channels=6), id="a stride and other channels"),
        pytest.param(three_branches, {**three(groups=8), "bn": nn.BatchNorm2d(8)}, id="depthwise"),
        pytest.param(three_branches, {**three(groups=2, bias=True), "bn": nn.BatchNorm2d(8)}, id="groups and biases"),
        pytest.param(three_branches, {**three(), "bn": nn.BatchNorm2d(8, affine=False)}, id="a norm without weights"),
        pytest.param(two_branches, three(kernel=1), id="pointwise ones"),
        pytest.param(
            lambda self, x: self.large(x) + self.small(x),
            {"large": conv(kernel=7, padding=3, groups=8), "small": conv(kernel=3, padding=1, groups=8, bias=False)},
            id="a kernel within a large one",
        ),
        pytest.param(
            lambda self, x: self.square(x) + (self.row(x) + self.column(x)),
            {
                "square": conv(kernel=3, padding=1, bias=False),
                "row": conv(kernel=(1, 3), padding=(0, 1), bias=False),
                "column": conv(kernel=(3, 1), padding=(1, 0), bias=False),
            },
            id="a cross, without any bias",
        ),
        pytest.param(
            lambda self, x: self.large(x) + self.small(x),
            {"large": conv(kernel=4, padding=1, stride=2), "small": conv(kernel=2, stride=2)},
            id="even kernels",
        ),
        pytest.param(
            lambda self, x: x + self.conv(x), {"conv": conv(kernel=3, padding=1, groups=8)}, id="the value itself"
        ),
        pytest.param(lambda self, x: self.conv(x) + self.bn(x), {"conv": conv(), "bn": nn.BatchNorm2d(8)}, id="two"),
        pytest.param(
            lambda self, x: x + 0.5 * (self.conv(x) - self.bn(x)),
            {"conv": conv(groups=8), "bn": nn.BatchNorm2d(8)},
            id="a difference and a factor",
        ),
        pytest.param(
            lambda self, x: -x + self.conv(x) - 2 * x, {"conv": conv(groups=8)}, id="less than the value itself"
        ),
        pytest.param(
            lambda self, x: torch.add(self.conv(x), self.bn(x)).add(x),
            {"conv": conv(groups=8), "bn": nn.BatchNorm2d(8)},
            id="added by functions and methods",
        ),
    ],
)
def test_merges(forward, parts):
    checked = merged(forward, **parts)
    called = [line.split("# ")[1] for line in checked.lines if "# " in line]
    assert called == ["Conv2d"]
    assert checked.whole.unfolded_norms == checked.whole.islands == ()


def test_one_dimension():
    parts = {
        "large": nn.Conv1d(8, 8, 5, padding=2, groups=8),
        "small": nn.Conv1d(8, 8, 1, groups=8),
        "bn": nn.BatchNorm1d(8),
    }
    original = alive(model(lambda self, x: self.large(x) + self.bn(self.small(x)) + x, **parts))
    checked = check(RULE, original, *images(1, (2, 8, 9)))
    assert [line.split("# ")[1] for line in checked.lines if "# " in line] == ["Conv1d"]


def test_sums_that_are_modules_already():
    before = (FunctionalToModule(), ArithmeticToFunctional())
    checked = merged(three_branches, *before, **three(), bn=nn.BatchNorm2d(8))
    assert checked.lines[1:] == (
        "conv = self.conv(x)  # Conv2d", "relu = self.relu(conv)  # ReLU()", "return relu",
    )  # fmt: skip


def test_a_capped_sum():
    capped = merged(lambda self, x: self.sum(self.conv(x), x), conv=conv(groups=8), sum=AddReLU(cap=2.0))
    (relu,) = [part for part in capped.graph_module.modules() if isinstance(part, CappedReLU)]
    assert relu.cap == 2.0


def test_only_what_reads_one_value_is_merged():
    def forward(self, x):
        y = F.relu(self.stem(x))
        return x + (self.conv(y) + self.bn(y))

    checked = merged(forward, stem=conv(), conv=conv(kernel=3, padding=1), bn=nn.BatchNorm2d(8))
    assert checked.lines[1:] == (
        "stem = self.stem(x)  # Conv2d", "relu = F.relu(stem, inplace=False)", "conv_1 = self.conv_1(relu)  # Conv2d",
        "add_1 = x + conv_1", "return add_1",
    )  # fmt: skip
    assert checked.skips == {}


def test_a_norm_behind_a_layer_whose_value_branches_read():
    def forward(self, x):
        y = self.norm(self.stem(x))
        return self.conv(y) + self.bn(y)

    parts = {"stem": conv(), "norm": nn.BatchNorm2d(8), "conv": conv(), "bn": nn.BatchNorm2d(8)}
    checked = merged(forward, **parts)
    assert [line.split(" = ")[0] for line in checked.lines] == ["x: input", "stem", "norm", "conv_1", "return conv_1"]


def test_blocks_one_behind_another_and_their_names():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, part in {**three(), "bn": nn.BatchNorm2d(8), "act": nn.ReLU()}.items():
                setattr(self, name, part)

        def forward(self, x):
            return self.act(self.bn1(self.large(x)) + self.bn2(self.small(x)) + self.bn(x))

    original = alive(nn.Sequential(Block(), Block()))
    checked = check(RULE, original)
    assert [line.split(" = ")[1].split("(")[0] for line in checked.lines[1:-1]] == [
        "self.0.conv", "self.0.act", "self.1.conv", "self.1.act",
    ]  # fmt: skip


def test_who_asks_for_a_shape_asks_the_convolution():
    def forward(self, x):
        y = self.bn(self.conv(x))
        height = y.size(2)
        return F.interpolate(y + self.small(x), size=(2 * height, 4))

    checked = merged(forward, conv=conv(kernel=3, padding=1), bn=nn.BatchNorm2d(8), small=conv())
    assert "size = conv_1.size(2)" in checked.lines


@pytest.mark.parametrize(
    ("forward", "parts"),
    [
        pytest.param(lambda self, x: x + self.second(F.relu(self.first(x))), {"first": conv(), "second": conv()},
                     id="a residual block"),
        pytest.param(lambda self, x: self.first(x) + self.second(F.relu(x)), {"first": conv(), "second": conv()},
                     id="branches of two values"),
        pytest.param(lambda self, x: self.bn(x) + x, {"bn": nn.BatchNorm2d(8)}, id="no convolution"),
        pytest.param(lambda self, x: self.conv(x) * x, {"conv": conv()}, id="a product"),
        pytest.param(lambda self, x: self.conv(x) + self.bn(x),
                     {"conv": conv(), "bn": nn.BatchNorm2d(8, track_running_stats=False)}, id="a norm of its input"),
        pytest.param(lambda self, x: self.first(x) + self.second(x),
                     {"first": nn.ConvTranspose2d(8, 8, 1), "second": nn.ConvTranspose2d(8, 8, 1)}, id="transposed"),
    ],
)  # fmt: skip
def test_left_as_it_is(forward, parts):
    checked = check(RULE, alive(model(forward, **parts)))
    assert checked.result.edits == ()
    assert checked.skips == {}


def read_elsewhere(self, x):
    y = self.conv(x)
    return torch.cat([y, y + self.small(x)], 1)


@pytest.mark.parametrize(
    ("forward", "parts", "reason"),
    [
        pytest.param(read_elsewhere, {"conv": conv(), "small": conv()},
                     "conv, a branch of it, is read elsewhere too, by cat", id="read elsewhere"),
        pytest.param(lambda self, x: self.conv(self.conv(x) + x), {"conv": conv()},
                     "conv, a branch of it, is called 2 times, with one set of weights", id="called twice"),
        pytest.param(lambda self, x: (self.conv(x) + x) * self.conv.weight.mean(), {"conv": conv()},
                     "the weights of conv, a branch of it, are also read by name", id="read by name"),
        pytest.param(lambda self, x: self.large(x) + self.small(x),
                     {"large": conv(kernel=3, padding=1), "small": conv(groups=8)},
                     "small beside large has 8 groups, not 1", id="other groups"),
        pytest.param(lambda self, x: self.large(x) + self.small(x),
                     {"large": conv(8, 8, 3, padding=2, dilation=2), "small": conv()},
                     "large is dilated: merged, most of its kernel would be zeros", id="dilated"),
        pytest.param(lambda self, x: x + self.conv(x), {"conv": conv()},
                     "x itself is added: among the weights of conv, its 1 would take most of their int8 steps",
                     id="the value itself beside all channels"),
        pytest.param(lambda self, x: self.row(x) + self.column(x),
                     {"row": conv(kernel=(1, 3), padding=(0, 1)), "column": conv(kernel=(3, 1), padding=(1, 0))},
                     "column beside row has kernel (3, 1), which does not lie within (1, 3)", id="no largest kernel"),
        pytest.param(lambda self, x: self.large(x) + self.small(x),
                     {"large": conv(8, 8, 3), "small": conv(8, 1, 3)},
                     "small beside large has 8 channels in and 1 out, not (8, 8)", id="broadcast channels"),
        pytest.param(lambda self, x: self.conv(x) + x, {"conv": conv(8, 1, 1)},
                     "x beside conv has 8 channels in and 8 out, not (8, 1)", id="a broadcast value"),
        pytest.param(lambda self, x: self.large(x) + self.small(x),
                     {"large": conv(8, 8, 8), "small": conv(8, 8, 1)},
                     "small beside large pads by (0, 0) round kernel (1, 1), so that it does not stand in the middle "
                     "of (8, 8) padded by (0, 0)", id="broadcast images"),
        pytest.param(lambda self, x: self.large(x) + self.small(x),
                     {"large": conv(8, 8, 8), "small": conv(8, 8, 1, stride=2)},
                     "small beside large has stride (2, 2), not (1, 1)", id="another stride"),
    ],
)  # fmt: skip
def test_refuses(forward, parts, reason):
    checked = check(RULE, alive(model(forward, **parts)))
    assert checked.result.edits == ()
    assert list(checked.skips.values()) == [reason]


def test_refuses_weights_of_another_type():
    def forward(self, x):
        x = x.double()
        return (self.conv(x) + self.small(x)).float()

    original = alive(model(forward, conv=conv().double(), small=conv().double()))
    assert list(check(RULE, original).skips.values()) == ["the weights of conv, a branch of it, are not float32"]


def test_refuses_weights_that_are_worked_out():
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, padding=1) + self.small(x)

    before = DEFAULT_PASSES[: [type(rule) for rule in DEFAULT_PASSES].index(ArithmeticToFunctional)]
    original = alive(model(forward, weight=nn.Parameter(torch.randn(8, 8, 3, 3)), small=conv()))
    before = [rule for rule in before if not isinstance(rule, MergeBranches)]
    reasons = list(check(RULE, original, before=before).skips.values())
    assert reasons == ["the weights of conv, a branch of it, are worked out of others already"]


def test_other_checkpoints_give_other_kernels():
    original = alive(model(three_branches, **three(), bn=nn.BatchNorm2d(8)))
    other = alive(model(three_branches, **three(), bn=nn.BatchNorm2d(8)), seed=9)
    rewritten = rewrite(original)
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images(4, (3, 8, 6, 7))], rewritten.tolerance)
    kernel = rewritten.graph_module.get_submodule("conv").weight
    assert kernel.shape == (8, 8, 3, 3)
    factor = other.bn1.weight / (other.bn1.running_var + other.bn1.eps).sqrt()
    torch.testing.assert_close(kernel[:, :, 0, 0], (other.large.weight[:, :, 0, 0] * factor[:, None]).detach())


def test_what_the_original_holds_stays_as_it_is():
    original = alive(model(three_branches, **three(), bn=nn.BatchNorm2d(8)))
    held = {key: value.clone() for key, value in original.state_dict().items()}
    rewrite(original, share_parameters=True)
    assert all(torch.equal(value, original.state_dict()[key]) for key, value in held.items())


def test_the_emitted_file_works_them_out_too():
    original = alive(model(three_branches, **three(groups=2), bn=nn.BatchNorm2d(8)))
    other = alive(model(three_branches, **three(groups=2), bn=nn.BatchNorm2d(8)), seed=9)
    file = ModuleType("emitted")
    exec(compile(emit(rewrite(original)), "<emitted>", "exec"), file.__dict__)
    for one in (original, other):
        assert_same_results(one, file.build(one.state_dict()), [images(5, (1, 8, 9, 6))], 1e-5)


def test_in_the_orders_that_there_are():
    original = alive(model(three_branches, **three(), bn=nn.BatchNorm2d(8)))
    without = [rule for rule in DEFAULT_PASSES if not isinstance(rule, MergeBranches)]
    for passes in (DEFAULT_PASSES, WRAPPED_PASSES, passes_with(MergeBranches(), passes=without)):
        rewritten = rewrite(original, passes)
        kinds = [type(part) for part in rewritten.graph_module.modules()]
        assert kinds.count(nn.Conv2d) == 1 and Add not in kinds and nn.BatchNorm2d not in kinds
        assert_same_results(original, rewritten.graph_module, [images(6, (2, 8, 4, 4))], 1e-5)
