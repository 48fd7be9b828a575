"""How long one inference takes in the lite interpreter: fxconv's int8, the stock flow's, wrapped arithmetic, float.

    python benchmarks/latency.py [NETWORK...]

One thread, the four files of a network in turn, medians. Latency does not depend on the weights, so they are seeded.
Written to docs/latency.md when all ten networks ran; exits with status 1 when fxconv is slower than the stock flow.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks import stock
from benchmarks.networks import RELU6, TEN, machine, seeded, table, write
from fxconv.config import Config
from fxconv.measures.latency import interleaved, set_mobile_threads
from fxconv.targets.mobile import lowering
from fxconv.targets.mobile.lite_file import load_lite

FORMS = ("fxconv", "stock flow", "wrapped", "float")
WARM_UP, FEWEST, MOST, SECONDS = 3, 40, 200, 40.0
# The margins: no slower than the stock flow but for noise, a tenth faster where the clamp is folded.
NOISE, RELU6_GAIN = 1.03, 0.90


def forms(name: str, folder: Path) -> tuple[dict[str, Any], tuple[Tensor]]:
    """The four files of a network, loaded in the lite interpreter, and an input for them."""
    loaded, batches = seeded(name)
    example = batches[0][:1]
    ours = fxconv.convert(loaded.module, batches, min_sqnr=-1000.0)
    wrapped = fxconv.convert(loaded.module, batches, min_sqnr=-1000.0, arithmetic=fxconv.config.Arithmetic.wrap)
    floating = lowering.lowered(loaded.module, (example,), Config()).content
    contents = {"fxconv": ours.artifact.data, "wrapped": wrapped.artifact.data, "float": floating}
    modules = {"stock flow": stock.write(loaded.module, batches, folder / "stock.ptl")}
    for form, content in contents.items():
        path = folder / f"{form}.ptl"
        path.write_bytes(content)
        modules[form] = load_lite(path)
    return {form: modules[form] for form in FORMS}, (example,)


def medians(
    modules: dict[str, Any],
    example: tuple[Any, ...],
    fewest: int = FEWEST,
    most: int = MOST,
    seconds: float = SECONDS,
    warm_up: int = WARM_UP,
) -> tuple[dict[str, float], float]:
    """Median milliseconds of each; and the median of the ratio of the first to the second, run by run."""
    examples = [example] * len(modules)
    found = interleaved([*modules.values()], examples, fewest, most, seconds, warm_up, shuffled=True)
    return {form: runs.median for form, runs in zip(modules, found, strict=True)}, found[0].ratio(found[1])


def main() -> None:
    warnings.filterwarnings("ignore")
    set_mobile_threads()
    torch.backends.quantized.engine = "qnnpack"
    names = tuple(sys.argv[1:]) or TEN
    rows, slow = [], []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found, ratio = medians(*forms(name, Path(folder)))
        allowed = RELU6_GAIN if name in RELU6 else NOISE
        if ratio > allowed:
            slow.append(f"{name}: {ratio:.3f} of the stock flow's latency, {allowed} allowed")
        cells = [f"{found[form]:.2f}" for form in FORMS]
        others = [f"{found[form] / found['fxconv']:.2f}" for form in ("wrapped", "float")]
        rows.append([name, *cells, f"{ratio:.3f}", *others])
        print(" ".join(rows[-1]), file=sys.stderr)
    if set(names) == set(TEN):
        write(
            "latency.md",
            "# Latency",
            f"Written by `python benchmarks/latency.py` on {machine()}.",
            "Milliseconds of one inference in the lite interpreter, one thread, batch 1, 224x224: medians of at least "
            f"{FEWEST} runs, the four files of a network in a new order each time. *Wrapped* is `--arithmetic wrap`, "
            "dequantizing around every operation (docs/arithmetic.md says what that costs, and why so little here); "
            "*float* is the original network, scripted and "
            "optimized for mobile, which runs on XNNPACK. fxconv's weights have a scale for each channel, the stock "
            "flow's one for each layer. Below 1 in the column *to stock* fxconv is the faster one (median of the "
            "ratios run by run).",
            "qnnpack's kernels are made for ARM and use SSE2 here, XNNPACK's use whatever the processor has: read this "
            "table from int8 to int8, and measure int8 against float on the phone.",
            table(
                ["network", *(f"{form}, ms" for form in FORMS), "to stock", "wrapped / fxconv", "float / fxconv"], rows
            ),
        )
    if slow:
        raise SystemExit("\n".join(slow))


if __name__ == "__main__":
    main()
