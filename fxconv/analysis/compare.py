"""What differs between two conversions, by their JSON reports; how long anything took is no difference."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxconv.config import TARGETS
from fxconv.errors import UserError
from fxconv.inspection import Kind
from fxconv.inspection.what import kind_of, what_is

# Of the JSON reports that are read here, and written by fxconv.report.json.
SCHEMA = 1
_PARTS = (
    "model",
    "config",
    "verdict",
    "environment",
    "passes",
    "quantization",
    "recipe",
    "calibration",
    "parity",
    "artifact",
)
# Of an artifact, what says nothing of a conversion, and what the calls say already.
_LEFT_OUT = ("path", "macs")
# What is compared of each further file, besides how it answers and what runs outside int8.
_OF_FILES = ("proven", "bytes", "float_bytes", "operators", "int8_macs_share", "to_int8_db", "sha256")


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same: where it stands in the report, what it is, and both values in words."""

    section: str
    what: str
    first: str
    second: str


def read_report(path: Path) -> dict[str, Any]:
    """A JSON report of a conversion. Raises `UserError` for another file."""
    what = "is no JSON report of a conversion; give what fxconv convert --json wrote"
    if path.is_file() and (kind := kind_of(path)) is not None:
        beside = "; fxconv bench compares files by their latency" if kind in (Kind.LITE, Kind.EXECUTORCH) else ""
        raise UserError(f"{path}: is {what_is(path)}, {what.removeprefix('is ')}{beside}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give what fxconv convert --json wrote") from error
    except ValueError as error:  # no text, or no JSON
        raise UserError(f"{path}: {what}") from error
    except RecursionError:  # brackets without end; as a cause it would be taken for a model's
        raise UserError(f"{path}: {what}") from None
    if not isinstance(content, dict) or not all(part in content for part in _PARTS):
        raise UserError(f"{path}: {what}")
    if content.get("schema") != SCHEMA:
        raise UserError(f"{path}: schema {content.get('schema')}, this fxconv reads {SCHEMA}; convert once more")
    return content


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """What differs between two reports, in the order a report tells it. Raises `UserError` for a damaged one."""
    try:
        return list(_differences(first, second))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError("one of the two reports is damaged or was changed by hand; convert once more") from error


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    for part, section in (("model", "model"), ("config", "asked for"), ("environment", "environment")):
        yield from _fields(section, first[part], second[part])
    if first["verdict"] != second["verdict"]:
        yield Difference("verdict", "", first["verdict"], second["verdict"])
    yield from _edits(first["passes"], second["passes"])
    yield from _islands(first["quantization"]["float_islands"], second["quantization"]["float_islands"])
    for calls in ("int8_ops", "float_ops"):
        yield from _fields(calls.replace("_ops", " calls"), first["quantization"][calls], second["quantization"][calls])
    taken = [", ".join(report["recipe"]["steps"]) or "none" for report in (first, second)]
    if taken[0] != taken[1]:
        yield Difference("recipe", "steps", *taken)
    sources = [report["calibration"]["source"] for report in (first, second)]
    if sources[0] != sources[1]:
        yield Difference("calibration", "source", *sources)
    yield from _ledger(first["parity"], second["parity"])
    faithful = [_faithful(report.get("fidelity")) for report in (first, second)]
    if faithful[0] != faithful[1]:
        yield Difference("fidelity", "", *faithful)
    artifacts = [
        {key: value for key, value in report["artifact"].items() if key not in _LEFT_OUT} for report in (first, second)
    ]
    kinds = [_files(report)[0]["target"] for report in (first, second)]
    if kinds[0] != kinds[1]:
        yield Difference("artifact", "target", *kinds)
    yield from _fields("artifact", *artifacts)
    yield from _other_files(_files(first)[1:], _files(second)[1:])


def _files(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a conversion; reports of before there were several tell of one."""
    found: list[dict[str, Any]] = report.get("artifacts") or [{"target": "mobile"}]
    return found


def _other_files(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> Iterator[Difference]:
    """The files behind the first of each conversion, those of one target beside each other."""
    each = [{file["target"]: file for file in files} for files in (first, second)]
    for target in dict.fromkeys((*each[0], *each[1])):
        files, section = [one.get(target) for one in each], f"the {TARGETS.get(target, target)}"
        if None in files:
            yield Difference(section, "", *("not there" if file is None else "there" for file in files))
            continue
        yield from _fields(section, *(_told(file) for file in files if file is not None))


def _told(file: Mapping[str, Any]) -> dict[str, Any]:
    """What a conversion says of a file, in words where it takes several fields."""
    kept = {key: value for key, value in file.items() if key in _OF_FILES}
    outside = [f"{one['operator']} {one['how']} {one['calls']}" for one in file["outside_int8"]]
    return {**kept, "fidelity": _faithful(file["fidelity"]), "outside_int8": outside}


def _fields(section: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys((*first, *second)):
        a, b = first.get(name), second.get(name)
        if a != b and isinstance(a, list) and isinstance(b, list):
            lost, found = _only(a, b)
            yield Difference(section, name, lost or "nothing more", found or "nothing more")
        elif a != b:
            yield Difference(section, name, _words(a), _words(b))


def _only(first: list[Any], second: list[Any]) -> tuple[str, str]:
    """What is in one list and not in the other, in words; of the same things in another order all of them."""
    a, b = Counter(map(_words, first)), Counter(map(_words, second))
    if a == b:
        return ", ".join(map(_words, first)), ", ".join(map(_words, second))
    return ", ".join((a - b).elements()), ", ".join((b - a).elements())


def _words(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return str(value)


def _edits(first: list[Any], second: list[Any]) -> Iterator[Difference]:
    """The edits of each pass that only one of the conversions has."""
    each = [{result["name"]: result["edits"] for result in results} for results in (first, second)]
    for name in dict.fromkeys((*each[0], *each[1])):
        counts = [Counter(_edit(edit) for edit in one.get(name, ())) for one in each]
        only = (counts[0] - counts[1], counts[1] - counts[0])
        for node in dict.fromkeys(node for edits in only for node, _ in edits):
            told = ["; ".join(text for at, text in edits.elements() if at == node) for edits in only]
            yield Difference(f"pass {name}", node, told[0] or "no edit", told[1] or "no edit")


def _edit(edit: Mapping[str, Any]) -> tuple[str, str]:
    """Where an edit is, and what became of it in words."""
    return str(edit["node"]), str(edit["after"]) or "removed"


def _islands(first: list[Any], second: list[Any]) -> Iterator[Difference]:
    reasons = [{", ".join(island["nodes"]): str(island["reason"]) for island in islands} for islands in (first, second)]
    for nodes in dict.fromkeys((*reasons[0], *reasons[1])):
        a, b = (each.get(nodes, "in int8, or in another island") for each in reasons)
        if a != b:
            yield Difference("float island", nodes, a, b)


def _ledger(first: list[Any], second: list[Any]) -> Iterator[Difference]:
    stages = [{row["stage"]: row for row in rows} for rows in (first, second)]
    for stage in dict.fromkeys((*stages[0], *stages[1])):
        a, b = (_row(each.get(stage)) for each in stages)
        if a != b:
            yield Difference("ledger", stage, a, b)


def _faithful(fidelity: Mapping[str, Any] | None) -> str:
    """How int8 answers beside float, in words; reports of before do not say."""
    if fidelity is None:
        return "not there"
    if fidelity["problem"]:
        return f"not measured: {fidelity['problem']}"
    asked, value = fidelity["asked"], fidelity["value"]
    counted = f"{fidelity['same']} of {asked} {fidelity['measure']}" if asked else f"{fidelity['measure']} {value:.3g}"
    return f"{fidelity['grade']}: {counted}"


def _row(row: Mapping[str, Any] | None) -> str:
    """A stage of the ledger in words."""
    if row is None:
        return "not there"
    sqnr, same = row["sqnr_db"], row["top1_agreement"]
    exact = "exact" if row["max_abs_diff"] == 0 else "no SQNR"
    parts = [exact if sqnr is None else f"{sqnr:.2f} dB"]
    parts += [] if same is None else [f"same top-1 on {100 * same:.1f} %"]
    parts += [f"FAILED: {row['problem']}"] if row["problem"] else []
    return ", ".join(parts)
