"""Scales at which qnnpack refuses: where the limits are, and that none is crashed into."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console
from torch import nn

import fxconv
from fxconv.config import Config, Engine
from fxconv.quantization import engine, static
from fxconv.quantization.expected_ranges import expected_ranges
from fxconv.quantization.observers import RangeObserver
from fxconv.quantization.passes import selected
from fxconv.quantization.refusals import COARSEST, FINEST, foresee
from fxconv.report import terminal
from rewrites import rewrite

quantized = torch.ops.quantized
STEP = 0.02


def evenly(step: float, zero_point: int = 128) -> torch.Tensor:
    """All 256 values of an int8 tensor in such steps."""
    integers = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 8, 8)
    return torch._make_per_tensor_quantized_tensor(integers, step, zero_point)


def runs(function, *args) -> bool:
    try:
        function(*args)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("add", [quantized.add, quantized.add_relu], ids=["add", "add_relu"])
@pytest.mark.parametrize("side", [0, 1], ids=["left", "right"])
def test_the_ratios_an_addition_takes(add, side):
    def sums(ratio: float) -> bool:
        inputs = [evenly(STEP), evenly(STEP)]
        inputs[side] = evenly(STEP * ratio)
        return runs(add, *inputs, STEP, 128)

    with engine.engine("qnnpack"):
        assert [sums(FINEST * factor) for factor in (0.5, 0.999, 1.001)] == [False, False, True]
        assert [sums(COARSEST * factor) for factor in (0.999, 1.0001, 2)] == [True, False, False]


@pytest.mark.parametrize("ratio", [2.0**-40, 2.0**-15, 2.0**9, 2.0**20])
def test_what_takes_all_ratios(ratio):
    def close(got: torch.Tensor, wanted: torch.Tensor) -> bool:
        again = torch.quantize_per_tensor(wanted, got.q_scale(), got.q_zero_point(), torch.quint8)
        return bool((got.int_repr().int() - again.int_repr().int()).abs().max() <= 1)

    x, y, one = evenly(STEP * ratio), evenly(STEP), evenly(1 / 256)
    with engine.engine("qnnpack"):
        assert close(quantized.mul(x, one, STEP, 128), x.dequantize() * one.dequantize())
        assert close(quantized.cat([x, y], 1, STEP, 128), torch.cat([x.dequantize(), y.dequantize()], 1))
        assert close(quantized.matmul(x, one, STEP, 128), x.dequantize() @ one.dequantize())
        assert close(quantized.leaky_relu(x, 0.01, False, STEP, 128), nn.functional.leaky_relu(x.dequantize()))
        assert close(quantized.hardswish(x, STEP, 128), nn.functional.hardswish(x.dequantize()))
        broadcast = x[:, :, :1, :1].contiguous()
        assert close(quantized.add(broadcast, y, STEP, 128), broadcast.dequantize() + y.dequantize())


def test_the_steps_a_constant_may_be():
    with engine.engine("qnnpack"):
        assert runs(quantized.add_scalar, evenly(STEP), STEP * 2.0**30)
        assert not runs(quantized.add_scalar, evenly(STEP), STEP * 2.0**31)


class Net(nn.Module):
    """Four convolutions and what a test does with them."""

    def __init__(self, function) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.d = nn.Conv2d(8, 8, 1)
        self.gamma = nn.Parameter(torch.full((8, 1, 1), 1e-6))
        self.function = function

    def forward(self, x):
        return self.function(self, self.a(x))


def convert(function, **options):
    torch.manual_seed(0)
    return fxconv.convert(Net(function).eval(), [torch.randn(8, 3, 8, 8)], recipe=("none",), **options)


def shared(net, x):
    y = net.b(x) * 1e-3
    return net.c(x * 1e4 + y), y


WIDENED = {
    "a branch 1e-6 as large": (lambda net, x: net.c(x + net.b(x) * 1e-6), "b"),
    "a branch scaled by a parameter": (lambda net, x: net.c(x + net.b(x) * net.gamma), "mul.op"),
    "on the other side": (lambda net, x: net.c(net.b(x) * net.gamma + x), "mul.op"),
    "a branch that starts at zero": (lambda net, x: net.c(x + net.b(x) * (net.gamma - net.gamma)), "mul.op"),
    "add and relu": (lambda net, x: net.c(torch.relu(x + net.b(x) * 1e-6)), "b"),
    "behind what follows": (lambda net, x: net.c(x + torch.flip(torch.relu(net.b(x) * 1e-6), [3])), "b"),
    "a sum that cancels out": (lambda net, x: net.c(net.b(x * 1e4) + net.b(x * 1e4) * -1.0), "add.op"),
    "a sum of which a small part is seen": (
        lambda net, x: net.c(nn.functional.hardsigmoid(net.b(x) + x * 1e4)), "add.op"
    ),
    "a constant of a billion steps": (lambda net, x: net.c(net.b(x) * 1e-6 + 1e6), "b"),
    "one after the other": (lambda net, x: net.c(x + (net.b(x) * net.gamma + net.d(x) * 1e-14)), "d"),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDENED)
def test_a_range_is_widened(name):
    function, where = WIDENED[name]
    conversion = convert(function)
    assert conversion.verdict == "converted and verified"
    assert not any("qnnpack" in island.reason for island in conversion.rewritten.islands)
    assert where in [made.where for made in conversion.adjusted]
    assert all(made.step_after > made.step_before for made in conversion.adjusted)
    (row,) = [row for row in conversion.ledger if row.stage == "int8"]
    assert row.sqnr_db > 20


IN_FLOAT = {
    "a branch that another output shows": (shared, "add", "wider steps would cost dequant_mul, which reads them too"),
    "a value and a millionth of itself": (
        lambda net, x: net.c(x + x * 1e-6), "add", "wider steps would cost add, which reads them too",
    ),
    "a branch 1e7 times as large beside one that is read again": (
        lambda net, x: net.c(x + net.b(x) * 1e7), "add", "wider steps would cost b, which reads them too, ",
    ),
    "a sigmoid": (
        lambda net, x: net.c(torch.sigmoid(net.b(x)) + x * 1e7), "add", "the range of sigmoid is fixed by its kernel",
    ),
    "a branch that ends at 6": (
        lambda net, x: net.c(nn.functional.relu6(net.b(x)) + x * 1e6), "add", "the range of b ends at 6, where",
    ),
    "a sum that ends at 6": (
        lambda net, x: net.c(nn.functional.relu6(net.b(x) + x * 1e5)), "relu6", "the range of add_relu.op ends at 6",
    ),
    "a product with no step": (
        lambda net, x: net.c(net.b(x) * 1e-38 + x), "mul", "times 1e-38 are no step that float32 holds",
    ),
    "a constant beside another reader": (
        lambda net, x: (net.c(net.b(x) * 1e-6 + 1e6), net.b(x) * 2.0), "add", "wider steps would cost dequant_mul_1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_FLOAT)
def test_the_operation_goes_to_float(name):
    function, node, words = IN_FLOAT[name]
    conversion = convert(function, min_sqnr=10)
    assert conversion.verified
    (island,) = [island for island in conversion.rewritten.islands if words in island.reason]
    assert node in island.nodes and len(island.nodes) <= 2  # with what is only read by it
    skips = {skip.node: skip.reason for result in conversion.rewritten.results for skip in result.skips}
    assert words in skips[node]


NO_KERNEL = {
    "nearest in one dimension": (
        lambda net, x: net.c(nn.functional.interpolate(x.flatten(2), scale_factor=2.0).unflatten(2, (6, 12))),
        "interpolate", "the engine refuses it: Could not run 'aten::upsample_nearest1d.out' with arguments from the",
    ),
    "a pool of images without a batch": (
        lambda net, x: net.c(nn.functional.max_pool2d(x.flatten(0, 1), 2).unflatten(0, (-1, 8))), "max_pool2d",
        "the engine refuses it: qnnpack_maxpool2d(): Expected input to be 4-dimensional",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_KERNEL)
def test_what_the_engine_refuses_when_tried_goes_to_float(name):
    function, node, words = NO_KERNEL[name]
    conversion = convert(function)
    assert conversion.verdict == "converted and verified"
    (island,) = conversion.rewritten.islands
    assert island.nodes == (node, "unflatten") and island.reason.startswith(words)


ORDINARY = {
    "a branch ten thousand times as large": lambda net, x: net.c(x + net.b(x) * 1e4),
    "a product of nothing": lambda net, x: net.c(net.b(x) * 1e-6 * (net.b(x) * 1e-6)),
    "nothing at all": lambda net, x: net.c(x + net.b(x) * 0.0),
    "a small bias": lambda net, x: net.c(net.b(x) + 1e-12),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_what_the_kernels_take_is_left_as_it_is(name):
    conversion = convert(ORDINARY[name])
    assert conversion.verdict == "converted and verified"
    assert conversion.adjusted == () and conversion.rewritten.islands == ()


def test_other_engines_take_all_scales():
    conversion = convert(lambda net, x: net.c(x + net.b(x) * 1e-6), engine=Engine.x86)
    assert conversion.verified and conversion.adjusted == ()


def test_the_report_says_what_was_widened_and_why():
    conversion = convert(lambda net, x: net.c(x + net.b(x) * net.gamma))
    (made,) = conversion.adjusted
    words = "qnnpack refuses to add steps of 1.19e-07 (mul.op) to a sum in steps of "
    assert made.node == "add" and made.reason.startswith(words)
    assert made.reason.endswith("that input's are widened, all of them staying below a 64th of one of the sum's")
    (shown,) = json.loads(json.dumps(conversion.report.json()))["quantization"]["adjusted_ranges"]
    assert shown == {
        "node": "add", "where": "mul.op", "step_before": made.step_before, "step_after": made.step_after,
        "reason": made.reason,
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=120)
    terminal.print_report(conversion, console)
    assert f"range widened: add: {made.reason}" in " ".join(console.file.getvalue().split())


def observed_on(model: nn.Module, x: torch.Tensor):
    with engine.engine("qnnpack"), torch.no_grad():
        observed = static.observe(rewrite(model.eval(), selected(Config())).graph_module, Config())
        observed(x)
    return observed


def test_only_the_ranges_that_were_widened_may_be_wider():
    torch.manual_seed(0)
    observed = observed_on(Net(lambda net, x: net.c(x + net.b(x) * net.gamma)), torch.randn(8, 3, 8, 8))
    found = foresee(observed)
    assert list(found.smallest_steps[""]) == ["mul.op"]
    assert all(not expected.problem for expected in expected_ranges(observed, found.smallest_steps[""]).values())
    (wrong,) = [path for path, expected in expected_ranges(observed).items() if expected.problem]
    assert wrong == "mul.op"
    other = observed.get_submodule("c").activation_post_process
    assert isinstance(other, RangeObserver)
    other.eps.fill_(1.0)
    problems = {
        path: expected.problem for path, expected in expected_ranges(observed, found.smallest_steps[""]).items()
    }
    assert [path for path, problem in problems.items() if problem] == ["c"]
    assert "its observer gives scale 1 and " in problems["c"]


def test_the_second_look_finds_nothing():
    torch.manual_seed(0)
    observed = observed_on(Net(lambda net, x: net.c(x + net.b(x) * net.gamma)), torch.randn(8, 3, 8, 8))
    assert len(foresee(observed).adjustments) == 1
    assert foresee(observed).adjustments == ()


class Block(nn.Module):
    """A residual block whose last batch norm starts at zero, as torchvision's `zero_init_residual` leaves it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)) + x)


def test_residual_blocks_that_start_at_zero():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), *(Block() for _ in range(3)), nn.Flatten(), nn.Linear(288, 4)).eval()
    conversion = fxconv.convert(model, [torch.randn(8, 3, 8, 8)])
    assert conversion.verdict == "converted and verified"
    assert len(conversion.adjusted) == 3 and conversion.rewritten.islands == ()
