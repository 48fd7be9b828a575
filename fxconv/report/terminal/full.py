"""Everything about a conversion, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from fxconv.config import Mode
from fxconv.report.accuracy import print_fidelity, print_judgement, print_recipe, print_training
from fxconv.report.rewriting import print_rewriting
from fxconv.report.tables import percent, say, section, show
from fxconv.report.terminal.asked import asked_table
from fxconv.report.terminal.costs import costs_table
from fxconv.report.terminal.domains import domains, island_lines, operators_table
from fxconv.report.terminal.files import files_table, operations_words, outside_lines
from fxconv.report.terminal.proof import AUDIT_CAPTION, audit_table, audited, ledger_table
from fxconv.report.terminal.summary import detail_rows, headline, print_rows, print_summary
from fxconv.verification.audit import Audit

if TYPE_CHECKING:
    from fxconv.conversion import Conversion

# The table of operators has this many lines, unless all are asked for.
_MOST_OPERATORS = 10


def print_report(conversion: Conversion, console: Console, unfolded: bool = False) -> None:
    """Everything a reviewer needs, the verdict first and again last; `unfolded` shows alike changes one by one."""
    say(console, headline(conversion, console))
    section(console, "Asked for")
    show(asked_table(conversion), console)
    print_rewriting(conversion.rewritten, console, full=unfolded)
    section(console, "Operators before and after")
    show(operators_table(conversion, None if unfolded else _MOST_OPERATORS), console)
    section(console, "Int8 and float domains")
    share = percent(conversion.artifact.int8_macs_share)
    say(console, f"{domains(conversion)}; {share} of multiply-accumulates in int8")
    for line in island_lines(conversion, unfolded):
        say(console, f"float: {line}")
    for made in conversion.adjusted:
        say(console, f"range widened: {made.node}: {made.reason}")
    section(console, "Kernel audit")
    say(console, audited(conversion))
    say(console, AUDIT_CAPTION)
    show(audit_table(conversion.audit, conversion.config.mode is not Mode.dynamic), console)
    for file in conversion.files:
        if not file.target.is_exact:
            section(console, f"Operations of the {file.target.suffix}")
            say(console, operations_words(file))
            show(audit_table(Audit(file.operations, conversion.audit.inputs), has_steps=True), console)
            for line in outside_lines(file.artifact.outside):
                say(console, f"outside int8: {line}")
    section(console, "Parity ledger")
    show(ledger_table(conversion), console)
    print_fidelity(conversion, console)
    print_recipe(conversion.recipe, console)
    if conversion.training is not None:
        print_training(conversion.training, console)
    if conversion.judgement is not None:
        print_judgement(conversion.judgement, console)
    section(console, "Size and latency")
    show(costs_table(conversion), console)
    if len(conversion.files) > 1:
        show(files_table(conversion), console)
    section(console, "Calibration")
    calibration = conversion.calibration
    say(console, f"{calibration.source}")
    if calibration.images:
        say(
            console,
            f"{calibration.seconds:.1f} s in the observed forward; the float forward of as many images takes "
            f"{calibration.float_seconds:.1f} s",
        )
    for one in conversion.uninformative_ranges:
        say(console, f"weak range: {one.where}: {one.problem}")
    section(console, "Timings")
    told = ", ".join(f"{step} {seconds:.2f}" for step, seconds in conversion.timings.items())
    say(console, f"seconds: {told}")
    if conversion.warnings:
        section(console, "Warnings")
        for warning in conversion.warnings:
            say(console, warning, "yellow")
    section(console, "Other facts")
    print_rows(detail_rows(conversion), console)
    section(console, "Verdict")
    print_summary(conversion, console)
