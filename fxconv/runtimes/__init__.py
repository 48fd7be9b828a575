"""What a file needs of the library on the phone: the bytecode it reads, its operators, its call, other libraries."""

from __future__ import annotations

from fxconv.runtimes.fit import Fit, Missing, check, fits
from fxconv.runtimes.op_list import op_list
from fxconv.runtimes.releases import RELEASES, Release, release

# fxconv.runtimes.backport imports torch; it stands for itself.
__all__ = ["RELEASES", "Fit", "Missing", "Release", "check", "fits", "op_list", "release"]
