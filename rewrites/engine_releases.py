"""What one release of torch computes otherwise than the others, of what the kernel table and its engine stand on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """An operation, the release in which it differs, `2.13`, how, and what follows."""

    operation: str
    release: str
    what: str


DIFFERENCES = (
    Difference(
        "torch.quantize_per_tensor",
        "2.13",
        "it adds the zero point before it rounds, not after, so that a value half between two steps comes to lie on "
        "the other one where the zero point is odd. Of a million values some ten do; a network's input is quantized "
        "so, and what comes out of a float island",
    ),
)
