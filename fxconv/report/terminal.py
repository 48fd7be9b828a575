"""The report on a terminal."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fxconv.recipe import STEPS, Chosen
from rewrites import PassResult, Rewritten

if TYPE_CHECKING:
    from fxconv.audit import Audit
    from fxconv.conversion import Conversion
    from fxconv.dry_run import DryRun
    from fxconv.judge import Judgement
    from fxconv.sensitivity import Sensitivity
    from fxconv.verify import StageParity

# More different reasons than this are not listed above a diff.
_MOST_REASONS = 4
# The summary of a network that is float by engine names this many islands, and nodes of each.
_MOST_ISLANDS, _MOST_NODES = 2, 3
# The audit's table names this many of the operations that passed.
_MOST_AUDITED = 5
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def _grid(*columns: str, header: bool = True) -> Table:
    table = Table(box=None, show_header=header, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return table


def _add(table: Table, *cells: str | Text) -> None:
    """A row whose words stand as they are: brackets in a path or a reason are no markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))


def _show(table: Table, console: Console) -> None:
    """Print a table without the spaces rich pads its last column with: they would end up in files and pull requests."""
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        text = Text.from_ansi(line)
        text.rstrip()
        console.print(text, soft_wrap=True)


def _section(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Text("-" * len(title), style="dim"))


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _decibels(value: float) -> str:
    if math.isinf(value):
        return "exact" if value > 0 else "none"
    return f"{value:.1f} dB"


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def _count(number: int, noun: str, several: str = "") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {several or noun + 's'}"


# -- rewriting ---------------------------------------------------------------------------------------


def print_diff(text: str, console: Console) -> None:
    """A unified diff, coloured by its first characters; never wrapped, so that it can be piped into a file."""
    for line in text.splitlines():
        console.print(Text(line, style=_DIFF_STYLES.get(line[:1], "")), soft_wrap=True)


def _reasons(result: PassResult) -> list[str]:
    """The pass's own reason, then those of its edits; when they are many each names a node, as the diff does."""
    own = [f"why: {result.why}"] if result.why else []
    counted = Counter(edit.reason for edit in result.edits)
    if len(counted) > _MOST_REASONS:
        return [*own, f"here: {_count(len(result.edits), 'edit')}"]
    return own + [f"here: {reason}" + (f" ({n} times)" if n > 1 else "") for reason, n in counted.items()]


def print_rewriting(rewritten: Rewritten, console: Console, tense: str = "rewrote") -> None:
    """Each pass with its diff and reason, then what was renamed, then what did not trace."""
    table = _grid(">edits", ">skips", "pass", "what it does")
    for result in rewritten.results:
        _add(table, str(len(result.edits)), str(len(result.skips)), result.name, result.summary)
    total = sum(len(result.edits) for result in rewritten.results)
    _section(console, f"Rewriting: {tense} {_count(total, 'place')}")
    _show(table, console)
    for result in rewritten.results:
        if not result.edits and not result.skips:
            continue
        _section(console, f"Pass {result.name}")
        for reason in _reasons(result):
            console.print(Text(reason, style="yellow"), soft_wrap=True)
        if not any(edit.kind == "rename" for edit in result.edits):
            print_diff(result.diff, console)
        else:
            print_renames(rewritten, console)
        for skip in result.skips:
            console.print(Text(f"left alone: {skip.node}: {skip.reason}", style="magenta"), soft_wrap=True)
    if rewritten.leaves:
        _section(console, "Did not trace, stays as it is in float")
        for leaf in rewritten.leaves:
            console.print(f"{leaf.path or 'the model itself'}: {leaf.reason}", soft_wrap=True, markup=False)
    if "" not in rewritten.graphs:
        _section(console, "Rewritten each by itself, inside what did not trace")
        for path in rewritten.graphs:
            console.print(path, soft_wrap=True, markup=False)
    if rewritten.fixed:
        _section(console, "Decided once, for the size of the input it was traced with")
        for entry in rewritten.fixed:
            console.print(f"{entry.place}: {entry.code}", soft_wrap=True, markup=False)


def print_dry_run(result: DryRun, console: Console, tense: str) -> None:
    """The rewriting of a model that is not converted, and whether it still computes the same."""
    print_rewriting(result.rewritten, console, tense)
    _section(console, "Same function")
    console.print(
        Text(f"{_function(result.parity)} (one generated image; weights: {result.model.weights})"), soft_wrap=True
    )


def print_renames(rewritten: Rewritten, console: Console) -> None:
    """Old name and new name of every layer that was renamed."""
    table = _grid("old name", "new name")
    for edit in rewritten.renames:
        _add(table, edit.before, edit.after)
    _show(table, console)


def print_sensitivity(result: Sensitivity, console: Console, top: int | None = None) -> None:
    """The layers, each quantized alone, the worst first; with `top` only the first so many."""
    sqnr, agreement = result.together
    same = f", same top-1 on {_percent(agreement)}" if agreement is not None else ""
    console.print(Text.assemble((result.model.name, "bold"), f": all in int8 {_decibels(sqnr)}{same}"), soft_wrap=True)
    seen = _whether_used(result.is_unseen)
    console.print(
        Text(f"each layer quantized alone, on {_count(result.images, 'image')} {seen}: {result.source}"), soft_wrap=True
    )
    table = _grid("layer", "kind", ">SQNR", ">same top-1", ">MACs", ">weights")
    for layer in result.layers[:top]:
        _add(
            table,
            layer.where,
            layer.kind,
            _decibels(layer.sqnr_db),
            _percent(layer.top1_agreement),
            _percent(layer.macs_share) if layer.macs else "-",
            _size(layer.weight_bytes) if layer.weight_bytes else "-",
        )
    _section(console, "What each layer costs in int8, weights in their int8 size")
    _show(table, console)
    left = len(result.layers) - len(result.layers[:top])
    if left:
        console.print(Text(f"and {left} that cost less"))


# -- the conversion ----------------------------------------------------------------------------------


def print_summary(conversion: Conversion, console: Console) -> None:
    """About ten lines: what came out, whether it holds, what it costs."""
    console.print(_headline(conversion), soft_wrap=True)
    table = _grid("", "", header=False)
    for name, text in _summary_rows(conversion):
        _add(table, Text(name, style="dim"), text)
    _show(table, console)


def _headline(conversion: Conversion) -> Text:
    good = conversion.verified
    style = "bold green" if good and conversion.converted else "bold yellow" if good else "bold red"
    return Text.assemble((conversion.model.name, "bold"), ": ", (conversion.verdict, style))


def _summary_rows(conversion: Conversion) -> list[tuple[str, str]]:
    artifact, rewritten = conversion.artifact, conversion.rewritten
    edits = sum(len(result.edits) for result in rewritten.results)
    active = sum(bool(result.edits) for result in rewritten.results)
    stages = {row.stage: row for row in conversion.ledger}
    int8, lowered = stages["int8"], [row for row in conversion.ledger if row.against == "int8"]
    agreement = f", same top-1 on {_percent(int8.top1_agreement, 0)}" if int8.top1_agreement is not None else ""
    exact = all(row.max_abs_diff == 0 for row in lowered)
    names = ", ".join(row.stage for row in lowered)
    rows = [
        ("weights", conversion.model.weights),
        (
            "rewritten",
            f"{edits} edits by {_count(active, 'pass', 'passes')}; {_function(stages['rewritten'])}",
        ),
        ("int8", f"{_percent(artifact.int8_macs_share)} of multiply-accumulates; {_stubs(conversion)}"),
        *_in_parts(rewritten),
        *_kept_float(conversion),
        ("audit", _audited(conversion.audit)),
        *_recovered(conversion.recipe),
        *_judged(conversion.judgement),
        ("against float", f"{_decibels(int8.sqnr_db)}{agreement} ({_images(int8)})"),
        ("lowered", f"{names}: {'bit for bit the int8 module' if exact else _worst(lowered)}"),
        (
            "size",
            f"{_size(artifact.size)}, {artifact.size / artifact.float_bytes:.2f} times float's "
            f"{_size(artifact.float_bytes)}",
        ),
    ]
    if conversion.sizes and not any(check.problem for check in conversion.sizes):
        tried = " and ".join("x".join(map(str, check.size)) for check in conversion.sizes)
        rows.append(("other sizes", f"holds at {tried} too"))
    if math.isfinite(conversion.latency.int8_ms):
        rows.append(("latency", _latency(conversion)))
    rows.append(("calibrated on", conversion.calibration.source))
    rows.append(("time", f"{conversion.timings['total']:.1f} s"))
    rows.append(("written", str(artifact.path) if artifact.path else "nothing"))
    return rows


def _in_parts(rewritten: Rewritten) -> list[tuple[str, str]]:
    """Which parts of a model whose own forward does not trace were converted."""
    graphs = tuple(rewritten.graphs)
    if "" in graphs:
        return []
    return [("in parts", f"{_some(graphs)}; the code around them stays in float")]


def _kept_float(conversion: Conversion) -> list[tuple[str, str]]:
    """Why a network is float by engine: its first float islands."""
    if conversion.converted:
        return []
    islands = conversion.rewritten.islands[:_MOST_ISLANDS]
    return [("in float", f"{_some(island.nodes)}: {island.reason}") for island in islands]


def _recovered(recipe: Chosen) -> list[tuple[str, str]]:
    """The steps that recovered accuracy, and what they brought on images held out of calibration."""
    applied = [gain for gain in recipe.gains if gain.is_applied]
    if not applied:
        names = ", ".join(step.value for step in recipe.steps)
        return [("recipe", names or recipe.reason or "no step helps")] if names or recipe.reason or recipe.gains else []
    first, last = applied[0], applied[-1]
    gain = f"{_decibels(first.sqnr_before)} to {_decibels(last.sqnr_after)}"
    if first.agreement_before is not None:
        gain += f", same top-1 {_percent(first.agreement_before, 0)} to {_percent(last.agreement_after, 0)}"
    images = f"{_count(recipe.images, 'image')} {_whether_used(recipe.is_unseen)}"
    return [("recipe", f"{', '.join(step.value for step in recipe.steps)}: {gain} ({images})")]


def _whether_used(is_unseen: bool) -> str:
    return "not used for calibration" if is_unseen else "also used for calibration"


def _print_recipe(recipe: Chosen, console: Console) -> None:
    _section(console, "Accuracy recovered without training")
    if not recipe.gains:
        named = ", ".join(step.value for step in recipe.steps)
        console.print(Text(named or recipe.reason or "nothing was asked for"), soft_wrap=True)
        return
    words = f"{_count(recipe.images, 'image')} {_whether_used(recipe.is_unseen)}: {recipe.source}"
    console.print(Text(f"int8 against float with each step beside those above it, on {words}"), soft_wrap=True)
    table = _grid("step", "", ">SQNR before", ">after", ">top-1 before", ">after", "what it does")
    for gain in recipe.gains:
        taken = Text("taken", style="green") if gain.is_applied else Text("left out", style="yellow")
        _add(
            table,
            gain.step.value,
            taken,
            _decibels(gain.sqnr_before),
            _decibels(gain.sqnr_after),
            _percent(gain.agreement_before),
            _percent(gain.agreement_after),
            STEPS[gain.step],
        )
    _show(table, console)
    if recipe.equalized:
        scaled, channels = recipe.capped_channels
        capped = (
            f"; of {channels} channels below a ReLU6 {scaled} never reach its cap and were scaled" if channels else ""
        )
        layers = sum(len(one.layers) for one in recipe.equalized)
        words = f"{_count(layers, 'layer')} equalized with {'that' if layers == 1 else 'those'} reading them{capped}"
        console.print(Text(words), soft_wrap=True)
    if recipe.absorbed:
        channels = sum(one.changed for one in recipe.absorbed)
        layers = sum(len(one.layers) for one in recipe.absorbed)
        words = f"{_count(channels, 'channel')} of {_count(layers, 'layer')} moved by what they always carry"
        console.print(Text(words), soft_wrap=True)
    if recipe.reason:
        console.print(Text(f"not tried: {recipe.reason}"), soft_wrap=True)


def _judged(judgement: Judgement | None) -> list[tuple[str, str]]:
    """How int8 answers on images held out of calibration, and what was kept in float for that, with its price."""
    if judgement is None:
        return []
    allowed = f", at least {_percent(judgement.allowed)} asked for" if judgement.allowed is not None else ""
    own = f"; float's {_percent(judgement.float_accuracy)}" if judgement.float_accuracy is not None else ""
    measured = f"{judgement.measure} {_percent(judgement.score)}{own}{allowed}"
    rows = [("judged", f"{measured} ({_count(judgement.images, 'image')} not used for calibration)")]
    if judgement.kept:
        price = f"+{_size(judgement.extra_bytes)}, {judgement.extra_ms:+.2f} ms"
        without = _percent(judgement.value(judgement.before))
        rows.append(("kept in float", f"{_some(judgement.paths)}: {price}; without {without}"))
    return rows


def _print_judgement(judgement: Judgement, console: Console) -> None:
    _section(console, "Judged on images not used for calibration")
    console.print(Text(judgement.source), soft_wrap=True)
    table = _grid("", ">all int8", ">result", ">float")
    before, after = judgement.before, judgement.after
    _add(table, "top-1 agreement with float", _percent(before.agreement), _percent(after.agreement), "")
    if judgement.float_accuracy is not None:
        own = _percent(judgement.float_accuracy)
        _add(table, "accuracy", _percent(before.accuracy), _percent(after.accuracy), own)
    _show(table, console)
    if judgement.allowed is None:
        return
    console.print(
        f"--max-drop {judgement.max_drop:g} asks for {judgement.measure} of at least {_percent(judgement.allowed)}; "
        f"{_count(judgement.tried, 'int8 module')} tried"
    )
    if not judgement.kept:
        return
    table = _grid("kept in float", "kind", ">SQNR alone in int8", ">weights", ">latency")
    for layer in judgement.kept:
        price = f"+{_size(layer.extra_bytes)}" if layer.extra_bytes else "-"
        _add(table, layer.where, layer.kind, _decibels(layer.sqnr_db), price, f"{layer.extra_ms:+.2f} ms")
    total = f"{judgement.extra_ms:+.2f} ms"
    _add(table, "together, with conversions", "", "", f"+{_size(judgement.extra_bytes)}", total)
    _show(table, console)
    console.print("latency in eager mode, 1 thread, this machine")


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NODES} more" if len(names) > _MOST_NODES else ""
    return ", ".join(names[:_MOST_NODES]) + more


def _function(row: StageParity) -> str:
    if row.max_abs_diff == 0:
        return "computes exactly what the original does"
    return f"differs from the original by at most {row.max_abs_diff:.2g} ({row.rule})"


def _images(row: StageParity) -> str:
    return _count(row.images, "calibration image")


def _worst(rows: list[StageParity]) -> str:
    return f"{_decibels(min(row.sqnr_db for row in rows))} from the int8 module"


def _stubs(conversion: Conversion) -> str:
    calls, islands = conversion.artifact.calls, conversion.rewritten.islands
    quantize, dequantize = calls.get("aten::quantize_per_tensor", 0), calls.get("aten::dequantize", 0)
    return f"{quantize} quantize, {dequantize} dequantize, {_count(len(islands), 'float island')}"


def _audited(audit: Audit) -> str:
    ran = f"{_count(len(audit.operations), 'int8 operation')} on {_count(audit.inputs, 'input')}"
    if audit.failed:
        return f"{ran}; {_count(len(audit.failed), 'fails', 'fail')}"
    return f"{ran}, each within {_count(audit.worst, 'step')} of its float form"


def _latency(conversion: Conversion) -> str:
    latency = conversion.latency
    return (
        f"{_milliseconds(latency.int8_ms)}, {latency.int8_ms / latency.float_ms:.2f} times float's "
        f"{_milliseconds(latency.float_ms)} "
        f"(lite interpreter, 1 thread, this machine; qnnpack is made for ARM)"
    )


def print_report(conversion: Conversion, console: Console) -> None:
    """Everything a reviewer needs, the verdict first and again last."""
    console.print(_headline(conversion), soft_wrap=True)
    _section(console, "Asked for")
    _show(_asked(conversion), console)
    print_rewriting(conversion.rewritten, console)
    _section(console, "Operators before and after")
    _show(_operators(conversion), console)
    _section(console, "Int8 and float domains")
    console.print(
        _stubs(conversion) + f"; {_percent(conversion.artifact.int8_macs_share)} of multiply-accumulates in int8"
    )
    for island in conversion.rewritten.islands:
        console.print(f"float: {', '.join(island.nodes)}: {island.reason}", soft_wrap=True, markup=False)
    for made in conversion.adjusted:
        console.print(f"range widened: {made.node}: {made.reason}", soft_wrap=True, markup=False)
    _section(console, "Kernel audit")
    console.print(Text(_audited(conversion.audit)))
    _show(_audit_table(conversion.audit), console)
    _section(console, "Parity ledger")
    _show(_ledger(conversion), console)
    _print_recipe(conversion.recipe, console)
    if conversion.judgement is not None:
        _print_judgement(conversion.judgement, console)
    _section(console, "Size and latency")
    _show(_costs(conversion), console)
    _section(console, "Calibration")
    calibration = conversion.calibration
    console.print(f"{calibration.source}", soft_wrap=True, markup=False)
    console.print(
        f"{calibration.seconds:.1f} s in the observed forward; the float forward of as many images takes "
        f"{calibration.float_seconds:.1f} s"
    )
    for ailment in conversion.ailments:
        console.print(f"weak range: {ailment.where}: {ailment.problem}", soft_wrap=True, markup=False)
    _section(console, "Timings")
    table = _grid("step", ">seconds")
    for step, seconds in conversion.timings.items():
        _add(table, step, f"{seconds:.2f}")
    _show(table, console)
    if conversion.warnings:
        _section(console, "Warnings")
        for warning in conversion.warnings:
            console.print(Text(warning, style="yellow"), soft_wrap=True)
    _section(console, "Verdict")
    print_summary(conversion, console)


def _asked(conversion: Conversion) -> Table:
    model, config = conversion.model, conversion.config
    table = _grid("", "", header=False)
    _add(table, "model", f"{model.name}, {model.parameters:,} parameters")
    _add(table, "weights", model.weights)
    _add(table, "input", "x".join(map(str, model.input_size)))
    _add(table, "engine", f"{config.engine.value}, {config.weight_scheme.value} weights, static quantization")
    _add(table, "arithmetic", config.arithmetic.value)
    _add(table, "observer", config.observer.value)
    _add(table, "recipe", ", ".join(step.value for step in config.recipe))
    blocked = ", ".join(name.value for name in config.blocked) or "none"
    _add(table, "lowering", f"{config.method.value}; mobile passes blocked: {blocked}")
    environment = conversion.environment
    _add(table, "environment", f"torch {environment.torch}, torchvision {environment.torchvision}")
    return table


def _operators(conversion: Conversion) -> Table:
    """What the traced model called, and what one inference of the written file calls."""
    table = _grid(">calls", "original", ">calls", "artifact", "domain")
    before = Counter(conversion.rewritten.source_calls).most_common()
    artifact = conversion.artifact
    after = sorted(artifact.calls.items(), key=lambda item: -item[1])
    for row in range(max(len(before), len(after))):
        old = (str(before[row][1]), before[row][0]) if row < len(before) else ("", "")
        if row < len(after):
            operator, calls = after[row]
            domain = "int8" if artifact.int8_calls.get(operator) else "float"
            domain = "boundary" if operator in ("aten::quantize_per_tensor", "aten::dequantize") else domain
            _add(table, *old, str(calls), operator, domain)
        else:
            _add(table, *old, "", "", "")
    return table


def _audit_table(audit: Audit) -> Table:
    """What failed, then what came nearest to it."""
    table = _grid("operation", "kernel", ">values", ">worst", ">off", ">power cut off", "")
    left = [op for op in audit.operations if not op.problem]
    left.sort(key=lambda op: (-op.off, -op.cut, -op.worst))
    for op in (*audit.failed, *left[:_MOST_AUDITED]):
        verdict = Text(f"FAILED: {op.problem}", style="bold red") if op.problem else Text("ok", style="green")
        shares = (_percent(op.off, 3), _percent(op.cut, 3))
        _add(table, op.where, op.operator, f"{op.values:,}", _count(op.worst, "step"), *shares, verdict)
    if len(left) > _MOST_AUDITED:
        _add(table, f"and {len(left) - _MOST_AUDITED} more", "", "", "", "", "", Text("ok", style="green"))
    return table


def _ledger(conversion: Conversion) -> Table:
    table = _grid("stage", "against", ">max diff", ">SQNR", ">top-1", ">images", "required", "")
    for row in conversion.ledger:
        verdict = Text("ok", style="green") if row.passed else Text(f"FAILED: {row.problem}", style="bold red")
        _add(
            table,
            row.stage,
            row.against,
            f"{row.max_abs_diff:.3g}",
            _decibels(row.sqnr_db),
            _percent(row.top1_agreement, 0),
            str(row.images),
            row.rule,
            verdict,
        )
    return table


def _costs(conversion: Conversion) -> Table:
    artifact, latency = conversion.artifact, conversion.latency
    table = _grid("", ">int8", ">float", ">ratio")
    ratio = artifact.size / artifact.float_bytes
    _add(table, "file", _size(artifact.size), _size(artifact.float_bytes), f"{ratio:.3f}")
    if math.isfinite(latency.int8_ms):
        _add(
            table,
            "latency, 1 thread, this machine (qnnpack is made for ARM)",
            _milliseconds(latency.int8_ms),
            _milliseconds(latency.float_ms),
            f"{latency.int8_ms / latency.float_ms:.3f}",
        )
    return table
