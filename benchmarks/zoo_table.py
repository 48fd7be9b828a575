"""The records of the zoo benchmark as docs/zoo.md and docs/zoo.json, and whether they meet what is required."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks import zoo_programs_table
from benchmarks.networks import ROOT, table, write

Record = dict[str, Any]
# What is required: decibels; how far below the stock flow's; networks; the ratio of latencies, with a
# hundredth for noise; GiB.
LEAST_SQNR, BELOW_STOCK, ALL, LEAST_CONVERTED, SLOWEST, MOST_GIB = 10.0, 0.5, 109, 100, 1.01, 24.0
# Two files whose int8 shares differ by less than this have the same layers in int8.
SAME_SHARE = 0.02
# A verdict that carries a page of the engine's words is cut here.
_LONGEST = 220
OUTCOME = "network,input,images,verdict,rewritten,int8,stock,q/dq,stock,islands,SQNR (dB),stock"
COSTS = "network,kB,stock,float,ms,stock,float,to stock,conversion (s),stock,peak (MiB)"


def verified(record: Record) -> bool:
    """Whether our file was verified."""
    return bool(record["ours"].get("verified"))


def converted(record: Record) -> bool:
    """Whether it is verified, and at least 90 % of its multiply-accumulates are int8."""
    return verified(record) and bool(record["ours"].get("converted"))


def stock_correct(record: Record) -> bool:
    """Whether the stock flow's file loads, runs, and answers within 10 dB of the float model."""
    return not record["stock"].get("error") and (record["stock"].get("sqnr_db") or -math.inf) >= LEAST_SQNR


def sqnr(record: Record) -> float | None:
    """Our SQNR, of the file on disk; of the parity ledger where outputs are boxes, which have no SQNR."""
    ours = record["ours"]
    return ours.get("ledger_sqnr_db" if record.get("is_detector") else "sqnr_db")


def below_stock(record: Record) -> float | None:
    """By how many decibels our SQNR is below the stock flow's; None where that one does not convert correctly."""
    mine = sqnr(record)
    return record["stock"]["sqnr_db"] - mine if stock_correct(record) and mine is not None else None


def verdict(record: Record) -> str:
    """One word or two."""
    if converted(record):
        return "converted"
    return "float by engine" if verified(record) else "failed"


def why(record: Record) -> str:
    """Why our conversion failed; "" when it did not."""
    if verified(record):
        return ""
    ours = record["ours"]
    return cut(ours.get("error") or ours.get("verdict") or f"ended in this part: {record['part']}")


def summary_line(record: Record) -> str:
    """One line on a record."""
    words = [f"{record['model']}: {verdict(record)}"]
    if not verified(record):
        words.append(why(record))
    if sqnr(record) is not None:
        words.append(f"{sqnr(record):.1f} dB")
    stock = record["stock"]
    words.append(
        f"stock {cut(stock['error'], 60)}" if stock.get("error") else f"stock {decibels(stock.get('sqnr_db'))}"
    )
    if record.get("ratio"):
        words.append(f"{record['ratio']:.2f} of its latency")
    return ", ".join([*words, f"{record['most_mib']:,.0f} MiB, {record['wall_seconds']:.0f} s"])


def unmet(records: list[Record]) -> list[str]:
    """Each requirement that is not met, a sentence each."""
    problems = [f"{record['model']}: {why(record)}" for record in records if not verified(record)]
    if (count := sum(map(verified, records))) < ALL:
        problems.append(f"{count} of {ALL} networks are verified")
    if (count := sum(map(converted, records))) < LEAST_CONVERTED:
        problems.append(f"{count} networks are converted, {LEAST_CONVERTED} required")
    for record in records:
        found, difference = sqnr(record), below_stock(record)
        if found is not None and found < LEAST_SQNR:
            problems.append(f"{record['model']}: {found:.1f} dB, {LEAST_SQNR:g} required")
        if difference is not None and difference > BELOW_STOCK:
            problems.append(f"{record['model']}: {difference:.2f} dB below the stock flow, {BELOW_STOCK} allowed")
        if (gib := record["ours"].get("peak_mib", 0.0) / 1024) > MOST_GIB:
            problems.append(f"{record['model']}: {gib:.1f} GiB, {MOST_GIB:g} allowed")
    ratios = _ratios(records)
    if ratios and statistics.geometric_mean(ratios) > SLOWEST:
        problems.append(f"latency is {statistics.geometric_mean(ratios):.3f} of the stock flow's, geometric mean")
    return problems


def write_table(records: list[Record], code: str, made_on: str, left_out: Mapping[str, int]) -> None:
    """docs/zoo.json and docs/zoo.md. `code` is the hash of the sources as they are now, `made_on` the machine in words.

    `left_out` are the networks that are not made into ExecuTorch programs, with how many parameters each has.
    """
    lines = ",\n".join(json.dumps(rounded(record)) for record in records)
    head = f'"schema": 1, "machine": {json.dumps(made_on)}'
    (ROOT / "docs" / "zoo.json").write_text(f'{{{head}, "networks": [\n{lines}\n]}}\n')
    write(
        "zoo.md",
        "# The zoo",
        f"Written by `python benchmarks/zoo.py` on {made_on}: every network of `torchvision.models.list_models()` "
        "but those torchvision quantized itself, through fxconv and through the stock flow (`prepare_fx`, "
        "`convert_fx`, script or else trace, `optimize_for_mobile`), on the same seeded weights and the same "
        "generated images. Batch norms have random weights and biases, and the images' statistics; what would silence "
        "a branch or the output is drawn as well (`draw_like_trained` in benchmarks/networks.py says why). A process "
        "and one thread each. The same figures, and more, are in [zoo.json](zoo.json).",
        _summary(records, code),
        "## What came out",
        "*Rewritten* is the rewritten float network against the original: equal bit for bit, or within the tolerance "
        "that the named pass declares, relative to the output's largest magnitude. *int8* is the share of the "
        "multiply-accumulates of convolutions and linear layers in `quantized::` operators, *q/dq* how many "
        "conversions to and from int8 one inference makes, both counted while the written file runs. *Islands* are "
        "groups of float operations. *SQNR* is the file on disk against the float network on up to 8 images, of the "
        "worst output; of a detector, what is compared before boxes are suppressed. A dash: the stock flow gave no "
        "file that runs.",
        table(OUTCOME.split(","), map(outcome, records)),
        "## What it costs",
        "Milliseconds of one inference in the lite interpreter, one thread, batch 1; *to stock* is the median of the "
        "ratios run by run, of the two files in turn: trust it before the milliseconds, for two networks ran at a "
        "time. *Float* is the same rewritten network, fused and lowered the same way, timed in turn with ours. "
        "qnnpack's kernels are made for ARM, XNNPACK's use whatever this processor has: measure int8 against float on "
        "the phone. "
        "fxconv's seconds include the proof. *Peak* is the memory of the process up to the end of our conversion, "
        "the original network included.",
        table(COSTS.split(","), map(costs, records)),
        *_lists(records),
        *zoo_programs_table.section(records, left_out, code),
    )


def _summary(records: list[Record], code: str) -> str:
    count = len(records)
    lines = [
        f"{sum(map(verified, records))} of {count} networks are verified: {sum(map(converted, records))} converted, "
        f"{sum(verdict(r) == 'float by engine' for r in records)} float by engine; "
        f"{sum(not verified(r) for r in records)} failed.",
        f"The stock flow gives a file that runs and has at least {LEAST_SQNR:g} dB for "
        f"{sum(map(stock_correct, records))} of them.",
    ]
    if exact := [r for r in records if "max_abs_diff" in r["ours"]]:
        equal = sum(r["ours"]["max_abs_diff"] == 0 for r in exact)
        tolerances = {f"{r['ours']['tolerance']:g}" for r in exact if r["ours"]["max_abs_diff"] != 0}
        others = f", the other {len(exact) - equal} within {' or '.join(sorted(tolerances))}" if tolerances else ""
        lines.append(f"{equal} were rewritten exactly{others}.")
    if found := [(sqnr(r), r["model"]) for r in records if verified(r) and sqnr(r) is not None]:
        least, name = min(found)
        lines.append(f"The lowest SQNR of those verified is {least:.1f} dB ({name}).")
    if found := [(difference, r["model"]) for r in records if (difference := below_stock(r)) is not None]:
        most, name = max(found)
        words = f"{most:.2f} dB below it" if most > 0 else f"{-most:.2f} dB above it"
        lines.append(f"Where the stock flow converts correctly, our SQNR is at worst {words} ({name}).")
    lines += _latency_lines(records)
    if found := [(r["ours"]["peak_mib"], r["model"]) for r in records if r["ours"].get("peak_mib")]:
        most, name = max(found)
        lines.append(f"The most memory a conversion took is {most / 1024:.1f} GiB ({name}).")
    stale = [r["model"] for r in records if r["code"] != code]
    if stale:
        lines.append(
            f"{len(stale)} of the records were made by other sources of fxconv than the present ones ({code})."
        )
    return "\n".join(f"- {line}" for line in lines)


def _latency_lines(records: list[Record]) -> list[str]:
    """Our latency against the stock flow's: over all networks, and by whether that one leaves layers in float."""
    both = [r for r in records if verified(r) and stock_correct(r) and r.get("ratio")]
    if not both:
        return []
    words = f"Over the {len(both)} networks both flows convert correctly, our latency is "
    words += f"{statistics.geometric_mean(_ratios(both)):.3f} of the stock flow's (geometric mean)"
    apart = [r for r in both if (r["stock"].get("int8_share") or 0.0) < r["ours"]["int8_share"] - SAME_SHARE]
    alike = [r for r in both if r not in apart]
    if apart and alike:
        words += f": {statistics.geometric_mean(_ratios(alike)):.3f} over the {len(alike)} with as many "
        words += f"multiply-accumulates in int8, {statistics.geometric_mean(_ratios(apart)):.3f} over the {len(apart)} "
        words += "where the stock flow leaves layers in float, to which this processor's XNNPACK kernels are better"
    return [f"{words}."]


def _ratios(records: Iterable[Record]) -> list[float]:
    return [r["ratio"] for r in records if verified(r) and stock_correct(r) and r.get("ratio")]


def outcome(record: Record) -> list[str]:
    """The cells of `OUTCOME`."""
    ours, stock = record["ours"], record["stock"]
    return [
        record["model"],
        record.get("input", record.get("size") or "-"),
        str(record["images"]),
        verdict(record),
        _exactness(ours),
        share(ours.get("int8_share")),
        share(stock.get("int8_share")),
        str(ours.get("quantize_dequantize", "-")),
        str(stock.get("quantize_dequantize", "-")),
        str(ours.get("islands", "-")),
        decibels(sqnr(record)),
        decibels(stock.get("sqnr_db")),
    ]


def _exactness(ours: Record) -> str:
    if ours.get("max_abs_diff") is None:
        return "-"
    if ours["max_abs_diff"] == 0:
        return "exact"
    return f"{ours['tolerance']:g} ({', '.join(ours['inexact_passes'])})"


def costs(record: Record) -> list[str]:
    """The cells of `COSTS`."""
    ours, stock = record["ours"], record["stock"]
    sizes = [_number(size, 1000) for size in (ours.get("bytes"), stock.get("bytes"), ours.get("float_bytes"))]
    times = [_number(ms, 1, 1) for ms in (ours.get("ms"), stock.get("ms"), ours.get("float_ms"))]
    ratio = f"{record['ratio']:.3f}" if record.get("ratio") else "-"
    seconds = [_number(flow.get("seconds"), 1, 1) for flow in (ours, stock)]
    return [record["model"], *sizes, *times, ratio, *seconds, _number(ours.get("peak_mib"), 1)]


def _lists(records: list[Record]) -> list[str]:
    parts = []
    if failed := [r for r in records if not verified(r)]:
        parts += ["## Failed", items((r["model"], why(r)) for r in failed)]
    if floating := [r for r in records if verdict(r) == "float by engine"]:
        parts += ["## Float by engine", "Verified, with less than 90 % of the multiply-accumulates in int8.",
                  items((r["model"], float_reasons(r["ours"])) for r in floating)]  # fmt: skip
    groups: dict[str, list[str]] = defaultdict(list)
    for record in records:
        stock = record["stock"]
        if stock.get("error"):
            groups[cut(stock["error"])].append(record["model"])
        elif "sqnr_db" in stock and not stock_correct(record):
            groups[f"a file that runs and is wrong: less than {LEAST_SQNR:g} dB"].append(
                f"{record['model']} ({decibels(stock['sqnr_db'])} dB)"
            )
    if groups:
        ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
        parts += ["## Where the stock flow fails",
                  items((f"{len(names)}", f"{reason}: {', '.join(names)}") for reason, names in ordered)]  # fmt: skip
    return parts


def float_reasons(ours: Record) -> str:
    """What is in float, by operator, and the reasons."""
    shares = ", ".join(f"{part:.0%} in {op}" for op, part in sorted(ours["float_macs"].items(), key=lambda m: -m[1]))
    reasons = "; ".join(f"{reason} ({n} islands)" if n > 1 else reason for reason, n in ours["reasons"].items())
    parts = [f"{ours['int8_share'] or 0:.0%} int8", *([shares] if shares else [])]
    return f"{', '.join(parts)}: {cut(reasons or 'no float islands', 3 * _LONGEST)}"


def items(pairs: Iterable[tuple[str, str]]) -> str:
    """A Markdown list, each item beginning with a name."""
    return "\n".join(f"- **{name}**: {text}" for name, text in pairs)


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _number(value: float | None, unit: float, places: int = 0) -> str:
    return "-" if value is None else f"{value / unit:,.{places}f}"


def cut(text: str, longest: int = _LONGEST) -> str:
    """Text for one cell or line of Markdown."""
    text = " ".join(text.split()).replace("|", "/")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value
