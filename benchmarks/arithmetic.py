"""What it costs to wrap each operation in dequantize and quantize, beside arithmetic that stays in int8.

    python benchmarks/arithmetic.py [NETWORK...]

The same network three times: `--arithmetic wrap`, functional (the default), and float, in the lite interpreter with one
thread, in turn. Without a recipe, so that nothing but the arithmetic differs; the weights are seeded. Written to
docs/arithmetic.md when all networks ran, with the operations alone, which say why; exits with status 1 when functional
is not the faster one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks.latency import medians
from benchmarks.networks import ROOT, machine, seeded, table, write
from fxconv.config import Arithmetic, Config, Recipe
from fxconv.conversion import Conversion
from fxconv.measures.latency import set_mobile_threads
from fxconv.targets.mobile import lowering
from fxconv.targets.mobile.lite_file import load_lite

# Detectors at half of their size: what is compared is the same, and a run takes a quarter of the time.
NETWORKS = {
    "mobilenet_v3_small": None,
    "mobilenet_v3_large": None,
    "resnet18": None,
    "detector:mobilenet_v3_small": "256",
    "detector:mobilenet_v3_large": "256",
    "detector:resnet18": "256",
}
FORMS = {"wrapped": Arithmetic.wrap, "functional": Arithmetic.functional}
FEWEST, MOST, SECONDS = 20, 100, 30.0


def nodes(conversion: Conversion) -> int:
    """How many quantize and dequantize operators one inference runs."""
    calls = conversion.artifact.calls
    return calls.get("aten::quantize_per_tensor", 0) + calls.get("aten::dequantize", 0)


def sqnr(conversion: Conversion) -> float:
    """What the ledger says of int8 against the original, in decibels."""
    return next(row.sqnr_db for row in conversion.ledger if row.stage == "int8")


def measured(name: str, size: str | None) -> tuple[list[str], float]:
    """The table's row of a network, and the wrapped form's latency beside the functional one's."""
    loaded, batches = seeded(name, input_size=size)
    example = (batches[0][:1],)
    made = {
        form: fxconv.convert(loaded.module, batches, min_sqnr=-1000.0, arithmetic=arithmetic, recipe=(Recipe.none,))
        for form, arithmetic in FORMS.items()
    }
    for form, conversion in made.items():
        if not conversion.verified:
            raise SystemExit(f"{name}, {form}: {conversion.verdict}")
    contents = {form: conversion.artifact.data for form, conversion in made.items()}
    contents["float"] = lowering.lowered(loaded.module, example, Config()).content
    with tempfile.TemporaryDirectory() as folder:
        modules = {}
        for form, content in contents.items():
            path = Path(folder) / f"{form}.ptl"
            path.write_bytes(content)
            modules[form] = load_lite(path)
        times, ratio = medians(modules, example, FEWEST, MOST, SECONDS)
    shown = "x".join(map(str, example[0].shape[-2:]))
    cells = [f"{nodes(made[form])}" for form in FORMS]
    cells += [f"{times[form]:.2f}" for form in (*FORMS, "float")]
    cells += [f"{ratio:.2f}", *(f"{sqnr(made[form]):.1f} dB" for form in FORMS)]
    return [name, shown, *cells], ratio


def operations() -> list[list[str]]:
    """The table's row of each operation alone: as this processor runs it, and without ATen's vectors."""
    script, runs = ROOT / "benchmarks" / "operations.py", []
    for environment in ({}, {"ATEN_CPU_CAPABILITY": "default"}):
        done = subprocess.run([sys.executable, str(script)], env={**os.environ, **environment}, stdout=subprocess.PIPE)
        done.check_returncode()
        runs.append(json.loads(done.stdout))
    return [[name, *(f"{run[name][form]:.0f}" for run in runs for form in FORMS)] for name in runs[0]]


def main() -> None:
    warnings.filterwarnings("ignore")
    set_mobile_threads()
    torch.backends.quantized.engine = "qnnpack"
    names = tuple(sys.argv[1:]) or tuple(NETWORKS)
    rows, slow = [], []
    for name in names:
        row, ratio = measured(name, NETWORKS.get(name))
        rows.append(row)
        print(" ".join(row), file=sys.stderr)
        if ratio <= 1:
            slow.append(f"{name}: wrapped takes {ratio:.2f} of the functional form's latency")
    if set(names) == set(NETWORKS):
        write(
            "arithmetic.md",
            "# Wrapped or functional",
            f"Written by `python benchmarks/arithmetic.py` on {machine()}.",
            "An int8 tensor cannot be added or multiplied by `+` and `*`. *Wrapped* is the known way around it: "
            "dequantize what goes in, compute in float, quantize what comes out (`--arithmetic wrap`). *Functional* "
            "makes each operation a FloatFunctional, which has an int8 kernel: the default. Nodes are the quantize and "
            "dequantize operators that one inference runs, milliseconds the median of one inference in the lite "
            f"interpreter, one thread, batch 1, at least {FEWEST} runs in turn. SQNR is that of 8 calibration images "
            "against float, with seeded weights and no recipe.",
            "Below 1 in the column *wrapped / functional* the wrapped form would be the faster one (median of the "
            "ratios run by run). qnnpack's kernels are made for ARM and use SSE2 here: read int8 against int8.",
            table(
                [
                    "network",
                    "input",
                    *(f"{form}, nodes" for form in FORMS),
                    *(f"{form}, ms" for form in (*FORMS, "float")),
                    "wrapped / functional",
                    *(f"{form}, SQNR" for form in FORMS),
                ],
                rows,
            ),
            "## Why",
            "One operation, with what wrapping puts around it; microseconds, one thread (`python "
            "benchmarks/operations.py`). *Without vectors* is ATen compiled for no processor in particular "
            "(`ATEN_CPU_CAPABILITY=default`), which leaves QNNPACK's kernels and float convolutions as they are.",
            table(
                ["operation", "wrapped", "functional", "wrapped, without vectors", "functional, without vectors"],
                operations(),
            ),
            "Convolutions take four fifths of an inference of mobilenet_v3_small here, and more of the others, and are "
            "the same in both forms. Sums and hardswish run in QNNPACK and are as fast in int8 or faster, by much "
            "where quantizing and dequantizing has no vectors. The product has no kernel in QNNPACK; ATen computes it "
            "64 values at a time along the channels of one pixel, and what is left of the channels one by one, each "
            "through float and back. With a factor a channel, as squeeze-and-excitation has it, that is all of 16 "
            "channels, 48 of 240 and none of 576. So the products of the early blocks cost what the sums and "
            "hardswishes gain. Spreading the factor over all pixels first gives the same bits, up to four times as "
            "fast here; fxconv does not do it, because ATen has such vectors for AVX2 and AVX-512 only: a phone would "
            "pay for the spreading and gain nothing. There the last two columns are the nearer ones, and "
            "squeeze-and-excitation is what wrapping may do faster: measure both on the phone.",
        )
    if slow:
        raise SystemExit("\n".join(slow))


if __name__ == "__main__":
    main()
