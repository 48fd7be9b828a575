"""Size and latency beside float's, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from fxconv.report.latency import latency_rows
from fxconv.report.tables import add, grid, size

if TYPE_CHECKING:
    from fxconv.conversion import Conversion


def costs_table(conversion: Conversion) -> Table:
    """Size and latency, beside float's."""
    artifact = conversion.artifact
    table = grid("", ">int8", ">float", ">ratio")
    ratio = artifact.size / artifact.float_bytes
    add(table, "file", size(artifact.size), size(artifact.float_bytes), f"{ratio:.3f}")
    for row in latency_rows(conversion.latency, artifact.kernels):
        add(table, *row)
    return table
