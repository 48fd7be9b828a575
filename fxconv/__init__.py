"""A vision model as its authors wrote it in; a verified int8 artifact, and the diff of what was changed, out.

import fxconv
conversion = fxconv.convert(model, calibration=loader)
conversion.save("model.ptl")
conversion.report.print()

The public names are those in `__all__`; docs/python.md shows them by task. All other modules may change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fxconv.environment import VERSION

if TYPE_CHECKING:
    from fxconv import detectors, labels
    from fxconv.api import convert, finish, prepare_qat
    from fxconv.config import Config
    from fxconv.conversion import Conversion
    from fxconv.errors import ConversionError, InternalError, UserError

__all__ = [
    "Config",
    "Conversion",
    "ConversionError",
    "InternalError",
    "UserError",
    "convert",
    "detectors",
    "finish",
    "labels",
    "prepare_qat",
]
__version__ = VERSION

# Where each lives. What needs torch is imported when it is asked for, so that `fxconv --help` is quick.
_HOMES = {
    "Config": "config",
    "Conversion": "conversion",
    "ConversionError": "errors",
    "InternalError": "errors",
    "UserError": "errors",
    "convert": "api",
    "finish": "api",
    "prepare_qat": "api",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"fxconv.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"fxconv.{name}")
    raise AttributeError(f"module 'fxconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
