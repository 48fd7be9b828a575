"""What the benchmarks share: the networks, the machine in words, tables in Markdown."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

import fxconv
from fxconv.data.calibration_sources import open_calibration
from fxconv.models import loading
from fxconv.models.batch_norms import reestimate_batch_norms
from fxconv.models.loading import LoadedModel

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


Batch = Tensor | tuple[Tensor, ...]
# Values of a parameter that a network begins with when a branch of it is to be silent at first.
_SILENT = 1e-3


def seeded(
    name: str,
    images: int = 20,
    input_size: str | None = None,
    batch_size: int = 10,
    is_trained_like: bool = False,
    arguments: Sequence[str] = (),
) -> tuple[LoadedModel, list[Batch]]:
    """A network with random weights and the statistics of generated images, and those images in batches.

    A detector brings images to its own size whatever they come in; with an `input_size` that is the shorter side's.
    `is_trained_like` draws what `draw_like_trained` says; `arguments` are what `--model-arg` takes.
    """
    loaded = loading.load(name, "random", input_size, arguments=arguments)
    if input_size and is_detector(loaded.module) and loaded.module.transform.fixed_size is None:
        side = loaded.preprocessing.height
        loaded.module.transform.min_size, loaded.module.transform.max_size = (side,), 2 * side
    if is_trained_like:
        draw_like_trained(loaded.module)
    data = open_calibration(None, loaded.preprocessing, images, batch_size, 0, loaded.signature.names)
    batches = [batch if len(batch) > 1 else batch[0] for batch in data.batches()]
    reestimate_batch_norms(loaded.module, batches)
    return loaded, batches


def draw_like_trained(module: nn.Module, seed: int = 0) -> None:
    """Draw what a network begins with so that it trains, and what would let nothing be compared before it is trained.

    Batch norms that all have weight 1 and bias 0 amplify every disturbance from layer to layer (Yang et al. 2019, A
    Mean Field Theory of Batch Normalization): behind fifty of them the rounding of the first layer is as large as the
    signal, whoever rounded. Here their weights are uniform in [0.5, 1.5] and their biases normal around 1, so that most
    activations work where they are linear, and rounding stays what it is. Parameters that are all zero, or all the
    same tiny number, as a vision transformer's head and class token and ConvNeXt's layer scale, silence what they are
    for, so that a comparison would say nothing of it; they are drawn too.
    """
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            norm = isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine
            for name, values in layer.named_parameters(recurse=False):
                if norm and name == "weight":
                    values.uniform_(0.5, 1.5, generator=draw)
                elif norm:
                    values.normal_(1.0, 0.5, generator=draw)
                elif values.ndim > 1 and not values.any():
                    values.normal_(0.0, values[0].numel() ** -0.5 if name == "weight" else 1.0, generator=draw)
                elif values.numel() > 1 and 0 < values.flatten()[0].abs() < _SILENT and values.unique().numel() == 1:
                    values.uniform_(0.1, 0.5, generator=draw)


def tensors(batch: Batch) -> tuple[Tensor, ...]:
    """The tensors of a batch, one for each input of the network."""
    return (batch,) if isinstance(batch, Tensor) else batch


def is_detector(module: nn.Module) -> bool:
    """Whether this is one of torchvision's networks that take a list of images and give their boxes."""
    return isinstance(getattr(module, "transform", None), GeneralizedRCNNTransform)


def machine() -> str:
    """The processor and the versions, in words."""
    return f"{processor()}, torch {torch.__version__}, fxconv {fxconv.__version__}"


def processor() -> str:
    """The processor, and what it has for int8, in words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.exists():
        text = info.read_text()
        found = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
        name = found[0] if found else name
        present = [flag for flag in ("avx2", "avx512f", "avx512_vnni") if f" {flag}" in text]
        flags = f" ({', '.join(present)})" if present else ""
    return f"{name}{flags}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def write(name: str, *parts: str) -> None:
    """Write docs/NAME from its paragraphs, and show it."""
    text = "\n\n".join(parts) + "\n"
    (ROOT / "docs" / name).write_text(text)
    print(text)
