"""Scales at which qnnpack's kernels refuse to run, foreseen from the calibrated observers.

qnnpack adds two tensors only when the step of each is 2^-14 to 2^8 times the step of their sum, and a constant only
when that is a 32-bit number of steps (qnnpack/src/add.c and BinaryOps.cpp below pytorch's
aten/src/ATen/native/quantized/cpu). What it multiplies, joins, pools, activates or convolves it takes at all scales
that an observer gives. A residual branch scaled by 1e-6 lies outside, and so does one that starts at zero.

Where nothing is lost by it, a range is widened until the kernel takes it:

- an input far finer than the sum gets coarser steps: 255 of them together stay under a 64th of a step of the sum.
  Whoever else reads that input may lose up to 1 dB by it;
- a sum far finer than an input gets coarser steps, 256 to one of the input's: the input was rounded to those already.

Otherwise the operation is to run in float, with the reason; and so is any other whose kernel refuses when it is tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.ao.nn.quantized as nnq
from torch import fx, nn

from fxconv.config import Engine
from fxconv.errors import engine_words
from fxconv.quantization.expected_ranges import has_seen, own_range
from fxconv.quantization.failing_operation import failing_operation
from fxconv.quantization.observers import RangeObserver
from fxconv.quantization.scales import Source, own_observer, readers, source
from rewrites.base import RewritePass
from rewrites.modules import Add, AddReLU, CappedFloatFunctional, CappedReLU, ChannelReLU, MulScalar, ScalarArithmetic
from rewrites.parts import graphs_in, own_modules, prefixed
from rewrites.passes import BiasToAdd, QuantBoundaries
from rewrites.values import submodule

# What qnnpack takes of the ratio of an input's step to the sum's.
FINEST, COARSEST = 2.0**-14, 2.0**8
# Widened ranges stay this far inside, for the kernel divides in float32.
_MARGIN = 1.001
# A widened range may cost its other readers this much, in dB.
_TOLERATED = 1.0
# A constant may be this many steps: half of what an int32 holds, for the input's own steps are added to it.
_MOST_STEPS = 2.0**30
_NORMAL = torch.finfo(torch.float32)


@dataclass(frozen=True)
class Adjustment:
    """A range widened for a kernel's sake.

    `node` is the operation whose kernel would refuse, `where` the module whose range was widened, the steps are in
    units of its values, and `reason` is a sentence.
    """

    node: str
    where: str
    step_before: float
    step_after: float
    reason: str


@dataclass(frozen=True)
class Foreseen:
    """What the kernels of a calibrated model would refuse.

    `refused` maps the names of operations to why they must be float, `smallest_steps` the path of each graph to the
    steps of its widened ranges, by the module they belong to. Other names stand behind the path of their graph.
    """

    adjustments: tuple[Adjustment, ...]
    refused: Mapping[str, str]
    smallest_steps: Mapping[str, Mapping[str, float]]


def keeping_float(
    rules: Sequence[RewritePass], refused: Mapping[str, str], biases: Mapping[str, str] | None = None
) -> tuple[RewritePass, ...]:
    """The same passes, the last of which leaves these operations in float.

    The `biases` of layers, by the names of their nodes, are added behind them.
    """
    settled = (*([BiasToAdd(biases)] if biases else []), QuantBoundaries(refused))
    each = [settled if isinstance(rule, QuantBoundaries) else (rule,) for rule in rules]
    return tuple(rule for group in each for rule in group)


def met(int8: nn.Module, image: tuple[Any, ...]) -> dict[str, str]:
    """The operation whose kernel refuses what it is given on this input, and why; empty when none does.

    Some kernels do not exist for all ranks, which no table of operations can tell. What `foresee` looks after is left
    out: met here, it is a fault.
    """
    stop = failing_operation(int8, image)
    if stop is None or not stop.in_int8 or stop.node.op == "output":
        return {}
    module = submodule(stop.graph, stop.node)
    if isinstance(module, (Add, AddReLU, ScalarArithmetic, nnq.Quantize, nnq.DeQuantize)):
        return {}
    words = engine_words(stop.error).split(". ")[0]
    return {prefixed(stop.path, stop.node.name): f"the engine refuses it: {words}"}


def never_reached(observed: nn.Module) -> dict[str, str]:
    """The operations of graphs that no value of calibration went into, a head on what is detected where nothing is.

    Nothing is known of their ranges. In a model that is one graph that is an error, which `expected_ranges` raises.
    """
    idle: dict[str, str] = {}
    for path, graph in graphs_in(observed).items():
        seen = [has_seen(observer) for part in own_modules(graph) if (observer := own_range(part[1])) is not None]
        if path and seen and not any(seen):
            reason = "calibration never reached it, so nothing is known of its ranges"
            idle.update({prefixed(path, node.name): reason for node in graph.graph.nodes if node.op == "call_module"})
    return idle


def foresee(observed: nn.Module, engine: Engine = Engine.qnnpack) -> Foreseen:
    """Widen the ranges of a calibrated model where a kernel would refuse them, in place; tell what cannot be widened.

    Steps only ever grow, and each to a fixed share of another one, so this comes to an end. The kernels of the desktop
    engines take all scales.
    """
    adjustments: list[Adjustment] = []
    refused: dict[str, str] = {}
    steps: dict[str, dict[str, float]] = {}
    for path, graph in graphs_in(observed).items():
        made, kept = _foresee_graph(graph) if engine is Engine.qnnpack else ([], {})
        steps[path] = {}
        for one in made:
            steps[path][one.where] = max(one.step_after, steps[path].get(one.where, 0.0))
            adjustments.append(replace(one, node=prefixed(path, one.node), where=prefixed(path, one.where)))
        refused.update({prefixed(path, name): why for name, why in kept.items()})
    return Foreseen(tuple(adjustments), refused, steps)


def _foresee_graph(observed: fx.GraphModule) -> tuple[list[Adjustment], dict[str, str]]:
    made: dict[tuple[str, str], Adjustment] = {}
    refused: dict[str, str] = {}
    is_stable = False
    while not is_stable:
        is_stable = True
        for node in observed.graph.nodes:
            for found in _offences(observed, node):
                if isinstance(found, str):
                    refused[node.name] = found
                    _take_out(observed, node)
                    break
                before = made.setdefault((found.node, found.where), found).step_before
                made[found.node, found.where] = replace(found, step_before=before)
                is_stable = False
    return list(made.values()), refused


def _take_out(observed: fx.GraphModule, node: fx.Node) -> None:
    """Forget the observers of an operation that goes to float: what reads it does not read its scale."""
    module = submodule(observed, node)
    for part in module.modules() if module is not None else ():
        if hasattr(part, "activation_post_process"):
            part.activation_post_process = nn.Identity()


def _offences(observed: fx.GraphModule, node: fx.Node) -> Iterator[Adjustment | str]:
    """Each reason why the kernel of `node` would refuse: a range that has just been widened, or why none can be."""
    module = submodule(observed, node)
    if isinstance(module, (Add, AddReLU)):
        yield from _sum(observed, node)
    elif isinstance(module, ScalarArithmetic):
        yield from _with_constant(observed, node, module)


def _sum(observed: fx.GraphModule, node: fx.Node) -> Iterator[Adjustment | str]:
    total = own_observer(observed, node)
    if total is None:  # it runs in float
        return
    for value in node.all_input_nodes:
        given = source(observed, value)
        if given is None:
            continue
        step, sum_step = given.qparams()[0], total.qparams()[0]
        refusal = f"qnnpack refuses to add steps of {step:.3g} ({given.path}) to a sum in steps of {sum_step:.3g}"
        if step >= COARSEST * sum_step:
            wanted = step / COARSEST * _MARGIN
            if why := _fixed(observed, total, wanted):
                yield f"{refusal}; {why}"
            else:
                yield _widen(node, total, wanted, f"{refusal}: the sum's are widened, to 256 for one of that input's")
        elif step < FINEST * sum_step:
            finest = FINEST * sum_step * _MARGIN
            wanted = finest / given.factor if given.factor else math.inf
            if why := _fixed(observed, given, wanted) or _costs_others(observed, node, given, wanted):
                yield f"{refusal}; {why}"
            else:
                words = "that input's are widened, all of them staying below a 64th of one of the sum's"
                yield _widen(node, given, wanted, f"{refusal}: {words}")


def _with_constant(observed: fx.GraphModule, node: fx.Node, module: ScalarArithmetic) -> Iterator[Adjustment | str]:
    given = source(observed, node.all_input_nodes[0])
    if given is None or own_observer(observed, node) is None:
        return
    step = given.qparams()[0]
    if isinstance(module, MulScalar):
        if not _is_normal(step * module.scalar) and module.scalar:
            yield f"steps of {step:.3g} times {module.scalar:.3g} are no step that float32 holds"
    elif abs(module.scalar) > _MOST_STEPS * step:
        refusal = f"the constant {module.scalar:.6g} is more steps of {step:.3g} ({given.path}) than 32 bits hold"
        wanted = abs(module.scalar) / _MOST_STEPS * _MARGIN / given.factor if given.factor else math.inf
        if why := _fixed(observed, given, wanted) or _costs_others(observed, node, given, wanted):
            yield f"{refusal}; {why}"
        else:
            yield _widen(node, given, wanted, f"{refusal}: those are widened, which the sum cannot tell")


def _is_normal(number: float) -> bool:
    return _NORMAL.tiny <= abs(number) <= _NORMAL.max


def _fixed(observed: fx.GraphModule, given: Source, wanted: float) -> str:
    """Why the steps of a range cannot be widened this far; empty when they can."""
    module = submodule(observed, given.node)
    assert module is not None
    if not isinstance(given.observer, RangeObserver) or not math.isfinite(wanted):
        return f"the range of {given.path} is fixed by its kernel"
    capped = (CappedReLU, ChannelReLU, CappedFloatFunctional)
    caps = [part.cap for part in module.modules() if isinstance(part, capped) and part.cap is not None]
    if caps and wanted * 255 > caps[0]:
        return f"the range of {given.path} ends at {caps[0]:g}, where saturation is what clamps it"
    return ""


def _costs_others(observed: fx.GraphModule, node: fx.Node, given: Source, wanted: float) -> str:
    """Why wider steps would hurt whoever reads the same range besides `node`; empty when they would not."""
    before = float(given.observer.calculate_qparams()[0])
    cost = 20 * math.log10(wanted / before)
    if cost <= _TOLERATED:
        return ""
    for reader, value in readers(observed, given.node, node):
        read = source(observed, value)
        if reader is node and read is not None and read.scalars == given.scalars:
            continue
        if read is not None and _cannot_tell(observed, reader, read.factor * wanted):
            continue
        return f"wider steps would cost {reader.name}, which reads them too, {cost:.3g} dB"
    return ""


def _cannot_tell(observed: fx.GraphModule, reader: fx.Node, step: float) -> bool:
    """Whether all values of an input in such steps together are below a 64th of a step of what `reader` gives."""
    total = own_observer(observed, reader)
    is_sum = isinstance(submodule(observed, reader), (Add, AddReLU))
    return is_sum and total is not None and step <= total.qparams()[0] * FINEST * _MARGIN


def _widen(node: fx.Node, given: Source, wanted: float, reason: str) -> Adjustment:
    before = float(given.observer.calculate_qparams()[0])
    # torch's own name for the smallest scale an observer gives
    assert isinstance(given.observer.eps, torch.Tensor)
    given.observer.eps.fill_(wanted)
    return Adjustment(node.name, given.path, before, float(given.observer.calculate_qparams()[0]), reason)
