"""Whether an artifact holds for other batches than the one it was made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice

import torch
from torch import Tensor

from fxconv.verification.other_inputs import OtherInputs

# How many rows more than the example has are tried: an odd and an even number of them.
_MORE = (2, 1)


@dataclass(frozen=True)
class BatchCheck:
    """One other batch, and what is wrong with it; "" when nothing is. `decided` says by which lines, in words."""

    batch: int
    problem: str
    decided: str = ""

    @property
    def warning(self) -> str:
        """What the user must know, as a sentence; "" when the batch works."""
        if not self.problem:
            return ""
        told = f"; {self.decided}" if self.decided else ""
        return f"the artifact is for the example's batch only: at a batch of {self.batch} {self.problem}{told}"


def other_batches(other: OtherInputs, images: Sequence[tuple[Tensor, ...]]) -> tuple[BatchCheck, ...]:
    """Try the artifact with more of these images at a time than one call takes, and with one, if that takes more.

    It is tried where anything in it may depend on the shape of its input, up to the first batch that does not work.
    Those that the float model does not take are left out. The artifact of a model that takes a list of images takes
    one image at a time, and is not tried.
    """
    if not other.may_differ or other.signature.as_list:
        return ()
    images = [other.floats(image) for image in images]
    rows = images[0][0].shape[0]
    checks = list[BatchCheck]()
    for batch in (*(rows + more for more in _MORE), 1):
        if batch == rows or any(check.problem for check in checks):
            continue
        problem = other.problem(_of_rows(images, batch), "batch")
        if problem is not None:
            checks.append(BatchCheck(batch, problem, other.decided if problem else ""))
    return tuple(checks)


def _of_rows(images: Sequence[tuple[Tensor, ...]], batch: int) -> tuple[Tensor, ...]:
    """The first `batch` different rows of images of the first one's size, and of what is made of it where they end."""
    first = images[0]
    different = list[tuple[Tensor, ...]]()
    for image in images:
        is_alike = [value.shape for value in image] == [value.shape for value in first]
        if is_alike and not any(all(map(torch.equal, image, other)) for other in different):
            different.append(image)
    needed = -(-batch // max(1, first[0].shape[0]))
    made = (tuple(_moved(value, step) for value in first) for step in count(1))
    rows = [*different, *islice(made, max(0, needed - len(different)))]
    return tuple(torch.cat(values)[:batch] for values in zip(*rows, strict=True))


def _moved(value: Tensor, step: int) -> Tensor:
    """A tensor mirrored and moved along its last side; one that holds no values of an image as it is."""
    return value.flip(-1).roll(step, -1) if value.ndim > 1 and value.is_floating_point() else value
