"""Images that calibration did not see, to judge a quantized model by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from fxconv.data.calibration import CalibrationData, as_data
from fxconv.data.calibration_generated import Generated
from fxconv.data.calibration_photographs import Photographs
from fxconv.errors import UserError

# Images to judge by where nothing else is said.
JUDGED = 200
# With fewer photographs left than this, generated images tell more.
_FEWEST = 8


@dataclass(frozen=True)
class HeldOut:
    """What is judged on: `data`, and what the user must know of it. `is_unseen` is False when calibration saw it."""

    data: CalibrationData
    is_unseen: bool
    warning: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know of the images once they have been read, a sentence each."""
        left_out = self.data.warnings if isinstance(self.data, Photographs) and self.is_unseen else ()
        return (*filter(None, [self.warning]), *left_out)


def held_out(
    data: CalibrationData, count: int, given: CalibrationData | Iterable[Tensor | Sequence[Tensor]] | None = None
) -> HeldOut:
    """At most `count` images to judge by: those `given`, or those of the source of `data` that it does not use.

    Where too few are left, images are generated for a model that takes images; for any other the first ones of `data`
    itself serve.
    """
    if given is not None:
        return HeldOut(as_data(given), True)
    others = data.others(count)
    preprocessing = getattr(data, "preprocessing", None)
    if others is not None and (others.count >= min(count, _FEWEST) or preprocessing is None):
        warning = "judged on generated images; photographs (--calib DIR) tell more" if _is_made(others) else ""
        return HeldOut(others, True, warning)
    if preprocessing is not None:
        made = Generated(preprocessing, count, data.batch_size, getattr(data, "seed", 0) + 1)
        return HeldOut(
            made,
            True,
            f"all or nearly all of the calibration data is used for calibration ({data.source}), so generated images "
            "serve to judge by; lower --calib-count, or give more",
        )
    warning = f"judged on what it was calibrated on ({data.source}), for nothing else was given"
    return HeldOut(data, False, warning)


def _is_made(data: CalibrationData) -> bool:
    return isinstance(data, Generated)


@dataclass(frozen=True)
class Unused:
    """Images that nothing was done with: `source` says which, `images` are the tensors of a call each, with N = 1.

    `problem` says why there are none, "" when there are.
    """

    source: str = ""
    images: Sequence[tuple[Tensor, ...]] = ()
    problem: str = ""


def unused(
    data: CalibrationData,
    used: int,
    most: int,
    fewest: int,
    trained_on: CalibrationData | None = None,
    given: CalibrationData | None = None,
) -> Unused:
    """At most `most` images of the source of `data` behind its own, the first `used` others, and what was trained on.

    Images that were `given` for it serve as they are. With fewer than `fewest` there are none.
    """
    others, first = (given, 0) if given is not None else (data.others(used + most), used)
    if given is None and trained_on is not None and trained_on is not data:
        if not isinstance(others, Photographs) or not isinstance(trained_on, Photographs):
            return Unused(problem="what it was trained on may be among what is left of the calibration data")
        others.leave(trained_on.paths)
    left = max(0, others.count - first) if others is not None else 0
    if others is None or left < fewest:
        words = f"{left} images of {fewest} are" if left else "no image is"
        return Unused(problem=f"{words} left that nothing was chosen by; give more, or lower --calib-count")
    try:
        images = list(_single(others, first, min(first + most, others.count)))
    except UserError as error:  # one of them cannot be read
        return Unused(problem=str(error))
    source = others.source if not first else f"the last {len(images)} of {others.source}"
    return Unused(source, images)


def _single(data: CalibrationData, start: int, end: int) -> Iterator[tuple[Tensor, ...]]:
    for batch in data.batches(end, start):
        yield from zip(*(values.split(1) for values in batch), strict=True)
