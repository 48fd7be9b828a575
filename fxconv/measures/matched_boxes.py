"""The boxes of a detector before any is suppressed, those of int8 beside those of float."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torchvision.ops import boxes

# Boxes match that overlap by this share of the area they cover together, as the COCO benchmark counts.
OVERLAP = 0.5


@contextmanager
def class_by_class() -> Iterator[None]:
    """Inside, torchvision suppresses the boxes of each class by themselves, as they are.

    Of few boxes it otherwise moves those of one class away from those of the next, by the largest coordinate there is:
    a little off in int8, and the boxes of the last classes lie elsewhere.
    """
    before = boxes._batched_nms_coordinate_trick
    boxes._batched_nms_coordinate_trick = boxes._batched_nms_vanilla
    try:
        yield
    finally:
        boxes._batched_nms_coordinate_trick = before


def matched(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> tuple[int, int]:
    """How many boxes `[N, 4]` overlap the one that stands in their place by half, and how many there are."""
    same = asked = 0
    for first, second in zip(ours, theirs, strict=False):
        if first.shape == second.shape and first.ndim == 2 and first.shape[1] == 4:
            same += int((_overlaps(first.double(), second.double()) >= OVERLAP).sum())
            asked += len(first)
    return same, asked


def _overlaps(ours: Tensor, theirs: Tensor) -> Tensor:
    """Intersection over union of each box with the one in the same row; boxes of no size that are equal overlap."""
    least, most = torch.maximum(ours[:, :2], theirs[:, :2]), torch.minimum(ours[:, 2:], theirs[:, 2:])
    inside = (most - least).clamp(min=0).prod(1)
    areas = [(each[:, 2:] - each[:, :2]).clamp(min=0).prod(1) for each in (ours, theirs)]
    overlap = inside / (areas[0] + areas[1] - inside)
    return torch.where((ours == theirs).all(1), 1.0, overlap.nan_to_num(0.0))
