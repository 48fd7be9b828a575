"""The audit's table: in the order its caption says."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.text import Text

from fxconv.report.html.page import page
from fxconv.report.screen import Screen
from fxconv.report.terminal import AUDIT_CAPTION, audit_table
from fxconv.verification.audit import Audit, OpAudit


def op(where: str, worst: int, off: float = 0.0, cut: float = 0.0, problem: str = "") -> OpAudit:
    return OpAudit(where, "Conv2d", 100, worst, off, cut, problem)


def order(*operations: OpAudit) -> list[str]:
    cells = list(audit_table(Audit(operations, 4), True).columns[0].cells)
    return [cell.plain if isinstance(cell, Text) else str(cell) for cell in cells]


def test_the_farthest_off_first():
    operations = (op("a", 0, cut=0.05), op("b", 1), op("c", 3, 0.0001), op("d", 2), op("e", 1, 0.0, 0.01))
    assert order(*operations) == ["c", "d", "e", "b", "a"]


def test_what_failed_in_the_order_it_runs_before_all_else():
    failed = (op("first", 3, 0.5, problem="weights"), op("second", 90, 0.9, problem="too far"))
    assert order(op("a", 2), *failed, op("b", 1)) == ["first", "second", "a", "b"]


def test_what_is_shown_alike_stays_in_the_order_it_runs():
    assert order(op("a", 1, 0.0, 0.000001), op("b", 1, 0.0, 0.000004), op("c", 1, 0.000003)) == ["a", "b", "c"]


def test_both_views_say_which_order(small_conversion):
    operations = (op("near", 0, cut=0.05), op("far", 2), op("between", 1))
    told = replace(small_conversion, audit=replace(small_conversion.audit, operations=operations))
    out = io.StringIO()
    told.report.print(Screen(file=out, width=120))
    for view in (out.getvalue().partition(AUDIT_CAPTION), page(told).rpartition(AUDIT_CAPTION)):
        assert view[1] == AUDIT_CAPTION == "Operations: what failed, in the order it runs, then the farthest off first"
        assert view[2].index("far") < view[2].index("between") < view[2].index("near")
