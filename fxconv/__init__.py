"""A vision model as its authors wrote it in; a verified int8 artifact, and the diff of what was changed, out.

import fxconv
conversion = fxconv.convert(model, calibration=batches, example_inputs=(x,))
conversion.save("model.ptl")
conversion.report.print()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fxconv.environment import VERSION

if TYPE_CHECKING:
    from fxconv.config import Config
    from fxconv.conversion import Conversion, convert, finish, prepare_qat

__all__ = ["Config", "Conversion", "convert", "finish", "prepare_qat"]
__version__ = VERSION


def __getattr__(name: str) -> Any:
    """Import torch only when something that needs it is asked for, so that `fxconv --help` is quick."""
    if name in ("Conversion", "convert", "finish", "prepare_qat"):
        from fxconv import conversion

        return getattr(conversion, name)
    if name == "Config":
        from fxconv.config import Config

        return Config
    raise AttributeError(f"module 'fxconv' has no attribute {name!r}")
