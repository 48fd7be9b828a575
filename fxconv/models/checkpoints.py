"""A checkpoint file -> the state_dict in it -> a module, or one line that says what does not fit."""

from __future__ import annotations

import copy
import pickle
import re
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from fxconv.diagnostics.known_errors import BY_NAME
from fxconv.errors import UserError

# Where training scripts put the state_dict, the plain weights before their moving average.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
# What DataParallel, Lightning and torch.compile put before every key.
_PREFIXES = ("module.", "model.", "_orig_mod.")
_AVERAGED = "n_averaged"  # a counter that torch's AveragedModel keeps beside the weights
_DENSENET_OLD_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_SAVE = "save model.state_dict() with torch.save"


def read_checkpoint(path: Path, unsafe: bool = False) -> dict[str, Tensor]:
    """The state_dict in a file that torch.save or safetensors wrote, bare or wrapped in dicts.

    Only tensors are unpickled, unless `unsafe`: then whatever is in the file, code included, and a pickled model gives
    its state_dict. Raises `UserError` in one line when the file is missing, no checkpoint, or holds objects.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"--weights {path}: {what}; give a checkpoint, or auto, or random")
    try:
        if not path.stat().st_size:
            raise UserError(f"--weights {path}: the file is empty")
        content = _safetensors(path) if path.suffix.lower() == ".safetensors" else _torch(path, unsafe)
    except OSError as error:
        raise UserError(f"--weights {path}: cannot be read ({error.strerror or error})") from error
    return _state_dict(content, path)


def _safetensors(path: Path) -> dict[str, Tensor]:
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
        raise UserError(f"--weights {path}: not a torch checkpoint, or a damaged one; {_SAVE}") from error
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
            raise UserError(f"--weights {path}: a zip archive that torch.save did not write; {_SAVE}")
    elif start.startswith(b"\x93NUMPY"):
        raise UserError(f"--weights {path}: a NumPy array, not a torch checkpoint; {_SAVE}")
    elif (text := _text(start)) is not None:
        raise UserError(f'--weights {path}: not a torch checkpoint but a text that begins "{text}"; {_SAVE}')


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


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    while True:
        if isinstance(content, nn.Module):
            content = content.state_dict()
        if not isinstance(content, dict):
            raise UserError(f"--weights {path}: holds no state_dict (a dict of tensors) but a {type(content).__name__}")
        if content and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
            return content
        inner = next((content[k] for k in _WRAPPERS if isinstance(content.get(k), (dict, nn.Module))), None)
        if inner is None:
            held = some(f"{key}: {type(value).__name__}" for key, value in content.items() if not _is_tensor(value))
            raise UserError(f"--weights {path}: holds no state_dict (a dict of tensors){held and f'; it holds {held}'}")
        content = inner


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def matched(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under the names of a module whose state_dict is `own`, as far as they can be told.

    `module.`, `model.` and `_orig_mod.` before every key go when more keys fit without; the names torchvision's
    densenets had before 2019 become the present ones.
    """
    best, stripped = state, copy.copy(state)  # as it is: torch keeps the version of each layer in an attribute
    if _AVERAGED not in own:
        stripped.pop(_AVERAGED, None)
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in stripped)), None):
        stripped = copy.copy(stripped)
        if hasattr(stripped, "_metadata"):
            stripped._metadata = copy.copy(stripped._metadata)
        consume_prefix_in_state_dict_if_present(stripped, prefix)
        best = stripped if _hits(stripped, own) > _hits(best, own) else best
    renamed = copy.copy(best)
    for key in best:
        renamed[_DENSENET_OLD_KEY.sub(r"\1\2", key)] = renamed.pop(key)
    return renamed if _hits(renamed, own) > _hits(best, own) else best


def _hits(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    return len(state.keys() & own.keys())


def misfits(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What keeps `state` from being loaded into a module whose state_dict is `own`, in words."""
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    both = [key for key in own if key in state]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, the model's is {tuple(own[key].shape)}"
        for key in both
        if state[key].shape != own[key].shape
    ]
    kinds = [f"{key} holds {_kind(state[key])}" for key in both if not _is_copyable(state[key], own[key])]
    problems = [f"it lacks {some(missing)}"] if missing else []
    problems += [f"the model has no {some(unexpected)}"] if unexpected else []
    problems += [some(shapes, 2)] if shapes else []
    problems += [f"{some(kinds, 2)}; floating-point numbers are needed"] if kinds else []
    return problems


def _is_copyable(value: Tensor, own: Tensor) -> bool:
    """Whether `value` is plain numbers: quantized, sparse and meta tensors are not, nor are integers for floats."""
    plain = value.layout == torch.strided and not value.is_quantized and not value.is_meta and not value.is_complex()
    return plain and (value.is_floating_point() or not own.is_floating_point())


def _kind(value: Tensor) -> str:
    kind = "quantized numbers" if value.is_quantized else "no numbers" if value.is_meta else f"{value.dtype} numbers"
    return kind.replace("torch.", "") + (" in a sparse layout" if value.layout != torch.strided else "")


def head_sizes(state: dict[str, Tensor], own: Mapping[str, Tensor], most: int = 3) -> list[int]:
    """How many classes a checkpoint may have, smallest first: each first dimension that alone differs."""
    found = {
        state[key].shape[0]
        for key in own.keys() & state.keys()
        if state[key].ndim and state[key].shape[1:] == own[key].shape[1:] and state[key].shape != own[key].shape
    }
    return sorted(found - {0})[:most]


def load_into(module: nn.Module, state: dict[str, Tensor], source: str, name: str) -> None:
    """Load a state_dict strictly, as the module's own types. Raises `UserError` naming all that does not fit.

    `source` is the value of --weights, `name` the model, both for the message.
    """
    own = module.state_dict()
    state = matched(state, own)
    if problems := misfits(state, own):
        raise UserError(f"--weights {source} does not fit {name}: {'; '.join(problems)}")
    if not hasattr(state, "_metadata"):  # layers that changed over the years want to know their version
        state = OrderedDict(state)
        state._metadata = own._metadata  # type: ignore[attr-defined]
    module.load_state_dict(state, strict=False)
