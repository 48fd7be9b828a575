"""Planted faults that every other tool reports as success: each fails the conversion by name and leaves no file."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.ao.nn.quantized as nnq
from fxconv_changed import with_ledger
from fxconv_commands import PLAIN, Command, Run
from torch import fx, nn

import fxconv
from fxconv.config import Config
from fxconv.errors import ConversionError
from fxconv.quantization import engine, fusion, static
from fxconv.quantization.expected_ranges import expected_ranges
from fxconv.quantization.observers import RangeObserver
from fxconv.quantization.passes import selected
from fxconv.verification import audit as auditing
from fxconv.verification import module_proof
from fxconv.verification.audit import Audit
from rewrites import rewrite
from rewrites.kernels import KERNELS, Verdict

Tamper = Callable[[fx.GraphModule], None]


@pytest.fixture
def after_observing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tamper], None]:
    """Plants a fault into the module that is about to be calibrated."""
    observe = static.observe

    def plant(tamper: Tamper) -> None:
        def tampered(*args: object) -> fx.GraphModule:
            observed = observe(*args)
            tamper(observed)
            return observed

        monkeypatch.setattr(static, "observe", tampered)

    return plant


@pytest.fixture
def after_converting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tamper], None]:
    """Plants a fault into the int8 module."""
    convert = static.convert_observed

    def plant(tamper: Tamper) -> None:
        def tampered(*args: object) -> fx.GraphModule:
            int8 = convert(*args)
            tamper(int8)
            return int8

        monkeypatch.setattr(static, "convert_observed", tampered)

    return plant


def convert_tiny(command: Command, *words: str) -> Run:
    # the quality gate is out of the way: the audit alone has to notice
    return command("convert", *PLAIN, "--min-sqnr", "-1000", "-o", "tiny.ptl", *words)


def assert_audit_fails(run: Run, *fragments: str) -> None:
    """Exit status 1, the audit's verdict with these words in the one line on stderr, and no file."""
    assert run.status == 1
    errors = [line for line in run.stderr.splitlines() if line.startswith("fxconv: error: ")]
    assert len(errors) == 1
    for fragment in fragments:
        assert fragment in errors[0]
    assert run.files == []


def functionals(module: fx.GraphModule) -> dict[str, nnq.QFunctional]:
    return {name: part for name, part in module.named_modules() if isinstance(part, nnq.QFunctional)}


def test_the_clamp_that_ignores_channels_last(command, monkeypatch):
    row = KERNELS[nn.ReLU6]
    monkeypatch.setitem(KERNELS, nn.ReLU6, dataclasses.replace(row, verdict=Verdict.FOLLOWS, reason=""))
    run = convert_tiny(command, "--skip", "fold-relu6")
    assert_audit_fails(run, "kernel audit: stem.relu6 (ReLU6): ", "% of its values are more than 2 steps")


@pytest.mark.parametrize("by", [2, 40, -40])
def test_a_wrong_zero_point_in_one_observer(by, command, after_observing):
    class Shifted(RangeObserver):
        def calculate_qparams(self, **named: Any) -> tuple[torch.Tensor, torch.Tensor]:
            scale, zero_point = super().calculate_qparams(**named)
            return scale, (zero_point + by).clamp(0, 255).to(zero_point.dtype)

    def tamper(observed: fx.GraphModule) -> None:
        observed.get_submodule("head").activation_post_process.__class__ = Shifted

    after_observing(tamper)
    assert_audit_fails(convert_tiny(command), "kernel audit: head (Linear): its observer gives scale")


def test_a_swapped_scale_in_one_functional(command, after_converting):
    def tamper(int8: fx.GraphModule) -> None:
        first, second = functionals(int8).values()
        assert first.scale != second.scale
        first.scale = second.scale

    after_converting(tamper)
    run = convert_tiny(command)
    assert_audit_fails(run, "kernel audit: mul (Mul): runs with scale", "calibrated were")


def test_two_swapped_scales_are_both_found(small_model, batches, after_converting):
    def tamper(int8: fx.GraphModule) -> None:
        first, second = functionals(int8).values()
        first.scale, second.scale = second.scale, first.scale

    after_converting(tamper)
    conversion = fxconv.convert(small_model, calibration=batches, recipe=("none",))
    assert not conversion.verified
    assert [op.operator for op in conversion.audit.failed] == ["Mul", "Add"]
    assert conversion.verdict.endswith(" (and 1 more)")
    with pytest.raises(ConversionError, match="kernel audit: mul"):
        conversion.save("never-written.ptl")


@pytest.mark.parametrize("part", ["head", "squeeze", "quant_x"])
def test_an_observer_that_never_ran(part, command, after_observing):
    def tamper(observed: fx.GraphModule) -> None:
        observed.get_submodule(part).activation_post_process.forward = lambda x: x

    after_observing(tamper)
    assert_audit_fails(convert_tiny(command), "calibration never reached", part)


def test_a_functional_whose_observer_never_ran(command, after_observing):
    def tamper(observed: fx.GraphModule) -> None:
        for part in observed.modules():
            if isinstance(part, torch.ao.nn.quantized.FloatFunctional):
                part.activation_post_process.forward = lambda x: x

    after_observing(tamper)
    assert_audit_fails(convert_tiny(command), "calibration never reached mul.op, add.op:")


def test_an_observer_that_saw_other_values(command, after_observing):
    def tamper(observed: fx.GraphModule) -> None:
        observer = observed.get_submodule("head").activation_post_process
        see = observer.forward
        observer.forward = lambda x: see(x / 50)

    after_observing(tamper)
    assert_audit_fails(convert_tiny(command), "kernel audit: head (Linear): ", "% of its power lies outside its range")


def test_weights_that_are_not_the_layers(command, after_converting):
    def tamper(int8: fx.GraphModule) -> None:
        head = int8.get_submodule("head")
        weight = head.weight()
        scales, zeros = weight.q_per_channel_scales() * 1.5, weight.q_per_channel_zero_points()
        wrong = torch._make_per_channel_quantized_tensor(weight.int_repr(), scales, zeros, 0)
        head.set_weight_bias(wrong, head.bias())

    after_converting(tamper)
    assert_audit_fails(convert_tiny(command), "kernel audit: head (Linear): its int8 weights are up to")


def test_a_lost_bias(command, after_converting):
    def tamper(int8: fx.GraphModule) -> None:
        head = int8.get_submodule("head")
        head.set_weight_bias(head.weight(), torch.zeros_like(head.bias()))

    after_converting(tamper)
    assert_audit_fails(convert_tiny(command), "kernel audit: head (Linear): its bias is not the float layer's")


def test_a_kernel_that_computes_something_else(command, after_converting):
    class Wrong(nn.Module):
        def __init__(self, right: nn.Module) -> None:
            super().__init__()
            self.right = right

        def weight(self) -> torch.Tensor:
            return self.right.weight()

        def bias(self) -> torch.Tensor:
            return self.right.bias()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.flip(self.right(x), [3])

    def tamper(int8: fx.GraphModule) -> None:
        int8.set_submodule("conv", Wrong(int8.get_submodule("conv")))

    after_converting(tamper)
    assert_audit_fails(convert_tiny(command), "kernel audit: conv (Wrong): ", "more than 2 steps")


def test_the_old_file_survives_a_failed_audit(command, after_converting):
    run = convert_tiny(command)
    assert run.status == 0
    old = (run.folder / "tiny.ptl").read_bytes()
    after_converting(lambda int8: setattr(next(iter(functionals(int8).values())), "scale", 1.0))
    run = convert_tiny(command)
    assert run.status == 1
    assert "the file there is from before" in run.stderr
    assert (run.folder / "tiny.ptl").read_bytes() == old


def test_a_kernel_that_refuses_is_named(command, after_converting):
    def tamper(int8: fx.GraphModule) -> None:
        part = functionals(int8)["add.op"]
        part.scale = 1e-12  # qnnpack demands ratios of scales below 256

    after_converting(tamper)
    assert_audit_fails(convert_tiny(command), "the engine refuses to run add (Add): failed to create QNNPACK Add")


def node_called(int8: fx.GraphModule, name: str) -> fx.Node:
    return next(node for node in int8.graph.nodes if node.name == name)


def multiply_by_itself(int8: fx.GraphModule) -> None:
    node = node_called(int8, "mul")
    node.args = (node.args[0], node.args[0])
    int8.recompile()


def skip_the_addition(int8: fx.GraphModule) -> None:
    node = node_called(int8, "add")
    node.replace_all_uses_with(node.args[0])
    int8.graph.erase_node(node)
    int8.recompile()


def clamp_once_more(int8: fx.GraphModule) -> None:
    node = node_called(int8, "add")
    with int8.graph.inserting_after(node):
        clamped = int8.graph.call_function(torch.nn.functional.relu6, (node,))
    node.replace_all_uses_with(clamped)
    clamped.args = (node,)
    int8.recompile()


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (multiply_by_itself, "kernel audit: mul (Mul): the int8 module has mul = mul(conv, conv) where the float"),
        (skip_the_addition, " where the float module has add = add("),
        (clamp_once_more, "the int8 module has relu6 = relu6(add) where the float module has "),
    ],
)
def test_an_operation_that_reads_other_values(tamper, words, command, after_converting):
    after_converting(tamper)
    assert_audit_fails(convert_tiny(command), words)


def test_a_dequantize_that_computes(command, after_converting):
    class Louder(nnq.DeQuantize):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.dequantize() * 1.1

    after_converting(lambda int8: int8.set_submodule("dequant_head", Louder()))
    assert_audit_fails(convert_tiny(command), "dequant_head (Louder): gives other values than its input holds")


def test_a_float_layer_where_int8_should_be(command, after_converting):
    class Hidden(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.scale, self.zero_point = layer.scale, layer.zero_point
            self.linear = nn.Linear(layer.in_features, layer.out_features)
            self.linear.weight.data, self.linear.bias.data = layer.weight().dequantize(), layer.bias().detach()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x.dequantize())
            return torch.quantize_per_tensor(y, self.scale, self.zero_point, torch.quint8)

    after_converting(lambda int8: int8.set_submodule("head", Hidden(int8.get_submodule("head"))))
    assert_audit_fails(convert_tiny(command), "kernel audit: head (Hidden): is not a quantized module")


class Coarser(nn.Module):
    """A pool in eight times as coarse steps."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(x.dequantize())
        return torch.quantize_per_tensor(y, 8 * x.q_scale(), x.q_zero_point(), torch.quint8)


def test_a_module_that_leaves_int8(command, after_converting):
    def tamper(int8: fx.GraphModule) -> None:
        pool = next(node for node in int8.graph.nodes if "pool" in node.name)
        int8.set_submodule(pool.target, Coarser(int8.get_submodule(pool.target)))

    after_converting(tamper)
    assert_audit_fails(convert_tiny(command), "(Coarser): runs with scale", "its input's are")


def test_a_wrong_fold(command, monkeypatch):
    fuse_modules = fusion.fuse_modules

    def wrong(module: fx.GraphModule, *args: Any, **more: Any) -> None:
        fuse_modules(module, *args, **more)
        with torch.no_grad():
            module.get_submodule("conv")[0].weight[0] *= 3

    monkeypatch.setattr(fusion, "fuse_modules", wrong)
    run = convert_tiny(command)
    assert_audit_fails(run, "FAILED: fused against original: SQNR", "required: at least 60 dB")


def test_an_interval_beyond_what_was_seen(command, after_observing):
    class Wide(RangeObserver):
        def interval(self, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
            low, high = super().interval(*args)
            return 4 * low, 4 * high

    def tamper(observed: fx.GraphModule) -> None:
        observed.get_submodule("head").activation_post_process.__class__ = Wide

    after_observing(tamper)
    assert_audit_fails(convert_tiny(command), "kernel audit: head (Linear): its range", "beyond what was observed")


def test_an_observer_that_saw_a_part_of_the_values(command, after_observing):
    def tamper(observed: fx.GraphModule) -> None:
        observer = observed.get_submodule("head").activation_post_process
        see = observer.forward
        observer.forward = lambda x: see(x * 0.9)

    after_observing(tamper)
    assert_audit_fails(convert_tiny(command), "kernel audit: head (Linear): its observer saw", "calibrated with")


def test_an_audit_that_did_not_run_verifies_nothing(small_model, batches, monkeypatch):
    monkeypatch.setattr(module_proof, "audit_all", lambda *_: Audit((), 0))
    assert not fxconv.convert(small_model, calibration=batches, recipe=("none",)).verified


def test_a_stage_that_did_not_run_verifies_nothing(small_conversion):
    shorter = with_ledger(small_conversion, small_conversion.ledger[1:])
    assert small_conversion.verified
    assert not shorter.verified


@pytest.mark.parametrize("by", [("scale", 1.2), ("zero_point", 5)], ids=["scale", "zero point"])
def test_every_wrong_scale_and_zero_point_is_found(by, small_model, batches):
    """Each int8 module in turn; a fresh copy each time, for qnnpack keeps what its first run worked out."""
    rewritten = rewrite(small_model, selected(Config())).graph_module
    images = [(image,) for image in batches[0][:2].split(1)]
    name, amount = by
    with engine.engine("qnnpack"), torch.no_grad():
        observed = static.observe(rewritten, Config())
        observed(batches[0])
        ranges, floating = expected_ranges(observed), fusion.fuse(rewritten)
        watched = auditing.watch(floating, images)
        int8 = static.convert_observed(observed)
        for path in ranges:
            tampered = copy.deepcopy(int8)
            part = tampered.get_submodule(path)
            value = getattr(part, name)
            setattr(part, name, value * amount if name == "scale" else value + (amount if value < 128 else -amount))
            failed = auditing.audit(tampered, floating, ranges, watched, images).failed
            assert [op.where for op in failed][:1] == [path.removesuffix(".op")]
        assert auditing.audit(int8, floating, ranges, watched, images).failed == ()
