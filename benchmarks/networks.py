"""What the benchmarks share: the networks, the machine in words, tables in Markdown."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

import fxconv
from fxconv import models
from fxconv.calibration import Generated
from fxconv.models import LoadedModel
from fxconv.weights import reestimate_batch_norms

ROOT = Path(__file__).parent.parent
TEN = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
    "mnasnet1_0",
    "squeezenet1_1",
    "densenet121",
)
# Their activations are ReLU6, which the stock flow hands to the quantized clamp.
RELU6 = frozenset({"mobilenet_v2"})


def seeded(
    name: str, images: int = 20, input_size: str | None = None, batch_size: int = 10
) -> tuple[LoadedModel, list[Tensor]]:
    """A network with random weights and the statistics of generated images, and those images in batches.

    A detector brings images to its own size whatever they come in; with an `input_size` that is the shorter side's.
    """
    loaded = models.load(name, "random", input_size)
    if input_size and is_detector(loaded.module) and loaded.module.transform.fixed_size is None:
        side = loaded.preprocessing.height
        loaded.module.transform.min_size, loaded.module.transform.max_size = (side,), 2 * side
    batches = list(Generated(loaded.preprocessing, images, batch_size, 0).batches())
    reestimate_batch_norms(loaded.module, batches)
    return loaded, batches


def is_detector(module: nn.Module) -> bool:
    """Whether this is one of torchvision's networks that take a list of images and give their boxes."""
    return isinstance(getattr(module, "transform", None), GeneralizedRCNNTransform)


def machine() -> str:
    """The processor and the versions, in words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.exists():
        text = info.read_text()
        found = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
        name = found[0] if found else name
        present = [flag for flag in ("avx2", "avx512f", "avx512_vnni") if f" {flag}" in text]
        flags = f" ({', '.join(present)})" if present else ""
    return f"{name}{flags}, torch {torch.__version__}, fxconv {fxconv.__version__}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def write(name: str, *parts: str) -> None:
    """Write docs/NAME from its paragraphs, and show it."""
    text = "\n\n".join(parts) + "\n"
    (ROOT / "docs" / name).write_text(text)
    print(text)
