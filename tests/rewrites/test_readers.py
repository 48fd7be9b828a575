"""Who reads the numbers of a value, and who only asks for its shape, type or device."""

import pytest
import torch
from passcheck import check, conv, model
from torch import fx, nn

from rewrites import DEFAULT_PASSES, rewrite
from rewrites.fusion import fusable_chains
from rewrites.passes import ArithmeticToFunctional, FoldReLU6
from rewrites.readers import asks_shape_alone, reads_numbers, sole_reader, value_readers


def reads(operation) -> tuple[fx.Node, fx.Node]:
    """A graph with one operation on x beside y, and x itself."""
    graph = fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    return operation(graph, x, y), x


ASKS = {
    "x.shape": lambda g, x, y: g.call_function(getattr, (x, "shape")),
    "x.ndim": lambda g, x, y: g.call_function(getattr, (x, "ndim")),
    "x.device": lambda g, x, y: g.call_function(getattr, (x, "device")),
    "x.size(0)": lambda g, x, y: g.call_method("size", (x, 0)),
    "x.dim()": lambda g, x, y: g.call_method("dim", (x,)),
    "len(x)": lambda g, x, y: g.call_function(len, (x,)),
    "torch.numel(x)": lambda g, x, y: g.call_function(torch.numel, (x,)),
    "isinstance(x, Tensor)": lambda g, x, y: g.call_function(isinstance, (x, torch.Tensor)),
    "torch.zeros_like(x)": lambda g, x, y: g.call_function(torch.zeros_like, (x,)),
    "torch.zeros_like(input=x)": lambda g, x, y: g.call_function(torch.zeros_like, (), {"input": x}),
    "x.new_zeros(3)": lambda g, x, y: g.call_method("new_zeros", (x, 3)),
    "y.reshape_as(x)": lambda g, x, y: g.call_method("reshape_as", (y, x)),
    "y.expand_as(other=x)": lambda g, x, y: g.call_method("expand_as", (y,), {"other": x}),
    "y.type_as(x)": lambda g, x, y: g.call_method("type_as", (y, x)),
}
READS = {
    "x.item()": lambda g, x, y: g.call_method("item", (x,)),
    "x.tolist()": lambda g, x, y: g.call_method("tolist", (x,)),
    "x.T": lambda g, x, y: g.call_function(getattr, (x, "T")),
    "float(x)": lambda g, x, y: g.call_function(float, (x,)),
    "torch._assert(x, '')": lambda g, x, y: g.call_function(torch._assert, (x, "")),
    "x.reshape_as(y)": lambda g, x, y: g.call_method("reshape_as", (x, y)),
    "x.reshape_as(x)": lambda g, x, y: g.call_method("reshape_as", (x, x)),
    "torch.full_like(y, x)": lambda g, x, y: g.call_function(torch.full_like, (y, x)),
    "x + y": lambda g, x, y: g.call_function(torch.add, (x, y)),
    "[x]": lambda g, x, y: g.output([x]),
}


@pytest.mark.parametrize("name", ASKS)
def test_it_asks(name):
    user, x = reads(ASKS[name])
    assert not reads_numbers(user, x)
    assert value_readers(x) == [] and sole_reader(x) is None
    assert asks_shape_alone(user, x) is (name in ("y.reshape_as(x)", "y.expand_as(other=x)"))


@pytest.mark.parametrize("name", READS)
def test_it_reads(name):
    user, x = reads(READS[name])
    assert reads_numbers(user, x)
    assert value_readers(x) == [user] and sole_reader(x) is user
    assert not asks_shape_alone(user, x)


def test_what_is_converted_to_be_asked_is_asked():
    def forward(self, x):
        y = self.conv(x)
        return self.bn(y).relu() + torch.zeros_like(y)

    rewritten = rewrite(model(forward, conv=conv(), bn=nn.BatchNorm2d(8)), example=(torch.zeros(1, 8, 4, 4),))
    assert "dequant_conv" in {node.name for node in rewritten.graph_module.graph.nodes}
    assert fusable_chains(rewritten.graph_module) == [["conv", "bn", "relu"]]


def asked_between(join, relu):
    def forward(self, x):
        y = join(self.conv(x), x)
        size = y.shape[2]
        return self.last(relu(y))[:, :, : size - 1]

    return model(forward, conv=conv(), last=conv(), bn=nn.BatchNorm2d(8))


def test_a_sum_that_is_asked_for_its_shape_takes_its_relu_in():
    original = asked_between(lambda y, x: y + x, torch.relu)
    checked = check(ArithmeticToFunctional(), original)
    assert [node.target for node in checked.whole.graph_module.graph.nodes if "add" in str(node.target)] == ["add_relu"]
    assert checked.whole.islands == ()


def test_a_sum_that_is_asked_for_its_shape_is_capped():
    checked = check(FoldReLU6(), asked_between(lambda y, x: y + x, nn.functional.relu6))
    assert checked.whole.islands == () and checked.skips == {}


def test_a_convolution_that_is_asked_for_its_shape_is_capped():
    checked = check(FoldReLU6(), asked_between(lambda y, x: y, nn.functional.relu6))
    assert checked.whole.islands == () and checked.skips == {}
    assert fusable_chains(checked.whole.graph_module) == [["conv", "relu6"]]


def test_passes_leave_the_value_of_the_question():
    original = asked_between(lambda y, x: y + x, torch.relu)
    rewritten = rewrite(original, DEFAULT_PASSES, example=(torch.zeros(1, 8, 4, 4),))
    for height in (4, 7):
        x = torch.randn(2, 8, height, 5)
        assert torch.equal(rewritten.module(x), original(x))
