"""Images that calibration did not see, to judge a quantized model by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from fxconv.data.calibration import CalibrationData, as_data
from fxconv.data.calibration_generated import Generated
from fxconv.data.calibration_photographs import Photographs

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
