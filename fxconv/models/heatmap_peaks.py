"""Peaks of heatmaps, with equal scores settled on purpose: int8 makes equals of neighbours that float tells apart.

The usual test keeps each cell that equals the maximum of the 3x3 cells around it (Zhou et al. 2019, Objects as Points,
section 4). In float two neighbours are hardly ever equal. Of int8's 256 values many cells share one, every cell of a
flat top passes the test, and one object is found several times.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

TIES = ("index", "noise", "keep")
SIGMOIDS = ("first", "last")
# Noise reaches this share of half a step, so that it never carries a cell past one that is a step higher.
_WITHIN = 0.999


class HeatmapPeaks(nn.Module):
    """From logits `[B, C, H, W]` to detections `[B, k, 5]`: x, y, score, class, valid; the highest scores first.

    A score is the sigmoid of a logit, from 0 to 1; those above `threshold` count, the best `k` of an image are kept.
    x and y are in pixels of the network's input, `stride` times the cell's column and row. valid is 1, or 0 for rows
    that no detection fills, which are 0 altogether. Of detections with one score those of the lower class, and then of
    the cell further up and left, go first.

    A cell is a peak when none of its 8 neighbours is higher. `ties` says what becomes of equal ones:

    - `index`: cells of one score that touch, corners included, are a plateau, whatever its shape. It is a peak if no
      neighbour of any of its cells is higher, and then one detection, at its first cell in reading order.
    - `noise`: the known workaround. White noise of less than half a quantization step, the same for the same `seed`, is
      added to the logits, so that of two equal neighbours one is higher. `step` is that of the logits; None reads it
      from quantized logits. Plateaus of many cells may keep several peaks.
    - `keep`: every cell of a plateau that passes the test is a detection.

    On logits without equal neighbours all three give the same; noise does where logits are a step apart.
    `sigmoid` says whether peaks are looked for among scores (`first`), where large logits become equal in float32, or
    among logits (`last`). Scriptable; runs in the lite interpreter. Raises `ValueError` for settings out of range.
    """

    def __init__(
        self,
        threshold: float = 0.3,
        k: int = 100,
        ties: str = "index",
        *,
        stride: int = 4,
        step: float | None = None,
        seed: int = 0,
        sigmoid: str = "first",
    ) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold {threshold}: a score from 0 to below 1 is expected")
        if k < 1 or stride < 1:
            raise ValueError(f"k {k} and stride {stride}: both must be at least 1")
        if ties not in TIES or sigmoid not in SIGMOIDS:
            raise ValueError(f"ties {ties!r}, sigmoid {sigmoid!r}: one of {TIES} and one of {SIGMOIDS} are expected")
        if step is not None and not 0 < step < math.inf:
            raise ValueError(f"step {step}: a positive number is expected, the quantization step of the logits")
        self.threshold, self.k, self.stride, self.seed = threshold, k, stride, seed
        self.is_indexed, self.is_noisy, self.is_last = ties == "index", ties == "noise", sigmoid == "last"
        self.step, self.within = step or 0.0, _WITHIN

    def forward(self, logits: Tensor) -> Tensor:
        """Detections `[B, k, 5]`, float32. Raises `RuntimeError` for float logits where noise has no step."""
        step = self.step
        if logits.is_quantized:
            step = float(logits.q_scale()) if step == 0.0 else step
            logits = logits.dequantize()
        scores = logits.sigmoid()
        values = logits if self.is_last else scores
        if self.is_noisy:
            if step == 0.0:
                raise RuntimeError(
                    "ties='noise' needs the quantization step of the logits: give step, or quantized ones"
                )
            noisy = logits + self.noise(logits) * step
            values = noisy if self.is_last else noisy.sigmoid()
        values = values.float()
        peaks = (values >= _around(values)) & (scores > self.threshold)
        if self.is_indexed:
            peaks = _first_of_plateaus(values, peaks)
        return self._detections(scores.float(), peaks)

    def noise(self, logits: Tensor) -> Tensor:
        """White noise for each cell, within half a step on either side; it depends on seed, cell and shape alone."""
        state = torch.arange(logits.numel(), device=logits.device) + self.seed * 0x9E3779B9
        for _ in range(3):  # of neighbouring cells the first states are alike
            # a 64-bit linear congruential generator (Knuth, The Art of Computer Programming, 3.3.4)
            state = state * 6364136223846793005 + 1442695040888963407
            state = state ^ ((state >> 29) & 0x7FFFFFFFF)
        uniform = ((state >> 20) & 0xFFFFFF).float() / float(1 << 24)  # from 0 to 1
        return (uniform - 0.5).view(logits.shape) * self.within

    def _detections(self, scores: Tensor, peaks: Tensor) -> Tensor:
        width, cells = scores.shape[3], scores.shape[2] * scores.shape[3]
        ranked, order = torch.sort(torch.where(peaks, scores, -1.0).flatten(1), stable=True, dim=1, descending=True)
        count = min(self.k, ranked.shape[1])
        ranked, order = ranked[:, :count], order[:, :count]
        cell = order.remainder(cells)
        x, y = cell.remainder(width) * self.stride, cell.floor_divide(width) * self.stride
        valid = (ranked >= 0).float()
        rows = [x.float(), y.float(), ranked, order.floor_divide(cells).float(), torch.ones_like(valid)]
        found = torch.stack(rows, dim=2) * valid[:, :, None]
        return functional.pad(found, [0, 0, 0, self.k - count])


def _around(values: Tensor) -> Tensor:
    """The maximum of the 3x3 cells around each, itself included."""
    return functional.max_pool2d(values, 3, 1, 1)


def _first_of_plateaus(values: Tensor, peaks: Tensor) -> Tensor:
    """Of `peaks`, cells no neighbour of which is higher, the first of each plateau; none where one has a higher one.

    Peaks that touch are equal, so the plateaus are the connected sets of `peaks`. Each cell takes the highest label
    around it, and then that of the cell its label names, until nothing changes: few rounds, whatever the shape.
    """
    cells = values.shape[2] * values.shape[3]
    own = torch.arange(cells, 0, -1, device=values.device, dtype=torch.float64).view(1, 1, values.shape[2], -1)
    # an equal neighbour that is no peak has a higher one: the plateau goes on there, and is none
    goes_on = peaks & (_around(torch.where(peaks, -math.inf, values)) == values)
    labels = torch.where(goes_on, float(cells + 1), torch.where(peaks, own, 0.0))
    changes = True
    while changes:
        spread = torch.where(peaks, _around(labels), 0.0)
        flat = spread.flatten(2)
        named = (cells - flat).clamp(0, cells - 1).long()
        spread = torch.where(peaks, torch.maximum(flat, flat.gather(2, named)).view(values.shape), 0.0)
        changes = not torch.equal(spread, labels)
        labels = spread
    return peaks & (labels == own)
