"""In-place operations: rewritten where nobody can tell, left alone with a reason where somebody can."""

import operator

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, conv, images, model, text
from torch import nn

from rewrites.passes import OutOfPlace, UnshareModules

RULE = OutOfPlace()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.conv(x) + 1, id="nothing is in place"),
        pytest.param(lambda self, x: F.relu(self.conv(x), False), id="inplace is False, given by position"),
        pytest.param(lambda self, x: self.conv(x).__add__(1), id="a method with underscores on both sides"),
        pytest.param(lambda self, x: self.act(self.conv(x)), id="a module that is not in place"),
    ],
)
def test_left_as_it_is(forward):
    checked = check(RULE, model(forward, conv=conv(), act=nn.ReLU()))
    assert checked.result.edits == () and checked.skips == {}


def _augmented(function):
    def forward(self, x):
        y = self.conv(x)
        return function(y, self.other(x))

    return forward


@pytest.mark.parametrize(
    ("function", "before", "after"),
    [
        (operator.iadd, "conv += other; iadd = conv", "iadd = conv + other"),
        (operator.isub, "conv -= other; isub = conv", "isub = conv - other"),
        (operator.imul, "conv *= other; imul = conv", "imul = conv * other"),
        (operator.itruediv, "conv /= other; itruediv = conv", "itruediv = conv / other"),
        (operator.imatmul, "conv @= other; imatmul = conv", "imatmul = conv @ other"),
    ],
)
def test_augmented_assignment(function, before, after):
    checked = check(RULE, model(_augmented(function), conv=conv(), other=conv()))
    assert checked.changes == [f"-{before}", f"+{after}"]


@pytest.mark.parametrize("function", [operator.ifloordiv, operator.imod])
def test_rounding_assignments_are_seen_under_another_name(function):
    def forward(self, x):
        y = self.conv(x)
        alias = y
        y = function(y, 0.25)
        return alias + 1

    checked = check(RULE, model(forward, conv=conv()))
    assert "add = conv + 1" not in checked.lines


def test_method_with_an_underscore():
    checked = check(RULE, model(lambda self, x: self.conv(x).mul_(x), conv=conv()))
    assert checked.changes == text("""
        -mul_ = conv.mul_(x)
        +mul_ = conv.mul(x)
    """)


def test_module_setting():
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.ReLU(inplace=True)))
    assert checked.changes == text("""
        -act = self.act(conv)  # ReLU(inplace=True)
        +act = self.act(conv)  # ReLU()
    """)


def test_module_whose_settings_are_too_long_for_the_diff_still_shows_what_changed():
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.LeakyReLU(0.01, True)))
    assert checked.changes == text("""
        -act = self.act(conv)  # LeakyReLU(inplace=True)
        +act = self.act(conv)  # LeakyReLU(negative_slope=0.01)
    """)


@pytest.mark.parametrize(
    ("forward", "after"),
    [
        pytest.param(lambda self, x: F.relu(self.conv(x), inplace=True), "+relu = F.relu(conv)", id="by name"),
        pytest.param(lambda self, x: F.relu(self.conv(x), True), "+relu = F.relu(conv)", id="by position"),
        pytest.param(
            lambda self, x: F.relu(input=self.conv(x), inplace=True), "+relu = F.relu(conv)", id="input by name"
        ),
        pytest.param(
            lambda self, x: F.hardtanh(self.conv(x), 0.0, 6.0, True),
            "+hardtanh = F.hardtanh(conv, min_val=0.0, max_val=6.0)",
            id="behind other arguments",
        ),
        pytest.param(lambda self, x: torch.relu_(self.conv(x)), "+relu_ = torch.relu(conv)", id="underscored function"),
    ],
)
def test_function(forward, after):
    checked = check(RULE, model(forward, conv=conv()))
    assert checked.changes[-1] == after


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda self, y: F.relu(y, True), id="a function, by position"),
        pytest.param(lambda self, y: F.hardtanh(y, 0.0, 6.0, True), id="a clamp, by position"),
        pytest.param(lambda self, y: F.relu(input=y, inplace=True), id="a function, input by name"),
        pytest.param(lambda self, y: self.act(y), id="a module"),
        pytest.param(lambda self, y: self.act(input=y), id="a module, input by name"),
        pytest.param(lambda self, y: y.relu_(), id="a method"),
        pytest.param(lambda self, y: operator.iadd(y, 1), id="an augmented assignment"),
        pytest.param(lambda self, y: y.add_(1).mul_(2), id="two methods in a row"),
        pytest.param(lambda self, y: y.unsqueeze_(0), id="a method that changes the shape"),
    ],
)
def test_later_readers_of_the_changed_value_read_the_result(change):
    def forward(self, x):
        y = self.conv(x)
        z = change(self, y)
        return y + z

    check(RULE, model(forward, conv=conv(), act=nn.ReLU(inplace=True)))


def test_another_name_for_the_value_reads_the_result():
    def forward(self, x):
        y = x
        x += 1
        return self.conv(y)

    checked = check(RULE, model(forward, conv=conv()))
    assert checked.lines == (
        "x: input",
        "iadd = x + 1",
        "conv = self.conv(iadd)  # Conv2d",
        "return conv",
    )


def test_shared_relu_whose_inputs_are_read_later():
    # One module, two calls: both inputs are changed in place, and both are read again.
    def forward(self, x):
        a = self.conv1(x)
        b = a + self.act(a)
        c = self.conv2(b)
        return c + self.act(c)

    shared = model(forward, conv1=conv(), conv2=conv(), act=nn.ReLU(inplace=True))
    assert check(RULE, shared, before=(UnshareModules(),)).skips == {}
    alone = check(RULE, shared)
    assert alone.skips["act"] == "act is called several times; each call needs a module of its own first"


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda y: torch.einsum("nchw->nhwc", y), id="einsum, which no schema gives away"),
        pytest.param(lambda y: y.chunk(2, 1)[0], id="a chunk, of a tensor of which nothing is known"),
    ],
)
def test_refuses_a_change_seen_through_what_may_be_a_view(view):
    def forward(self, x):
        y = self.conv(x)
        part = view(y)
        part += 1
        return y * 2

    checked = check(RULE, model(forward, conv=conv()))
    reason = checked.skips["iadd"]
    assert ("may share memory with" in reason and "and is read later" in reason) or "how many members" in reason
    # Whoever may see the change reads one and the same float tensor.
    reasons = checked.whole.islands[0].reason
    assert "shares memory with what iadd changes in place" in reasons


@pytest.mark.parametrize(
    "cast",
    [
        pytest.param(lambda y: y.cpu(), id="a move to where it is"),
        pytest.param(lambda y: y.type_as(y), id="a cast to what it is"),
        pytest.param(lambda y: y.to(torch.float32), id="a cast to the type it has"),
    ],
)
def test_a_cast_may_be_a_copy_unless_the_type_of_what_it_casts_is_known(cast):
    def forward(self, x):
        y = self.conv(x)
        same = cast(y)
        same += 1
        return self.last(y * 2)

    checked = check(RULE, model(forward, conv=conv(), last=conv()))
    assert checked.skips["iadd"].startswith("conv may share memory with") and "is read later" in checked.skips["iadd"]
    assert checked.whole.islands == ()  # traced with an example, by which the cast is none


def test_refuses_the_second_change_through_the_same_view():
    def forward(self, x):
        y = self.conv(x)
        flat = torch.einsum("nchw->nhwc", y)
        flat += 1
        flat *= 2
        return y + 1

    checked = check(RULE, model(forward, conv=conv()))
    assert set(checked.skips) == {"iadd", "imul"}


def test_views_of_a_changed_value_are_taken_of_a_contiguous_tensor():
    # In int8 the convolution hands on channels_last, where a view would be a copy, and the change be lost.
    def forward(self, x):
        y = self.conv(x)
        torch.einsum("nchw->nhwc", y).add_(1)
        return y

    checked = check(RULE, model(forward, conv=conv()))
    assert checked.changes == text("""
        -einsum = torch.einsum('nchw->nhwc', conv)
        +contiguous = conv.contiguous()
        +einsum = torch.einsum('nchw->nhwc', contiguous)
        -return conv
        +return contiguous
    """)


def test_refused_changes_stay_in_place_whatever_runs_behind():
    # No later pass may put an out-of-place module where a refused in-place call stands.
    def forward(self, x):
        y = self.conv(x)
        flat = torch.einsum("nchw->nhwc", y)
        F.relu(flat, inplace=True)
        self.silu(flat)
        self.relu6(flat)
        return y * 2

    original = model(forward, conv=conv(), silu=nn.SiLU(True), relu6=nn.ReLU6(True))
    checked = check(RULE, original)
    assert set(checked.skips) == {"relu", "silu", "relu6"}


def test_refuses_a_change_of_a_buffer():
    def forward(self, x):
        y = self.conv(x)
        self.count.add_(y.mean())
        return y + self.count

    checked = check(RULE, model(forward, conv=conv(), count=torch.zeros(1)))
    assert checked.skips["add_"] == "it changes count, which the model keeps between calls"


def test_a_tensor_made_in_the_forward_is_new_in_every_call():
    def forward(self, x):
        total = torch.zeros(2, 8)
        total += self.conv(x).mean((2, 3))
        return total

    checked = check(RULE, model(forward, conv=conv()))
    assert [line for line in checked.lines if "constant" in line] == [
        "_tensor_constant0 = self._tensor_constant0",
        "add_ = _tensor_constant0.add(mean)",
    ]


@pytest.mark.parametrize(
    ("forward", "node", "reason"),
    [
        pytest.param(
            lambda self, x: torch.add(x, self.conv(x), out=self.conv(x)),
            "add",
            "it writes into conv_1, which out= names",
            id="out=",
        ),
        pytest.param(
            lambda self, x: self.conv(x).uniform_(0, 1).mul(0),
            "uniform_",
            "uniform_ has no out-of-place twin",
            id="random numbers have no twin",
        ),
        pytest.param(
            lambda self, x: self.conv(x).resize_(2, 8, 8, 8),
            "resize_",
            "resize_ has no out-of-place twin",
            id="another memory",
        ),
        pytest.param(
            lambda self, x: self.conv(x).requires_grad_(False),
            "requires_grad_",
            "requires_grad_ has no out-of-place twin",
            id="an attribute of that name is no twin",
        ),
    ],
)
def test_refuses(forward, node, reason):
    assert check(RULE, model(forward, conv=conv())).skips[node] == reason


def test_refuses_a_module_that_did_not_trace():
    class Doubling(nn.Module):
        inplace = True

        def forward(self, x):
            if x.sum() > 1e9:
                return x
            return x.mul_(2)

    def forward(self, x):
        y = self.conv(x)
        self.doubling(y)
        return y

    checked = check(RULE, model(forward, conv=conv(), doubling=Doubling()))
    assert checked.skips["doubling"] == "what doubling changes in place cannot be seen from outside"


def test_numbers_changed_in_place_are_no_tensors():
    def forward(self, x):
        y = self.conv(x)
        height = y.shape[2]
        height *= 8
        return y.view(2, height, 8)

    checked = check(RULE, model(forward, conv=conv()))
    assert [island.nodes for island in checked.whole.islands] == []


def test_inputs_stay_as_they_are():
    original = model(lambda self, x: self.conv(x.mul_(2)), conv=conv())
    checked = check(RULE, original)
    (image,) = images()
    kept = image.clone()
    checked.graph_module(image)
    assert torch.equal(image, kept)


def test_what_is_made_of_a_changed_value_afterwards_is_int8():
    def forward(self, x):
        y = self.conv(x)
        y[:, 1:] += x.flatten(1)[:, :1, None, None]
        flat = y.flatten(1)
        return self.linear(flat)

    checked = check(RULE, model(forward, conv=conv(), linear=nn.Linear(8 * 64, 4)))
    assert checked.skips == {} and checked.whole.islands == ()
