"""What fine-tuning while rounded brings over static quantization, with and without labels.

    python benchmarks/qat.py --photographs DIR [--weights FILE] --cifar FILE.npz --checkpoints DIR

mobilenet_v2 with the official weights, one scale for a layer's weights and no recipe, where static quantization loses
most: it learns from the float model's answers on 300 photographs, without labels, and is scored on the 100 others,
three times. Beside it stands what rounding costs between the layers alone, which better weights alone do not take
away. And the CIFAR-10 checkpoints learn from the labels of the training images. All scores are those of the `.ptl` on
disk. Written to docs/training.md; exits with status 1 when less than half of the lost agreement comes back, a
training takes more than 20 minutes, or a checkpoint ends below its static result.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks.accuracy import (
    CIFAR,
    HEADER,
    Answers,
    demand,
    packaged_checkpoint,
    photographs,
    prepared,
    scores,
    trained,
    unmet,
)
from benchmarks.networks import ROOT, machine, table
from fxconv.config import Mode, Recipe, Teacher, WeightScheme
from fxconv.conversion import Conversion
from fxconv.data.labels import LabelledBatches
from fxconv.models import loading
from fxconv.quantization.engine import engine
from fxconv.targets.mobile.lite_file import load_lite

SPLITS, TRAINED_ON, BATCH, CALIBRATION = 3, 300, 10, 200
MOST_SECONDS, LEAST_REGAINED = 20 * 60, 0.5
BETWEEN = "weights in float, the rest rounded"


def main() -> None:
    parser = argparse.ArgumentParser(description="quantization-aware training beside static quantization")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None, help="official mobilenet_v2-b0353104.pth")
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    sections = []
    for network, size in CIFAR:
        sections.append(labelled(network, size, arguments.cifar, arguments.checkpoints))
        write(sections)
    sections.append(distilled(arguments.photographs, arguments.weights or packaged_checkpoint()))
    write(sections)
    if unmet:
        raise SystemExit("\n".join(unmet))


def write(sections: list[str]) -> None:
    """The page with what there is."""
    head = [
        "# Training",
        f"Written by `python benchmarks/qat.py` on {machine()}. Static quantization, and the same after fine-tuning "
        "while rounded (`--mode qat`); scored from the `.ptl` on disk, one image at a time, on images neither saw.",
    ]
    (ROOT / "docs" / "training.md").write_text("\n\n".join([*head, *sections]) + "\n")


def answered(conversion: Conversion, images: Tensor) -> Tensor:
    """What the file answers."""
    with tempfile.TemporaryDirectory() as folder, engine("qnnpack"):
        path = Path(folder) / "model.ptl"
        conversion.save(path)
        return scores(load_lite(path), images)


def distilled(folder: Path, checkpoint: Path) -> str:
    """mobilenet_v2 after the float model's own answers."""
    loaded = loading.load("mobilenet_v2", str(checkpoint))
    images, labels = photographs(folder, loaded.preprocessing)
    options: dict[str, Any] = {"weight_scheme": WeightScheme.per_tensor, "recipe": (Recipe.none,), "min_sqnr": 0.0}
    rows, pooled = [], dict[str, list[Answers]]()
    for split in range(SPLITS):
        order = list(range(len(images)))
        random.Random(split).shuffle(order)
        chosen, scored = order[:TRAINED_ON], order[TRAINED_ON:]
        reference, batches = scores(loaded.module, images[scored]), list(images[chosen].split(BATCH))
        each = {}
        half = Answers(
            reference, scores(rounded_between(loaded.module, batches, split, options), images[scored]), labels[scored]
        )
        pooled.setdefault(BETWEEN, []).append(half)
        rows.append([f"{split}", BETWEEN, *half.cells(), "", ""])
        for mode in (Mode.static, Mode.qat):
            start = time.perf_counter()
            conversion = fxconv.convert(loaded.module, batches, mode=mode, seed=split, **options)
            seconds = time.perf_counter() - start
            each[mode] = Answers(reference, answered(conversion, images[scored]), labels[scored])
            pooled.setdefault(mode.value, []).append(each[mode])
            epochs = epochs_of(conversion)
            rows.append([f"{split}", mode.value, *each[mode].cells(), epochs, f"{seconds:.0f} s"])
            print(*rows[-1], file=sys.stderr)
            demand(f"split {split}: {seconds:.0f} s, at most {MOST_SECONDS} wanted", seconds <= MOST_SECONDS)
    whole = {name: _pooled(answers) for name, answers in pooled.items()}
    lost = {name: 100 - answers.agreement for name, answers in whole.items()}
    regained = 1 - lost["qat"] / lost["static"]
    demand(f"{regained:.0%} of the lost agreement regained, {LEAST_REGAINED:.0%} wanted", regained >= LEAST_REGAINED)
    rows += [["all", name, *answers.cells(), "", ""] for name, answers in whole.items()]
    title = f"## mobilenet_v2, official weights, a scale a layer, no recipe: {TRAINED_ON} photographs without labels"
    about = (
        f"{SPLITS} splits into those it is calibrated and trained on and those scored. Of the agreement with float "
        f"that static quantization loses, training regains {regained:.0%}. *{BETWEEN}* is the calibrated model, not "
        "trained, whose weights are not rounded: what is lost between the layers, by ranges that have no recipe."
    )
    return "\n\n".join([title, about, table(["split", "mode", *HEADER[2:], "epochs", "time"], rows)])


def rounded_between(model: nn.Module, batches: list[Tensor], seed: int, options: dict[str, Any]) -> nn.Module:
    """The calibrated model with its activations rounded and its weights as they are."""
    module = fxconv.prepare_qat(model, batches, seed=seed, **options)
    for part in module.modules():
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=False)
    return module


def _pooled(answers: list[Answers]) -> Answers:
    return Answers(*(torch.cat([getattr(one, part) for one in answers]) for part in ("reference", "found", "truth")))


def epochs_of(conversion: Conversion) -> str:
    """The epoch whose weights were kept, and how many there were."""
    done = conversion.training
    return "" if done is None else f"{done.kept} of {len(done.epochs)}"


def labelled(network: str, size: int, data: Path, checkpoints: Path) -> str:
    """A CIFAR-10 checkpoint after the labels of the training images."""
    model: nn.Module = trained(network, size, checkpoints)
    arrays = np.load(data)
    seen, truth = prepared(arrays["train_x"], size), torch.from_numpy(arrays["train_y"]).long()
    images, wanted = prepared(arrays["test_x"], size), torch.from_numpy(arrays["test_y"]).long()
    batches, reference = list(seen[:CALIBRATION].split(BATCH)), scores(model, images)
    rows, points = [], {}
    rows.append(["float", *Answers(reference, reference, wanted).cells(), "", ""])
    for scheme in WeightScheme:
        for mode in (Mode.static, Mode.qat):
            start = time.perf_counter()
            training: dict[str, Any] = {}
            if mode is Mode.qat:
                given = LabelledBatches(seen.split(BATCH), truth.tolist())
                training = {"training": given, "learn_from": Teacher.labels, "batch_size": 50, "epochs": 5}
            conversion = fxconv.convert(model, batches, mode=mode, weight_scheme=scheme, min_sqnr=0.0, **training)
            seconds = time.perf_counter() - start
            found = Answers(reference, answered(conversion, images), wanted)
            points[scheme, mode] = found.points
            rows.append([f"{mode.value}, {scheme.value}", *found.cells(), epochs_of(conversion), f"{seconds:.0f} s"])
            print(network, *rows[-1], file=sys.stderr)
        more = points[scheme, Mode.qat] - points[scheme, Mode.static]
        demand(f"{network}, {scheme.value}: {more:.2f} points below its static result, none wanted", more <= 0)
    title = f"## {network}, CIFAR-10, {len(seen)} training images with labels, {len(images)} test images to score"
    return "\n\n".join([title, table([*HEADER[:1], *HEADER[2:], "epochs", "time"], rows)])


if __name__ == "__main__":
    main()
