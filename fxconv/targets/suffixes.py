"""What the name of a file says of its kind, known without importing torch."""

from __future__ import annotations

from pathlib import Path

from fxconv.errors import UserError

# Those of the targets in `fxconv.targets.registry`, in their order: the first is written where nothing else is said.
WRITTEN = (".ptl",)
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


def check_suffix(path: Path | None, option: str = "") -> None:
    """Raise `UserError` for a file name that no target's files have: another kind's, and one without a suffix.

    `option` is the one that named it, for the message.
    """
    known = " or ".join(WRITTEN)
    if path is None or path.suffix.lower() in WRITTEN or path.is_dir():
        return  # a folder is told where it is written
    name, meant = f"{option} {path}".strip(), path.with_suffix(WRITTEN[0]) if path.name else path
    if path.suffix.lower() in _OTHERS:
        raise UserError(f"{name}: fxconv writes {known} only, no {_OTHERS[path.suffix.lower()]}; write {meant}")
    what = f"does not end in {known}" if path.suffix else "has no suffix"
    longer = path.with_name(f"{path.name}{WRITTEN[0]}")
    raise UserError(f"{name}: {what}, as the files that fxconv writes do; write {longer}")
