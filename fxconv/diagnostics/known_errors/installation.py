"""Messages of an installation that cannot work."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says
from fxconv.environment import INSTALL

INSTALLATION = (
    KnownError(
        "xnnpack-not-built",
        Place.INSTALLATION,
        says(r"Mobile optimization only available with XNNPACK", r"XNNPACK is not enabled"),
        "Mobile optimization only available with XNNPACK at the moment. XNNPACK is not enabled. Please build with "
        "USE_XNNPACK=1",
        "this torch is built without XNNPACK, as 2.13 and later are, so optimize_for_mobile cannot work",
        "fxconv convert runs its passes without it; call it yourself with "
        'a torch that has it: install "torch>=2.12,<2.13" and "torchvision>=0.27,<0.28"',
        ("pytorch/pytorch#189532", "pytorch/pytorch#185297"),
        provoked=True,
    ),
    KnownError(
        "torchvision-mismatch",
        Place.INSTALLATION,
        says(r"operator torchvision::nms does not exist", r"No such operator torchvision::nms"),
        "RuntimeError: operator torchvision::nms does not exist",
        "torch and torchvision are builds that do not belong together, one for CPUs alone beside one for GPUs for "
        "instance, so the operators of torchvision were not loaded",
        f"{INSTALL}, both from the same index, in a fresh environment",
        ("pytorch/pytorch#122494", "pytorch/pytorch#157648"),
    ),
    KnownError(
        "torch-ao-missing",
        Place.INSTALLATION,
        says(r"No module named '?torch\.ao\b"),
        "ModuleNotFoundError: No module named 'torch.ao.quantization'",
        "this torch is too old or too new to have torch.ao.quantization",
        INSTALL,
        ("pytorch/android-demo-app#199",),
    ),
)
