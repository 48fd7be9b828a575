"""A calibrated module quantized as far as the kernels take it, and what they refuse."""

from __future__ import annotations

import gc
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from fxconv.config import Config, Recipe
from fxconv.progress import Clock
from fxconv.quantization import refusals, static
from fxconv.quantization.calibrate import CalibrationStatistics
from fxconv.quantization.expected_ranges import Expected, expected_ranges
from fxconv.quantization.refusals import Adjustment
from rewrites import Rewritten
from rewrites.parts import graphs_in


@dataclass(frozen=True)
class ConvertedModule:
    """An int8 module, or None where a kernel is foreseen to refuse; and what is refused, with the reasons.

    `rounded` are the layers whose weights are rounded adaptively, `nearest` those that should be and are not.
    `moves_ranges` says whether some range is another one for the sake of those that read it.
    """

    int8: nn.Module | None
    refused: Mapping[str, str]
    adjustments: tuple[Adjustment, ...] = ()
    ranges: dict[str, dict[str, Expected]] = field(default_factory=dict)
    rounded: frozenset[str] = frozenset()
    nearest: tuple[str, ...] = ()
    moves_ranges: bool = False

    def is_taken(self, refused: Collection[str]) -> bool:
        """Whether no kernel refuses it, but where that is known."""
        return self.int8 is not None and self.refused.keys() <= set(refused)


def convert_calibrated(
    rewritten: Rewritten,
    observed: nn.Module,
    statistics: CalibrationStatistics,
    steps: Collection[Recipe],
    image: tuple[Any, ...],
    config: Config,
    clock: Clock,
) -> ConvertedModule:
    """Quantize a calibrated module, in place, as far as the kernels take it."""
    moves_ranges = False
    if Recipe.reader_ranges in steps:
        with clock.step("recipe"):
            moves_ranges = statistics.set_ranges(observed)
    foreseen = refusals.foresee(observed, config.engine)
    if foreseen.refused:
        return ConvertedModule(None, foreseen.refused)
    with clock.step("audit"):
        smallest = foreseen.smallest_steps
        ranges = {path: expected_ranges(graph, smallest[path]) for path, graph in graphs_in(observed).items()}
    with clock.step("conversion"):
        grams, layers = dict[str, Tensor](), list[str]()
        if Recipe.adaround in steps:
            layers = static.int8_layers(observed)
            grams = dict(statistics.rounded) if statistics.is_kept else statistics.input_grams(rewritten)
        means = statistics.means if Recipe.bias_correction in steps else {}
        known = dict(statistics.rounded) if statistics.is_kept else {}
        int8 = static.convert_observed(observed, means, grams, clock.progress, known, statistics.rounded)
    refused = refusals.met(int8, image)
    gc.collect()  # a graph and its module refer to each other: the float weights would stay for long
    nearest = tuple(path for path in layers if path not in grams)
    return ConvertedModule(int8, refused, foreseen.adjustments, ranges, frozenset(grams), nearest, moves_ranges)
