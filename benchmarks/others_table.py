"""The records of benchmarks/others.py as docs/other_packages.md and .json, and whether they meet what is required."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from benchmarks.networks import ROOT, machine, table, write
from benchmarks.zoo_plan import Plan
from benchmarks.zoo_table import converted, decibels, float_reasons, items, rounded, share, sqnr, verdict, verified, why

Record = dict[str, Any]
JSON = ROOT / "docs" / "other_packages.json"
# What is required: verified networks, and how many of them with at least 90 % of their multiply-accumulates in int8.
LEAST, LEAST_CONVERTED = 30, 27
_BEFORE = ("islands", "quantize_dequantize", "unfolded_norms", "int8_share", "verified")
_HEAD = (
    "network,input,verdict,parts,norms apart,islands,before,q/dq,before,stock,int8,before,stock,SQNR (dB),stock,"
    "rewriting (s)"
)


def unmet(records: list[Record]) -> list[str]:
    """Each requirement that is not met, a sentence each."""
    problems = []
    if (count := sum(map(verified, records))) < LEAST:
        problems += [f"{record['model']}: {why(record)}" for record in records if not verified(record)]
        problems.append(f"{count} networks are verified, {LEAST} required")
    if (count := sum(map(converted, records))) < LEAST_CONVERTED:
        problems.append(f"{count} networks are converted, {LEAST_CONVERTED} required")
    return problems


def write_table(plans: list[Plan], records: list[Record], before: list[Record] | None, code: str) -> None:
    """docs/other_packages.json and .md. Without `before`, what stood there of an earlier version stays."""
    earlier = _earlier() if before is None else {p.called: _kept(r) for p, r in zip(plans, before, strict=True) if r}
    rows = [(plan, record, earlier.get(plan.called, {})) for plan, record in zip(plans, records, strict=True)]
    lines = ",\n".join(json.dumps(rounded({**r, "called": p.called, "before": b})) for p, r, b in rows)
    head = f'"schema": 1, "machine": {json.dumps(machine())}'
    JSON.write_text(f'{{{head}, "networks": [\n{lines}\n]}}\n')
    norms = [(p.called, _reasons(r)) for p, r, _ in rows if r["ours"].get("unfolded_norms")]
    write(
        "other_packages.md",
        "# Networks of other packages",
        f"Written by `python benchmarks/others.py` on {machine()}. Each network was converted as its package installs "
        "it, named on the command line: `fxconv convert MODEL --weights random --input-size SIZE`. Seeded weights, "
        "batch norms re-estimated, generated images, inputs smaller than usual. The packages and their versions are "
        "in [other_packages.txt](../benchmarks/other_packages.txt); more figures are in "
        "[other_packages.json](other_packages.json).",
        _summary(records, code),
        "*Parts* are the graphs the network was traced as, *norms apart* the batch norms that are not folded into a "
        "convolution or linear layer, *islands* the groups of float operations between int8 ones, *q/dq* the "
        "conversions to and from int8 that one inference makes, *int8* the share of the multiply-accumulates. "
        "*Before* is fxconv as it was before its passes followed these packages; *stock* is the FX flow of torch.ao, a "
        "dash where it gave no file that runs. *Rewriting* are the seconds of tracing and passes.",
        table(_HEAD.split(","), (_cells(*row) for row in rows)),
        "## Batch norms that stay apart, and why",
        items(norms) or "None.",
        "## What stays in float",
        items((p.called, float_reasons(r["ours"]) if verified(r) else why(r)) for p, r, _ in rows),
    )


def _earlier() -> dict[str, Record]:
    if not JSON.exists():
        return {}
    return {each["called"]: each["before"] for each in json.loads(JSON.read_text())["networks"] if each.get("before")}


def _kept(record: Record) -> Record:
    return {key: record["ours"].get(key) for key in _BEFORE}


def _summary(records: list[Record], code: str) -> str:
    apart = sum(len(r["ours"].get("unfolded_norms", ())) for r in records)
    lines = [
        f"{sum(map(verified, records))} of {len(records)} networks are verified, {sum(map(converted, records))} of "
        "them with at least 90 % of the multiply-accumulates in int8.",
        f"{sum(r['ours'].get('parts') == 1 for r in records)} are one graph; {apart} batch norms of "
        f"{sum(bool(r['ours'].get('unfolded_norms')) for r in records)} networks stay apart, each for a reason below.",
    ]
    if found := [(value, r["model"]) for r in records if verified(r) and (value := sqnr(r)) is not None]:
        least, name = min(found)
        lines.append(f"The lowest SQNR of those verified is {least:.1f} dB ({name}).")
    if stale := sum(r.get("code") != code for r in records):
        lines.append(f"{stale} of the records were made by other sources of fxconv than the present ones ({code}).")
    return "\n".join(f"- {line}" for line in lines)


def _cells(plan: Plan, record: Record, before: Record) -> list[str]:
    ours, stock = record["ours"], record["stock"]
    return [
        plan.called,
        record.get("input", plan.size or "-"),
        verdict(record),
        str(ours.get("parts", "-")),
        str(len(ours["unfolded_norms"])) if "unfolded_norms" in ours else "-",
        str(ours.get("islands", "-")),
        _known(before.get("islands")),
        str(ours.get("quantize_dequantize", "-")),
        _known(before.get("quantize_dequantize")),
        str(stock.get("quantize_dequantize", "-")),
        share(ours.get("int8_share")),
        share(before.get("int8_share")),
        share(stock.get("int8_share")),
        decibels(sqnr(record)),
        decibels(stock.get("sqnr_db")),
        f"{ours['rewriting_seconds']:.1f}" if "rewriting_seconds" in ours else "-",
    ]


def _known(value: int | None) -> str:
    return "-" if value is None else str(value)


def _reasons(record: Record) -> str:
    counted = Counter(norm["reason"] for norm in record["ours"]["unfolded_norms"])
    return "; ".join(f"{reason} ({count})" if count > 1 else reason for reason, count in counted.most_common())
