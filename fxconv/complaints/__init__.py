"""The table that `fxconv doctor` looks messages up in, and that fxconv itself asks when torch raises. No torch here."""

from __future__ import annotations

from fxconv.complaints.complaint import Complaint, Place
from fxconv.complaints.conversion import CONVERSION
from fxconv.complaints.devices import DEVICES
from fxconv.complaints.files import FILES
from fxconv.complaints.inputs import INPUTS
from fxconv.complaints.installation import INSTALL, INSTALLATION
from fxconv.complaints.kernels import KERNELS
from fxconv.complaints.lowering import LOWERING
from fxconv.complaints.tracing import TRACING
from fxconv.complaints.training import TRAINING

# The more a message tells, the further to the front: one of memory or of an input's size may follow from another.
COMPLAINTS: tuple[Complaint, ...] = (
    *INSTALLATION,
    *FILES,
    *DEVICES,
    *LOWERING,
    *TRAINING,
    *KERNELS,
    *CONVERSION,
    *TRACING,
    *INPUTS,
)
BY_NAME = {complaint.name: complaint for complaint in COMPLAINTS}

__all__ = ["BY_NAME", "COMPLAINTS", "INSTALL", "Complaint", "Place"]
