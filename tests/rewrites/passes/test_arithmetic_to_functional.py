"""Every way to write an addition, product, concatenation or matrix product, and what is left alone."""

import operator

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, conv, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.passes import ArithmeticToFunctional, FunctionalToModule, OutOfPlace

RULE = ArithmeticToFunctional()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.conv(x), id="no arithmetic at all"),
        pytest.param(lambda self, x: x.reshape(x.size(0) * 2, -1), id="sizes are multiplied"),
        pytest.param(lambda self, x: x.reshape(x.shape[0] * x.shape[1], x.shape[2] + x.size(3) - 8, -1), id="shapes"),
        pytest.param(lambda self, x: x.reshape(operator.add(x.shape[:2], (-1,))), id="shapes are joined"),
        pytest.param(lambda self, x: x[:, : x.shape[1] // 2], id="half of the channels"),
        pytest.param(lambda self, x: x.pow(2), id="a power is no arithmetic here"),
    ],
)
def test_left_as_it_is(forward):
    checked = check(RULE, model(forward, conv=conv()))
    assert checked.result.edits == () and checked.skips == {}


@pytest.mark.parametrize(
    ("forward", "name", "stem", "label"),
    [
        (lambda self, x: self.conv(x) + x, "add", "add", "Add()"),
        (lambda self, x: operator.add(self.conv(x), x), "add", "add", "Add()"),
        (lambda self, x: torch.add(self.conv(x), x), "add", "add", "Add()"),
        (lambda self, x: torch.add(input=self.conv(x), other=x), "add", "add", "Add()"),
        (lambda self, x: torch.add(self.conv(x), x, alpha=1), "add", "add", "Add()"),
        (lambda self, x: self.conv(x).add(x), "add", "add", "Add()"),
        (lambda self, x: self.conv(x) * x, "mul", "mul", "Mul()"),
        (lambda self, x: operator.mul(self.conv(x), x), "mul", "mul", "Mul()"),
        (lambda self, x: torch.mul(self.conv(x), x), "mul", "mul", "Mul()"),
        (lambda self, x: torch.multiply(self.conv(x), other=x), "multiply", "mul", "Mul()"),
        (lambda self, x: self.conv(x).mul(x), "mul", "mul", "Mul()"),
        (lambda self, x: self.conv(x) @ x, "matmul", "matmul", "MatMul()"),
        (lambda self, x: operator.matmul(self.conv(x), x), "matmul", "matmul", "MatMul()"),
        (lambda self, x: torch.matmul(self.conv(x), x), "matmul", "matmul", "MatMul()"),
        (lambda self, x: self.conv(x).matmul(x), "matmul", "matmul", "MatMul()"),
    ],
)
def test_two_tensors(forward, name, stem, label):
    checked = check(RULE, model(forward, conv=conv()))
    assert checked.changes[-1] == f"+{name} = self.{stem}(conv, x)  # {label}"
    assert len(checked.result.edits) == 1


@pytest.mark.parametrize("function", [operator.iadd, operator.imul, operator.imatmul])
def test_augmented_assignment_after_out_of_place(function):
    word = function.__name__[1:]

    def forward(self, x):
        y = self.conv(x)
        return function(y, x)

    checked = check(RULE, model(forward, conv=conv()), before=(OutOfPlace(),))
    assert checked.changes[-1].startswith(f"+{function.__name__} = self.{word}(conv, x)")


def test_underscored_method_after_out_of_place():
    checked = check(RULE, model(lambda self, x: self.conv(x).mul_(x), conv=conv()), before=(OutOfPlace(),))
    assert checked.changes == text("""
        -mul_ = conv.mul(x)
        +mul_ = self.mul(conv, x)  # Mul()
    """)


def test_batched_matrix_product():
    forward = lambda self, x: torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2))  # noqa: E731
    checked = check(RULE, model(forward))
    assert checked.changes[-1] == "+bmm = self.matmul(flatten, transpose)  # MatMul()"


def test_broadcast_product_of_squeeze_and_excitation():
    def forward(self, x):
        scale = torch.sigmoid(self.conv(x.mean((2, 3), keepdim=True)))
        return scale * x

    checked = check(RULE, model(forward, conv=conv()))
    assert checked.changes == text("""
        -mul = sigmoid * x
        +mul = self.mul(sigmoid, x)  # Mul()
    """)


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        (lambda self, x: x + 2, "add = self.add_scalar(x)  # AddScalar(2)"),
        (lambda self, x: 2 + x, "add = self.add_scalar(x)  # AddScalar(2)"),
        (lambda self, x: torch.add(x, 0.5), "add = self.add_scalar(x)  # AddScalar(0.5)"),
        (lambda self, x: x.add(3.0), "add = self.add_scalar(x)  # AddScalar(3)"),
        (lambda self, x: x * 0.5, "mul = self.mul_scalar(x)  # MulScalar(0.5)"),
        (lambda self, x: -3 * x, "mul = self.mul_scalar(x)  # MulScalar(-3)"),
        (lambda self, x: x - 2, "sub = self.sub_scalar(x)  # AddScalar(-2)"),
        (lambda self, x: x.sub(2), "sub = self.sub_scalar(x)  # AddScalar(-2)"),
        (lambda self, x: x / 4, "truediv = self.div_scalar(x)  # MulScalar(0.25)"),
        (lambda self, x: torch.div(x, -0.5), "div = self.div_scalar(x)  # MulScalar(-2)"),
        (lambda self, x: x / 3, "truediv = self.div_scalar(x)  # DivScalar(3)"),
        (lambda self, x: x.div(-0.3), "div = self.div_scalar(x)  # DivScalar(-0.3)"),
        (lambda self, x: 2 / x, "truediv = self.quotient(x)  # Quotient(2)"),
        (lambda self, x: -x, "neg = self.neg(x)  # MulScalar(-1)"),
        (lambda self, x: x.negative(), "negative = self.neg(x)  # MulScalar(-1)"),
    ],
)
def test_a_constant(forward, line):
    checked = check(RULE, model(forward))
    assert checked.lines[1] == line


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        (lambda self, x: torch.cat([self.conv(x), x]), "cat = self.cat([conv, x])  # Cat(dim=0)"),
        (lambda self, x: torch.cat([self.conv(x), x], 1), "cat = self.cat([conv, x])  # Cat(dim=1)"),
        (lambda self, x: torch.cat((self.conv(x), x), dim=-1), "cat = self.cat([conv, x])  # Cat(dim=-1)"),
        (lambda self, x: torch.cat((self.conv(x), x), axis=2), "cat = self.cat([conv, x])  # Cat(dim=2)"),
        (lambda self, x: torch.cat(tensors=[self.conv(x), x], dim=1), "cat = self.cat([conv, x])  # Cat(dim=1)"),
        (lambda self, x: torch.concat([self.conv(x), x], 1), "concat = self.cat([conv, x])  # Cat(dim=1)"),
        (lambda self, x: torch.stack([self.conv(x), x]), "stack = self.stack([conv, x])  # Stack(dim=0)"),
        (lambda self, x: torch.stack((self.conv(x), x), dim=-1), "stack = self.stack([conv, x])  # Stack(dim=-1)"),
        (lambda self, x: torch.stack((self.conv(x), x), -2), "stack = self.stack([conv, x])  # Stack(dim=-2)"),
        (lambda self, x: torch.concatenate([self.conv(x), x], 1), "concatenate = self.cat([conv, x])  # Cat(dim=1)"),
    ],
)
def test_concatenation(forward, line):
    assert check(RULE, model(forward, conv=conv())).lines[2] == line


def test_concatenation_of_a_list_made_elsewhere():
    checked = check(RULE, model(lambda self, x: torch.cat(self.conv(x).chunk(2, 1), 0), conv=conv()))
    assert "cat = self.cat(chunk)  # Cat(dim=0)" in checked.lines
    checked = check(RULE, model(lambda self, x: torch.stack(self.conv(x).chunk(2, 1), 1), conv=conv()))
    assert "stack = self.stack(chunk)  # Stack(dim=1)" in checked.lines


@pytest.mark.parametrize(
    ("relu", "before"),
    [
        pytest.param(lambda self, y: self.act(y), (), id="module"),
        pytest.param(lambda self, y: F.relu(y), (FunctionalToModule(),), id="functional"),
        pytest.param(lambda self, y: y.relu(), (FunctionalToModule(),), id="method"),
    ],
)
def test_addition_followed_by_relu(relu, before):
    original = model(lambda self, x: relu(self, self.conv(x) + x), conv=conv(), act=nn.ReLU())
    checked = check(RULE, original, before=before)
    assert [edit.kind for edit in checked.result.edits] == ["replace", "remove"]
    assert checked.lines[2].endswith("= self.add_relu(conv, x)  # AddReLU()")


def test_addition_followed_by_a_relu_that_is_not_its_only_reader():
    def forward(self, x):
        y = self.conv(x) + x
        return self.act(y) * y

    checked = check(RULE, model(forward, conv=conv(), act=nn.ReLU()))
    assert "add = self.add(conv, x)  # Add()" in checked.lines


def test_the_first_of_two_calls_of_a_relu_does_not_take_the_module_away_from_the_second():
    original = model(lambda self, x: self.act(self.act(self.conv(x) + x) - 1), conv=conv(), act=nn.ReLU())
    checked = check(RULE, original)
    assert checked.lines[-2] == "act_1 = self.act(sub)  # ReLU()"


def test_addition_and_relu_stay_apart_when_something_is_changed_between_them():
    # Moved behind the change, the sum would read the changed values.
    def forward(self, x):
        y = self.conv(x)
        flat = torch.einsum("nchw->nhwc", y)
        total = y + x
        flat.add_(1)
        return F.relu(total) + y

    checked = check(RULE, model(forward, conv=conv()), before=(OutOfPlace(), FunctionalToModule()))
    assert checked.skips["relu"] == "something is changed in place between add and it, so the two stay apart"


@pytest.mark.parametrize(
    ("forward", "node", "reason"),
    [
        (
            lambda self, x: torch.add(self.conv(x), x, alpha=2),
            "add",
            "alpha scales the second operand, and only decompose writes that out as a product",
        ),
        (
            lambda self, x: self.conv(x).sub(1, alpha=2),
            "sub",
            "alpha scales the second operand, and only decompose writes that out as a product",
        ),
        (lambda self, x: self.conv(x) / (x.abs() + 1), "truediv", "dividing tensors has no int8 kernel"),
        (lambda self, x: self.conv(x) / 0, "truediv", "it divides by zero"),
        (
            lambda self, x: torch.div(self.conv(x), 2, rounding_mode="floor"),
            "div",
            "out= and rounding_mode= have no int8 kernel",
        ),
        (lambda self, x: self.conv(x) + float("inf"), "add", "the constant is not a finite number"),
        (
            lambda self, x: self.conv(x) * x.size(1) ** -0.5,
            "mul",
            "one operand is not a tensor but a number computed when the model runs",
        ),
        (
            lambda self, x: torch.cat([self.conv(x), x], x.dim() - 3),
            "cat",
            "only a concatenation along a constant dim, without out=, has an int8 kernel",
        ),
        (
            lambda self, x: self.conv(x).argmax(1) + 1,
            "add",
            "whole numbers and masks stay what they are; only fractional values are quantized",
        ),
        (
            lambda self, x: self.conv(x) * (x > 0),
            "mul",
            "whole numbers and masks stay what they are; only fractional values are quantized",
        ),
        (
            lambda self, x: x + self.index,
            "add",
            "whole numbers and masks stay what they are; only fractional values are quantized",
        ),
        (lambda self, x: (self.conv(x).unbind(0) + x.unbind(0))[3], "add", "it joins lists, not tensors"),
        (lambda self, x: torch.cat(operator.add(self.conv(x).chunk(2), (x,))), "add", "it joins lists, not tensors"),
    ],
)
def test_refuses(forward, node, reason):
    checked = check(RULE, model(forward, conv=conv(), index=torch.arange(8)))
    assert checked.skips[node] == reason


def test_whole_numbers_stay_whole():
    # As float constants, 2 and 1 would turn the indices into fractions.
    original = model(lambda self, x: self.conv(x).argmax(1) * 2 + 1, conv=conv())
    checked = check(RULE, original)
    assert checked.graph_module(*images()).dtype == torch.int64


def test_parameters_on_either_side():
    original = model(
        lambda self, x: self.scale * self.conv(x) + x * self.scale,
        conv=conv(),
        scale=nn.Parameter(torch.rand(1, 8, 1, 1)),
    )
    checked = check(RULE, original)
    assert checked.lines[3] == "mul = self.mul(scale, conv)  # Mul()"
    # One node reads the parameter, and so one QuantStub serves both products.
    assert sum(line.startswith("scale") for line in checked.lines) == 1


def test_names_that_are_taken():
    original = model(lambda self, x: self.add(x) + self.mul(x) + x, add=conv(), mul=conv())
    checked = check(RULE, original)
    assert checked.lines[3] == "add_1 = self.add_1(add, mul)  # Add()"
    assert checked.lines[4] == "add_2 = self.add_2(add_1, x)  # Add()"


@pytest.mark.parametrize(
    ("forward", "changes"),
    [
        (
            lambda self, x: self.conv(x) - x,
            """
            -sub = conv - x
            +neg = self.neg(x)  # MulScalar(-1)
            +sub = self.sub(conv, neg)  # Add()
            """,
        ),
        (
            lambda self, x: torch.rsub(self.conv(x), x),
            """
            -rsub = torch.rsub(conv, x)
            +neg = self.neg(conv)  # MulScalar(-1)
            +rsub = self.sub(x, neg)  # Add()
            """,
        ),
        (
            lambda self, x: 1.5 - self.conv(x),
            """
            -sub = 1.5 - conv
            +neg = self.neg(conv)  # MulScalar(-1)
            +sub = self.rsub_scalar(neg)  # AddScalar(1.5)
            """,
        ),
    ],
)
def test_subtraction_is_the_addition_of_what_is_negated(forward, changes):
    assert check(RULE, model(forward, conv=conv())).changes == text(changes)


def test_subtraction_followed_by_relu():
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x) - x), conv=conv(), act=nn.ReLU()))
    assert checked.lines[2:4] == ("neg = self.neg(x)  # MulScalar(-1)", "act = self.add_relu(conv, neg)  # AddReLU()")


def test_differences_are_the_same_bits_at_zeros_infinities_and_what_is_no_number():
    odd = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-42, 3e38, 1.5])
    original = model(lambda self, x, y: (x - y, 2.5 - y, -y, torch.rsub(x, y), y / 3))
    changed = rewrite(original, [RULE]).graph_module
    for one, other in zip(original(odd[:, None], odd), changed(odd[:, None], odd), strict=True):
        assert torch.equal(one.isnan(), other.isnan())
        assert torch.equal(one.nan_to_num(7.0).signbit(), other.nan_to_num(7.0).signbit())
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))


def test_all_of_it_is_int8():
    def forward(self, x):
        y, z = self.conv(x).sigmoid(), self.other(x)
        return self.conv((1 - y) * z - (2 - z) / 3 - torch.rsub(y, z) + (-z))

    assert rewrite(model(forward, conv=conv(), other=conv())).islands == ()
