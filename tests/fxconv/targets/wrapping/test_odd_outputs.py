"""None and numbers among a graph's outputs: left out, and tensors; nothing else about it changes."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import Tensor, fx, nn

from fxconv.models import forward
from fxconv.targets.wrapping.odd_outputs import OddOutputs
from rewrites.tracing import trace

Pair = namedtuple("Pair", ["a", "b"])
IMAGE = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution, and what a function makes of its input and output."""

    def __init__(self, form) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.form = nn.Conv2d(3, 4, 1), form

    def forward(self, x: Tensor) -> object:
        return self.form(x, self.conv(x))


def cleaned(form) -> tuple[OddOutputs, fx.GraphModule, nn.Module]:
    model = Net(form).eval()
    graph, _ = trace(model, {"x": IMAGE})
    odd = OddOutputs.of(graph, (IMAGE,))
    assert odd is not None
    return odd, odd.left_out(graph), model


FORMS = {
    "None in a tuple": (lambda x, y: (y, None), "(*,)"),
    "None in a list": (lambda x, y: [None, y, None], "[*]"),
    "None in a dict": (lambda x, y: {"main": y, "aux": None, "deep": [x, (y, None)]}, "{main: *, deep: [*, (*,)]}"),
    "None in a named tuple": (lambda x, y: Pair(y, None), "(*,)"),
    "nothing but None in a member": (lambda x, y: (y, [None, {"a": None}]), "(*,)"),
    "numbers": (lambda x, y: {"y": y, "stride": 4, "scale": 0.5, "flag": True}, "{y: *, stride: *, scale: *, flag: *}"),
    "a list of ints": (lambda x, y: (y, [1, 2, 3]), "(*, [*, *, *])"),
    "a size": (lambda x, y: (y, x.shape[-2:], x.size(0)), "(*, (*, *), *)"),
}


def shown(value: object) -> str:
    if isinstance(value, Tensor):
        return "*"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(member)}" for key, member in value.items()) + "}"
    members = ", ".join(map(shown, value))
    if isinstance(value, list):
        return f"[{members}]"
    return f"({members},)" if len(value) == 1 else f"({members})"


@pytest.mark.parametrize(("form", "structure"), FORMS.values(), ids=FORMS)
@torch.no_grad()
def test_the_tensors_stay_in_order(form, structure):
    _, whole, model = cleaned(form)
    for image in (IMAGE, IMAGE[:1, :, :4, :4] * 2):
        found = whole(image)
        assert shown(found) == structure
        wanted, got = forward.tensors(model(image)), forward.tensors(found)
        assert [value.dtype for value in wanted] == [value.dtype for value in got]
        assert all(map(torch.equal, wanted, got))


@torch.no_grad()
def test_a_scripted_graph_computes_sizes_anew():
    _, whole, model = cleaned(lambda x, y: (y, x.shape[2], None, 3))
    scripted = torch.jit.script(whole)
    for image in (IMAGE, IMAGE[:, :, :5]):
        found = scripted(image)
        assert torch.equal(found[0], model(image)[0])
        assert [value.item() for value in found[1:]] == [image.shape[2], 3]


def test_they_are_told_by_name_and_value():
    odd, *_ = cleaned(lambda x, y: {"y": y, "aux": None, "deep": [x.shape[3], None], "scale": 0.5})
    assert odd.warnings == (
        "the model returns None as output aux, deep.1: the artifact leaves it out",
        "the model returns the int 8 as output deep.0: the artifact returns a tensor, computed anew for each input",
        "the model returns the float 0.5 as output scale: the artifact returns a constant tensor",
    )


def test_the_source_graph_keeps_its_outputs_and_its_layers():
    model = Net(lambda x, y: (y, None))
    graph, _ = trace(model.eval(), {"x": IMAGE})
    text = graph.code
    whole = OddOutputs.of(graph, (IMAGE,)).left_out(graph)
    assert graph.code == text and whole.get_submodule("conv") is graph.get_submodule("conv")


@pytest.mark.parametrize("form", [lambda x, y: y, lambda x, y: {"a": y, "b": (y * 2, x)}], ids=["one", "several"])
def test_of_tensors_alone_there_is_nothing_to_tell(form):
    graph, _ = trace(Net(form).eval(), {"x": IMAGE})
    assert OddOutputs.of(graph, (IMAGE,)) is None


class Untraced(nn.Module):
    """What no graph holds."""

    def forward(self, x: Tensor) -> object:
        return Pair(x, [None, 2]) if x.sum() > -1e9 else None


def test_a_module_that_is_no_graph():
    odd = OddOutputs.of(Untraced(), (IMAGE,))
    found, (number,) = odd.left_out(Untraced())(IMAGE)
    assert torch.equal(found, IMAGE) and number.item() == 2
    assert odd.warnings == (
        "the model returns None as output b.0: the artifact leaves it out",
        "the model returns the int 2 as output b.1: the artifact returns a constant tensor",
    )
