"""What may be done to the float module that int8 is made of."""

from __future__ import annotations

from typing import Protocol

from torch import nn


class Change(Protocol):
    """A change of a fused float module, planned on one copy of it and made in others."""

    def apply(self, floating: nn.Module) -> None:
        """Make the change in place. Parameters are replaced, not changed: copies share them."""
