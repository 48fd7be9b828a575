"""Trained weights, as a change of the float module that int8 is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Trained:
    """The weights and biases of a fused float module after a training, by their paths."""

    weights: Mapping[str, Tensor]

    def apply(self, floating: nn.Module) -> None:
        """Give a fused float module these weights, in place. Parameters are replaced, not changed."""
        for path, value in self.weights.items():
            owner, _, name = path.rpartition(".")
            setattr(floating.get_submodule(owner), name, nn.Parameter(value, requires_grad=False))
