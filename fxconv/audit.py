"""The kernel audit: every int8 operation, on real inputs, against the float form of the same operation.

Three questions, each of which one of the field's silent failures answered wrong. Does the kernel compute what the
float operation computes on the same values, in the memory layout it really sees? Are its weights and its scale the
ones that were observed? Does its range hold the values it is given?
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.ao.nn.quantized as nnq
from torch import Tensor, fx, nn
from torch.ao.quantization import ObserverBase
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from fxconv.errors import ConversionError
from fxconv.observers import L2Observer, distinguishable
from rewrites.diff import call_name
from rewrites.modules import ScalarArithmetic
from rewrites.qnnpack import KERNELS, Verdict
from rewrites.values import submodule

AUDIT_INPUTS = 4
# A value counts as off when it is more than this many quantization steps from the reference.
STEPS = 2
# An operation fails when more than this share of its values is off,
OFF_SHARE = 0.001
# or when its range cuts off more than this share of the power of what it should give: 10 dB, as for a whole network.
# A share of values would fail sound ranges: where few values were seen, the noise of int8 carries some beyond the ends.
CUT_SHARE = 0.1
# Rounding to the nearest step moves a weight by half of one; the rest is float32.
_WEIGHT_STEPS = 0.51


@dataclass(frozen=True)
class Expected:
    """The scale and zero point that an observer's statistics call for, and what is wrong with those it gave."""

    scale: float
    zero_point: int
    problem: str = ""


@dataclass(frozen=True)
class OpAudit:
    """One int8 operation over all audited inputs.

    `where` is its module path, or the node's name when it calls a function; `operator` what it calls. `worst` is
    the largest difference from the reference in steps of its output; `off` the share of its values that differ by more
    than 2 steps; `cut` the share of its power that lies outside its range; both 0 to 1. `problem` says what is wrong
    when it did not pass.
    """

    where: str
    operator: str
    values: int
    worst: int
    off: float
    cut: float
    problem: str = ""


@dataclass(frozen=True)
class Audit:
    """The audit of a conversion: its operations in running order, and on how many inputs they ran."""

    operations: tuple[OpAudit, ...]
    inputs: int

    @property
    def failed(self) -> tuple[OpAudit, ...]:
        """The operations that did not pass."""
        return tuple(op for op in self.operations if op.problem)

    @property
    def worst(self) -> int:
        """The largest difference of any operation from its reference, in steps."""
        return max((op.worst for op in self.operations), default=0)

    @property
    def problem(self) -> str:
        """The first operation that failed and why; empty when all passed."""
        if not self.failed:
            return ""
        first = self.failed[0]
        more = f" (and {len(self.failed) - 1} more)" if len(self.failed) > 1 else ""
        return f"{first.where} ({first.operator}): {first.problem}{more}"


def expected_ranges(observed: fx.GraphModule) -> dict[str, Expected]:
    """What each observer of a calibrated module calls for, by the path of the module it observes.

    Raises `ConversionError` naming every observer that never saw a value: its module would get scale 1.
    """
    found, idle = {}, []
    for path, module in observed.named_modules():
        observer = getattr(module, "activation_post_process", None)
        if not isinstance(observer, ObserverBase):
            continue
        if isinstance(observer, L2Observer) and not observer.min_val <= observer.max_val:
            idle.append(path)
        else:
            found[path] = _expected(observer)
    if idle:
        raise ConversionError(
            f"calibration never reached {', '.join(idle)}: no value was observed there, so it has no range; "
            "calibrate with inputs that reach it"
        )
    return found


def _expected(observer: ObserverBase) -> Expected:
    """The qparams worked out again from the observer's own interval, so that a wrong one does not vouch for itself."""
    scale, zero_point = (value.item() for value in observer.calculate_qparams())
    if not isinstance(observer, L2Observer):
        return Expected(scale, int(zero_point))
    low, high = (value.item() for value in observer.interval())
    step = max((high - low) / (observer.quant_max - observer.quant_min), observer.eps.item())
    zero = min(max(observer.quant_min - round(low / step), observer.quant_min), observer.quant_max)
    problem = ""
    # one apart where low / step is half a step and float32 rounds the other way
    if not math.isclose(scale, step, rel_tol=1e-4) or abs(zero - zero_point) > 1:
        problem = (
            f"its observer gives scale {scale:.6g} and zero point {zero_point:.0f} "
            f"for the range {low:.6g} to {high:.6g}, which calls for {step:.6g} and {zero}"
        )
    return Expected(scale, int(zero_point), problem)


def audit(
    int8: fx.GraphModule, floating: fx.GraphModule, expected: Mapping[str, Expected], images: Sequence[tuple[Any, ...]]
) -> Audit:
    """Every int8 operation of `int8` on the first 4 of these inputs, a tuple of arguments each.

    `floating` is the fused float module that `int8` was made of, node for node; `expected` the ranges its observers
    called for.
    """
    chosen = images[:AUDIT_INPUTS]
    auditor = _Auditor(int8, floating, expected)
    with torch.no_grad():
        for image in chosen:
            auditor.run(*image)
    return Audit(tuple(auditor.results()), len(chosen))


def refused_at(int8: fx.GraphModule, image: tuple[Any, ...]) -> str:
    """The operation at which `int8` stops on this input, as `where (operator)`; empty when it runs through."""
    runner = _Runner(int8)
    try:
        with torch.no_grad():
            runner.run(*image)
    except RuntimeError:
        node = runner.at
        return f"{_where(node)} ({_operator(int8, node)})"
    return ""


class _Runner(fx.Interpreter):
    """Runs a module node by node and knows where it is."""

    at: fx.Node

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        self.at = n
        return super().run_node(n)


@dataclass
class _Count:
    values: int = 0
    worst: int = 0
    off: int = 0
    power: float = 0.0
    beyond: float = 0.0
    problem: str = ""


class _Auditor(fx.Interpreter):
    """Runs the int8 module node by node, each int8 node beside its float form on the same values."""

    def __init__(self, int8: fx.GraphModule, floating: fx.GraphModule, expected: Mapping[str, Expected]) -> None:
        super().__init__(int8)
        self.int8 = int8
        self.floating, self.expected = floating, expected
        self.nodes = {node.name: node for node in floating.graph.nodes}
        self.references: dict[str, nn.Module] = {}
        self.counts: dict[fx.Node, _Count] = {}

    def run_node(self, n: fx.Node) -> Any:
        """One node; the reference is computed first, for an operation may write into its input."""
        with self._set_current_node(n):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            if not _is_audited(submodule(self.int8, n), n, (args, kwargs)):
                return getattr(self, n.op)(n.target, args, kwargs)
            given = tree_map(_dequantized, (args, kwargs))
            reference = self._reference(n, *given)
            result = getattr(self, n.op)(n.target, args, kwargs)
            self._compare(n, reference, result)
            return result

    def _reference(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """What the float form of `node` gives, with the int8 form's weights."""
        module = submodule(self.int8, node)
        if module is None:
            return getattr(super(), node.op)(node.target, args, kwargs)
        if isinstance(module, nnq.Quantize):
            return args[0]
        floating = self.floating.get_submodule(str(node.target))
        return torch.func.functional_call(floating, _own_weights(floating, module), args, kwargs)

    def _compare(self, node: fx.Node, reference: Any, result: Any) -> None:
        count = self.counts.get(node)
        if count is None:
            count = self.counts[node] = _Count(problem=self._wiring(node, result))
        low, high = distinguishable(self.floating, self.nodes[node.name])
        for wanted, got in zip(tree_leaves(reference), tree_leaves(result), strict=True):
            if not isinstance(got, Tensor) or not got.is_quantized:
                continue
            if wanted.shape != got.shape:
                count.problem = count.problem or f"gives shape {tuple(got.shape)}, not {tuple(wanted.shape)}"
                continue
            scale, zero_point = got.q_scale(), got.q_zero_point()
            same = torch.quantize_per_tensor(wanted, scale, zero_point, got.dtype).int_repr()
            steps = torch.maximum(same, got.int_repr()) - torch.minimum(same, got.int_repr())
            count.values += got.numel()
            count.worst = max(count.worst, int(steps.max()) if steps.numel() else 0)
            count.off += int((steps > STEPS).sum())
            limits = torch.iinfo(got.dtype)
            seen = wanted.clamp(low, high) if math.isfinite(low) or math.isfinite(high) else wanted
            inside = seen.clamp((limits.min - zero_point) * scale, (limits.max - zero_point) * scale)
            count.power += float(seen.double().square().sum())
            count.beyond += float((seen - inside).double().square().sum())

    def _wiring(self, node: fx.Node, result: Any) -> str:
        """What is wrong with the weights and the output range of a node, whatever it computes; empty when nothing."""
        module = submodule(self.int8, node)
        if module is None:
            return ""
        path = str(node.target)
        floating = self.floating.get_submodule(path)
        if problem := _weight_problem(floating, module):
            return problem
        row = KERNELS.get(type(floating))
        if isinstance(floating, ScalarArithmetic) or (row is not None and row.verdict is Verdict.FOLLOWS):
            return ""  # its range follows from its input's
        for observed in (path, f"{path}.op", f"{path}.quant"):
            if observed in self.expected:
                return _range_problem(self.expected[observed], result)
        return ""

    def results(self) -> Iterator[OpAudit]:
        """One row a node, in running order."""
        for node, count in self.counts.items():
            values = max(count.values, 1)
            off, cut = count.off / values, count.beyond / count.power if count.power else 0.0
            problems = [count.problem] if count.problem else []
            if off > OFF_SHARE:
                problems.append(
                    f"{100 * off:.3g} % of its values are more than {STEPS} steps from the float operation's, "
                    f"the worst {count.worst} steps"
                )
            if not cut <= CUT_SHARE:
                problems.append(f"{100 * cut:.3g} % of its power lies outside its range")
            operator, problem = _operator(self.int8, node), "; ".join(problems)
            yield OpAudit(_where(node), operator, count.values, count.worst, off, cut, problem)


def _is_audited(module: nn.Module | None, node: fx.Node, given: Any) -> bool:
    """Whether a node is an int8 operation: it calls something on quantized tensors, or makes them."""
    if node.op not in ("call_module", "call_function", "call_method") or isinstance(module, nnq.DeQuantize):
        return False
    return isinstance(module, nnq.Quantize) or any(
        isinstance(leaf, Tensor) and leaf.is_quantized for leaf in tree_flatten(given)[0]
    )


def _where(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def _operator(graph_module: fx.GraphModule, node: fx.Node) -> str:
    module = submodule(graph_module, node)
    return type(module).__name__ if module is not None else call_name(graph_module, node)


def _dequantized(value: Any) -> Any:
    return value.dequantize() if isinstance(value, Tensor) and value.is_quantized else value


def _layer(floating: nn.Module) -> tuple[str, nn.Module]:
    """The part of a float module that holds the weights, and its path in it: the head of a fused one."""
    return ("0.", floating[0]) if isinstance(floating, nn.Sequential) else ("", floating)


def _int8_weight(module: nn.Module) -> Tensor | None:
    weight = getattr(module, "weight", None)
    return weight() if callable(weight) else None


def _own_weights(floating: nn.Module, module: nn.Module) -> dict[str, Tensor]:
    """The int8 module's weights and bias in float, by the names the float module has for them."""
    weight = _int8_weight(module)
    if weight is None:
        return {}
    prefix, _ = _layer(floating)
    own = {f"{prefix}weight": weight.dequantize()}
    bias = module.bias()  # type: ignore[operator]
    return own if bias is None else {**own, f"{prefix}bias": bias.detach()}


def _weight_problem(floating: nn.Module, module: nn.Module) -> str:
    weight = _int8_weight(module)
    if weight is None:
        return ""
    _, layer = _layer(floating)
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        shape = [1] * weight.ndim
        shape[weight.q_per_channel_axis()] = -1
        scales = weight.q_per_channel_scales().view(shape)
    else:
        scales = torch.tensor(weight.q_scale(), dtype=torch.float64)
    steps = float(((weight.dequantize() - layer.weight).abs() / scales).max())  # type: ignore[operator]
    if not steps <= _WEIGHT_STEPS:
        return f"its int8 weights are up to {steps:.3g} steps from the float weights"
    wanted = layer.bias
    got = module.bias()  # type: ignore[operator]
    if isinstance(wanted, Tensor) and (got is None or not torch.equal(got, wanted)):
        return "its bias is not the float layer's"
    return ""


def _range_problem(expected: Expected, result: Any) -> str:
    if expected.problem:
        return expected.problem
    if not isinstance(result, Tensor) or not result.is_quantized:
        return "gives no quantized tensor"
    scale, zero_point = result.q_scale(), result.q_zero_point()
    if math.isclose(scale, expected.scale, rel_tol=1e-5) and zero_point == expected.zero_point:
        return ""
    return (
        f"runs with scale {scale:.6g} and zero point {zero_point}, "
        f"calibrated were {expected.scale:.6g} and {expected.zero_point}"
    )
