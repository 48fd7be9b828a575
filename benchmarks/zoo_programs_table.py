"""The networks of the zoo as ExecuTorch programs: a section of docs/zoo.md, and whether they meet what is required."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.networks import table

Record = dict[str, Any]
# How many networks must be proven, and below which share of multiply-accumulates in int8 a program must say why.
LEAST_PROVEN, ALL_INT8 = 85, 0.995
_LONGEST = 260
HEADER = ("network", "input", "verdict", "int8", "float, in the delegate", "portable", "to int8, dB", "SQNR, dB", "kB",
          "float", "conversion (s)", "peak (MiB)")  # fmt: skip


def proven(record: Record) -> bool:
    """Whether the program of a record is proven."""
    return bool(record.get("pte", {}).get("proven"))


def verdict(program: Record) -> str:
    """One word, of the record's `pte`."""
    if program.get("proven"):
        return "proven" if program["verified"] else "proven, not verified"
    return "refused" if "refused" in program else "failed"


def why(record: Record) -> str:
    """Why there is no proven program; "" where there is one."""
    if proven(record):
        return ""
    found = record["pte"]
    said = found.get("refused") or found.get("error") or found.get("verdict") or f"ended in {record['part']}"
    return _cut(said)


def summary_line(record: Record) -> str:
    """One line on a record of its own."""
    found = record["pte"]
    words = [f"{record['model']}: {verdict(found)}"]
    if not proven(record):
        words.append(why(record))
    elif found["int8_share"] is not None:
        words.append(f"{found['int8_share']:.1%} int8")
    return ", ".join([*words, f"{record['most_mib']:,.0f} MiB, {record['wall_seconds']:.0f} s"])


def programs(records: Iterable[Record]) -> list[Record]:
    """The records of programs, each with its network's name, of the networks' records."""
    return [record["pte"] for record in records if record.get("pte")]


def unmet(records: Iterable[Record]) -> list[str]:
    """Each requirement that is not met, a sentence each; none where no network was run as a program."""
    found = programs(records)
    if not found:
        return []
    problems = [f"{r['model']}, .pte: {why(r)}" for r in found if verdict(r["pte"]) == "failed"]
    if (count := sum(map(proven, found))) < LEAST_PROVEN:
        problems.append(f"{count} networks are proven as .pte, {LEAST_PROVEN} required")
    for record in found:
        own = record["pte"]
        share = own.get("int8_share")
        if proven(record) and share is not None and share < ALL_INT8 and not own["outside"] and not own["reasons"]:
            problems.append(f"{record['model']}, .pte: {share:.1%} in int8, and nothing says what is in float")
    return problems


def section(records: Iterable[Record], left_out: Mapping[str, int], code: str) -> list[str]:
    """The paragraphs of the section; none where no network was run as a program.

    `left_out` are the networks too large for it, with how many parameters each has; `code` is the hash of the sources.
    """
    found = programs(records)
    if not found:
        return []
    torches = sorted({record["torch"] for record in found})
    kinds = {kind: [r for r in found if verdict(r["pte"]) == kind] for kind in ("refused", "failed")}
    stale = sum(record["code"] != code for record in found)
    lines = [
        f"{sum(map(proven, found))} of {len(found)} networks are proven as ExecuTorch programs; "
        f"{len(kinds['refused'])} refused, {len(kinds['failed'])} failed.",
        "Left out for their size: "
        + ", ".join(f"{name} ({count / 1e6:,.0f} million parameters)" for name, count in left_out.items())
        + ".",
        *([f"{stale} of the records were made by other sources of fxconv than the present ones ({code})."]
          if stale else []),
    ]  # fmt: skip
    parts = [
        "## As ExecuTorch programs",
        f"Written by `python benchmarks/zoo.py --pte`, torch {' and '.join(torches)}: the same networks as `.pte`, at "
        "small sizes, on 4 generated images. *Proven* is what `fxconv convert -o m.pte` says: every number read back, "
        "each operation on the file's own values, the file bit for bit as its twin. *int8* is the share of the "
        "multiply-accumulates; what runs otherwise is listed, with how often one inference calls it: in float in the "
        "delegate, or portable, outside of it. *To int8* is the file beside the int8 module end to end, on the images "
        "of the proof, *SQNR* beside float.",
        "\n".join(f"- {line}" for line in lines),
        table(HEADER, (_cells(record) for record in found)),
    ]
    if floating := _islands(found):
        parts += ["### In float as in the int8 module, and why",
                  "Of these the delegate runs what it knows in float; the rest, layer norms above all, is portable.",
                  floating]  # fmt: skip
    for kind, title in (("refused", "### Refused as a program"), ("failed", "### Failed as a program")):
        if kinds[kind]:
            parts += [title, _reasons(kinds[kind])]
    return parts


def _cells(record: Record) -> list[str]:
    own = record["pte"]
    outside = own.get("outside", [])
    return [
        record["model"],
        record.get("input") or "-",
        verdict(own),
        f"{own['int8_share']:.1%}" if own.get("int8_share") is not None else "-",
        _called(one for one in outside if one["how"] == "float"),
        _called(one for one in outside if one["how"] == "portable"),
        "equal" if proven(record) and own["to_int8_db"] is None else _number(own.get("to_int8_db"), 1),
        _number(own.get("sqnr_db"), 1),
        _number(own["bytes"] / 1000, 0) if "bytes" in own else "-",
        _number(own["float_bytes"] / 1000, 0) if "float_bytes" in own else "-",
        _number(own.get("seconds"), 0),
        _number(own.get("peak_mib"), 0),
    ]


def _islands(records: Iterable[Record]) -> str:
    """Why parts of the networks are in float whatever the file, with how many such parts each network has."""
    groups = defaultdict[str, list[str]](list)
    for record in records:
        for reason, count in record["pte"].get("reasons", {}).items():
            groups[_cut(reason)].append(f"{record['model']} {count}")
    return "\n".join(f"- {', '.join(names)}: {reason}" for reason, names in groups.items())


def _called(outside: Iterable[Record]) -> str:
    return ", ".join(f"{one['operator']} {one['calls']}" for one in outside) or "-"


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:,.{places}f}"


def _reasons(records: Iterable[Record]) -> str:
    groups = defaultdict[str, list[str]](list)
    for record in records:
        groups[why(record)].append(record["model"])
    return "\n".join(f"- {', '.join(names)}: {reason}" for reason, names in groups.items())


def _cut(text: str) -> str:
    """Text for one line of Markdown."""
    text = " ".join(text.split()).replace("|", "/")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
