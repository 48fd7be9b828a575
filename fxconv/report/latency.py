"""What is said of the latency of a conversion: the figure that can be believed first."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fxconv.report.tables import count, milliseconds

if TYPE_CHECKING:
    from fxconv.measures.latency import Latency

BUSY = "the machine was busy: wall times say little"


def latency_words(latency: Latency) -> str:
    """One line for the summary; of a busy machine's, CPU time first."""
    kernels, about = on_kernels(latency), f"{count(latency.threads, 'thread')}, this machine"
    if latency.busy and not math.isnan(latency.cpu_ratio):
        cpu = f"{milliseconds(latency.int8_cpu_ms)} and {milliseconds(latency.float_cpu_ms)}{kernels}"
        wall = f"{milliseconds(latency.int8_ms)} and {milliseconds(latency.float_ms)}"
        return f"by CPU time int8 takes {latency.cpu_ratio:.2f} times float's, {cpu}; {BUSY}, {wall} ({about})"
    own, floats = milliseconds(latency.int8_ms), milliseconds(latency.float_ms)
    if latency.float_problem:
        return f"{own}{f', {BUSY}' if latency.busy else ''}; float's is not known: {latency.float_problem} ({about})"
    if latency.busy:
        return f"{BUSY}: int8 {own}, float {floats}{kernels}; measure again by fxconv bench ({about})"
    cpu = "" if math.isnan(latency.cpu_ratio) else f", by CPU time {latency.cpu_ratio:.2f}"
    ends = _from_to(latency.int8_p10_ms, latency.int8_p90_ms)
    spread = f"p10 to p90 {ends} of {latency.runs} runs, " if latency.runs else ""
    return f"{own}, {latency.ratio:.2f} times float's {floats}{kernels}{cpu} ({spread}{about})"


def latency_brief(latency: Latency, kernels: str) -> str:
    """A cell of a table: the median and its ratio to float's, by CPU time on a busy machine, with both's kernels."""
    if not math.isfinite(latency.int8_ms):
        return "not measured"
    by_cpu = latency.busy and not math.isnan(latency.int8_cpu_ms if latency.float_problem else latency.cpu_ratio)
    own = latency.int8_cpu_ms if by_cpu else latency.int8_ms
    clock = " by CPU time" if by_cpu else ""
    on = f" on {kernels}" if kernels else ""
    if latency.float_problem:
        return f"{milliseconds(own)}{on}{clock}, float's not known"
    beside = f" on {latency.float_kernels}" if latency.float_kernels else ""
    return f"{milliseconds(own)}{on}, {latency.believed_ratio:.2f} of float's{beside}{clock}"


def on_kernels(latency: Latency) -> str:
    """What float's layers ran on, and what that means for int8 beside it."""
    if not latency.float_kernels:
        return ""
    slow = ", which flatters int8" if "unpacked" in latency.float_kernels else ""
    return f" on {latency.float_kernels}{slow}"


def latency_rows(latency: Latency, kernels: str = "qnnpack") -> list[tuple[str, str, str, str]]:
    """The rows of a table of what int8 and float take, and the ratio: by the wall, by CPU time, and how runs differ."""
    if not math.isfinite(latency.int8_ms):
        return []
    beside = (milliseconds(latency.float_ms), f"{latency.ratio:.3f}") if not latency.float_problem else ("", "")
    wall = (milliseconds(latency.int8_ms), *beside)
    made_for = " (qnnpack is made for ARM)" if kernels == "qnnpack" else f" ({kernels})" if kernels else ""
    rows = [(f"latency, {count(latency.threads, 'thread')}, this machine{made_for}", *wall)]
    if not math.isnan(latency.cpu_ratio):
        cpu = (milliseconds(latency.int8_cpu_ms), milliseconds(latency.float_cpu_ms), f"{latency.cpu_ratio:.3f}")
        rows.append(("- by CPU time", *cpu))
    if latency.runs:
        spread = (
            _from_to(latency.int8_p10_ms, latency.int8_p90_ms),
            _from_to(latency.float_p10_ms, latency.float_p90_ms) if not latency.float_problem else "",
        )
        rows.append((f"- p10 to p90 of {latency.runs} runs, in turn", *spread, ""))
    if latency.busy:
        rows.append((f"- {BUSY}", "", "", ""))
    if latency.float_problem:
        rows.append((f"- float's is not known: {latency.float_problem}", "", "", ""))
    if latency.float_kernels:
        rows.append((f"- float{on_kernels(latency)}", "", "", ""))
    return rows


def latency_json(latency: Latency) -> dict[str, Any]:
    """All of it, and how much of float's time int8 takes."""
    ratios = {"ratio": latency.ratio, "cpu_ratio": latency.cpu_ratio, "believed_ratio": latency.believed_ratio}
    return asdict(latency) | ratios


def _from_to(low: float, high: float) -> str:
    return f"{milliseconds(low).removesuffix(' ms')} to {milliseconds(high)}"
