"""What the report says of accuracy: what recovered it, how int8 was judged, and what each layer costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from fxconv.config import Teacher
from fxconv.measures.fidelity import GRADES, Fidelity
from fxconv.measures.judge import Judgement, Kept
from fxconv.quantization.recipe_search.recipe import CHANGING, STEPS, ChosenRecipe
from fxconv.report.tables import Part, add, count, decibels, grid, percent, print_parts, say, section, show, size, some

if TYPE_CHECKING:
    from fxconv.analysis.sensitivity import Sensitivity
    from fxconv.analysis.study import Study
    from fxconv.conversion import Conversion
    from fxconv.quantization.fine_tuned import FineTuned


def recovered(recipe: ChosenRecipe) -> list[tuple[str, str]]:
    """The steps that recovered accuracy, and what they brought on images held out of calibration."""
    applied = [gain for gain in recipe.gains if gain.is_applied]
    if not applied:
        names = ", ".join(step.value for step in recipe.steps)
        return [("recipe", names or recipe.reason or "no step helps")] if names or recipe.reason or recipe.gains else []
    first, last = applied[0], applied[-1]
    sqnr = last.sqnr_after if recipe.sqnr_db is None else recipe.sqnr_db
    agreement = last.agreement_after if recipe.agreement is None else recipe.agreement
    gain = f"{decibels(first.sqnr_before)} to {decibels(sqnr)}"
    if first.agreement_before is not None:
        gain += f", same top-1 {percent(first.agreement_before, 0)} to {percent(agreement, 0)}"
    images = f"{count(recipe.images, 'image')} {_whether_used(recipe.is_unseen)}"
    return [("recipe", f"{', '.join(step.value for step in recipe.steps)}: {gain} ({images})")]


def _whether_used(is_unseen: bool) -> str:
    return "not used for calibration" if is_unseen else "also used for calibration"


def print_recipe(recipe: ChosenRecipe, console: Console) -> None:
    section(console, "Accuracy recovered without training")
    print_parts(recipe_parts(recipe), console)


def recipe_parts(recipe: ChosenRecipe) -> Iterator[Part]:
    """The steps that were tried, what each brought, and what they changed."""
    if not recipe.gains:
        named = ", ".join(step.value for step in recipe.steps)
        yield named or recipe.reason or "nothing was asked for"
        return
    words = f"{count(recipe.images, 'image')} {_whether_used(recipe.is_unseen)}: {recipe.source}"
    yield f"int8 against float with each step beside those above it, on {words}"
    if first := [gain.step.value for gain in recipe.gains if gain.step in CHANGING]:
        trials = count(recipe.trial_images, "calibration image")
        yield f"{' and '.join(first)}: tried with the ranges of the first {trials}"
    table = grid("step", "", ">SQNR before", ">after", ">top-1 before", ">after", "what it does")
    for gain in recipe.gains:
        taken = Text("taken", style="green") if gain.is_applied else Text("left out", style="yellow")
        add(
            table,
            gain.step.value,
            taken,
            decibels(gain.sqnr_before),
            decibels(gain.sqnr_after),
            percent(gain.agreement_before),
            percent(gain.agreement_after),
            STEPS[gain.step],
        )
    yield table
    for gain in recipe.gains:
        if gain.why_not:
            yield f"{gain.step.value} left out: {gain.why_not}"
    if recipe.sqnr_db is not None:
        same = f", same top-1 {percent(recipe.agreement)}" if recipe.agreement is not None else ""
        yield f"with the ranges of all calibration images {decibels(recipe.sqnr_db)}{same}"
    if recipe.equalized:
        scaled, channels = recipe.capped_channels
        capped = (
            f"; of {channels} channels below a ReLU6 {scaled} never reach its cap and were scaled" if channels else ""
        )
        layers = sum(len(one.layers) for one in recipe.equalized)
        yield f"{count(layers, 'layer')} equalized with {'that' if layers == 1 else 'those'} reading them{capped}"
    if recipe.absorbed:
        channels = sum(one.changed for one in recipe.absorbed)
        layers = sum(len(one.layers) for one in recipe.absorbed)
        yield f"{count(channels, 'channel')} of {count(layers, 'layer')} moved by what they always carry"
    if recipe.reason:
        yield f"not tried: {recipe.reason}"


def fidelity_words(fidelity: Fidelity, is_random: bool, used: str = " used for nothing else") -> str:
    """How int8 answers beside float, with the grade; `used` says of the images what was done with them besides."""
    random = "; random weights, which say little of trained ones" if is_random else ""
    if fidelity.problem:
        return f"not measured: {fidelity.problem}{random if 'random weights' not in fidelity.problem else ''}"
    words = [_counts(fidelity)]
    if fidelity.measure != "relative error" and fidelity.sqnr_db is not None:
        words.append(decibels(fidelity.sqnr_db))
    if fidelity.worst is not None:
        words.append(f"at worst {decibels(fidelity.worst.sqnr_db)} about its mean ({fidelity.worst.place})")
    return f"{fidelity.grade}: {', '.join(words)}; {count(fidelity.images, 'image')}{used}{random}"


def fidelity_brief(fidelity: Fidelity, is_random: bool) -> str:
    """The same in about one line of a summary; the section on fidelity says the rest."""
    random = "; random weights" if is_random else ""
    if fidelity.problem:
        return f"not measured: {fidelity.problem}{random if 'random weights' not in fidelity.problem else ''}"
    words = [_counts(fidelity)]
    if fidelity.measure != "relative error" and fidelity.sqnr_db is not None:
        words.append(decibels(fidelity.sqnr_db))
    if fidelity.worst is not None and fidelity.grade != GRADES[0]:
        words.append(f"at worst {decibels(fidelity.worst.sqnr_db)} ({fidelity.worst.place})")
    return f"{fidelity.grade}: {', '.join(words)}; {count(fidelity.images, 'unseen image')}{random}"


def _counts(fidelity: Fidelity) -> str:
    """The measure that fits the outputs, in words."""
    if fidelity.same is not None:
        return f"{fidelity.same:,} of {fidelity.asked:,} {fidelity.measure}"
    value = "-" if fidelity.value is None else f"{fidelity.value:.3g}"
    return f"{fidelity.measure} {value}"


def print_fidelity(conversion: Conversion, console: Console) -> None:
    section(console, "Fidelity: int8 beside float")
    print_parts(fidelity_parts(conversion), console)


def fidelity_parts(conversion: Conversion) -> Iterator[Part]:
    """What was measured, on what, and the grade; and what was compared for the proof."""
    fidelity = conversion.fidelity
    yield fidelity_words(fidelity, conversion.model.is_random)
    if fidelity.source:
        yield fidelity.source
    row = next((row for row in conversion.ledger if row.stage == "int8"), None)
    if row is not None and row.compared:
        yield f"against {row.against} only {row.compared} was compared"
    if row is not None and row.worst is not None:
        yield f"on {count(row.images, 'calibration image')}: {row.worst.words}, the worst of what the model returns"


def trained(training: FineTuned | None) -> list[tuple[str, str]]:
    """What fine-tuning brought on the images that told when to stop."""
    if training is None or training.before is None or training.after is None:
        return []
    if not training.kept:
        return [("trained", f"{count(len(training.epochs), 'epoch')} brought nothing; the weights stay as they were")]
    before, after = training.before, training.after
    gain = f"{decibels(before.sqnr_db)} to {decibels(after.sqnr_db)}"
    if after.agreement is not None:
        gain += f", same top-1 {percent(before.agreement, 0)} to {percent(after.agreement, 0)}"
    if after.accuracy is not None:
        gain += f", right {percent(before.accuracy, 0)} to {percent(after.accuracy, 0)}"
    teacher = "float's answers" if training.learn_from is Teacher.float else "labels"
    epochs = f"epoch {training.kept} of {len(training.epochs)}"
    seen = "not trained on" if training.is_unseen else "also trained on"
    images = f"{count(training.validated, 'image')} {seen}"
    return [("trained", f"on {count(training.images, 'image')}, from {teacher}, {epochs}: {gain} ({images})")]


def print_training(training: FineTuned, console: Console) -> None:
    section(console, "Fine-tuned while it was rounded")
    print_parts(training_parts(training), console)


def training_parts(training: FineTuned) -> Iterator[Part]:
    """What the training brought, and its epochs."""
    yield from (line for _, line in trained(training))
    resumed = f"; {count(training.resumed, 'epoch')} from the checkpoint" if training.resumed else ""
    stopped = ", then the loss no longer fell" if training.stopped_early else ""
    took = f"{count(len(training.epochs), 'epoch')} in {training.seconds:.0f} s{stopped}{resumed}"
    yield f"{training.source}; {took}"
    afterwards = "loss on images not trained on" if training.is_unseen else "loss afterwards"
    table = grid(">epoch", ">loss", f">{afterwards}", ">seconds", "")
    add(table, "0", "", f"{training.start:.4g}", "", "" if training.kept else "kept")
    for epoch in training.epochs:
        kept = "kept" if epoch.number == training.kept else ""
        add(table, str(epoch.number), f"{epoch.loss:.4g}", f"{epoch.validation:.4g}", f"{epoch.seconds:.1f}", kept)
    yield table


def judged(judgement: Judgement | None) -> list[tuple[str, str]]:
    """How int8 answers on images held out of calibration, and what was kept in float for that, with its price."""
    if judgement is None:
        return []
    allowed = f", at least {judgement.shown(judgement.allowed)} asked for" if judgement.allowed is not None else ""
    has_own = judgement.metric is not None or judgement.float_accuracy is not None
    own = f"; float's {judgement.shown(judgement.float_value)}" if has_own else ""
    own += f", a drop of {judgement.drop:.3g}" if judgement.metric is not None else ""
    measured = f"{judgement.measure} {judgement.shown(judgement.score)}{own}{allowed}"
    rows = [("judged", f"{measured} ({count(judgement.images, 'image')} not used for calibration)")]
    if judgement.kept:
        price = f"+{size(judgement.extra_bytes)}, {_longer(judgement)}"
        without = judgement.shown(judgement.value(judgement.before))
        rows.append(("kept in float", f"{some(judgement.paths)}: {price}; without {without}"))
    return rows


def print_judgement(judgement: Judgement, console: Console) -> None:
    section(console, "Judged on images not used for calibration")
    print_parts(judgement_parts(judgement), console)


def judgement_parts(judgement: Judgement) -> Iterator[Part]:
    """How int8 answers, and what was kept in float for a budget."""
    yield judgement.source
    table = grid("", ">all int8", ">result", ">float")
    before, after = judgement.before, judgement.after
    if judgement.metric is not None:
        row = (judgement.shown(value) for value in map(judgement.value, (before, after)))
        add(table, judgement.measure, *row, judgement.shown(judgement.float_value))
    else:
        add(table, "top-1 agreement with float", percent(before.agreement), percent(after.agreement), "")
    if judgement.float_accuracy is not None:
        own = percent(judgement.float_accuracy)
        add(table, "accuracy", percent(before.accuracy), percent(after.accuracy), own)
    yield table
    if judgement.metric is not None:
        yield f"{judgement.metric.spec}: a drop of {judgement.drop:.3g}, in hundredths of its unit; higher is better"
    if judgement.allowed is None:
        return
    least = judgement.shown(judgement.allowed)
    yield (
        f"--max-drop {judgement.max_drop:g} asks for {judgement.measure} of at least {least}; "
        f"{count(judgement.tried, 'int8 module')} tried"
    )
    if not judgement.kept:
        return
    table = grid("kept in float", "kind", ">SQNR alone in int8", ">weights", ">latency")
    for layer in judgement.kept:
        price = f"+{size(layer.extra_bytes)}" if layer.extra_bytes else "-"
        add(table, layer.where, layer.kind, decibels(layer.sqnr_db), price, _longer(layer))
    add(table, "together, with conversions", "", "", f"+{size(judgement.extra_bytes)}", _longer(judgement))
    yield table
    yield "latency in eager mode, 1 thread, this machine, by CPU time"


def _longer(price: Kept | Judgement) -> str:
    """By CPU time, which says on a busy machine, too, what something takes."""
    told = price.extra_ms if math.isnan(price.extra_cpu_ms) else price.extra_cpu_ms
    return f"{told:+.2f} ms"


def print_sensitivity(result: Sensitivity, console: Console, top: int | None = None) -> None:
    """The layers, each quantized alone, the worst first; with `top` only the first so many."""
    sqnr, agreement = result.together
    same = f", same top-1 on {percent(agreement)}" if agreement is not None else ""
    if result.metric is not None:
        same += f", {result.metric.name} {_value(result.int8_metric)} of float's {_value(result.float_metric)}"
    say(console, Text.assemble((result.model.name, "bold"), f": all in int8 {decibels(sqnr)}{same}"))
    seen = _whether_used(result.is_unseen)
    say(console, f"each layer quantized alone, on {count(result.images, 'image')} {seen}: {result.source}")
    by = [] if result.metric is None else [f">{result.metric.name}"]
    table = grid("layer", "kind", *by, ">SQNR", ">same top-1", ">MACs", ">weights")
    for layer in result.layers[:top]:
        add(
            table,
            layer.where,
            layer.kind,
            *([] if result.metric is None else [_value(layer.metric)]),
            decibels(layer.sqnr_db),
            percent(layer.top1_agreement),
            percent(layer.macs_share) if layer.macs else "-",
            size(layer.weight_bytes) if layer.weight_bytes else "-",
        )
    section(console, "What each layer costs in int8, weights in their int8 size")
    show(table, console)
    left = len(result.layers) - len(result.layers[:top])
    if left:
        say(console, f"and {left} that cost less")


def print_study(result: Study, console: Console) -> None:
    """A row for each source and number of images: mean and standard deviation over the seeds."""
    seeds = max(one.seeds for one in result.summaries)
    about = f": int8 against float by what it is calibrated on; {count(seeds, 'draw')}"
    say(console, Text.assemble((result.model.name, "bold"), about))
    images = count(result.images, "image")
    say(console, f"judged on {images} that none is calibrated on: {result.judged_on}")
    by = [] if result.metric is None else [f">{result.metric.name}", ">spread", ">worst"]
    if result.metric is not None:
        say(console, f"float's {result.metric.name} is {_value(result.float_metric)}")
    table = grid("calibrated on", ">images", *by, ">SQNR", ">spread", ">worst", ">same top-1", ">spread")
    for one in result.summaries:
        spread = "-" if one.sqnr_spread is None else f"{one.sqnr_spread:.1f} dB"
        same = "-" if one.agreement_spread is None else f"{100 * one.agreement_spread:.1f} %"
        had = str(one.count) if one.images == one.count else f"{one.images} of {one.count}"
        agreement = percent(one.agreement)
        values = [_value(one.metric), _value(one.metric_spread, 3), _value(one.worst_metric)] if by else []
        sqnr, worst = decibels(one.sqnr_db), decibels(one.worst_sqnr_db)
        add(table, one.source, had, *values, sqnr, spread, worst, agreement, same)
    show(table, console)


def _value(metric: float | None, digits: int = 6) -> str:
    """The value of a metric, with the digits that tell two apart."""
    return "-" if metric is None else f"{metric:.{digits}g}"
