"""How many quantization steps the values of an int8 operation lie from what its float form gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# A value counts as off when it is more than this many quantization steps from the reference.
STEPS = 2
# An operation fails when more than this share of its values is off.
OFF_SHARE = 0.001


@dataclass
class StepCount:
    """The values of one operation over all inputs, the largest distance of any in steps, and how many are off."""

    values: int = 0
    worst: int = 0
    off: int = 0
    problem: str = ""

    def add(self, wanted: Tensor, got: Tensor) -> bool:
        """Hold quantized values against float ones; False where their shapes differ, which is a problem."""
        if wanted.shape != got.shape:
            return self.add_integers(wanted, got)
        same = torch.quantize_per_tensor(wanted, got.q_scale(), got.q_zero_point(), got.dtype).int_repr()
        return self.add_integers(same, got.int_repr())

    def add_integers(self, wanted: Tensor, got: Tensor) -> bool:
        """Hold integers against others of the same scale and zero point."""
        if wanted.shape != got.shape:
            self.problem = self.problem or f"gives shape {tuple(got.shape)}, not {tuple(wanted.shape)}"
            return False
        steps = torch.maximum(wanted, got) - torch.minimum(wanted, got)
        self.values += got.numel()
        self.worst = max(self.worst, int(steps.max()) if steps.numel() else 0)
        self.off += int((steps > STEPS).sum())
        return True

    @property
    def share(self) -> float:
        """The share of the values that are off, 0 to 1."""
        return self.off / max(self.values, 1)

    def problems(self) -> list[str]:
        """What is wrong, a phrase each."""
        found = [self.problem] if self.problem else []
        if self.share > OFF_SHARE:
            found.append(
                f"{100 * self.share:.3g} % of its values are more than {STEPS} steps from the float operation's, "
                f"the worst {self.worst} steps"
            )
        return found
