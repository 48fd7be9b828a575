"""Errors that come up in the user's code while fxconv's form of a model runs: whose they are is tried out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fxconv_commands import assert_user_error
from torch import Tensor, nn

import fxconv
from fxconv.analysis.sensitivity import sensitivity
from fxconv.analysis.study import study
from fxconv.data.calibration import as_data
from fxconv.errors import ConversionError, OwnFormError, UserError
from fxconv.models import preconditions


class Part(nn.Module):
    """A convolution, by a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Asking(nn.Module):
    """Decides by the numbers in its input, so that it stays as it is, and looks at that, or at what its part is."""

    def __init__(self, most: float = 1e9, kind: type | None = None) -> None:
        super().__init__()
        self.part, self.most, self.kind = Part(), most, kind

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.max() > self.most):
            raise ValueError("too bright")
        if self.kind is not None and type(self.part) is not self.kind:
            raise ValueError("that is no part")
        return self.part(x)


def with_another_part(model: Asking) -> Asking:
    model.part = nn.Identity()
    return model


IMAGE = (torch.ones(1, 3, 8, 8),)


def test_what_the_model_alone_does_not_raise_is_a_fault_of_fxconvs():
    model, form = Asking(kind=Part), with_another_part(Asking(kind=Part))
    with pytest.raises(OwnFormError) as told, preconditions.faults_told(model, [IMAGE]):
        form(*IMAGE)
    assert str(told.value).startswith(
        "INTERNAL ERROR in fxconv's form of the model: the code in tests/fxconv/models/test_faults_told.py, "
    )
    assert str(told.value).endswith(
        '(raise ValueError("that is no part")), failed with ValueError: that is no part, where the model alone takes '
        "the same input"
    )
    assert isinstance(told.value.__cause__, ValueError)


def test_what_the_model_alone_raises_is_mended_there():
    model = with_another_part(Asking(kind=Part))
    told = r"line \d+ \(raise ValueError.* on an input of 3x8x8; mend it there$"
    with pytest.raises(UserError, match=told), preconditions.faults_told(model, [IMAGE]):
        model(*IMAGE)
    bright = (torch.full((1, 3, 8, 8), 2.0),)
    with pytest.raises(UserError, match="too bright"), preconditions.faults_told(Asking(most=1), [IMAGE, bright]):
        Asking(most=1)(*bright)


def test_the_model_that_is_tried_stays_as_it_is():
    class Counting(Asking):
        def forward(self, x: Tensor) -> Tensor:
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(x)

    model = Counting(kind=Part)
    with pytest.raises(OwnFormError), preconditions.faults_told(model, [IMAGE]):
        with_another_part(Counting(kind=Part))(*IMAGE)
    assert not hasattr(model, "calls")


def loader() -> None:
    raise ValueError("no such folder")


def metric_of(module: nn.Module) -> None:
    module(*IMAGE)
    loader()


@pytest.mark.parametrize("call", [loader, lambda: metric_of(nn.ReLU()), lambda: nn.Conv2d(1, 1, 1)(*IMAGE)])
def test_other_errors_are_handed_on(call):
    with pytest.raises((ValueError, RuntimeError)) as raised, preconditions.faults_told(Asking(), [IMAGE]):
        call()
    assert type(raised.value) in (ValueError, RuntimeError)


@pytest.mark.parametrize("error", [UserError("x"), ConversionError("x"), MemoryError(), RecursionError()])
def test_what_is_told_already_is_handed_on(error):
    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise error

    with pytest.raises(type(error)) as raised, preconditions.faults_told(Asking(), [IMAGE]):
        Raising()(*IMAGE)
    assert raised.value is error


def test_in_a_conversion():
    torch.manual_seed(0)
    images = [torch.rand(12, 3, 16, 16)]
    assert fxconv.convert(Asking().eval(), images, recipe=("none",)).verified
    with pytest.raises(OwnFormError, match="that is no part, where the model alone takes the same input"):
        fxconv.convert(Asking(kind=Part).eval(), images, recipe=("none",))
    with pytest.raises(OwnFormError, match="that is no part"):
        study(Asking(kind=Part).eval(), {"x": lambda count, seed: as_data(images)}, as_data(images), (4,), 1)
    with pytest.raises(OwnFormError, match="that is no part"):
        sensitivity(Asking(kind=Part).eval(), images, recipe=("none",))


def test_an_image_that_the_model_does_not_take_is_found_among_those_of_calibration():
    images = torch.rand(12, 3, 16, 16)
    images[10, 0, 0, 0] = 7.0
    with pytest.raises(UserError, match=r"too bright.* failed with .* on an input of 3x16x16; mend it there"):
        fxconv.convert(Asking(most=6.0).eval(), [images], recipe=("none",))


NET = """
import torch
from torch import nn


class Part(nn.Conv2d):
    pass


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(Part(3, 4, 3))

    def forward(self, x):
        if bool(x.max() > 1e9):
            return x
        if type(self.part) is not nn.Sequential{more}:
            raise ValueError("no part")
        return self.part(x)
"""


def test_on_the_command_line(command):
    words = ("--input-size", "16", "--calib-count", "4")
    Path("net.py").write_text(NET.format(more=""))
    run = command("convert", "net.py:Net", *words)
    told = 'INTERNAL ERROR in fxconv\'s form of the model: the code in net.py, line 19 (raise ValueError("no part")), '
    assert run.status == 1 and told in run.stderr and "mend it there" not in run.stderr
    assert run.stderr.count("this is a fault of fxconv's") == 1
    Path("other.py").write_text(NET.format(more=" or True"))
    run = command("convert", "other.py:Net", *words)
    assert_user_error(run, 'the code in other.py, line 19 (raise ValueError("no part")), failed with ValueError: no')
    assert "mend it there" in run.stderr
    Path("net.py").write_text(NET.format(more=""))
    run = command("diff", "net.py:Net", "--input-size", "16")
    assert run.status == 1 and told in run.stderr
