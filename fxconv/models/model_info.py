"""What was converted, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from fxconv.models.signature import sizes


@dataclass(frozen=True)
class ModelInfo:
    """What was converted, in words."""

    name: str
    weights: str
    parameters: int
    input_size: tuple[int, ...]

    @property
    def is_random(self) -> bool:
        """Whether the weights are those of a seed, of which answers say little."""
        return self.weights.startswith("random")

    @classmethod
    def given(cls, model: nn.Module, example: tuple[Any, ...]) -> ModelInfo:
        """Of a model that was given from Python, and one call's arguments."""
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return cls(type(model).__name__, "given from Python", parameters, next(iter(sizes(example)), ()))
