"""The table that `fxconv doctor` looks messages up in, and that fxconv itself asks when torch raises. No torch here."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.conversion import CONVERSION
from fxconv.diagnostics.known_errors.devices import DEVICES
from fxconv.diagnostics.known_errors.executorch_export import EXECUTORCH_EXPORT
from fxconv.diagnostics.known_errors.executorch_runtime import EXECUTORCH_RUNTIME
from fxconv.diagnostics.known_errors.files import FILES
from fxconv.diagnostics.known_errors.inputs import INPUTS
from fxconv.diagnostics.known_errors.installation import INSTALLATION
from fxconv.diagnostics.known_errors.kernels import KERNELS
from fxconv.diagnostics.known_errors.known_error import KnownError, Place
from fxconv.diagnostics.known_errors.lowering import LOWERING
from fxconv.diagnostics.known_errors.tracing import TRACING
from fxconv.diagnostics.known_errors.training import TRAINING

# The more a message tells, the further to the front: one of memory or of an input's size may follow from another.
KNOWN_ERRORS: tuple[KnownError, ...] = (
    *INSTALLATION,
    *FILES,
    *DEVICES,
    *EXECUTORCH_EXPORT,
    *EXECUTORCH_RUNTIME,
    *LOWERING,
    *TRAINING,
    *KERNELS,
    *CONVERSION,
    *TRACING,
    *INPUTS,
)
BY_NAME = {known_error.name: known_error for known_error in KNOWN_ERRORS}

__all__ = ["BY_NAME", "KNOWN_ERRORS", "KnownError", "Place"]
