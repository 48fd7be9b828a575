"""Litter detectors in int8: how many centres one object gets, before and after equal scores are settled.

    python benchmarks/detectors.py --photographs DIR [--checkpoints DIR] [--steps 600]

For each backbone a detector is trained on generated scenes (shapes pasted on natural textures), starting from the
CIFAR-10 checkpoints' feature layers where they are given, and converted as `fxconv convert detector:NAME --input-size
544x960 --postprocess peaks` does it, calibrated on the photographs. Its heatmaps of the photographs are then searched
for peaks: with the last layer in int8 and in float, the sigmoid first and last, ties kept, with noise, and by index. A
duplicate is a detection beside another one of the same object: their cells touch. Written to docs/detectors.md, and one
scene with its peaks drawn to docs/detectors.png. Exits with status 1 when a conversion is not verified, by script or by
trace, with or without --java, or `index` leaves a duplicate.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

import fxconv
from benchmarks.networks import ROOT, machine, table, write
from benchmarks.scenes import Scene, heatmap, scenes, tensor
from fxconv.config import Method, Postprocess, Recipe
from fxconv.conversion import Conversion
from fxconv.data.calibration_photographs import Photographs
from fxconv.models import forward
from fxconv.models.detectors import STRIDE, HeatmapDetector, HeatmapPeaks, detector
from fxconv.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from fxconv.quantization.engine import engine
from fxconv.targets.mobile.lite_file import load_lite_bytes

BACKBONES = {"mobilenet_v3_small": "mobilenet_v3_small_cifar10_64.pth", "resnet18": "resnet18_cifar10_32.pth"}
SIDE, BATCH, LEARNING_RATE = 160, 8, 1e-3
HEIGHT, WIDTH = 544, 960
OTHER = (288, 416)
THRESHOLD, COUNT = 0.2, 200
TIES, SIGMOIDS = ("keep", "noise", "index"), ("first", "last")
# Plateaus to settle, as cells (row, column).
PLATEAUS = {
    "pair": [(0, 0), (0, 1)],
    "diagonal pair": [(0, 0), (1, 1)],
    "line of 3": [(0, 0), (0, 1), (0, 2)],
    "L of 3": [(0, 0), (1, 0), (1, 1)],
    "square of 4": [(0, 0), (0, 1), (1, 0), (1, 1)],
    "ring of 8": [(r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)],
    "block of 9": [(r, c) for r in range(3) for c in range(3)],
    "block of 25": [(r, c) for r in range(5) for c in range(5)],
}
SEEDS = 200

unmet: list[str] = []


def demand(what: str, is_met: bool) -> None:
    """Remember what is not as it should be."""
    if not is_met:
        unmet.append(what)
        print(f"NOT MET: {what}", file=sys.stderr)


def trained(backbone: str, checkpoints: Path | None, steps: int) -> tuple[HeatmapDetector, float]:
    """A detector after `steps` batches of generated scenes, and its last loss."""
    torch.manual_seed(0)
    network = detector(backbone)
    if checkpoints is not None:
        network.load_backbone(torch.load(checkpoints / BACKBONES[backbone], weights_only=True))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    stream, recent = scenes(steps * BATCH, SIDE, SIDE, seed=1), 0.0
    network.train()
    for step in range(steps):
        some = [next(stream) for _ in range(BATCH)]
        images = torch.stack([tensor(scene.pixels, IMAGENET_MEAN, IMAGENET_STD) for scene in some])
        targets = torch.stack([heatmap(scene.objects, SIDE, SIDE, STRIDE) for scene in some])
        loss = _focal(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        recent = 0.95 * recent + 0.05 * float(loss.detach()) if step else float(loss.detach())
        if step % 50 == 0:
            print(f"{backbone}: step {step} of {steps}, loss {recent:.3f}", file=sys.stderr)
    return network.eval(), recent


def _focal(logits: Tensor, targets: Tensor) -> Tensor:
    """The penalty-reduced focal loss of Objects as Points, equation 1, for each object."""
    centres = targets == 1
    found = F.logsigmoid(logits) * (1 - logits.sigmoid()) ** 2
    nothing = F.logsigmoid(-logits) * logits.sigmoid() ** 2 * (1 - targets) ** 4
    return -torch.where(centres, found, nothing).sum() / centres.sum().clamp_min(1)


def peaks_of(logits: Tensor, ties: str, sigmoid: str, step: float) -> list[tuple[float, float, float]]:
    """x, y and score of the detections in one heatmap `[1, 1, H, W]`."""
    module = HeatmapPeaks(THRESHOLD, COUNT, ties, stride=STRIDE, step=step, sigmoid=sigmoid)
    return [(x, y, score) for x, y, score, _, valid in module(logits)[0].tolist() if valid]


def duplicates(found: Sequence[tuple[float, float, float]]) -> int:
    """How many detections there are beyond one for each group whose cells touch."""
    left, groups = set(range(len(found))), 0
    while left:
        queue, groups = [left.pop()], groups + 1
        while queue:
            x, y, _ = found[queue.pop()]
            near = {i for i in left if abs(found[i][0] - x) <= STRIDE and abs(found[i][1] - y) <= STRIDE}
            left -= near
            queue += near
    return len(found) - groups


def converted(network: HeatmapDetector, data: Photographs, **options: Any) -> Conversion:
    """The detector in int8, for inputs of the photographs' size."""
    return fxconv.convert(network, data, **options)


def step_of(conversion: Conversion) -> float:
    """The step of the heatmap's logits; of those in float that of the layer before it, which is as coarse."""
    scales = [getattr(module, "scale", None) for module in conversion.int8.modules()]
    return [float(scale) for scale in scales if isinstance(scale, (float, Tensor))][-1]


def searched(name: str, network: HeatmapDetector, data: Photographs) -> tuple[list[list[str]], Conversion]:
    """A row for each precision of the last layer, place of the sigmoid and way with ties: detections and duplicates."""
    images = [image[0][None] for image in data.images()]
    whole = converted(network, data)
    float_last = converted(network, data, keep_float=("hm.2",))
    forms = {"float": network, "int8": whole.int8, "int8, last layer in float": float_last.int8}
    rows, left = [], 0
    for form, module in forms.items():
        with engine("qnnpack"):
            maps = [outputs[0] for outputs in forward.outputs(module, [(image,) for image in images])]
        for sigmoid in SIGMOIDS:
            cells = []
            for ties in TIES:
                found = [peaks_of(one, ties, sigmoid, step_of(whole)) for one in maps]
                twice = sum(map(duplicates, found))
                cells.append(f"{sum(map(len, found))} ({twice})")
                left += twice if ties == "index" else 0
            rows.append([name, form, sigmoid, *cells])
            print(*rows[-1], file=sys.stderr)
    demand(f"{name}: {left} duplicates with ties by index, none wanted", left == 0)
    return rows, whole


def forms_of(name: str, network: HeatmapDetector, data: Photographs) -> list[list[str]]:
    """A row for each way to lower it, with the peaks in the artifact."""
    rows = []
    for method in (Method.script, Method.trace):
        for java in (False, True):
            options = {"method": method, "java": java, "postprocess": Postprocess.peaks}
            done = converted(network, data, **options, recipe=(Recipe.none,))  # lowering is what differs here
            holds = "yes" if _holds(done) else "NO"
            size = f"{done.artifact.size / 1e6:.2f} MB"
            rows.append([name, method.value, "yes" if java else "no", done.verdict, holds, size])
            demand(f"{name}, {method.value}, java {java}: {done.verdict}", done.verified)
            demand(f"{name}, {method.value}, java {java}: does not hold at {OTHER}", holds == "yes")
            print(*rows[-1], file=sys.stderr)
    return rows


def _holds(conversion: Conversion) -> bool:
    """Whether the file finds at another input size what the int8 module and the peaks find there."""
    torch.manual_seed(0)
    image, peaks = torch.randn(1, 3, *OTHER), HeatmapPeaks(stride=STRIDE)
    with engine("qnnpack"), torch.no_grad():
        found = load_lite_bytes(conversion.artifact.data)(image)
        return torch.equal(found, peaks(forward.outputs(conversion.int8, [(image,)])[0][0]))


def plateaus() -> list[list[str]]:
    """What each way with ties leaves of plateaus: detections, a mean over seeds for noise."""
    rows = []
    for name, cells in PLATEAUS.items():
        logits = torch.full((1, 1, 9, 9), -6.0)
        for row, column in cells:
            logits[0, 0, row + 2, column + 2] = 2.0
        counts = []
        for seed in range(SEEDS):
            module = HeatmapPeaks(0.3, 50, "noise", step=0.1, seed=seed)
            counts.append(int(module(logits)[0, :, 4].sum()))
        kept, settled = (int(HeatmapPeaks(0.3, 50, ties)(logits)[0, :, 4].sum()) for ties in ("keep", "index"))
        more = sum(count > 1 for count in counts) / len(counts)
        mean = sum(counts) / len(counts)
        rows.append([name, str(kept), f"{mean:.2f}", f"{max(counts)}", f"{more:.0%}", str(settled)])
    return rows


def drawn(int8: Any, step: float) -> tuple[int, int]:
    """The scene with the most duplicates of some, its peaks before and after drawn into docs/detectors.png."""
    best: tuple[int, Scene, list[Any], list[Any]] | None = None
    for scene in scenes(40, 256, 320, seed=2):
        image = tensor(scene.pixels, IMAGENET_MEAN, IMAGENET_STD)[None]
        with engine("qnnpack"):
            logits = forward.outputs(int8, [(image,)])[0][0]
        before, after = (peaks_of(logits, ties, "first", step) for ties in ("keep", "index"))
        if best is None or duplicates(before) > best[0]:
            best = duplicates(before), scene, before, after
    assert best is not None
    _, scene, before, after = best
    canvas = Image.new("RGB", (2 * 640 + 16, 512), "white")
    for place, found in enumerate((before, after)):
        picture = Image.fromarray(scene.pixels).resize((640, 512), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for x, y, _ in found:
            a, b = 2 * x + STRIDE, 2 * y + STRIDE
            draw.ellipse((a - 5, b - 5, a + 5, b + 5), fill=(255, 230, 0), outline=(0, 0, 0), width=2)
        canvas.paste(picture, (place * 656, 0))
    canvas.quantize(128).save(ROOT / "docs" / "detectors.png", optimize=True)
    return len(before), len(after)


def main() -> None:
    parser = argparse.ArgumentParser(description="duplicate centres of int8 detectors, before and after")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path, default=None)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    how = Preprocessing(HEIGHT, WIDTH, resize=1.0)
    found, ways, trainings, shown = [], [], [], ""
    for backbone in BACKBONES:
        start = time.perf_counter()
        network, loss = trained(backbone, arguments.checkpoints, arguments.steps)
        trainings.append(f"{backbone} to a loss of {loss:.2f} in {time.perf_counter() - start:.0f} s")
        data = Photographs(arguments.photographs, how, 20, 2, 0)
        rows, whole = searched(backbone, network, data)
        found += rows
        ways += forms_of(backbone, network, data)
        if not shown:
            before, after = drawn(whole.int8, step_of(whole))
            shown = f"{before} detections before, {after} after"
    write(
        "detectors.md",
        "# Litter detectors",
        f"Written by `python benchmarks/detectors.py` on {machine()}: detectors trained for {arguments.steps} batches "
        f"of generated scenes ({'; '.join(trainings)}), then converted to int8, calibrated on {data.count} photographs "
        f"of litter at {HEIGHT}x{WIDTH}, and run on the same.",
        "## Duplicate centres on photographs",
        f"Detections of a score above {THRESHOLD}, and in brackets how many of them are duplicates: their cell touches "
        "that of another one. *keep* is the usual 3x3 test, *noise* the known workaround, *index* fxconv's default. "
        "*sigmoid* says whether peaks are looked for among scores (first) or among logits (last).",
        table(["detector", "arithmetic", "sigmoid", "keep: before", "noise", "index: after"], found),
        "## What noise leaves of larger plateaus",
        f"Detections on a plateau of equal scores, alone in a heatmap; noise with {SEEDS} seeds.",
        table(["plateau", "keep", "noise, mean", "noise, most", "noise leaves several", "index"], plateaus()),
        "## Ways to lower",
        "With the peaks in the artifact; at another input size it must find what the int8 module finds there.",
        table(["detector", "method", "--java", "verdict", f"holds at {OTHER[0]}x{OTHER[1]}", "size"], ways),
        "## A scene",
        f"Of 40 generated scenes the one with the most duplicates: left as before (`--ties keep`), right as after "
        f"(`--ties index`): {shown}. `python benchmarks/detectors.py` draws it.",
        "![peaks before and after](detectors.png)",
    )
    if unmet:
        raise SystemExit("\n".join(unmet))


if __name__ == "__main__":
    main()
