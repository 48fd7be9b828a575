"""What follows the network inside the artifact: so far the peaks of its heatmaps."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxconv.config import Config, Ties
from fxconv.errors import UserError
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs
from fxconv.models.heatmap_peaks import HeatmapPeaks
from fxconv.wording import with_article
from rewrites.surroundings import unchanged
from rewrites.values import submodule


@dataclass(frozen=True)
class Heatmaps:
    """Where a model's heatmaps are: the key of its output, None when that is a tensor; and pixels a cell."""

    key: str | None
    stride: int


def heatmaps(model: nn.Module, image: Inputs) -> Heatmaps:
    """The heatmaps among the outputs of a model, which are the first output whose name begins with `hm`, or the first.

    Raises `UserError` when it returns none: `[N, C, H, W]`, smaller than the image by the same whole number both ways.
    """
    with torch.no_grad(), unchanged(model):
        returned = model(*forward.cloned(image))
    key = None
    if isinstance(returned, dict) and returned and all(isinstance(name, str) for name in returned):
        key = next((name for name in returned if name.startswith("hm")), next(iter(returned)))
    found = returned if key is None else returned[key]
    given = next((value for value in image if isinstance(value, Tensor) and value.ndim == 4), None)
    if isinstance(found, Tensor) and found.ndim == 4 and given is not None:
        down, right = (a / b for a, b in zip(given.shape[2:], found.shape[2:], strict=True))
        if down == right == int(down):
            return Heatmaps(key, int(down))
    shape = f"a tensor {list(found.shape)}" if isinstance(found, Tensor) else with_article(type(found).__name__)
    raise UserError(
        f"--postprocess peaks: wants heatmaps [N, C, H, W] that divide the image evenly; the model returns {shape}"
    )


def with_peaks(module: nn.Module, where: Heatmaps, config: Config, step: float | None) -> fx.GraphModule:
    """A graph of `module` and the peaks of its heatmaps, which take their place among the outputs, as `peaks`.

    `step` is the quantization step of the heatmaps' logits.
    """
    peaks = HeatmapPeaks(
        config.peak_threshold,
        config.peak_count,
        config.ties.value,
        stride=where.stride,
        step=step,
        seed=config.seed,
        sigmoid=config.sigmoid.value,
    )
    graph = fx.Graph()
    root = {"network": module, "peaks": torch.jit.script(peaks.eval())}  # a trace would settle its loops for good
    returned = graph.call_module("network", (graph.placeholder("images"),))
    if where.key is None:
        graph.output(graph.call_module("peaks", (returned,)))
    else:
        heads = [str(name) for name in _output(module)]
        values = {name: graph.call_function(operator.getitem, (returned, name)) for name in heads}
        found = graph.call_module("peaks", (values.pop(where.key),))
        graph.output({"peaks": found, **values})
    return fx.GraphModule(root, graph).eval()


def _output(module: Any) -> Any:
    """What a graph's output node returns: nodes in whatever structure."""
    return next(node for node in reversed(module.graph.nodes) if node.op == "output").args[0]


def logit_step(int8: nn.Module, where: Heatmaps, image: Inputs, ties: Ties) -> float | None:
    """The quantization step of an int8 module's heatmaps; None where nobody asks.

    Raises `UserError` when they come from a layer in float.
    """
    if ties is not Ties.noise:
        return None
    returned = _output(int8)
    last = submodule(int8, returned if where.key is None else returned[where.key])  # type: ignore[arg-type]
    seen: list[float] = []

    def note(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        if args[0].is_quantized:
            seen.append(float(args[0].q_scale()))

    if last is not None:
        hook = last.register_forward_pre_hook(note)
        try:
            forward.outputs(int8, [image])
        finally:
            hook.remove()
    if not seen:
        raise UserError(
            "--ties noise: the heatmaps' last layer is in float, which has no quantization step; give index"
        )
    return seen[-1]
