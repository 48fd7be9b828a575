"""Which releases of the libraries for phones load a file: those of the kind that it is."""

from __future__ import annotations

from collections.abc import Sequence

from fxconv.config import TARGETS, loaded_by, runtime_name
from fxconv.errors import UserError
from fxconv.inspection.found import Inspection, Kind
from fxconv.inspection.printable import printable
from fxconv.inspection.what import with_article
from fxconv.targets.executorch import releases as executorch
from fxconv.targets.mobile import releases as mobile

Fit = mobile.Fit | executorch.Fit
EXECUTORCH, MOBILE = "executorch", "mobile"
_LITE = (Kind.LITE, Kind.LITE_FLATBUFFER, Kind.TORCHSCRIPT)


def fits_of(found: Inspection, wanted: Sequence[str]) -> list[Fit]:
    """What becomes of the file in each release of `wanted`, names that `runtime_name` gives; of none, in all there are.

    Raises `UserError` for a release that loads files of another kind than this one.
    """
    for name in wanted:
        _check_kind(found, name)
    if not wanted:
        return [*mobile.fits(found), *executorch.fits(found)]
    return [
        executorch.check(found, executorch.release(name))
        if loaded_by(name) == EXECUTORCH
        else mobile.check(found, mobile.release(name))
        for name in wanted
    ]


def _check_kind(found: Inspection, name: str) -> None:
    of = EXECUTORCH if found.kind is Kind.EXECUTORCH else MOBILE if found.kind in _LITE else loaded_by(name)
    if of != loaded_by(name):
        suffix, own = TARGETS[loaded_by(name)], TARGETS[of]
        raise UserError(
            f"--runtime {name}: loads {suffix} files, and {printable(str(found.path), 300)} is "
            f"{with_article(found.kind)}; name a library for {own} files, {_NEWEST[of]} say"
        )


# A library for the files of each kind, to be named in a message.
_NEWEST = {EXECUTORCH: executorch.RELEASES[-1].name, MOBILE: "pytorch_android_lite==2.1.0"}


def names_of(texts: Sequence[str]) -> list[str]:
    """The releases that these texts name. Raises `UserError` for one that does not exist."""
    return [runtime_name(text) for text in texts]
