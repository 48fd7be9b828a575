"""What is in a checkpoint file, as torch.save or safetensors wrote it, or one line that says why it is none."""

from __future__ import annotations

import pickle
import re
import shlex
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from fxconv.diagnostics.known_errors import BY_NAME
from fxconv.errors import UserError
from fxconv.inspection.objects import CALIBRATION
from fxconv.inspection.what import WEIGHTS, kind_of, what_is
from fxconv.models.weights_path import check_checkpoint

SAVE = "save model.state_dict() with torch.save"


def content_of(path: Path, unsafe: bool = False) -> Any:
    """What torch.load, or safetensors, makes of a file.

    Only tensors are unpickled, unless `unsafe`: then whatever is in the file, code included. Raises `UserError` in one
    line when the file is missing, no checkpoint, or holds objects.
    """
    check_checkpoint(path)
    try:
        if not path.stat().st_size:
            raise UserError(f"--weights {path}: the file is empty; copy it again")
        content = _safetensors(path) if path.suffix.lower() == ".safetensors" else _torch(path, unsafe)
    except OSError as error:
        raise UserError(
            f"--weights {path}: cannot be read ({error.strerror or error}); check that you may read it"
        ) from error
    if isinstance(content, dict) and str(content.get("format", "")).startswith(CALIBRATION):
        raise UserError(
            f"--weights {path}: is a calibration that fxconv saved, no weights; fxconv convert --calibration "
            f"{shlex.quote(str(path))}"
        )
    return content


def _safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise UserError(
            f"--weights {path}: needs the package safetensors, which is not installed; pip install safetensors"
        ) from error
    try:
        return load(path.read_bytes())
    except (SafetensorError, KeyError, ValueError) as error:  # a KeyError is a type torch does not have
        raise UserError(f"--weights {path}: not a safetensors file ({error})") from error


def _torch(path: Path, unsafe: bool) -> Any:
    _check_container(path)
    kept = sys.path.copy()
    try:
        if unsafe:  # a pickled model's class may lie beside it
            sys.path.insert(0, str(Path.cwd()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch has to say about the file is said below
            return torch.load(path, map_location="cpu", weights_only=not unsafe)
    except (Exception, SystemExit) as error:  # a damaged file fails wherever the damage lies, a class's code anyhow
        if unsafe:
            raise UserError(
                f"--weights {path}: unpickling failed with {type(error).__name__}: {_first_line(error)}; "
                "the classes in it must be importable from here"
            ) from error
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path):
            raise UserError(
                f"--weights {path}: holds pickled Python objects{_named_object(error)}, not only tensors, and "
                f"unpickling runs whatever code is in the file; {BY_NAME['weights-only'].cure}"
            ) from error
        what = _other(path) or "not a torch checkpoint, or a damaged one"
        raise UserError(f"--weights {path}: {what}; {SAVE}") from error
    finally:
        sys.path[:] = kept


def _check_container(path: Path) -> None:
    """Raises `UserError` for files that can be told from their first bytes or their table of contents."""
    with path.open("rb") as file:
        start = file.read(60)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = {name.rpartition("/")[2] for name in archive.namelist()}
        if "bytecode.pkl" in inside or "constants.pkl" in inside:
            kind = "an artifact for phones (.ptl)" if "bytecode.pkl" in inside else "a TorchScript archive"
            raise UserError(f"--weights {path}: {kind}, not a checkpoint; save model.state_dict() instead")
        if "data.pkl" not in inside:
            what = _other(path) or "a zip archive that torch.save did not write"
            raise UserError(f"--weights {path}: {what}; {SAVE}")
    elif start.startswith(b"\x93NUMPY"):
        raise UserError(f"--weights {path}: a NumPy array, not a torch checkpoint; {SAVE}")
    elif path.suffix.lower() == ".py" and _text(start) is not None:
        raise UserError(f"--weights {path}: a Python file, not a checkpoint; MODEL names it, {path}:FACTORY")
    elif (text := _text(start)) is not None:
        raise UserError(f'--weights {path}: not a torch checkpoint but a text that begins "{text}"; {SAVE}')


def _text(start: bytes) -> str | None:
    """The first line when the bytes are text: an error page saved by a download, a pointer of Git LFS."""
    line = start.decode("utf-8", "replace").strip().split("\n")[0].strip()
    return line if line.isprintable() and "\ufffd" not in line[:-1] and len(line) > 3 else None


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")


def _named_object(error: Exception) -> str:
    """The first object that torch refused to unpickle, in brackets, when it names one."""
    match = re.search(r"GLOBAL (?:torch\.nn\.modules\.\w+\.)?([\w.]+)", str(error))
    return f" ({match[1]})" if match else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _other(path: Path) -> str:
    """What a file of another kind is, in words; "" of one that may be a damaged checkpoint."""
    what = what_is(path)
    if not what.startswith(("a ", "an ")) or what.startswith(("a zip", "a text")) or kind_of(path) in WEIGHTS:
        return ""
    return f"{what}, not a checkpoint"
