"""A file of weights that is named: whether it is there, told before torch is imported."""

from __future__ import annotations

from pathlib import Path

from fxconv.errors import UserError


def check_checkpoint(path: Path) -> None:
    """Raise `UserError` where there is no such file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"--weights {path}: {what}; give a checkpoint, or auto, or random{_inside(path)}")


def _inside(path: Path) -> str:
    """A checkpoint in a folder that was given for one."""
    kinds = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
    found = sorted(one for one in path.iterdir() if one.suffix in kinds) if path.is_dir() else []
    return f"; {found[0]} is in it" if found else ""
