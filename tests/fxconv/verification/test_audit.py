"""The kernel audit: what it covers, and its arithmetic checked by hand."""

from __future__ import annotations

import copy

import fxconv_networks as networks
import pytest
import torch
import torch.ao.nn.quantized as nnq
from fxconv_commands import PLAIN
from torch import fx, nn

import fxconv
from fxconv.config import Config
from fxconv.quantization import static
from fxconv.quantization.expected_ranges import Expected, expected_ranges
from fxconv.quantization.passes import selected
from fxconv.verification import audit as auditing
from fxconv.verification.audit import Audit, OpAudit
from rewrites import rewrite


def test_every_int8_operation_is_audited_and_nothing_else(small_conversion):
    audited = [op.where for op in small_conversion.audit.operations]
    calls = [
        str(node.target) if node.op == "call_module" else node.name
        for node in small_conversion.int8.graph.nodes
        if node.op.startswith("call_")
    ]
    assert audited == calls
    assert "quant_x" in audited and "mul" in audited and "head" in audited
    assert small_conversion.audit.inputs == 4
    assert small_conversion.audit.failed == ()
    assert small_conversion.audit.problem == ""
    assert small_conversion.audit.worst <= 1
    assert all(op.values > 0 and op.off == 0 for op in small_conversion.audit.operations)


def test_float_operations_are_not_audited(batches):
    conversion = fxconv.convert(
        networks.one_float_convolution(),
        calibration=[batches[0][:, :, :16, :16]],
        skip=networks.PAD_INSIDE,
        recipe=("none",),
    )
    assert "second" not in [op.where for op in conversion.audit.operations]
    assert {"ConvReLU2d"} < {op.operator for op in conversion.audit.operations}


def test_fewer_images_than_four_are_all_audited(small_model, batches):
    conversion = fxconv.convert(small_model, calibration=[batches[0][:2]], recipe=("none",))
    assert conversion.audit.inputs == 2


class OneStub(nn.Module):
    """Nothing but a place where a value is quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.quant(x)


class KeepStubs(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        return True


class Moved(nnq.Quantize):
    """A kernel whose first few values are some steps off."""

    def __init__(self, scale: float, zero_point: int, steps: int = 0, count: int = 0) -> None:
        super().__init__(torch.tensor([scale]), torch.tensor([zero_point]), torch.quint8)
        self.steps, self.count = steps, count

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        found = super().forward(X)
        integers = found.int_repr()
        integers[: self.count] += self.steps
        return torch._make_per_tensor_quantized_tensor(integers, found.q_scale(), found.q_zero_point())


def one_stub() -> fx.GraphModule:
    return fx.GraphModule(OneStub(), KeepStubs().trace(OneStub()))


def by_hand(values: torch.Tensor, scale: float, zero_point: int, steps: int = 0, count: int = 0) -> OpAudit:
    """The audit of one quantize stub on one input, with so many values so many steps off."""
    floating = one_stub()
    int8 = copy.deepcopy(floating)
    int8.set_submodule("quant", Moved(scale, zero_point, steps, count))
    watched = auditing.watch(floating, [(values,)])
    (row,) = auditing.audit(int8, floating, {}, watched, [(values,)]).operations
    return row


def test_the_power_outside_the_range_by_hand():
    # scale 0.1, zero point 0: the range ends at 25.5; of 3² + 4² + 30.5² + 1² the 5 and 1 beyond it are cut off
    row = by_hand(torch.tensor([3.0, 4.0, 30.5, -1.0]), 0.1, 0)
    assert row.values == 4
    assert row.cut == pytest.approx((5**2 + 1**2) / (3**2 + 4**2 + 30.5**2 + 1**2))
    assert (row.off, row.problem) == (0, "")


def test_a_range_that_cuts_off_a_tenth_of_the_power_fails():
    # 10² of 25.5² + 35.5² would pass; 20² of 25.5² + 45.5² is 0.147
    row = by_hand(torch.tensor([25.5, 45.5]), 0.1, 0)
    assert row.problem == "14.7 % of its power lies outside its range"


def test_what_int8_carries_beyond_all_that_float_gives_is_not_cut_off():
    # 25.5 is the end of the range, and the greatest value of the float module; the noise before it makes 45.5 of it
    floating = one_stub()
    int8 = copy.deepcopy(floating)
    int8.set_submodule("quant", Moved(0.1, 0))
    watched = auditing.watch(floating, [(torch.tensor([3.0, 25.5]),)])
    (row,) = auditing.audit(int8, floating, {}, watched, [(torch.tensor([3.0, 45.5]),)]).operations
    assert (row.cut, row.problem) == (0.0, "")
    # a range that cuts off what float gives is caught on the same values
    int8.set_submodule("quant", Moved(0.05, 0))
    (row,) = auditing.audit(int8, floating, {}, watched, [(torch.tensor([3.0, 45.5]),)]).operations
    assert row.cut == pytest.approx(12.75**2 / (3**2 + 25.5**2))
    assert row.is_only_cut


def test_what_rounds_to_an_end_is_not_cut_off():
    # one step holds it all, as when a range was widened for a sum of a much larger range
    assert by_hand(torch.tensor([0.04, -0.04, 0.02]), 0.1, 0).cut == 0
    assert by_hand(torch.tensor([-0.06]), 0.1, 0).cut == 1


def test_a_few_values_a_little_outside_are_sound():
    assert by_hand(torch.tensor([20.0, 25.9, 26.0, 27.0]), 0.1, 0).problem == ""


def test_a_range_that_holds_everything_passes():
    row = by_hand(torch.linspace(-12.8, 12.7, 1000), 0.1, 128)
    assert (row.cut, row.worst, row.problem) == (0.0, 0, "")


def test_a_kernel_is_held_to_two_steps():
    values = torch.linspace(-12, 12, 100)
    near = by_hand(values, 0.1, 128, steps=2, count=100)
    assert (near.worst, near.off, near.problem) == (2, 0.0, "")
    far = by_hand(values, 0.1, 128, steps=3, count=100)
    assert (far.worst, far.off) == (3, 1.0)
    assert far.problem == ("100 % of its values are more than 2 steps from the float operation's, the worst 3 steps")


def test_one_value_in_a_thousand_may_be_off():
    values = torch.linspace(-12, 12, 1000)
    assert by_hand(values, 0.1, 128, steps=9, count=1).problem == ""
    assert by_hand(values, 0.1, 128, steps=9, count=2).problem.startswith("0.2 % of its values are more than 2 steps")


def test_what_was_calibrated_and_runs_in_float_is_missed():
    floating, images = one_stub(), [(torch.randn(10),)]
    expected, watched = {"quant": Expected(0.1, 128)}, auditing.watch(floating, images)
    found = auditing.audit(copy.deepcopy(floating), floating, expected, watched, images)
    assert found.operations == (OpAudit("quant", "", 0, 0, 0.0, 0.0, "was calibrated, but does not run in int8"),)


def test_extremes_are_those_of_all_images():
    images = [(torch.tensor([-1.0, 5.0]),), (torch.tensor([-3.0, 2.0]),)]
    assert auditing.watch(one_stub(), images).extremes == {"quant": (-3.0, 5.0)}


def test_values_that_are_not_numbers_fail():
    row = by_hand(torch.full((10,), float("nan")), 0.1, 128)
    assert row.problem


def test_shares_count_over_all_operations():
    rows = (OpAudit("a", "Conv2d", 10, 1, 0.0, 0.0), OpAudit("b", "Add", 10, 7, 0.5, 0.0, "half of it"))
    audited = Audit(rows, 4)
    assert audited.worst == 7
    assert audited.failed == rows[1:]
    assert audited.problem == "b (Add): half of it"


def test_what_an_observer_calls_for(small_model, batches):
    observed = static.observe(rewrite(small_model, selected(Config())).graph_module, Config())
    with torch.no_grad():
        observed(batches[0])
    ranges = expected_ranges(observed)
    assert {"quant_x", "head", "mul.op", "add.op"} <= set(ranges)
    assert all(not expected.problem for expected in ranges.values())
    low, high = observed.get_submodule("head").activation_post_process.interval()
    assert ranges["head"].scale == pytest.approx(float(high - low) / 255)
    assert ranges["head"].zero_point == round(-float(low) / ranges["head"].scale)


def test_the_report_has_the_audit(command):
    run = command("convert", *PLAIN, "-o", "tiny.ptl", "--json", "report.json", "--report")
    entry = run.report["audit"]
    assert entry["inputs"] == 4
    assert entry["failed"] == []
    assert entry["worst_steps"] <= 1
    assert {"where", "operator", "values", "worst", "off", "cut", "problem"} == set(entry["operations"][0])
    assert "Kernel audit\n" in run.stdout
    assert f"{len(entry['operations'])} int8 operations on 4 inputs, each within" in run.stdout
    assert set(run.report["timings"]) >= {"audit", "verification", "calibration"}


def test_a_layer_whose_output_is_constant_is_sound(batches):
    constant = nn.Conv2d(3, 4, 1)
    nn.init.zeros_(constant.weight)
    nn.init.constant_(constant.bias, 2.3)
    model = nn.Sequential(constant, nn.Conv2d(4, 4, 3)).eval()
    assert fxconv.convert(model, calibration=batches, min_sqnr=-1000, recipe=("none",)).audit.failed == ()
