"""The rows of modules in Q/DQ form that the kernel table does not show: with a ReLU, of other ranks, in other ways."""

import pytest
import qdq_rows as one
import torch
import torch.ao.nn.intrinsic as nni
import torch.nn.functional as F
from torch import nn

from fxconv.errors import ConversionError
from fxconv.quantization.engine import engine
from fxconv.targets.qdq.form import qdq_form
from fxconv.targets.qdq.held import held
from fxconv.targets.qdq.kinds import ROWS
from rewrites.modules import Emulated

SHAPES = {1: (2, 8, 12), 2: (2, 8, 9, 9), 3: (1, 8, 4, 6, 6)}


@pytest.fixture(autouse=True)
def qnnpack():
    with engine("qnnpack"):
        yield


def norm(made: nn.Module) -> nn.Module:
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    if getattr(made, "running_mean", None) is not None:
        made.running_mean.normal_()
        made.running_var.uniform_(0.5, 2)
    return made


# The module, the rank of what it takes, and the float operation that it is.
MODULES = {
    "conv1d relu": (lambda: nni.ConvReLU1d(nn.Conv1d(8, 6, 3), nn.ReLU()), 1, F.conv1d),
    "conv2d relu": (lambda: nni.ConvReLU2d(nn.Conv2d(8, 6, 3, 2, 1, 1, 2), nn.ReLU()), 2, F.conv2d),
    "conv2d dilated, without a bias": (lambda: nn.Conv2d(8, 6, 3, dilation=2, bias=False), 2, F.conv2d),
    "transposed 2d in groups": (lambda: nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, 2), 2, F.conv_transpose2d),
    "linear relu": (lambda: nni.LinearReLU(nn.Linear(9, 7), nn.ReLU()), 2, F.linear),
    "linear without a bias": (lambda: nn.Linear(9, 7, bias=False), 2, F.linear),
    "batch norm 3d": (lambda: norm(nn.BatchNorm3d(8)), 3, F.batch_norm),
    "batch norm relu": (lambda: nni.BNReLU2d(norm(nn.BatchNorm2d(8)), nn.ReLU()), 2, F.batch_norm),
    "batch norm 3d relu": (lambda: nni.BNReLU3d(norm(nn.BatchNorm3d(8)), nn.ReLU()), 3, F.batch_norm),
    "instance norm 1d": (lambda: norm(nn.InstanceNorm1d(8, affine=True)), 1, F.instance_norm),
    "instance norm 3d": (lambda: norm(nn.InstanceNorm3d(8, affine=True)), 3, F.instance_norm),
    "layer norm": (lambda: norm(nn.LayerNorm(9)), 2, F.layer_norm),
    "elu": (lambda: nn.ELU(0.7), 2, F.elu),
    "leaky relu": (lambda: nn.LeakyReLU(0.2), 2, F.leaky_relu),
    "gelu, its own range": (lambda: Emulated(nn.GELU()), 2, F.gelu),
    "hard sigmoid in place": (lambda: nn.Hardsigmoid(inplace=True), 2, F.hardsigmoid),
    "tanh": (nn.Tanh, 2, torch.tanh),
    "dropout": (nn.Dropout, 2, None),
}


def int8_of(name: str):
    make, rank, operation = MODULES[name]
    torch.manual_seed(0)
    given = [(torch.randn(SHAPES[rank]) * 3 + 0.3,) for _ in range(3)]
    return one.int8_graph(one.traced(make().eval()), given), given, operation


@pytest.mark.parametrize("name", MODULES)
def test_a_module(name):
    int8, given, operation = int8_of(name)
    form = qdq_form(int8, given[0])
    found = held(form, int8, given)
    assert found.problem == "" and found.worst <= 1
    called = [node for node in form.graph.nodes if node.meta.get("int8_source") == "op"]
    assert operation is None or operation in [node.target for node in called]
    assert ("relu" in name.split()) <= (F.relu in [node.target for node in called] or "leaky" in name)
    assert "inplace" not in str(form.code) or "inplace = False" in form.code


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="no engine has the kernel")
@pytest.mark.parametrize("with_relu", [False, True])
def test_a_convolution_in_three_dimensions(with_relu):
    """qnnpack has none that can be written; other engines do."""
    torch.manual_seed(0)
    conv = nn.Conv3d(8, 6, 3, padding=1)
    op = nni.ConvReLU3d(conv, nn.ReLU()) if with_relu else conv
    given = [(torch.randn(SHAPES[3]),) for _ in range(3)]
    with engine("fbgemm"):
        int8 = one.int8_graph(one.traced(op.eval()), given)
        form = qdq_form(int8, given[0])
        found = held(form, int8, given)
    assert found.problem == ""
    assert F.conv3d in [node.target for node in form.graph.nodes]
    assert (F.relu in [node.target for node in form.graph.nodes]) is with_relu


def test_caps_are_ends_of_ranges():
    int8, given, _ = int8_of("conv2d relu")
    form = qdq_form(int8, given[0])
    assert "clamp" not in form.code and "hardtanh" not in form.code


def test_every_reader_has_a_dequantize_of_its_own():
    class Read(nn.Module):
        def forward(self, x):
            return torch.flatten(x, 1), torch.flatten(x, 2), x.size(0)

    graph = torch.fx.Graph()
    quantized = graph.call_module("quant", (graph.placeholder("x"),))
    flat = [graph.call_function(torch.flatten, (quantized, dim)) for dim in (1, 2)]
    size = graph.call_method("size", (quantized, 0))
    graph.output([*(graph.call_module("dequant", (each,)) for each in flat), size])
    root = {"quant": torch.ao.quantization.QuantStub(), "dequant": torch.ao.quantization.DeQuantStub()}
    x = torch.randn(2, 3, 4, 5)
    form = qdq_form(one.int8_graph(torch.fx.GraphModule(root, graph), [(x,)]), (x,))
    reads = [node for node in form.graph.nodes if "dequantize" in str(node.target)]
    assert len(reads) == 5 and all(len(node.users) == 1 for node in reads)
    assert form(torch.randn(7, 3, 4, 5))[2] == 7, "a size is asked anew"


def test_biases_are_the_integers_that_kernels_add():
    int8, given, _ = int8_of("conv2d relu")
    form = qdq_form(int8, given[0])
    weight, bias = int8.op.weight(), int8.op.bias()
    scales = weight.q_per_channel_scales() * float(int8.get_submodule("quants.0").scale)
    assert torch.equal(form.get_buffer("op.bias"), (bias.double() / scales).round().int())
    assert torch.equal(form.get_buffer("op.weight"), weight.int_repr())
    assert torch.equal(form.get_buffer("op.weight_scales").double(), weight.q_per_channel_scales())
    numbers = qdq_form(int8, given[0], integer_biases=False)
    assert numbers.get_buffer("op.bias").dtype == torch.float32
    assert torch.equal((numbers.get_buffer("op.bias") / scales).round().int(), form.get_buffer("op.bias"))
    assert held(numbers, int8, given).problem == ""
    assert all(torch.equal(form(*each), numbers(*each)) for each in given)


def test_scales_and_zero_points_are_those_of_the_int8_module():
    int8, given, _ = int8_of("conv2d relu")
    for unsigned, offset in ((False, 128), (True, 0)):
        form = qdq_form(int8, given[0], unsigned=unsigned)
        (written,) = [node for node in form.graph.nodes if node.meta.get("int8") == ("op", 0)]
        assert written.args[1:3] == (float(int8.op.scale), int(int8.op.zero_point) - offset)
        assert written.args[3:] == ((0, 255, torch.uint8) if unsigned else (-128, 127, torch.int8))


def test_an_unknown_kind_is_refused_by_the_name_of_its_node(monkeypatch):
    int8, given, _ = int8_of("elu")
    monkeypatch.delitem(ROWS, type(int8.op))
    with pytest.raises(ConversionError, match=r"^op \(ELU\): this kind of module has no Q/DQ form$"):
        qdq_form(int8, given[0])


class Deciding(nn.Module):
    """Looks at its values."""

    def forward(self, x):
        return torch.flatten(x, 1) if x.dequantize().sum() > 1e9 else torch.flatten(x, 2)


def test_a_module_whose_forward_decides_is_refused_by_the_name_of_its_node():
    x = torch.randn(2, 3, 4, 5)
    int8 = one.int8_graph(one.traced(Deciding()), [(x,)])
    with pytest.raises(ConversionError, match=r"^op \(Deciding\): its forward cannot be written as operations: "):
        qdq_form(int8, (x,))


def test_values_that_are_quantized_outside_of_the_graph_are_refused():
    graph = torch.fx.Graph()
    graph.output(graph.call_module("dequant", (graph.placeholder("x"),)))
    int8 = torch.fx.GraphModule({"dequant": torch.ao.nn.quantized.DeQuantize()}, graph)
    x = torch.quantize_per_tensor(torch.randn(4), 0.1, 3, torch.quint8)
    with pytest.raises(ConversionError, match=r"^x: the graph is given values that are quantized outside of it"):
        qdq_form(int8, (x,))
    held_in = torch.fx.Graph()
    held_in.placeholder("x")
    held_in.output(held_in.call_module("dequant", (held_in.get_attr("held"),)))
    int8 = torch.fx.GraphModule({"dequant": torch.ao.nn.quantized.DeQuantize(), "held": x}, held_in)
    with pytest.raises(ConversionError, match=r"^held: a constant that is quantized outside of the graph"):
        qdq_form(int8, (torch.randn(4),))
