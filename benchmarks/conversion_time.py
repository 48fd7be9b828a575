"""The whole process of a conversion against an equivalent script of the stock flow: wall time and peak memory.

    python benchmarks/conversion_time.py [--photographs DIR] [--pairs 3]

Pair by pair, the first of a pair in turn. Both read the same checkpoint and the same 100 photographs (generated ones
when no folder is given) and write a .ptl; only fxconv verifies its own, measures latency and writes the float twin.
Then what calibration takes beside a plain float forward of the same batches, and how it grows with the images; and, for
the ten networks, what the proof costs beside calibration. Written to docs/conversion_time.md; exits with status 1 when
a calibration takes more than 1.3 times the plain forward, or the audit and the ledger of a network more than its
calibration on 100 images.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import supervised
from benchmarks.networks import ROOT, TEN, machine, seeded, table, write
from fxconv.config import Config, Recipe
from fxconv.data.calibration import Batches
from fxconv.data.synthetic import natural_images
from fxconv.measures.latency import set_mobile_threads
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.quantization.calibrate import observe_images
from rewrites import rewrite

NETWORKS = ("mobilenet_v2", "mobilenet_v3_small", "resnet18", "efficientnet_b0")
PHOTOGRAPHS = 120
CALIBRATED = ("mobilenet_v2", "mobilenet_v3_large", "resnet18")
# Images to see how calibration grows by, and how often a ratio is taken.
LINEAR, REPEATS = (25, 100, 400), 3
MOST_OF_A_FORWARD = 1.3


def run(words: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MiB of one process. Exits when it fails: its figures would mean nothing."""
    done = supervised.run(["-W", "ignore", *words])
    if done.trouble:
        raise SystemExit(f"{' '.join(words)}: {done.trouble}")
    return done.seconds, done.peak_mib


def generated(folder: Path) -> Path:
    """A folder of generated photographs."""
    folder.mkdir()
    for index, pixels in enumerate(natural_images(PHOTOGRAPHS, 300, 400)):
        Image.fromarray(pixels).save(folder / f"{index:04}.jpg", quality=90)
    return folder


def command(network: str, folder: Path, photographs: Path, *words: str) -> list[str]:
    """fxconv's command line, on a checkpoint that is written when it is not there yet."""
    checkpoint = folder / f"{network}.pth"
    if not checkpoint.exists():
        torch.save(seeded(network)[0].module.state_dict(), checkpoint)
    given = ["--weights", str(checkpoint), "--calib", str(photographs), "-o", str(folder / "out.ptl")]
    return ["cli.py", "convert", network, *given, "--min-sqnr", "-1000", "--quiet", *words]


def pairs(folder: Path, photographs: Path, count: int) -> list[list[str]]:
    """A row a network: both flows as whole processes."""
    rows = []
    for network in NETWORKS:
        ours = command(network, folder, photographs)
        checkpoint, out = str(folder / f"{network}.pth"), str(folder / "out.ptl")
        commands = {
            "none": [*ours, "--recipe", "none"],
            "auto": ours,
            "stock": ["benchmarks/stock.py", network, checkpoint, str(photographs), out],
        }
        found: dict[str, list[tuple[float, float]]] = {form: [] for form in commands}
        for pair in range(count):
            for form in sorted(commands, reverse=bool(pair % 2)):
                found[form].append(run(commands[form]))
        seconds = {form: statistics.median(s for s, _ in taken) for form, taken in found.items()}
        memory = {form: statistics.median(m for _, m in taken) for form, taken in found.items()}
        ratios = [
            statistics.median(a / b for (a, _), (b, _) in zip(found[form], found["stock"], strict=True))
            for form in ("none", "auto")
        ]
        times = [f"{seconds[form]:.1f} s" for form in commands]
        shown = [f"{ratio:.2f}" for ratio in ratios]
        rows.append([network, *times, *shown, *(f"{memory[form]:,.0f} MiB" for form in commands)])
        print(" ".join(rows[-1]), file=sys.stderr)
    return rows


def observed_seconds(model: nn.Module, images: Tensor, batch: int) -> float:
    """Seconds of calibrating on `images` in batches of `batch`, as fxconv itself measures them."""
    data, config = Batches(images.split(batch)), Config(recipe=(Recipe.none,))
    rewritten = rewrite(model, example=(images[:1],), share_parameters=True)
    clock = Clock(lambda *_: None)
    _, seen = observe_images(model, rewritten, InputSignature.of(model), data, False, config, clock)
    return seen.calibration.seconds


def plain_seconds(model: nn.Module, images: Tensor, batch: int) -> float:
    """Seconds of the untouched model on the same batches."""
    start = time.perf_counter()
    with torch.no_grad():
        for part in images.split(batch):
            model(part)
    return time.perf_counter() - start


def calibration() -> tuple[list[list[str]], list[str]]:
    """A row a network: calibration beside a plain forward, and with fewer and more images; and what takes too long."""
    rows, dear = [], []
    for network in CALIBRATED:
        model = seeded(network)[0].module.eval()
        images = torch.randn(LINEAR[-1], 3, 224, 224, generator=torch.Generator().manual_seed(0))
        cells = []
        for batch in (25, 1):
            hundred = images[:100]
            plain_seconds(model, hundred[:batch], batch)
            pairs = [
                (plain_seconds(model, hundred, batch), observed_seconds(model, hundred, batch)) for _ in range(REPEATS)
            ]
            ratio = statistics.median(ours / plain for plain, ours in pairs)
            cells += [f"{statistics.median(seconds):.2f} s" for seconds in zip(*pairs, strict=True)] + [f"{ratio:.2f}"]
            if ratio > MOST_OF_A_FORWARD:
                dear.append(f"{network}: calibration in batches of {batch} takes {ratio:.2f} of the plain forward")
        grown = [observed_seconds(model, images[:count], 25) for count in LINEAR]
        rows.append([network, *cells, *(f"{seconds:.2f} s" for seconds in grown)])
        print(" ".join(rows[-1]), file=sys.stderr)
    return rows, dear


def proof(folder: Path, photographs: Path) -> tuple[list[list[str]], list[str]]:
    """A row a network: seconds of calibration, audit and ledger; and the networks whose proof costs more."""
    rows, dear = [], []
    report = folder / "report.json"
    for network in TEN:
        run(command(network, folder, photographs, "--recipe", "none", "--json", str(report)))
        content = json.loads(report.read_text())
        calibration, timings = content["calibration"]["seconds"], content["timings"]
        cost = timings["audit"] + timings["verification"]
        if cost >= calibration:
            dear.append(f"{network}: audit and ledger {cost:.1f} s, calibration {calibration:.1f} s")
        seconds = (calibration, timings["audit"], timings["verification"])
        rows.append([network, *(f"{value:.2f} s" for value in seconds), f"{cost / calibration:.2f}"])
        print(" ".join(rows[-1]), file=sys.stderr)
    return rows, dear


def main() -> None:
    parser = argparse.ArgumentParser(description="conversion time beside the stock flow")
    parser.add_argument("--photographs", type=Path, default=None)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    chosen = arguments.photographs if arguments.photographs else None
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = chosen or generated(folder / "photographs")
        rows = pairs(folder, photographs, arguments.pairs)
        set_mobile_threads()
        watched, slow = calibration()
        costs, dear = proof(folder, photographs)
    source = "photographs" if chosen else "generated photographs"
    write(
        "conversion_time.md",
        "# Conversion time",
        f"Written by `python benchmarks/conversion_time.py` on {machine()}, {os.cpu_count()} processors.",
        f"Whole processes, {arguments.pairs} pairs, medians: a checkpoint and 100 {source} in, a `.ptl` out. fxconv's "
        "time includes what the stock script does not do: rewriting, the kernel audit, the parity ledger down to the "
        "file read back, the float twin, and the measured latency.",
        table(
            [
                "network",
                "`--recipe none`",
                "`--recipe auto`",
                "stock script",
                "none / stock",
                "auto / stock",
                "none, peak",
                "auto, peak",
                "stock, peak",
            ],
            rows,
        ),
        "## What calibration costs",
        "100 images of 224x224, the same batches: the untouched model in eval mode, and the observed one, in the same "
        f"process, median ratio of {REPEATS}. It may be below 1, because calibration runs the fused model and in "
        "channels_last. The last columns are calibration in batches of 25 with fewer and more images.",
        table(
            [
                "network",
                "plain, 25",
                "calibration, 25",
                "ratio, 25",
                "plain, 1",
                "calibration, 1",
                "ratio, 1",
                *(f"{count} images" for count in LINEAR),
            ],
            watched,
        ),
        "## What the proof costs",
        "Seconds inside the process: the observed forward of 100 images, the kernel audit, and the parity ledger with "
        "the file read back and profiled; inputs of 224x224. Calibration costs about as much as a plain forward of its "
        "images, so that the proof, which takes 4 to 8 images and two files, mostly costs more.",
        table(["network", "calibration", "audit", "ledger", "audit + ledger / calibration"], costs),
    )
    if slow or dear:
        raise SystemExit("\n".join([*slow, *dear]))


if __name__ == "__main__":
    main()
