"""Quantizing one rewritten model with one set of steps after another, until the recipe is found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from fxconv.config import Config, Recipe
from fxconv.progress import Clock
from fxconv.quantization import static
from fxconv.quantization.calibrate import CalibrationStatistics
from fxconv.quantization.convert import ConvertedModule, convert_calibrated
from fxconv.quantization.recipe_search.recipe import (
    CHANGING,
)
from fxconv.quantization.recipes.bias_absorption import Absorbed
from fxconv.quantization.recipes.equalization import Equalized
from rewrites import Rewritten

_KINDS = {Recipe.equalization: Equalized, Recipe.bias_absorption: Absorbed}


class Trials:
    """One rewritten model, quantized with one set of steps after another.

    Steps that change the float module are tried on the first images of the calibration data alone, all on the same
    ones, so that one can be told from another; what is chosen is calibrated on all.
    """

    def __init__(
        self,
        rewritten: Rewritten,
        few: CalibrationStatistics,
        statistics: CalibrationStatistics,
        refused: Mapping[str, str],
        run: Callable[..., tuple[nn.Module, CalibrationStatistics]],
        image: tuple[Any, ...],
        config: Config,
        clock: Clock,
    ) -> None:
        self.rewritten, self.refused, self.run = rewritten, refused, run
        self.image, self.config, self.clock = image, config, clock
        self.few, self.statistics = few, statistics
        self.begun, self.most = 0, 0
        self._changed: dict[frozenset[Recipe], CalibrationStatistics] = {}

    def begin(self) -> None:
        """Tell that another trial begins, of so many as there are at most."""
        self.clock.progress("recipe", self.begun, self.most)
        self.begun += 1

    def changed(self, steps: Collection[Recipe]) -> CalibrationStatistics:
        """What calibration sees of the first images where these steps change the float module by what it saw of all."""
        wanted = CHANGING & set(steps)
        if not wanted:
            return self.few
        if wanted not in self._changed:
            with self.clock.step("recipe"):
                planned = self.statistics.plan(self.rewritten, wanted, self.config.weight_scheme)
            self._changed[wanted] = self.few
            if planned:
                statistics = self.run((), planned, self.few.calibration.images)[1]
                self._changed[wanted] = replace(
                    statistics, calibration=statistics.calibration.beside(self.few.calibration)
                )
        return self._changed[wanted]

    def whole(self, steps: Collection[Recipe]) -> CalibrationStatistics:
        """What calibration sees of all images with these steps."""
        few = self.changed(steps)
        if not few.planned or few.calibration.images >= self.statistics.calibration.images:
            return few if few.planned else self.statistics
        statistics: CalibrationStatistics = self.run((), few.planned, None, few)[1]
        return statistics

    def finds(self, steps: Collection[Recipe]) -> bool:
        """Whether each of the steps that change the float module finds something to change."""
        planned = self.changed(steps).planned
        return all(any(isinstance(one, _KINDS[step]) for one in planned) for step in CHANGING & set(steps))

    def made_of(self, statistics: CalibrationStatistics, steps: tuple[Recipe, ...]) -> ConvertedModule:
        """The model with these steps and ranges."""
        with self.clock.step("conversion"):
            observed = static.observe_again(
                self.rewritten.module, self.config, steps, statistics.planned, statistics.observers
            )
        return convert_calibrated(self.rewritten, observed, statistics, steps, self.image, self.config, self.clock)
