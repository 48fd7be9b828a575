"""The audit of each int8 operation and the ledger of stages, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from fxconv.config import Mode
from fxconv.report.tables import add, count, decibels, grid, percent

if TYPE_CHECKING:
    from fxconv.conversion import Conversion
    from fxconv.verification.audit import Audit, OpAudit
    from fxconv.verification.parity import StageParity

# The audit's table names this many of the operations that passed.
_MOST_AUDITED = 5
# The order of the audit's table.
AUDIT_CAPTION = "Operations: what failed, in the order it runs, then the farthest off first"


def function_words(row: StageParity) -> str:
    if row.max_abs_diff == 0:
        return "computes exactly what the original does"
    return f"differs from the original by at most {row.max_abs_diff:.2g} (required: {row.rule})"


def against_words(row: StageParity) -> str:
    """How near int8 comes, and whether that is what the model returns or what leads up to it."""
    agreement = f", same top-1 on {percent(row.top1_agreement, 0)}" if row.top1_agreement is not None else ""
    compared = f"; compared was {row.compared}" if row.compared else ""
    return f"{decibels(row.sqnr_db)}{agreement} ({_images(row)}){compared}"


def _images(row: StageParity) -> str:
    return count(row.images, "calibration image")


def worst_words(rows: list[StageParity]) -> str:
    return f"{decibels(min(row.sqnr_db for row in rows))} from the int8 module"


def audited(conversion: Conversion) -> str:
    """What the kernel audit found, in a line."""
    audit = conversion.audit
    ran = f"{count(len(audit.operations), 'int8 operation')} on {count(audit.inputs, 'input')}"
    if audit.failed:
        return f"{ran}; {count(len(audit.failed), 'fails', 'fail')}"
    if conversion.config.mode is Mode.dynamic:
        return f"{ran}, each as its weights and its input's range call for"
    return f"{ran}, each within {count(audit.worst, 'step')} of float"


def audit_table(audit: Audit, has_steps: bool) -> Table:
    """What failed, then what came nearest to it; without the columns in steps where what comes out has none."""
    steps = (">worst", ">off", ">power cut off") if has_steps else ()
    table = grid("operation", "kernel", ">values", *steps, "")
    left = [op for op in audit.operations if not op.problem]
    left.sort(key=_nearness)
    for op in (*audit.failed, *left[:_MOST_AUDITED]):
        verdict = Text(f"FAILED: {op.problem}", style="bold red") if op.problem else Text("ok", style="green")
        shares = (count(op.worst, "step"), percent(op.off, 3), percent(op.cut, 3)) if has_steps else ()
        add(table, op.where, op.operator, f"{op.values:,}", *shares, verdict)
    if len(left) > _MOST_AUDITED:
        empty = [""] * (2 + len(steps))
        add(table, f"and {len(left) - _MOST_AUDITED} more", *empty, Text("ok", style="green"))
    return table


def _nearness(op: OpAudit) -> tuple[float, ...]:
    """The less the farther off it is, column by column as they are shown; what is shown alike stays as it runs."""
    return -op.worst, -round(op.off, 5), -round(op.cut, 5)


def ledger_table(conversion: Conversion) -> Table:
    """Every stage beside the one it must equal."""
    table = grid("stage", "against", ">max diff", ">SQNR", ">top-1", ">images", "required", "")
    for row in conversion.ledger:
        verdict = Text("ok", style="green") if row.passed else Text(f"FAILED: {row.problem}", style="bold red")
        add(
            table,
            row.stage,
            row.against,
            f"{row.max_abs_diff:.3g}",
            decibels(row.sqnr_db),
            percent(row.top1_agreement, 0),
            str(row.images),
            row.rule,
            verdict,
        )
    return table
