"""A part takes what it was traced for, and gives what its forward gave."""

import copy
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from passcheck import conv, images
from torch import Tensor, fx, nn

from rewrites.boundary import Form, form_of, gives_back, set_boundary, type_of
from rewrites.tracing import trace

Pair = namedtuple("Pair", ["low", "high"])


class Named(OrderedDict):
    """A dict whose items are attributes."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


@dataclass(frozen=True)
class Found:
    """A result with a default, and something worked out of it."""

    boxes: Tensor
    scores: Tensor | None = None

    @property
    def twice(self) -> Tensor:
        return self.boxes * 2


class Part(nn.Module):
    """A convolution, and what `result` makes of it."""

    def __init__(self, result) -> None:
        super().__init__()
        self.conv, self.result = conv(), result

    def forward(self, x):
        return self.result(self.conv(x))


def bounded(part: nn.Module, *arguments: Any) -> fx.GraphModule:
    """The graph of a part, as it stands in code that does not trace."""
    names = list(part.forward.__code__.co_varnames[1 : 1 + len(arguments)])
    given = dict(zip(names, arguments, strict=True))
    graph_module, _ = trace(part.eval(), given)
    with torch.no_grad():
        form = form_of(part(*arguments))
    assert gives_back(graph_module.graph.output_node().args[0], form)
    set_boundary(graph_module.graph, given, form, "head", graph_module.meta["asked"])
    graph_module.recompile()
    return graph_module


RESULTS = {
    "a subclass of dict": lambda y: Named(last=y, first=y * 2),
    "a dict": lambda y: {"last": y},
    "a dataclass": lambda y: Found(y),
    "both fields": lambda y: Found(boxes=y, scores=y.relu()),
    "inside of a tuple": lambda y: (y, Named(last=y), [Found(y)]),
    "a named tuple": lambda y: Pair(y, y + 1),
    "None beside it": lambda y: (y, None),
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_the_type_comes_back(result):
    part, (x,) = Part(result), images()
    graph_module = bounded(part, x)
    for one in (graph_module, copy.deepcopy(graph_module), fx.Interpreter(graph_module).run):
        found, wanted = one(x), part(x)
        assert type(found) is type(wanted)
        assert form_of(found) == form_of(wanted)
    assert graph_module.graph.output_node().args[0] is not None
    assert not any(node.target is Found for node in graph_module.graph.nodes), "making it is no operation"


def test_attributes_and_properties_answer():
    (x,) = images()
    named = bounded(part := Part(RESULTS["a subclass of dict"]), x)(x)
    assert torch.equal(named.first, part(x).first)
    found = bounded(part := Part(RESULTS["a dataclass"]), x)(x)
    assert torch.equal(found.twice, part(x).twice) and found.scores is None


def test_what_nothing_could_give_back():
    class Tagged(Named):
        """Carries more than its items."""

    tagged = Tagged(last=torch.ones(1))
    assert form_of(tagged).problem() == ""
    vars(tagged)["size"] = (4, 4)
    assert form_of([tagged]).problem() == "returns a Tagged with more in it than its members"
    graph = fx.symbolic_trace(lambda x: {"a": x}).graph
    assert not gives_back(graph.output_node().args[0], Form(Named, (("b", Form(Tensor)),)))


def test_a_tensor_lies_in_memory_as_it_did():
    part, (x,) = Part(lambda y: (y, [y.relu()], y.transpose(1, 3), y.mean((2, 3)))), images()
    graph_module = bounded(part, x)
    image = x.to(memory_format=torch.channels_last)
    graph_module.conv.weight.data = graph_module.conv.weight.data.to(memory_format=torch.channels_last)
    kept, (inner,), turned, _ = graph_module(image)
    assert kept.is_contiguous() and inner.is_contiguous()
    assert not turned.is_contiguous(), "nor was what the part itself returned"
    assert torch.equal(kept, part(x)[0])
    assert torch.jit.script(graph_module)(image)[0].is_contiguous()


class Levels(nn.Module):
    """One convolution for however many levels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, levels):
        return [self.conv(level) for level in levels]


def test_a_list_of_another_length_raises_with_the_name():
    (x,) = images()
    graph_module = bounded(Levels(), [x, x])
    assert len(graph_module([x, x * 2])) == 2
    for module in (graph_module, torch.jit.script(graph_module)):
        with pytest.raises(Exception, match="head was traced for other arguments than these"):
            module([x, x, x])
        assert len(module([x, x])) == 2


class Asking(nn.Module):
    """Decides by rank and type."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x, mask):
        y = self.conv(x if x.dim() == 4 else x.unsqueeze(0))
        return y * mask if mask.dtype == torch.float32 else y


def test_another_rank_or_type_than_was_asked_for_raises_with_the_name():
    (x,) = images()
    graph_module = bounded(Asking(), x, x)
    assert graph_module(x, x).shape == x.shape
    for module in (graph_module, torch.jit.script(graph_module)):
        for given in ((x[0], x), (x, x > 0)):
            with pytest.raises(Exception, match="head was traced for other arguments than these"):
                module(*given)


def test_who_asks_for_nothing_is_told_nothing():
    (x,) = images()
    assert "assert" not in bounded(Part(lambda y: y), x).code


def test_types_as_torchscript_reads_them():
    x = torch.ones(1)
    assert type_of(([x, x], x)) == tuple[list[Tensor], Tensor]
    assert type_of({"a": (x,)}) == dict[str, tuple[Tensor]]
    assert (type_of(Pair(x, x)), type_of(3)) == (Pair, int)


def test_forms_agree_wherever_values_lie():
    x = torch.ones(1, 2, 4, 4)
    first, second = form_of([x, x]), form_of([x, x.transpose(1, 3)])
    assert first.agrees(second) and first != second
    assert second.joined(first) == first
    assert not first.agrees(form_of([x])) and not first.agrees(form_of((x, x)))
