"""What a file says of photographs, on a terminal and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from fxconv.analysis.predicted_outputs import ClassShares, Detections, Output, Scores, Values
from fxconv.analysis.prediction import PredictedImage, Prediction
from fxconv.report.json import plain
from fxconv.report.tables import add, count, grid, percent, say, show

SCHEMA = 1
# Pixels: no photograph reaches so far, and a number of so many digits would not fit beside others.
_FAR = 1e5
_CORNERS = {"boxes": "left, top, right, bottom", "peaks": "x, y"}
_BY_SOFTMAX, _AS_GIVEN = "scores of {}, percent by softmax", "probabilities of {}"


def prediction_text(found: Prediction) -> str:
    """All of it as indented JSON, schema 1."""
    how = found.preprocessing
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "file": found.file,
        "model": found.model or None,
        "input": list(found.shape),
        "preprocessing": {"words": how.in_words, "source": how.source, "origin": how.origin.name},
        "labels": found.labels_from or None,
        "images": [asdict(image) for image in found.images],
        "unreadable": [{"image": image, "reason": reason} for image, reason in found.unreadable],
        "notes": list(found.notes),
    }
    return json.dumps(plain(values), indent=2, allow_nan=False) + "\n"


def print_prediction(found: Prediction, console: Console) -> None:
    """What the file is given, and a block for each image."""
    shape, how = "x".join(map(str, found.shape)), found.preprocessing
    name = f"{found.model}, " if found.model else ""
    say(console, Text.assemble((found.file, "bold"), f": {name}takes {shape}"))
    say(console, f"each image {how.in_words} ({how.origin.value}: {how.source})", "dim")
    for image in found.images:
        _print_image(image, console)


def _print_image(image: PredictedImage, console: Console) -> None:
    console.print()
    size = f" ({image.width}x{image.height})"
    say(console, Text.assemble((image.image, "bold"), (size, "dim")))
    if not image.outputs:
        say(console, "  the file returns nothing")
    for output in image.outputs:
        _print_output(output, console)


def _print_output(output: Output, console: Console) -> None:
    told = _heading(output)
    say(console, Text.assemble(f"  {output.name}: ", (told, "dim")))
    if isinstance(output, Scores):
        table = grid("", ">", ">", "", header=False)
        for one in output.top:
            score = "" if output.probabilities == "as given" else f"{one.score:.4g}"
            add(table, " ", percent(one.probability, 2), score, _class(one.index, one.label))
        show(table, console)
    elif isinstance(output, ClassShares):
        table = grid("", ">", "", header=False)
        for share in output.top:
            add(table, " ", percent(share.share, 2), _class(share.index, share.label))
        show(table, console)
    elif isinstance(output, Detections) and output.top:
        _print_found(output, console)


def _print_found(output: Detections, console: Console) -> None:
    table = grid("", ">score", ">in the photograph", ">in the input", "class")
    for one in output.top:
        there = _numbers(one.photograph, output.kind) if one.photograph is not None else "-"
        add(table, " ", f"{one.score:.3f}", there, _numbers(one.input, output.kind), _class(one.index, one.label))
    show(table, console)


def _heading(output: Output) -> str:
    """What the rows of an output are; of one without rows all of it."""
    if isinstance(output, Scores):
        words = _AS_GIVEN if output.probabilities == "as given" else _BY_SOFTMAX
        return words.format(count(output.classes, "class", "classes"))
    if isinstance(output, ClassShares):
        return f"share of places by class, of {count(output.classes, 'class', 'classes')}"
    if isinstance(output, Detections):
        shown = f", the best {len(output.top)}" if len(output.top) < output.count else ""
        is_unknown = bool(output.top) and output.top[0].photograph is None
        unknown = "; a function preprocesses, and says not where in the photograph" if is_unknown else ""
        corners = f", as {_CORNERS[output.kind]}" if output.top else ""
        return f"{count(output.count, 'object')}{shown}{corners}{unknown}"
    return _values(output)


def _values(output: Values) -> str:
    shape = f"values [{', '.join(map(str, output.shape))}]"
    missing = f", {count(output.not_finite, 'value')} not finite" if output.not_finite else ""
    if output.min is None or output.mean is None or output.max is None:
        return f"{shape}{missing}"
    return f"{shape}, from {output.min:.4g} to {output.max:.4g}, mean {output.mean:.4g}{missing}"


def _class(index: int, label: str | None) -> str:
    return f"class {index}" if label is None else f"{label} ({index})"


def _numbers(values: tuple[float, ...], kind: str) -> str:
    return ", ".join(_number(value, 0 if kind == "boxes" else 1) for value in values)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if abs(value) < _FAR else f"{value:.3g}"
