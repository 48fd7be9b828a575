"""Lines that only decide whether to raise, and their near twins, which decide more."""

from __future__ import annotations

import contextlib
import warnings

import pytest
import torch
from torch import nn

from fxconv.models import checks_in_code
from fxconv.targets.mobile.frozen_branches import watched


def seen_in(forward):
    class Asking(nn.Module):
        def forward(self, x):
            return forward(x)

    with warnings.catch_warnings(), torch.no_grad(), watched() as found:
        warnings.simplefilter("ignore")
        torch.jit.trace(Asking(), (torch.ones(1, 3, 4, 4),), check_trace=False, strict=False)
    return found


def raises(x):
    if x.isnan().any():
        raise ValueError("not a number")
    return x


def raises_over_several_lines(x):
    if (
        torch.logical_or(x.isnan(), x.isinf()).any()
        or torch.logical_and(x < 0, x.floor() == x).any()
        or torch.logical_and(x > 9, x.floor() == x).any()
    ):
        message = f"{x.shape}"
        raise ValueError(message)
    return x


def asserts(x):
    assert x.min() >= 0, "negative"
    return x


def asserts_by_torch(x):
    torch._assert(x.min() >= 0, "negative")
    return x


def raises_or_else(x):
    if x.min() < 0:
        raise ValueError
    else:  # noqa: RET506
        y = x * 2
    return y


def goes_on_or_raises(x):
    if x.min() >= 0:
        y = x * 2
    else:
        raise ValueError
    return y


def raises_by_a_number(x):
    if not 0 <= float(x.min()) <= 5:
        raise ValueError
    return x


def raises_by_a_function_of_torchs(x):
    if not torch.allclose(x, torch.ones_like(x)) or 7.0 in x:
        raise ValueError
    return x


def raises_by_any(x):
    if any(one.isnan() for one in x.flatten()[:3]):
        raise ValueError
    return x


def raises_and_is_raised_again(x):
    try:
        if x.min() < 0:
            raise ValueError
    except ValueError as error:
        raise RuntimeError("negative") from error
    return x


CHECKS = [
    *(raises, raises_over_several_lines, asserts, asserts_by_torch, raises_or_else, goes_on_or_raises),
    *(raises_by_a_number, raises_by_a_function_of_torchs, raises_by_any, raises_and_is_raised_again),
]


@pytest.mark.parametrize("forward", CHECKS, ids=lambda forward: forward.__name__)
@pytest.mark.parametrize("has_columns", [True, False], ids=["columns", "lines alone"])
def test_what_only_raises_is_a_check(forward, has_columns, monkeypatch):
    if not has_columns:  # as before Python 3.11
        monkeypatch.setattr(checks_in_code, "_position", lambda f: ((f.f_lineno, None), (f.f_lineno, None)))
    found = seen_in(forward)
    assert found.branches == [] and found.checks
    assert found.warnings[0].startswith("not in the file, which was traced: the check of the numbers in a tensor at ")


def sets(x):
    if x.min() < 0:
        x = x * 2
    return x


def sets_after_another_test(x):
    if x.dim() == 7:
        raise ValueError
    elif x.max() > 5:  # noqa: RET506
        x = x * 2
    return x


def returns_instead(x):
    if x.min() < 0:
        return x * 2
    return x


def says_so(x):
    if x.min() < 0:
        print("negative")
    return x


def leaves_a_loop(x):
    for _ in range(2):
        if x.min() < 0:
            break
            raise ValueError
        x = x * 2
    return x


def is_caught(x):
    try:
        if x.min() < 0:
            raise ValueError
    except ValueError:
        return x * 2
    return x


def is_caught_by_a_caller(x):
    try:
        return raises(x)
    except ValueError:
        return x * 2


def is_suppressed(x):
    with contextlib.suppress(ValueError):
        if x.min() < 0:
            raise ValueError
        x = x * 2
    return x


def keeps_the_number(x):
    if (n := int(x.sum())) < 0:
        raise ValueError
    return x * n


KEPT: list[float] = []


def kept(number):
    KEPT.append(number)
    return number


def gives_the_number_away(x):
    if kept(float(x.sum())) < 0:
        raise ValueError
    return x * KEPT[-1]


def decides_before(x):
    factor = 2 if x.min() < 0 else 3
    assert factor
    return x * factor


def turns(x):
    while x.min() < 0:
        x = x + 1
    return x


MORE = [
    *(sets, sets_after_another_test, returns_instead, says_so, leaves_a_loop, is_caught, is_caught_by_a_caller),
    *(is_suppressed, keeps_the_number, gives_the_number_away, decides_before, turns),
]


@pytest.mark.parametrize("forward", MORE, ids=lambda forward: forward.__name__)
@pytest.mark.parametrize("has_columns", [True, False], ids=["columns", "lines alone"])
def test_what_decides_more_is_none(forward, has_columns, monkeypatch):
    if not has_columns:
        monkeypatch.setattr(checks_in_code, "_position", lambda f: ((f.f_lineno, None), (f.f_lineno, None)))
    found = seen_in(forward)
    assert len(found.branches) == 1 and found.checks == []


def test_without_its_source_nothing_is_a_check():
    names: dict[str, object] = {}
    exec(compile("def forward(x):\n    assert x.min() >= 0\n    return x\n", "<nowhere>", "exec"), names)
    found = seen_in(names["forward"])
    assert (found.branches, found.checks) == (["<nowhere>:2"], [])
