"""Where a model's weights come from: a checkpoint, torchvision's own, or a seed."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.errors import UserError

_CONNECT_SECONDS = 5.0
_FETCH_SECONDS = 20.0
_CHUNK = 1 << 20
_NO_CHECKPOINT = "not a torch checkpoint; save model.state_dict() with torch.save"
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state_dict in a checkpoint file, bare or under "state_dict" or "model"; a `module.` prefix is dropped.

    Raises `UserError` when the file is missing, is no checkpoint, or holds a pickled model: unpickling one
    would run whatever code is in the file.
    """
    if not path.is_file():
        raise UserError(f"--weights {path}: no such file; give a checkpoint, or auto, or random")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch has to say about the file is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with path.open("rb") as file:
            if file.read(2) not in (b"PK", b"\x80\x02"):  # the zip archive and the pickle torch.save writes
                raise UserError(f"--weights {path}: {_NO_CHECKPOINT}") from error
        raise UserError(
            f"--weights {path}: holds pickled Python objects, not only tensors; save model.state_dict() instead"
        ) from error
    except Exception as error:  # a damaged file fails wherever the damage lies
        if "TorchScript" in str(error):
            raise UserError(
                f"--weights {path}: a TorchScript archive, not a checkpoint; save model.state_dict() instead"
            ) from error
        raise UserError(f"--weights {path}: {_NO_CHECKPOINT}") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"--weights {path}: holds no state_dict (a dict of tensors)")
    if all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def load_into(module: nn.Module, state: dict[str, Tensor], path: Path, name: str) -> None:
    """Load a state_dict strictly. Raises `UserError` naming the keys and shapes that do not fit."""
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, the model's is {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [f"it lacks {_some(missing)}"] if missing else []
    problems += [f"the model has no {_some(unexpected)}"] if unexpected else []
    problems += [_some(shapes, 2)] if shapes else []
    if problems:
        raise UserError(f"--weights {path} does not fit {name}: {'; '.join(problems)}")
    module.load_state_dict(state, strict=False)


def cached_or_fetched(weights: Any) -> dict[str, Tensor] | None:
    """torchvision's pretrained weights when they are cached, or can be fetched within seconds; else None.

    The file goes into torch.hub's cache under torchvision's own name, whole or not at all, and only if its
    hash is the one in that name.
    """
    name = weights.url.rsplit("/", 1)[-1]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not cached.is_file() and not _fetch(weights.url, cached):
        return None
    try:
        state: dict[str, Tensor] = torch.load(cached, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails wherever the damage lies
        raise UserError(f"the cached weights {cached} are damaged; delete the file") from error
    return state


def _fetch(url: str, target: Path) -> bool:
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    deadline = time.monotonic() + _FETCH_SECONDS
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as answer:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                while chunk := answer.read(_CHUNK):
                    if time.monotonic() > deadline:
                        return False
                    digest.update(chunk)
                    file.write(chunk)
        expected = target.stem.rsplit("-", 1)[-1]
        if not digest.hexdigest().startswith(expected):
            return False
        partial.replace(target)
        return True
    except (urllib.error.URLError, OSError, ValueError):
        return False
    finally:
        partial.unlink(missing_ok=True)


def reestimate_batch_norms(module: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set every batch norm's running statistics to those of the batches; returns how many there are.

    A freshly initialised network's outputs fade towards zero through its depth, and a comparison against
    zeros says nothing; with statistics of its own inputs each layer passes its signal on. The
    training flag and the momentum of each layer are left as they were.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, _BATCH_NORMS) and layer.track_running_stats]
    if not norms:
        return 0
    before = [(layer.training, layer.momentum) for layer in norms]
    was_training = module.training
    module.eval()
    try:
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # cumulative average over all batches
            layer.train()
        with torch.inference_mode():
            for batch in batches:
                module(batch)
    finally:
        module.train(was_training)
        for layer, (training, momentum) in zip(norms, before, strict=True):
            layer.momentum = momentum
            layer.train(training)
    return len(norms)
