"""What the name of a file says of its kind, known without importing torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fxconv.config import TARGETS
from fxconv.errors import UserError

# The first is written where nothing else is said.
WRITTEN = tuple(TARGETS.values())
FIRST = (next(iter(TARGETS)),)
_CORE_ML = "Core ML model, which decides itself what runs in which type, so that its integers cannot be read back"
_QNN = "file of Qualcomm's SDK, which needs that SDK and its chip to be tried"
# Files of other kinds that people ask for, by their suffix.
_OTHERS = {
    ".tflite": "TensorFlow Lite file",
    ".onnx": "ONNX file",
    ".pt": "full TorchScript or weights",
    ".pth": "weights",
    ".pt2": "exported program",
    ".ptd": "data file of ExecuTorch",
    ".mlmodel": _CORE_ML,
    ".mlpackage": _CORE_ML,
    ".dlc": _QNN,
    ".torchscript": "full TorchScript",
}


def check_suffixes(paths: Sequence[Path], option: str = "") -> tuple[str, ...]:
    """The targets of files of these names. Raises `UserError` as `check_suffix` does, and for two files of one."""
    found: dict[str, Path] = {}
    for path in paths:
        check_suffix(path, option)
        suffix = path.suffix.lower()
        if suffix in found:
            raise UserError(
                f"{option} {path}: is a second {suffix} beside {found[suffix]}; name one file of each kind".strip()
            )
        found[suffix] = path
    return targets_named(paths)


def targets_named(paths: Sequence[Path]) -> tuple[str, ...]:
    """The targets that files of these names are of; what else is wrong with a name is told by `check_suffixes`."""
    suffixes = {path.suffix.lower() for path in paths}
    return tuple(target for target, suffix in TARGETS.items() if suffix in suffixes)


def check_suffix(path: Path | None, option: str = "") -> None:
    """Raise `UserError` for a file name that no target's files have: another kind's, and one without a suffix.

    `option` is the one that named it, for the message.
    """
    known = " or ".join(WRITTEN)
    if path is None or path.suffix.lower() in WRITTEN or path.is_dir():
        return  # a folder is told where it is written
    if path.name.lower() in WRITTEN:
        raise UserError(
            f"{option} {path}: has no name before its suffix; write {path.with_name('model')}{path.name}".strip()
        )
    name, meant = f"{option} {path}".strip(), path.with_suffix(WRITTEN[0]) if path.name else path
    if path.suffix.lower() in _OTHERS:
        raise UserError(f"{name}: fxconv writes {known} only, no {_OTHERS[path.suffix.lower()]}; write {meant}")
    what = f"does not end in {known}" if path.suffix else "has no suffix"
    longer = path.with_name(f"{path.name}{WRITTEN[0]}")
    raise UserError(f"{name}: {what}, as the files that fxconv writes do; write {longer}")
