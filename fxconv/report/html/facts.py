"""What a click on a layer of the graph shows, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxconv.report.html.plots import beyond
from fxconv.report.tables import count, decibels, percent

if TYPE_CHECKING:
    from fxconv.conversion import Conversion
    from fxconv.measures.layer_survey import Layer
    from fxconv.verification.audit import OpAudit


def facts(conversion: Conversion) -> list[dict[str, list[str]]]:
    """For each layer what is known of it: a heading, and what stands below it, a line each."""
    audited = {op.where: op for op in conversion.audit.operations}
    return [_of(layer, audited.get(layer.label)) for layer in conversion.layers]


def _of(layer: Layer, audited: OpAudit | None) -> dict[str, list[str]]:
    found = layer.range
    told = {
        "layer": [layer.label],
        "operation": [layer.operator],
        "domain": [layer.domain],
        "in float because": layer.reason.split("; ") if layer.reason else [],
        "SQNR": _sqnr(layer),
        "range": [f"{found.low:.5g} to {found.high:.5g}"] if found else [],
        "scale, zero point": [f"{found.scale:.5g}, {found.zero_point}"] if found else [],
        "float values": [f"{found.least:.5g} to {found.most:.5g}", f"beyond the range: {beyond(found)}"]
        if found
        else [],
        "kernel audit": _kernel(audited) if audited else [],
        "in the original": [layer.original],
        "written in": [layer.module],
        "source": [layer.source],
        "changed by": [f"{rule}: {reason}" for rule, reason in layer.changes],
        "reads": list(layer.inputs),
    }
    return {name: lines for name, given in told.items() if (lines := [line for line in given if line])}


def _sqnr(layer: Layer) -> list[str]:
    if layer.sqnr_db is None:
        return []
    before = f"lowest of what it reads: {decibels(layer.before_db)}" if layer.before_db is not None else ""
    return [decibels(layer.sqnr_db), before]


def _kernel(op: OpAudit) -> list[str]:
    if op.problem:
        return [f"FAILED: {op.problem}"]
    return [f"ok: at most {count(op.worst, 'step')} from its float form, {percent(op.off, 3)} more than two"]
