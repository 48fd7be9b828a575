"""docs/targets.md, made of the records in docs/targets.json, and whether they meet what is required."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from benchmarks.networks import table

Record = dict[str, Any]
# What is required of a .pte: points of agreement and decibels that it may be below the .ptl, and the most of the
# latency of ExecuTorch's own file, for each network, and of the .ptl's.
BELOW_AGREEMENT, BELOW_SQNR = 0.5, 0.3
MOST_OF_EXECUTORCH, MOST_OF_EXECUTORCH_FOLDED, MOST_OF_PTL = 1.03, 0.96, 0.25
# Whose hard-sigmoids are folded into convolutions, which ExecuTorch's recipe leaves in float; and which are held
# against the .ptl's latency.
FOLDED, HELD_AGAINST_PTL = frozenset({"mobilenet_v3_small"}), ("mobilenet_v2", "mobilenet_v3_small", "resnet18")
OURS, LITE, OWN, CONTROL = "auto.pte", "auto.ptl", "executorch.pte", "executorch.pte again"
NAMES = {
    "float": "float, PyTorch",
    "float.pte": "float `.pte`",
    LITE: "fxconv `.ptl`",
    OURS: "fxconv `.pte`",
    "none.ptl": "fxconv `.ptl`, recipe none",
    "none.pte": "fxconv `.pte`, recipe none",
    OWN: "ExecuTorch's recipe",
    CONTROL: "the same file again",
}
HEADER = ("file", "top-1", "agrees with float", "SQNR, dB", "ms", "CPU, ms", "to ExecuTorch's", "to .ptl", "bytes")


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share, in percent, by Wilson's formula."""
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return 100 * (middle - half), 100 * (middle + half)


def unmet(records: list[Record]) -> list[str]:
    """Each requirement that is not met, a sentence each."""
    return [problem for record in records for problem in _unmet(record)]


def _unmet(record: Record) -> Iterator[str]:
    name, files = record["network"], record["files"]
    ours, lite = files[OURS], files[LITE]
    if not ours["proven"]:
        yield f"{name}: the .pte is not proven: {ours['verdict']}"
    if (below := round(lite["agreement"] - ours["agreement"], 6)) > BELOW_AGREEMENT:
        yield f"{name}: agreement is {below:.1f} points below the .ptl's, {BELOW_AGREEMENT} allowed"
    if (below := round(lite["sqnr_db"] - ours["sqnr_db"], 6)) > BELOW_SQNR:
        yield f"{name}: SQNR is {below:.2f} dB below the .ptl's, {BELOW_SQNR} allowed"
    timed = record["latency"]["files"][OURS]
    most = MOST_OF_EXECUTORCH_FOLDED if name in FOLDED else MOST_OF_EXECUTORCH
    if "to_executorch" in timed and (ratio := timed["to_executorch"]["cpu"]) > most:
        yield f"{name}: {ratio:.3f} of the latency of ExecuTorch's own recipe, {most} allowed"
    if name in HELD_AGAINST_PTL and (ratio := timed["to_ptl"]["cpu"]) > MOST_OF_PTL:
        yield f"{name}: {ratio:.3f} of the .ptl's latency, {MOST_OF_PTL} allowed"


def page(head: Record, records: list[Record]) -> str:
    """The whole page. `head` has `processor` and `versions`, both in words, and `date`."""
    parts = [
        "# Targets",
        f"Written by `python benchmarks/targets.py` on {head['processor']}, {head['versions']}, {head['date']}: one "
        "calibration, both files, beside ExecuTorch's own recipe and float, all on the same images.",
        "*ExecuTorch's recipe* is `prepare_pt2e`, `convert_pt2e` with `XNNPACKQuantizer` and its symmetric "
        "configuration, a scale for each channel of weights, lowered by its `XnnpackPartitioner`. All are calibrated "
        "on the same 100 images, and scored one at a time, from the file, on others. fxconv's recipe is *auto*, its "
        "default, and with *none* nothing is done to recover accuracy. *Agrees* and *SQNR* are of the answers beside "
        "float's in PyTorch; how far two agreements are apart has the 95 % bound of the paired difference, and top-1 "
        "its 95 % interval (Wilson).",
        "Latency is of one image, one thread, all files of a network loaded in one process and run in turn, in a new "
        "order each round; a turn of fast ones is several runs. *To ExecuTorch's* and *to .ptl* are medians of the "
        "ratios round by round, of CPU time: the machine had other things to do, so that milliseconds by the wall say "
        "little; in parentheses is the ratio of the least CPU times, which other processes lengthened least. "
        "ExecuTorch's own file was loaded a second time, and what that is from 1 is noise. Its files take one "
        "image a call; fxconv's take up to 8 and carry metadata and golden inputs. This is an x86-64 machine, "
        "where qnnpack's kernels, made for ARM, use SSE2, and XNNPACK's all that the processor has: on a phone the "
        "`.ptl` is not as slow beside a `.pte`.",
        _goals(records),
        *(_section(record) for record in records),
    ]
    return "\n\n".join(parts) + "\n"


def _goals(records: list[Record]) -> str:
    problems = unmet(records)
    what = (
        f"Required of each `.pte`: agreement no more than {BELOW_AGREEMENT} points and SQNR no more than {BELOW_SQNR} "
        f"dB below the `.ptl`'s; at most {MOST_OF_EXECUTORCH} of the latency of ExecuTorch's recipe, "
        f"{MOST_OF_EXECUTORCH_FOLDED} on {' and '.join(sorted(FOLDED))}; at most {MOST_OF_PTL} of the `.ptl`'s on "
        f"{', '.join(HELD_AGAINST_PTL)}."
    )
    return f"{what} Not met:\n\n" + "\n".join(f"- {each}" for each in problems) if problems else f"{what} All are met."


def _section(record: Record) -> str:
    known = record["weights"] != "random"
    weights = {"ImageNet": "official ImageNet weights", "CIFAR-10": "weights trained on CIFAR-10"}.get(
        record["weights"], "random weights"
    )
    title = f"## {record['network']}, {record['size']}x{record['size']}, {weights}"
    about = f"{record['calibration']} images to calibrate, {record['scored']} others to score."
    if not known:
        about += (
            " No trained weights are at hand: batch norms have the statistics of the photographs, and what would "
            "silence a branch is drawn (`draw_like_trained` in benchmarks/networks.py); answers are told beside "
            "float's alone."
        )
    rows = [_row(name, record) for name in NAMES if name in record["files"] or name in record["latency"]["files"]]
    return "\n\n".join([title, about, table(HEADER, rows), *_outside(record)])


def _row(name: str, record: Record) -> list[str]:
    file = record["files"].get(name, {})
    timed = record["latency"]["files"].get(name)
    cells = [NAMES[name]]
    right, count = file.get("right"), record["scored"]
    if right is None:
        cells.append("-")
    else:
        low, high = wilson(right, count)
        cells.append(f"{100 * right / count:.1f} % ({low:.1f} to {high:.1f})")
    if "agreement" in file and name != "float":
        sqnr = file["sqnr_db"]
        cells += [f"{file['agreement']:.1f} %", "equal" if sqnr is None else f"{sqnr:.1f}"]
    else:
        cells += ["-", "-"]
    if timed is None:
        cells += ["-"] * 4
    else:
        cells += [f"{timed['ms']:.2f}", f"{timed['cpu_ms']:.2f}"]
        ratios = (timed.get("to_executorch"), timed["to_ptl"])
        cells += [f"{ratio['cpu']:.3f} ({ratio['least_cpu']:.3f})" if ratio else "-" for ratio in ratios]
    return [*cells, f"{file['bytes']:,}" if "bytes" in file else "-"]


def _outside(record: Record) -> list[str]:
    """What a .pte computes otherwise than in int8, and what its proof found, in a sentence each."""
    ours = record["files"][OURS]
    said = [f"`.pte`: {ours['verdict']}; {100 * ours['int8_share']:.1f} % of the multiply-accumulates in int8"]
    apart = ours["to_int8_db"]
    said.append("equal to the int8 module" if apart is None else f"{apart:.1f} dB from the int8 module")
    said[-1] += " on the images of the proof"
    below = record["below_ptl"]
    said.append(f"agreement {below['points']:.1f} ± {below['bound']:.1f} points below the `.ptl`'s")
    outside = ours["outside"]
    rows = [f"{one['operator']} ({one['how']}, {one['calls']} times, {one['values']:,} values)" for one in outside]
    nothing = (
        "nothing outside int8" if ours["int8_share"] == 1 else "nothing outside int8 but what the module has in float"
    )
    said.append(f"outside int8: {'; '.join(rows)}" if rows else nothing)
    lost = [f"{NAMES[name]}: does not load: {f['problem']}." for name, f in record["files"].items() if "problem" in f]
    return [f"{', '.join(said)}.", *lost]
