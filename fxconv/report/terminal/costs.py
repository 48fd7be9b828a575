"""Size and latency beside float's, on a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

from fxconv.report.tables import add, grid, milliseconds, size

if TYPE_CHECKING:
    from fxconv.conversion import Conversion
    from fxconv.measures.latency import Latency


def latency_words(conversion: Conversion) -> str:
    latency = conversion.latency
    return (
        f"{milliseconds(latency.int8_ms)}, {latency.int8_ms / latency.float_ms:.2f} times float's "
        f"{milliseconds(latency.float_ms)}{_on_kernels(latency)} "
        f"(lite interpreter, 1 thread, this machine; qnnpack is made for ARM)"
    )


def _on_kernels(latency: Latency) -> str:
    """What float's layers ran on, and what that means for int8 beside it."""
    if not latency.float_kernels:
        return ""
    slow = ", which flatters int8" if "unpacked" in latency.float_kernels else ""
    return f" on {latency.float_kernels}{slow}"


def costs_table(conversion: Conversion) -> Table:
    """Size and latency, beside float's."""
    artifact, latency = conversion.artifact, conversion.latency
    table = grid("", ">int8", ">float", ">ratio")
    ratio = artifact.size / artifact.float_bytes
    add(table, "file", size(artifact.size), size(artifact.float_bytes), f"{ratio:.3f}")
    if math.isfinite(latency.int8_ms):
        add(
            table,
            "latency, 1 thread, this machine (qnnpack is made for ARM)",
            milliseconds(latency.int8_ms),
            milliseconds(latency.float_ms),
            f"{latency.int8_ms / latency.float_ms:.3f}",
        )
        if latency.float_kernels:
            add(table, f"- float{_on_kernels(latency)}", "", "", "")
    return table
