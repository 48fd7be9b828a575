"""The kernel audit: every int8 operation, on real inputs, against the float form of the same operation.

Each of its questions is one that a silent failure of the field's tools answers wrong. Does the int8 module call the
same operations on the same values as the float one, and is each of them int8? Does each kernel compute what the float
operation computes, in the memory layout it really sees? Are its weights, scale and zero point those that calibration
called for, and did its observer see the values that are there? Does its range hold most of their power?
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub
from torch.utils._pytree import tree_leaves, tree_map

from fxconv.measures import output_makers
from fxconv.measures.saturation import distinguishable
from fxconv.models import forward
from fxconv.models.graph_calls import inputs_of
from fxconv.quantization.expected_ranges import Expected
from fxconv.quantization.failing_operation import operation_path, operator_name
from fxconv.quantization.static import is_int8
from fxconv.verification.float_forms import FloatForms, dequantized, is_int8_operation
from fxconv.verification.steps import StepCount
from fxconv.verification.weights_and_ranges import AllowedChanges, follow_problem, range_problem, weight_problem
from rewrites.kernels import KERNELS, Verdict
from rewrites.modules import ScalarArithmetic
from rewrites.parts import graphs_in, prefixed
from rewrites.values import callee, submodule

AUDIT_INPUTS = 4
# An operation fails, too, when its range cuts off more than this share of the power of what it should give: 10 dB, as
# for a whole network.
# What int8's noise carries beyond all that the float module gives is no fault of the range: calibration saw none of it.
CUT_SHARE = 0.1


@dataclass(frozen=True)
class Watched:
    """The float module that was calibrated, on a few inputs: what it returned, and each module's extremes by path.

    `kept` are the values of the nodes by whose channels its outputs are judged, by name.
    """

    outputs: list[list[Tensor]]
    extremes: dict[str, tuple[float, float]]
    kept: dict[str, list[Tensor]] = field(default_factory=dict)


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

    @property
    def is_only_cut(self) -> bool:
        """Whether nothing is wrong but that the range is too narrow for the values."""
        return self.problem == _cut_problem(self.cut)


@dataclass(frozen=True, repr=False)
class Audit:
    """The audit of a conversion: its operations in running order, on how many inputs they ran, and what came out."""

    operations: tuple[OpAudit, ...]
    inputs: int
    outputs: list[list[Tensor]] = field(default_factory=list, repr=False, compare=False)
    kept: dict[str, list[Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"<Audit of {len(self.operations)} operations on {self.inputs} inputs: {self.problem or 'all passed'}>"

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


def watch(floating: fx.GraphModule, images: Sequence[tuple[Any, ...]]) -> Watched:
    """Run a graph of the fused float module on the inputs that will be audited."""
    watcher = _Watcher(floating)
    return Watched(forward.outputs(watcher.run, images), watcher.extremes, watcher.kept)


def watch_all(floating: nn.Module, images: Sequence[tuple[Any, ...]]) -> dict[str, Watched]:
    """`watch` for every graph of the fused float module, by path, on what the whole calls it with."""
    called = inputs_of(floating, images, AUDIT_INPUTS)
    return {path: watch(graph, called[path]) for path, graph in graphs_in(floating).items()}


def audit_all(
    int8: nn.Module,
    floating: nn.Module,
    expected: Mapping[str, Mapping[str, Expected]],
    watched: Mapping[str, Watched],
    images: Sequence[tuple[Any, ...]],
    changes: AllowedChanges | None = None,
) -> Audit:
    """`audit` for every graph of `int8`, on what the whole calls it with; names stand behind the graph's path.

    Outputs are kept when the whole is one graph.
    """
    called = inputs_of(int8, images, AUDIT_INPUTS)
    twins, operations = graphs_in(floating), list[OpAudit]()
    outputs, kept = list[list[Tensor]](), dict[str, list[Tensor]]()
    for path, graph in graphs_in(int8).items():
        found = audit(
            graph, twins[path], expected[path], watched[path], called[path], (changes or AllowedChanges()).of(path)
        )
        operations += [replace(op, where=prefixed(path, op.where)) for op in found.operations]
        outputs, kept = (found.outputs, found.kept) if not path else ([], {})
    return Audit(tuple(operations), len(images), outputs, kept)


class _Watcher(fx.Interpreter):
    """Runs a float module node by node, and keeps the extremes of what its modules give."""

    def __init__(self, floating: fx.GraphModule) -> None:
        super().__init__(floating)
        self.floating = floating
        self.extremes: dict[str, tuple[float, float]] = {}
        self.kept: dict[str, list[Tensor]] = {name: [] for name in output_makers.watched(floating)}

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        result = super().run_node(n)
        _keep(self.kept, n, result)
        if n.op == "call_module" and isinstance(result, Tensor) and result.is_floating_point() and result.numel():
            low, high = distinguishable(self.floating, n)
            before = self.extremes.get(str(n.target), (math.inf, -math.inf))
            least, most = (min(max(value.item(), low), high) for value in torch.aminmax(result))
            self.extremes[str(n.target)] = (min(before[0], least), max(before[1], most))
        return result


def _keep(kept: dict[str, list[Tensor]], node: fx.Node, result: Any) -> None:
    """Put aside what a node gives, if its values are looked at."""
    if node.name in kept and isinstance(result, Tensor):
        kept[node.name].append(result.dequantize() if result.is_quantized else result.clone())


def audit(
    int8: fx.GraphModule,
    floating: fx.GraphModule,
    expected: Mapping[str, Expected],
    watched: Watched,
    images: Sequence[tuple[Any, ...]],
    changes: AllowedChanges | None = None,
) -> Audit:
    """Every int8 operation of `int8` on these inputs, a tuple of arguments each.

    `floating` is the fused float module that `int8` was made of, node for node, `watched` what it gave on the same
    inputs, `expected` the ranges its observers called for, `changes` how its weights may differ from `floating`'s.
    """
    if rewired := _rewired(int8, floating):
        return Audit((rewired,), len(images))
    auditor = _Auditor(int8, floating, expected, watched, changes or AllowedChanges())
    outputs = forward.outputs(auditor.run, images)
    return Audit((*auditor.results(), *auditor.missed()), len(images), outputs, auditor.kept)


def _rewired(int8: fx.GraphModule, floating: fx.GraphModule) -> OpAudit | None:
    """The first operation of `int8` that `floating` does not have, or calls on other values."""
    for node, twin in itertools.zip_longest(int8.graph.nodes, floating.graph.nodes):
        if node is None:
            return OpAudit(
                operation_path(twin), operator_name(floating, twin), 0, 0, 0.0, 0.0, "is missing in the int8 module"
            )
        if twin is None or _call(node) != _call(twin):
            was = f"where the float module has {_described(twin)}" if twin is not None else "which is at its end"
            problem = f"the int8 module has {_described(node)} {was}"
            return OpAudit(operation_path(node), operator_name(int8, node), 0, 0, 0.0, 0.0, problem)
    return None


def _call(node: fx.Node) -> tuple[object, ...]:
    return node.name, node.op, node.target, str(node.args), str(node.kwargs)


def _described(node: fx.Node) -> str:
    arguments = ", ".join([*map(str, node.args), *(f"{key}={value}" for key, value in node.kwargs.items())])
    return f"{node.name} = {operation_path(node)}({arguments})"


@dataclass
class _Count(StepCount):
    power: float = 0.0
    beyond: float = 0.0


class _Auditor(fx.Interpreter):
    """Runs the int8 module node by node, each int8 node beside its float form on the same values."""

    def __init__(
        self,
        int8: fx.GraphModule,
        floating: fx.GraphModule,
        expected: Mapping[str, Expected],
        watched: Watched,
        changes: AllowedChanges,
    ) -> None:
        super().__init__(int8)
        self.int8, self.changes, self.forms = int8, changes, FloatForms(int8, floating)
        self.floating, self.expected, self.watched = floating, expected, watched
        self.counts: dict[fx.Node, _Count] = {}
        self.kept: dict[str, list[Tensor]] = {name: [] for name in watched.kept}

    def run_node(self, n: fx.Node) -> Any:
        """One node, of which is kept what is looked at."""
        result = self._audited(n)
        _keep(self.kept, n, result)
        return result

    def _audited(self, n: fx.Node) -> Any:
        """One node; the reference is computed first, for an operation may write into its input."""
        with self._set_current_node(n):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            if not is_int8_operation(submodule(self.int8, n), n, self.env):
                return getattr(self, n.op)(n.target, args, kwargs)
            reference = self.forms.reference(n, *tree_map(dequantized, (args, kwargs)))
            result = getattr(self, n.op)(n.target, args, kwargs)
            if n not in self.counts:
                self.counts[n] = _Count(problem=self._own_problem(n, args, result))
            self._compare(n, reference, result)
            return result

    def _compare(self, node: fx.Node, reference: Any, result: Any) -> None:
        count = self.counts[node]
        if isinstance(self.forms.twin(node), DeQuantStub):
            count.values += result.numel()
            if not torch.equal(reference, result):
                count.problem = count.problem or "gives other values than its input holds"
            return
        low, high = self._reach(node)
        for wanted, got in zip(tree_leaves(reference), tree_leaves(result), strict=True):
            if not isinstance(got, Tensor) or not got.is_quantized:
                continue
            if not count.add(wanted, got):
                continue
            scale, zero_point, limits = got.q_scale(), got.q_zero_point(), torch.iinfo(got.dtype)
            seen = wanted.clamp(low, high) if math.isfinite(low) or math.isfinite(high) else wanted
            inside = seen.clamp((limits.min - zero_point) * scale, (limits.max - zero_point) * scale)
            beyond = (seen - inside).double()
            # what lies within half a step of an end is rounded to it, not cut off
            beyond[beyond.abs() <= scale / 2] = 0
            count.power += float(seen.double().square().sum())
            count.beyond += float(beyond.square().sum())

    def _reach(self, node: fx.Node) -> tuple[float, float]:
        """The interval that the range of a node has to hold: what its readers can tell apart and float gives."""
        low, high = distinguishable(self.floating, self.forms.nodes[node.name])
        least, most = self.watched.extremes.get(str(node.target), (-math.inf, math.inf))
        return max(low, least), min(high, most)

    def _own_problem(self, node: fx.Node, args: Any, result: Any) -> str:
        """What is wrong with the weights and the output range of a node, whatever it computes; empty when nothing."""
        module, floating = submodule(self.int8, node), self.forms.twin(node)
        if isinstance(floating, (DeQuantStub, ScalarArithmetic)):
            return ""  # the one has no range, the other's follows from its input's and its number
        path = str(node.target)
        observed = next((name for name in (path, f"{path}.op", f"{path}.quant") if name in self.expected), None)
        called = callee(self.floating, self.forms.nodes[node.name])
        row = KERNELS.get(called) if called is not None else None
        if row is not None and row.verdict is Verdict.FOLLOWS:
            return follow_problem(args, result)
        if observed is None:
            return ""  # its kernel has a range of its own: a hardsigmoid's is [0, 1]
        assert module is not None and floating is not None
        if not is_int8(self.int8.get_submodule(observed)):
            return "is not a quantized module"
        return (
            weight_problem(path, floating, module, self.changes)
            or range_problem(self.expected[observed], result)
            or self._observed_problem(path, self.expected[observed])
        )

    def _observed_problem(self, path: str, expected: Expected) -> str:
        """The audited inputs are among those it was calibrated on, so it must have observed what they give."""
        if path not in self.watched.extremes:
            return ""
        least, most = self.watched.extremes[path]
        # single images round otherwise than batches, which is all there is to a constant's width
        slack = 0.01 * (expected.most - expected.least) + 1e-5 * max(abs(expected.least), abs(expected.most))
        if least >= expected.least - slack and most <= expected.most + slack:
            return ""
        return (
            f"its observer saw {expected.least:.6g} to {expected.most:.6g}, but the float module gives "
            f"{least:.6g} to {most:.6g} on images it was calibrated with"
        )

    def missed(self) -> Iterator[OpAudit]:
        """A row for each module that was calibrated and is not an int8 operation of the module."""
        ran = {str(node.target) for node in self.counts}
        for path in self.expected:
            owner = path.removesuffix(".op").removesuffix(".quant")
            if path not in ran and owner not in ran:
                yield OpAudit(path, "", 0, 0, 0.0, 0.0, "was calibrated, but does not run in int8")

    def results(self) -> Iterator[OpAudit]:
        """One row a node, in running order."""
        for node, count in self.counts.items():
            cut, problems = count.beyond / count.power if count.power else 0.0, count.problems()
            if not (cut <= CUT_SHARE or self.changes.trained):
                problems.append(_cut_problem(cut))
            operator, problem = operator_name(self.int8, node), "; ".join(problems)
            yield OpAudit(operation_path(node), operator, count.values, count.worst, count.share, cut, problem)


def _cut_problem(cut: float) -> str:
    return f"{100 * cut:.3g} % of its power lies outside its range"
