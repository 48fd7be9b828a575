"""The scales and zero points that calibration called for, worked out again so that the audit can hold int8 to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import ObserverBase

from fxconv.errors import ConversionError
from fxconv.quantization.observers import RangeObserver
from rewrites.parts import own_modules, prefixed

# The smallest scale torch gives a range: that of a value which is always the same.
_SMALLEST = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Expected:
    """The scale and zero point an observer's statistics call for, its extremes, and what is wrong with what it gave.

    `is_constant` says that it saw a tensor of the model's, which is the same whatever the model is given.
    """

    scale: float
    zero_point: int
    least: float = -math.inf
    most: float = math.inf
    problem: str = ""
    is_constant: bool = False


@dataclass(frozen=True)
class UninformativeRange:
    """An observer whose range says little: the module it observes, and what is wrong, as a sentence without it."""

    where: str
    problem: str


def uninformative_ranges(ranges: Mapping[str, Mapping[str, Expected]]) -> tuple[UninformativeRange, ...]:
    """The observers that saw one value only, or values so small that their scale is the smallest there is.

    `ranges` are those of each graph by its path, as `expected_ranges` gives them.
    """
    found = []
    for path, graph in ranges.items():
        for name, expected in graph.items():
            if not math.isfinite(expected.least) or expected.is_constant:
                continue  # a fixed range, or one of which calibration saw all there is
            if expected.least == expected.most:
                problem = f"calibration saw nothing there but {expected.least:.6g}"
            elif expected.scale <= _SMALLEST * (1 + 1e-6):
                most = max(abs(expected.least), abs(expected.most))
                problem = f"its values are at most {most:.3g}, less than the smallest steps there are can tell apart"
            else:
                continue
            found.append(UninformativeRange(prefixed(path, name), problem))
    return tuple(found)


def expected_ranges(observed: fx.GraphModule, smallest_steps: Mapping[str, float] | None = None) -> dict[str, Expected]:
    """What each observer of a calibrated module calls for, by the path of the module it observes.

    `smallest_steps` are the steps of ranges that were widened for a kernel's sake; no others may be.
    Raises `ConversionError` naming every observer that never saw a value: its module would get scale 1.
    """
    found, idle = {}, []
    constants = {node.target for node in observed.graph.nodes if node.op == "call_module" and _is_of_constants(node)}
    for path, module in own_modules(observed):
        observer = own_range(module)
        if observer is None:
            continue
        if not has_seen(observer):
            idle.append(path)
        else:
            expected = _expected(observer, (smallest_steps or {}).get(path, 0.0))
            found[path] = replace(expected, is_constant=path in constants)
    if idle:
        raise ConversionError(
            f"calibration never reached {', '.join(idle)}: no value was observed there, so it has no range; "
            "calibrate with inputs that reach it"
        )
    return found


def _is_of_constants(node: fx.Node) -> bool:
    return bool(node.all_input_nodes) and all(given.op == "get_attr" for given in node.all_input_nodes)


def own_range(module: nn.Module) -> ObserverBase | None:
    """The observer of what a module gives; None when it has none."""
    observer = getattr(module, "activation_post_process", None)
    return observer if isinstance(observer, ObserverBase) else None


def has_seen(observer: Any) -> bool:
    """Whether any value went into an observer; one whose range is fixed needs none."""
    if not isinstance(getattr(observer, "min_val", None), Tensor):
        return True
    return observer.min_val.numel() > 0 and bool((observer.min_val <= observer.max_val).all())


def _expected(observer: Any, smallest: float) -> Expected:
    """The qparams worked out again from the observer's own interval, so that a wrong one does not vouch for itself."""
    scale, zero_point = (value.item() for value in observer.calculate_qparams())
    if not isinstance(observer, RangeObserver):
        return Expected(scale, int(zero_point))
    least, most = observer.min_val.item(), observer.max_val.item()
    low, high = (value.item() for value in observer.interval())
    step = max((high - low) / (observer.quant_max - observer.quant_min), smallest, _SMALLEST)
    # from quant_min to quant_max by itself: every interval holds 0, and no step is less than its share of the interval
    zero = observer.quant_min - round(low / step)
    problem = ""
    slack = 1e-4 * (high - low)
    if low < min(least, 0.0) - slack or high > max(most, 0.0) + slack:
        problem = f"its range {low:.6g} to {high:.6g} reaches beyond what was observed, {least:.6g} to {most:.6g}"
    # one apart where low / step is half a step and float32 rounds the other way
    elif not math.isclose(scale, step, rel_tol=1e-4) or abs(zero - zero_point) > 1:
        problem = (
            f"its observer gives scale {scale:.6g} and zero point {zero_point:.0f} "
            f"for the range {low:.6g} to {high:.6g}, which calls for {step:.6g} and {zero}"
        )
    return Expected(scale, int(zero_point), least, most, problem)
