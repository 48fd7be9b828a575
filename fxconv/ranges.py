"""The scales and zero points that calibration called for, worked out again so that the audit can hold int8 to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch.ao.quantization import ObserverBase

from fxconv.errors import ConversionError
from fxconv.observers import L2Observer
from rewrites.parts import own_modules


@dataclass(frozen=True)
class Expected:
    """The scale and zero point an observer's statistics call for, its extremes, and what is wrong with what it gave."""

    scale: float
    zero_point: int
    least: float = -math.inf
    most: float = math.inf
    problem: str = ""


def expected_ranges(observed: fx.GraphModule) -> dict[str, Expected]:
    """What each observer of a calibrated module calls for, by the path of the module it observes.

    Raises `ConversionError` naming every observer that never saw a value: its module would get scale 1.
    """
    found, idle = {}, []
    for path, module in own_modules(observed):
        observer = getattr(module, "activation_post_process", None)
        if not isinstance(observer, ObserverBase):
            continue
        if isinstance(getattr(observer, "min_val", None), Tensor) and not _has_seen(observer):
            idle.append(path)
        else:
            found[path] = _expected(observer)
    if idle:
        raise ConversionError(
            f"calibration never reached {', '.join(idle)}: no value was observed there, so it has no range; "
            "calibrate with inputs that reach it"
        )
    return found


def _has_seen(observer: Any) -> bool:
    return observer.min_val.numel() > 0 and bool((observer.min_val <= observer.max_val).all())


def _expected(observer: Any) -> Expected:
    """The qparams worked out again from the observer's own interval, so that a wrong one does not vouch for itself."""
    scale, zero_point = (value.item() for value in observer.calculate_qparams())
    if not isinstance(observer, L2Observer):
        return Expected(scale, int(zero_point))
    least, most = observer.min_val.item(), observer.max_val.item()
    low, high = (value.item() for value in observer.interval())
    step = max((high - low) / (observer.quant_max - observer.quant_min), observer.eps.item())
    zero = min(max(observer.quant_min - round(low / step), observer.quant_min), observer.quant_max)
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
