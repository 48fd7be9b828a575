"""Size and latency beside float's, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from fxconv.report.latency import latency_rows
from fxconv.report.tables import add, grid, size

if TYPE_CHECKING:
    from fxconv.conversion import Conversion
    from fxconv.targets.artifact import Artifact


def size_words(artifact: Artifact) -> str:
    """The size of a file, beside float's where there is a float one."""
    own, floats = artifact.size, artifact.float_bytes
    return f"{size(own)}, {own / floats:.2f} times float's {size(floats)}" if floats else size(own)


def costs_table(conversion: Conversion) -> Table:
    """Size and latency, beside float's."""
    artifact = conversion.artifact
    table = grid("", ">int8", ">float", ">ratio")
    own, floats = artifact.size, artifact.float_bytes
    add(table, "file", size(own), *((size(floats), f"{own / floats:.3f}") if floats else ("none", "")))
    for row in latency_rows(conversion.latency, artifact.kernels):
        add(table, *row)
    return table
