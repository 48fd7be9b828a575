"""With what the modules of a model are called, as one eager run shows it."""

import pytest
import torch
from passcheck import conv, images, model
from torch import Tensor, nn

from rewrites.calls import hollow, record_calls


class Scaled(nn.Module):
    """Arguments of several kinds, one of them optional."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x, factor=1.0, *, flag=False, mask=None):
        return self.conv(x) * factor if mask is None else x


def agreement(forward) -> bool:
    """Whether all calls of a module agree."""
    original = model(forward, part=Scaled())
    return record_calls(original, images())[original.part].agrees


def test_arguments_by_name_whichever_way_they_are_given():
    original = model(lambda self, x: self.part(flag=True, x=x, factor=2.0), part=Scaled())
    calls = record_calls(original, images())
    assert {type(part).__name__ for part in calls} == {"Model", "Scaled", "Conv2d"}
    assert list(calls[original.part].arguments) == ["x", "factor", "flag"]
    assert calls[original.part].arguments["factor"] == 2.0 and calls[original.part].arguments["flag"] is True
    assert calls[original.part].agrees


def test_tensors_are_kept_as_shapes_only():
    original = model(lambda self, x: self.conv(x), conv=conv())
    (given,) = record_calls(original, images())[original.conv].arguments.values()
    assert given.is_meta and given.shape == (2, 8, 8, 8)


def test_hollow_keeps_the_structure():
    found = hollow({"a": [torch.ones(2), 3], "b": (torch.zeros(1, dtype=torch.int64), "word", None)})
    assert [type(found["a"]), found["a"][1], type(found["b"]), found["b"][1:]] == [list, 3, tuple, ("word", None)]
    assert found["a"][0].is_meta and found["b"][0].dtype == torch.int64


def test_a_module_that_is_never_called_is_missing():
    original = model(lambda self, x: self.conv(x), conv=conv(), auxiliary=conv())
    assert original.auxiliary not in record_calls(original, images())


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.part(x) + self.part(x), id="the same twice"),
        pytest.param(lambda self, x: self.part(x).mean() + self.part(x[:, :, ::2]).mean(), id="other sizes"),
        pytest.param(lambda self, x: self.part(x, 2.0) + self.part(x, factor=2.0), id="the same, given another way"),
    ],
)
def test_calls_that_agree(forward):
    assert agreement(forward)


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.part(x, 2.0) + self.part(x, 3.0), id="another number"),
        pytest.param(lambda self, x: self.part(x, flag=True) + self.part(x, flag=False), id="another flag"),
        pytest.param(lambda self, x: self.part(x) + self.part(x, flag=False), id="a flag given once"),
        pytest.param(lambda self, x: self.part(x) + self.part(x, mask=x), id="a mask given once"),
        pytest.param(lambda self, x: self.part(x, mask=None) + self.part(x, mask=x), id="None and then a mask"),
        pytest.param(lambda self, x: self.part(x).mean() + self.part(x[0]).mean(), id="another rank"),
        pytest.param(lambda self, x: self.part(x) + self.part(x.int(), mask=x), id="another type"),
        pytest.param(lambda self, x: self.part([x], mask=1) + self.part([x, x], mask=1), id="another length"),
    ],
)
def test_calls_that_do_not_agree(forward):
    assert not agreement(forward)


def test_an_argument_that_cannot_be_looked_into():
    class Opaque:
        """Refuses to be taken apart."""

    class Takes(nn.Module):
        def forward(self, x, *, how: Opaque) -> Tensor:
            return x

    how = Opaque()
    original = model(lambda self, x: self.part(x, how=how), part=Takes())
    assert record_calls(original, images())[original.part].arguments["how"] is how

    def broken(self, x):
        self.part.forward = torch.add  # a builtin without a signature
        return self.part(x, x)

    original = model(broken, part=Takes())
    call = record_calls(original, images())[original.part]
    assert (call.arguments, call.agrees) == ({}, False)


def test_the_example_is_not_changed_and_the_hooks_are_gone():
    def forward(self, x):
        x += 1
        return self.conv(x)

    original, (x,) = model(forward, conv=conv()), images()
    before = x.clone()
    record_calls(original, (x,))
    assert torch.equal(x, before)
    assert not original._forward_pre_hooks and not original.conv._forward_pre_hooks


def test_an_error_of_the_models_own_comes_out_and_the_hooks_are_gone():
    original = model(lambda self, x: self.conv(x[0, 0, 0]), conv=conv())
    with pytest.raises(RuntimeError, match="Expected 3D"):
        record_calls(original, images())
    assert not original.conv._forward_pre_hooks
