"""The targets there are, and which of them a file name asks for."""

from __future__ import annotations

from pathlib import Path

from fxconv.errors import UserError
from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.target import Target

# The first is written where nothing else is said.
TARGETS: tuple[Target, ...] = (MOBILE,)
# Files of other kinds that people ask for, by their suffix.
_OTHERS = {
    ".tflite": "TensorFlow Lite file",
    ".onnx": "ONNX file",
    ".pte": "ExecuTorch program",
    ".pt": "full TorchScript or weights",
    ".pth": "weights",
    ".pt2": "exported program",
    ".mlmodel": "Core ML model",
    ".mlpackage": "Core ML model",
    ".torchscript": "full TorchScript",
}


def target_of(path: Path | None = None) -> Target:
    """The target whose files end like this one; the first where none does, or there is no name yet."""
    suffix = path.suffix.lower() if path is not None else ""
    return next((one for one in TARGETS if one.suffix == suffix), TARGETS[0])


def check_suffix(path: Path | None, option: str = "") -> None:
    """Raise `UserError` for a file name that no target's files have: another kind's, and one without a suffix.

    `option` is the one that named it, for the message.
    """
    known = " or ".join(one.suffix for one in TARGETS)
    if path is None or path.suffix.lower() in {one.suffix for one in TARGETS} or path.is_dir():
        return  # a folder is told where it is written
    name, meant = f"{option} {path}".strip(), path.with_suffix(TARGETS[0].suffix) if path.name else path
    if path.suffix.lower() in _OTHERS:
        raise UserError(f"{name}: fxconv writes {known} only, no {_OTHERS[path.suffix.lower()]}; write {meant}")
    what = f"does not end in {known}" if path.suffix else "has no suffix"
    longer = path.with_name(f"{path.name}{TARGETS[0].suffix}")
    raise UserError(f"{name}: {what}, as the files that fxconv writes do; write {longer}")
