"""What verifying a file found, on a terminal and as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from fxconv.report.accuracy import fidelity_words
from fxconv.report.json import plain
from fxconv.report.tables import add, count, decibels, grid, percent, say, section, show

if TYPE_CHECKING:
    from fxconv.analysis.float_comparison import FloatComparison
    from fxconv.targets.proof.prove import Proof

SCHEMA = 1
_MOST_ROWS = 12
_WHOSE = {"int8 module": "the int8 module's outputs", "file": "the file's own outputs when it was written"}


def proof_text(path: Path, proof: Proof | None, against: FloatComparison | None) -> str:
    """All of it as indented JSON, schema 1."""
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "file": str(path),
        "golden": proof.as_json() if proof is not None else None,
        "against": against.as_json() if against is not None else None,
    }
    return json.dumps(plain(values), indent=2, allow_nan=False) + "\n"


def print_proof(path: Path, proof: Proof | None, against: FloatComparison | None, console: Console) -> None:
    """A headline for each part, and a line for each output."""
    if proof is not None:
        _print_replay(path, proof, console)
    if against is not None:
        if proof is not None:
            section(console, f"Against {against.model}")
        _print_against(path, against, console)


def _print_replay(path: Path, proof: Proof, console: Console) -> None:
    verdict = Text("bit-exact", "bold green") if proof.exact else Text("within 40 dB", "bold yellow")
    verdict = verdict if proof.passed else Text("DIFFERS", "bold red")
    inputs = count(len(proof.cases), "golden input")
    where = f" under {proof.ran_in} on {proof.machine}, {inputs}"
    say(console, Text.assemble((str(path), "bold"), ": ", verdict, where))
    table = grid("input", "output", ">values", ">compared", ">largest diff", ">SQNR", "")
    rows = [(number, place, one) for number, case in enumerate(proof.cases) for place, one in enumerate(case.outputs)]
    for number, place, one in rows[:_MOST_ROWS]:
        largest = "-" if one.largest is None else f"{one.largest:.3g}"
        sqnr = decibels(math.inf) if one.exact else "-" if one.sqnr_db is None else decibels(one.sqnr_db)
        mark = Text("every bit", "green") if one.exact else Text("differs", "yellow" if proof.passed else "red")
        add(table, str(number), str(place), f"{one.values:,}", f"{one.compared:,}", largest, sqnr, mark)
    show(table, console)
    if len(rows) > _MOST_ROWS:
        say(console, f"and {len(rows) - _MOST_ROWS} more; --json FILE has them all")
    whose = _WHOSE.get(proof.outputs_of, "outputs of nobody knows what")
    how = "all values by SHA-256, and those compared one by one"
    say(console, f"beside {whose}: {how}")
    if proof.written:
        asked = "every bit is asked for there" if proof.rule == "equal" else "40 dB are asked for elsewhere"
        say(console, f"written with {proof.written}: {asked}")


def _print_against(path: Path, against: FloatComparison, console: Console) -> None:
    row = against.row
    verdict = Text("like float", "bold green") if row.passed else Text("NOT LIKE FLOAT", "bold red")
    agreement = "" if row.top1_agreement is None else f", same top-1 on {percent(row.top1_agreement, 0)}"
    found = row.problem or f"{decibels(row.sqnr_db)} (required: {row.rule}){agreement}"
    say(console, Text.assemble((str(path), "bold"), ": ", verdict, f": {found}"))
    say(console, f"beside {against.model} ({against.weights}), on {against.source}")
    told = fidelity_words(against.fidelity, against.weights.startswith("random"), "")
    say(console, f"fidelity {told}")
