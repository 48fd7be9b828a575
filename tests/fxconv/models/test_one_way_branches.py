"""Branches by the numbers in a tensor that all images take the same way, and those that they do not."""

import pytest
import torch
from torch import Tensor, nn

from fxconv.models.one_way_branches import one_way_branches

DARK, BRIGHT = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 5.0)


class By(nn.Module):
    """What a function does with an image."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def asked_at_once(x: Tensor) -> Tensor:
    if x.max() > 3:
        x = -x
    return x


def asked_before(x: Tensor) -> Tensor:
    highest = x.max().item()
    is_bright = highest > 3
    if is_bright:
        x = -x
    return x


def with_two_blocks(x: Tensor) -> Tensor:
    if float(x.max()) > 3:
        x = -x
    else:
        x = x + 1
    return x


def in_a_loop(x: Tensor) -> Tensor:
    for _ in range(int(x.max() > 3)):
        x = -x
    return x


def while_it_is_bright(x: Tensor) -> Tensor:
    while x.max() > 3:
        x = x / 2
    return x


def in_an_expression(x: Tensor) -> Tensor:
    return -x if x.max() > 3 else x


def through_numpy(x: Tensor) -> Tensor:
    if x.numpy().max() > 3:
        x = -x
    return x


def through_a_list(x: Tensor) -> Tensor:
    values = x.flatten().tolist()
    if max(values) > 3:
        x = -x
    return x


def by_how_many(x: Tensor) -> Tensor:
    if x[x > 3].numel() > 0:
        x = -x
    return x


def by_where(x: Tensor) -> Tensor:
    found = (x > 3).nonzero()
    if len(found):
        x = -x
    return x


BRANCHES = [
    (by_how_many, "if x[x > 3].numel() > 0:"),
    (by_where, "if len(found):"),
    (asked_at_once, "if x.max() > 3:"),
    (asked_before, "if is_bright:"),
    (with_two_blocks, "if float(x.max()) > 3:"),
    (in_a_loop, "for _ in range(int(x.max() > 3)):"),
    (while_it_is_bright, "while x.max() > 3:"),
    (in_an_expression, "return -x if x.max() > 3 else x"),
    (through_numpy, "if x.numpy().max() > 3:"),
    (through_a_list, "if max(values) > 3:"),
]


@pytest.mark.parametrize(("function", "line"), BRANCHES, ids=[function.__name__ for function, _ in BRANCHES])
def test_a_branch_that_all_take_the_same_way(function, line):
    (found,) = one_way_branches(By(function), [(DARK,), (DARK + 1,)])
    assert "test_one_way_branches.py:" in found
    assert found.endswith(f" ({line})")
    assert one_way_branches(By(function), [(DARK,), (BRIGHT,)]) == ()


@pytest.mark.parametrize("function", [asked_at_once, in_an_expression, while_it_is_bright, with_two_blocks])
def test_the_other_way_is_not_taken_either(function):
    if function is while_it_is_bright:
        return  # a loop that runs ends as well
    assert len(one_way_branches(By(function), [(BRIGHT,)])) == 1


def checked(x: Tensor) -> Tensor:
    assert x.min() >= 0
    if x.max() > 100:
        raise ValueError("not normalized")
    return x


def scaled(x: Tensor) -> Tensor:
    highest = x.max().item()
    return x / max(highest, 1.0)


def by_size(x: Tensor) -> Tensor:
    if x.shape[2] > 100:
        x = -x
    return x


@pytest.mark.parametrize("function", [checked, scaled, by_size])
def test_what_is_no_branch_by_numbers(function):
    assert one_way_branches(By(function), [(DARK,), (BRIGHT,)]) == ()


def test_nothing_stays_behind():
    import sys

    before = sys.gettrace()
    with pytest.raises(ZeroDivisionError):
        one_way_branches(By(lambda x: 1 / 0), [(DARK,)])
    assert sys.gettrace() is before
    assert one_way_branches(By(lambda x: x), []) == ()
