"""What quantizing one layer alone costs, as a value."""

from __future__ import annotations

from dataclasses import dataclass

# Decibels beyond these are as good as none, and as all.
_QUIETEST = 300.0


@dataclass(frozen=True)
class LayerCost:
    """One int8 operation, quantized alone.

    `where` is its path in the rewritten model, `kind` its class (of fused layers all of them). `sqnr_db` compares the
    outputs of the model with those in float, the worst of several; `top1_agreement` is the share of images, from 0 to
    1, with the same class on top, None without class scores. `macs` are multiply-accumulates of one image, `macs_share`
    their share of the model's; `weight_bytes` is the size of its weights in int8, `weight_share` their
    share of those of all int8 operations. `output_sqnr_db` is what is left of
    `sqnr_db` with its weights in float, None when that was not asked for; `readers` are the int8 operations that read
    its output. `metric` is the value of a metric of the user's with this alone in int8, None where nobody asked.
    """

    where: str
    kind: str
    sqnr_db: float
    top1_agreement: float | None
    macs: int
    macs_share: float
    weight_bytes: int
    weight_share: float = 0.0
    output_sqnr_db: float | None = None
    readers: tuple[str, ...] = ()
    metric: float | None = None

    @property
    def is_layer(self) -> bool:
        """Whether it multiplies by weights: a convolution or a linear layer."""
        return self.weight_bytes > 0

    @property
    def is_boundary(self) -> bool:
        """Whether it only quantizes an input, which cannot be left out."""
        return self.kind == "QuantStub"

    @property
    def float_extra_bytes(self) -> int:
        """How many bytes more its weights take in float32."""
        return 3 * self.weight_bytes


def damage(cost: LayerCost) -> float:
    """Noise power over signal power at the output: what `sqnr_db` says in decibels."""
    return float(10 ** (-min(max(cost.sqnr_db, -_QUIETEST), _QUIETEST) / 10))
