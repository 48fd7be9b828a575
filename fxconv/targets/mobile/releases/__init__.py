"""What a file needs of the library on the phone: the bytecode it reads, its operators, its call, other libraries."""

from __future__ import annotations

from fxconv.targets.mobile.releases.fit import Fit, Missing, check, fits
from fxconv.targets.mobile.releases.op_list import op_list
from fxconv.targets.mobile.releases.table import RELEASES, Release, release

# fxconv.targets.mobile.releases.backport imports torch; it stands for itself.
__all__ = ["RELEASES", "Fit", "Missing", "Release", "check", "fits", "op_list", "release"]
