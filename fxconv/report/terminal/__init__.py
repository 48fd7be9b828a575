"""The report on a terminal: a summary of about a dozen lines, or everything."""

from fxconv.report.terminal.asked import asked_table
from fxconv.report.terminal.costs import costs_table
from fxconv.report.terminal.domains import domains, island_lines, operators_table
from fxconv.report.terminal.files import files_table, operations_words, outside_lines
from fxconv.report.terminal.full import print_report
from fxconv.report.terminal.other import print_dry_run, print_emitted, print_example
from fxconv.report.terminal.proof import AUDIT_CAPTION, audit_table, audited, ledger_table
from fxconv.report.terminal.summary import detail_rows, print_summary, summary_rows

__all__ = [
    "AUDIT_CAPTION",
    "asked_table",
    "audit_table",
    "audited",
    "costs_table",
    "detail_rows",
    "domains",
    "files_table",
    "island_lines",
    "ledger_table",
    "operations_words",
    "operators_table",
    "outside_lines",
    "print_dry_run",
    "print_emitted",
    "print_example",
    "print_report",
    "print_summary",
    "summary_rows",
]
