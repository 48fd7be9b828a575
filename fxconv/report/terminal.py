"""The report on a terminal."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fxconv.config import Mode
from fxconv.report.accuracy import (
    fidelity_words,
    judged,
    print_fidelity,
    print_judgement,
    print_recipe,
    print_training,
    recovered,
    trained,
)
from fxconv.report.review import in_parts, norm_rows, print_rewriting
from fxconv.report.runtimes import runtime_rows
from fxconv.report.tables import add, count, decibels, grid, milliseconds, percent, section, show, size, some
from rewrites.domains import Island

if TYPE_CHECKING:
    from fxconv.analysis.dry_run import DryRun
    from fxconv.conversion import Conversion
    from fxconv.data.example_array import Example
    from fxconv.measures.latency import Latency
    from fxconv.models.preprocessing import Preprocessing
    from fxconv.verification.audit import Audit
    from fxconv.verification.parity import StageParity

# The summary of a network that is float by engine names this many islands.
_MOST_ISLANDS = 2
# The audit's table names this many of the operations that passed.
_MOST_AUDITED = 5
_MODES = {
    Mode.static: "static quantization",
    Mode.dynamic: "dynamic quantization",
    Mode.qat: "quantization-aware training",
}
# The table of operators has this many lines, unless all are asked for.
_MOST_OPERATORS = 10
# What the ledger calls the original is the float model to whoever reads the summary.
_FLOAT = {"original": "float", "trained": "what was trained"}


# -- what is not a conversion ------------------------------------------------------------------------


def print_dry_run(result: DryRun, console: Console, tense: str, full: bool = False, only: str | None = None) -> None:
    """The rewriting of a model that is not converted, and whether it still computes the same."""
    print_rewriting(result.rewritten, console, tense, full, only)
    section(console, "Same function")
    arguments = f"; arguments: {', '.join(result.config.model_arg)}" if result.config.model_arg else ""
    about = f"one generated image; weights: {result.model.weights}{arguments}"
    console.print(Text(f"{_function(result.parity)} ({about})"), soft_wrap=True)


def print_example(written: Example, console: Console) -> None:
    """What the file holds: the arrays' shapes, the photographs in it, and how they were preprocessed."""
    arrays = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in written.shapes.items())
    console.print(Text.assemble((str(written.path), "bold"), f": float32 {arrays}"), soft_wrap=True)
    console.print(Text(written.source), soft_wrap=True)
    console.print(Text(preprocessing_words(written.preprocessing)), soft_wrap=True)


# -- the conversion ----------------------------------------------------------------------------------


def print_summary(conversion: Conversion, console: Console) -> None:
    """About ten lines: what came out, whether it holds, what it costs."""
    console.print(_headline(conversion), soft_wrap=True)
    table = grid("", "", header=False)
    for name, text in summary_rows(conversion):
        add(table, Text(name, style="dim"), text)
    show(table, console)


def _headline(conversion: Conversion) -> Text:
    good = conversion.verified
    style = "bold green" if good and conversion.converted else "bold yellow" if good else "bold red"
    return Text.assemble((conversion.model.name, "bold"), ": ", (conversion.verdict, style))


def summary_rows(conversion: Conversion) -> list[tuple[str, str]]:
    """The lines of the summary: what each is about, and what it says."""
    artifact, rewritten = conversion.artifact, conversion.rewritten
    edits = sum(len(result.edits) for result in rewritten.results)
    active = sum(bool(result.edits) for result in rewritten.results)
    stages = {row.stage: row for row in conversion.ledger}
    int8, lowered = stages["int8"], [row for row in conversion.ledger if row.against == "int8"]
    exact = all(row.max_abs_diff == 0 for row in lowered)
    names = ", ".join(row.stage for row in lowered)
    rows = [
        *([("arguments", ", ".join(conversion.config.model_arg))] if conversion.config.model_arg else []),
        ("weights", conversion.model.weights),
        (
            "rewritten",
            f"{edits} edits by {count(active, 'pass', 'passes')}; {_function(stages['rewritten'])}",
        ),
        ("int8", f"{percent(artifact.int8_macs_share)} of multiply-accumulates; {domains(conversion)}"),
        *([("in parts", f"{parts}; what is around them stays in float")] if (parts := in_parts(rewritten)) else []),
        *_kept_float(conversion),
        *norm_rows(rewritten),
        ("audit", audited(conversion)),
        *recovered(conversion.recipe),
        *trained(conversion.training),
        *judged(conversion.judgement),
        (f"against {_FLOAT.get(int8.against, int8.against)}", _against(int8)),
        ("fidelity", fidelity_words(conversion.fidelity, conversion.model.is_random)),
        *_frozen(conversion),
        ("lowered", f"{names}: {'bit for bit the int8 module' if exact else _worst(lowered)}"),
        ("golden inputs", golden_words(conversion)),
        (
            "size",
            f"{size(artifact.size)}, {artifact.size / artifact.float_bytes:.2f} times float's "
            f"{size(artifact.float_bytes)}",
        ),
    ]
    if conversion.sizes and not any(check.problem for check in conversion.sizes):
        tried = " and ".join("x".join(map(str, check.size)) for check in conversion.sizes)
        rows.append(("other sizes", f"holds at {tried} too"))
    if conversion.batches and not any(check.problem for check in conversion.batches):
        tried = " and ".join(str(check.batch) for check in conversion.batches)
        rows.append(("other batches", f"holds for {tried} too"))
    if math.isfinite(conversion.latency.int8_ms):
        rows.append(("latency", _latency(conversion)))
    rows.append(("calibrated on", conversion.calibration.source))
    rows.append(("preprocessing", preprocessing_words(conversion.preprocessing)))
    rows.append(("time", f"{conversion.timings['total']:.1f} s"))
    rows += runtime_rows(conversion.runtime)
    rows.append(("written", str(artifact.path) if artifact.path else "nothing"))
    return rows


def golden_words(conversion: Conversion) -> str:
    """What the artifact can prove itself by."""
    golden, whole = conversion.golden, conversion.artifact.size
    if not conversion.config.golden:
        return "none, as asked for (--no-golden)"
    if not golden.cases:
        return f"none: 2 % of so small a file, {golden.room} bytes, hold none"
    taken = f"{size(len(golden.text))}, {percent(len(golden.text) / whole)} of the file"
    return f"{golden.cases} replayed from the file; {taken} (fxconv verify)"


def _kept_float(conversion: Conversion) -> list[tuple[str, str]]:
    """Why a network is float by engine: its first float islands."""
    if conversion.converted:
        return []
    islands = conversion.rewritten.islands[:_MOST_ISLANDS]
    return [("in float", f"{some(island.nodes)}: {island.reason}") for island in islands]


def _frozen(conversion: Conversion) -> list[tuple[str, str]]:
    """What the artifact decides as the example did, because the user allowed it."""
    places = conversion.frozen_branches
    return [("frozen branches", f"as the example took them: {', '.join(places)}")] if places else []


def preprocessing_words(how: Preprocessing | None) -> str:
    """What was done with pixels, and who says that it is right."""
    if how is None:
        return "none: it was given tensors, and what made them nobody said"
    said = "" if how.source in how.in_words else f": {how.source}"
    return f"{how.in_words} ({how.origin.value}{said})"


def _function(row: StageParity) -> str:
    if row.max_abs_diff == 0:
        return "computes exactly what the original does"
    return f"differs from the original by at most {row.max_abs_diff:.2g} (required: {row.rule})"


def _against(row: StageParity) -> str:
    """How near int8 comes, and whether that is what the model returns or what leads up to it."""
    agreement = f", same top-1 on {percent(row.top1_agreement, 0)}" if row.top1_agreement is not None else ""
    compared = f"; compared was {row.compared}" if row.compared else ""
    return f"{decibels(row.sqnr_db)}{agreement} ({_images(row)}){compared}"


def _images(row: StageParity) -> str:
    return count(row.images, "calibration image")


def _worst(rows: list[StageParity]) -> str:
    return f"{decibels(min(row.sqnr_db for row in rows))} from the int8 module"


def domains(conversion: Conversion) -> str:
    """Where int8 begins and ends."""
    if conversion.config.mode is Mode.dynamic:
        layers = count(len(conversion.audit.operations), "linear or recurrent layer")
        return f"{layers} with int8 weights, ranged at run time; all else stays in float"
    calls, islands = conversion.artifact.calls, conversion.rewritten.islands
    quantize, dequantize = calls.get("aten::quantize_per_tensor", 0), calls.get("aten::dequantize", 0)
    return f"{quantize} quantize, {dequantize} dequantize, {count(len(islands), 'float island')}"


def audited(conversion: Conversion) -> str:
    """What the kernel audit found, in a line."""
    audit = conversion.audit
    ran = f"{count(len(audit.operations), 'int8 operation')} on {count(audit.inputs, 'input')}"
    if audit.failed:
        return f"{ran}; {count(len(audit.failed), 'fails', 'fail')}"
    if conversion.config.mode is Mode.dynamic:
        return f"{ran}, each as its weights and its input's range call for"
    return f"{ran}, each within {count(audit.worst, 'step')} of its float form"


def _latency(conversion: Conversion) -> str:
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


def print_report(conversion: Conversion, console: Console, unfolded: bool = False) -> None:
    """Everything a reviewer needs, the verdict first and again last; `unfolded` shows alike changes one by one."""
    console.print(_headline(conversion), soft_wrap=True)
    section(console, "Asked for")
    show(asked_table(conversion), console)
    print_rewriting(conversion.rewritten, console, full=unfolded)
    section(console, "Operators before and after")
    show(operators_table(conversion, None if unfolded else _MOST_OPERATORS), console)
    section(console, "Int8 and float domains")
    share = percent(conversion.artifact.int8_macs_share)
    console.print(f"{domains(conversion)}; {share} of multiply-accumulates in int8", soft_wrap=True)
    for line in island_lines(conversion, unfolded):
        console.print(f"float: {line}", soft_wrap=True, markup=False)
    for made in conversion.adjusted:
        console.print(f"range widened: {made.node}: {made.reason}", soft_wrap=True, markup=False)
    section(console, "Kernel audit")
    console.print(Text(audited(conversion)))
    show(audit_table(conversion.audit, conversion.config.mode is not Mode.dynamic), console)
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
    section(console, "Calibration")
    calibration = conversion.calibration
    console.print(f"{calibration.source}", soft_wrap=True, markup=False)
    if calibration.images:
        console.print(
            f"{calibration.seconds:.1f} s in the observed forward; the float forward of as many images takes "
            f"{calibration.float_seconds:.1f} s"
        )
    for one in conversion.uninformative_ranges:
        console.print(f"weak range: {one.where}: {one.problem}", soft_wrap=True, markup=False)
    section(console, "Timings")
    told = ", ".join(f"{step} {seconds:.2f}" for step, seconds in conversion.timings.items())
    console.print(Text(f"seconds: {told}"), soft_wrap=True)
    if conversion.warnings:
        section(console, "Warnings")
        for warning in conversion.warnings:
            console.print(Text(warning, style="yellow"), soft_wrap=True)
    section(console, "Verdict")
    print_summary(conversion, console)


def island_lines(conversion: Conversion, unfolded: bool = False) -> list[str]:
    """The float islands, each with its reason; those of one reason behind the first of them, unless `unfolded`."""
    if conversion.config.mode is Mode.dynamic:
        return []
    islands = conversion.rewritten.islands
    if unfolded:
        return [f"{', '.join(island.nodes)}: {island.reason}" for island in islands]
    alike: dict[frozenset[str], list[Island]] = {}
    for island in islands:
        alike.setdefault(frozenset(island.reason.split("; ")), []).append(island)
    lines = []
    for first, *others in alike.values():
        more = f" (and {count(len(others), 'other island')} like this)" if others else ""
        lines.append(f"{some(first.nodes)}: {first.reason}{more}")
    return lines


def asked_table(conversion: Conversion) -> Table:
    """What was asked for."""
    model, config = conversion.model, conversion.config
    table = grid("", "", header=False)
    add(table, "model", f"{model.name}, {model.parameters:,} parameters")
    if config.model_arg:
        add(table, "arguments", ", ".join(config.model_arg))
    add(table, "weights", model.weights)
    add(table, "input", "x".join(map(str, model.input_size)))
    add(table, "engine", f"{config.engine.value}, {config.weight_scheme.value} weights, {_MODES[config.mode]}")
    add(table, "arithmetic", config.arithmetic.value)
    add(table, "observer", config.observer.value)
    add(table, "recipe", ", ".join(step.value for step in config.recipe))
    blocked = ", ".join(name.value for name in config.blocked) or "none"
    add(table, "lowering", f"{config.method.value}; mobile passes blocked: {blocked}")
    if config.runtime is not None:
        add(table, "runtime", config.runtime)
    environment = conversion.environment
    add(table, "environment", f"torch {environment.torch}, torchvision {environment.torchvision}")
    return table


def operators_table(conversion: Conversion, most: int | None = None) -> Table:
    """What the traced model called, and what one inference of the written file calls; of each the `most` frequent."""
    table = grid(">calls", "original", ">calls", "artifact", "domain")
    before = Counter(conversion.rewritten.source_calls).most_common()
    artifact = conversion.artifact
    after = sorted(artifact.calls.items(), key=lambda item: -item[1])
    rows = max(len(before), len(after))
    shown = rows if most is None or rows <= most + 1 else most
    for row in range(shown):
        old = (str(before[row][1]), before[row][0]) if row < len(before) else ("", "")
        if row < len(after):
            operator, calls = after[row]
            domain = "int8" if artifact.int8_calls.get(operator) else "float"
            domain = "boundary" if operator in ("aten::quantize_per_tensor", "aten::dequantize") else domain
            add(table, *old, str(calls), operator, domain)
        else:
            add(table, *old, "", "", "")
    if shown < rows:
        add(table, *(cell for each in (before, after) for cell in ("", _more(len(each) - shown))), "")
    return table


def _more(left: int) -> str:
    return f"and {left} more" if left > 0 else ""


def audit_table(audit: Audit, has_steps: bool) -> Table:
    """What failed, then what came nearest to it; without the columns in steps where what comes out has none."""
    steps = (">worst", ">off", ">power cut off") if has_steps else ()
    table = grid("operation", "kernel", ">values", *steps, "")
    left = [op for op in audit.operations if not op.problem]
    left.sort(key=lambda op: (-op.off, -op.cut, -op.worst))
    for op in (*audit.failed, *left[:_MOST_AUDITED]):
        verdict = Text(f"FAILED: {op.problem}", style="bold red") if op.problem else Text("ok", style="green")
        shares = (count(op.worst, "step"), percent(op.off, 3), percent(op.cut, 3)) if has_steps else ()
        add(table, op.where, op.operator, f"{op.values:,}", *shares, verdict)
    if len(left) > _MOST_AUDITED:
        empty = [""] * (2 + len(steps))
        add(table, f"and {len(left) - _MOST_AUDITED} more", *empty, Text("ok", style="green"))
    return table


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
