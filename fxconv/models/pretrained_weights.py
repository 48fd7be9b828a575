"""torchvision's own weights, cached or fetched; and whether the weights of any model are sound."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.errors import UserError
from fxconv.models.checkpoints import some

_CONNECT_SECONDS = 5.0
_FETCH_SECONDS = 20.0
_CHUNK = 1 << 20


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


def check_values(module: nn.Module, what: str) -> tuple[str, ...]:
    """Warnings on the numbers in a module. Raises `UserError` for those no network can compute with.

    These are NaN, infinity, other types than float32, and a negative running variance. A variance of 0 is warned of:
    the layer multiplies such a channel by its weight / sqrt(eps), some hundreds, which int8 can follow only while the
    channel stays as constant as it was in training. `what` begins the messages.
    """
    tensors = module.state_dict().items()
    broken = [name for name, value in tensors if isinstance(value, Tensor) and not torch.isfinite(value).all()]
    if broken:
        raise UserError(f"{what}: NaN or infinity in {some(broken)}; mend the weights")
    other = [f"{name} ({value.dtype})" for name, value in tensors if _is_float(value) and value.dtype != torch.float32]
    if other:
        raise UserError(f"{what}: weights that are not float32: {some(other)}; call .float() on the model first")
    flat = []
    for name, layer in module.named_modules():
        variance, weight = getattr(layer, "running_var", None), getattr(layer, "weight", None)
        if not isinstance(variance, Tensor):
            continue
        if (variance < 0).any():
            raise UserError(f"{what}: {name}.running_var is negative, and has no square root; mend the weights")
        zero = (variance == 0) & (torch.ones_like(variance) if weight is None else weight).ne(0)
        if zero.any():
            flat.append(f"{name} ({int(zero.sum())} of {len(zero)} channels)")
    if not flat:
        return ()
    return (
        f"batch norms with a running variance of 0: {some(flat)}; they amplify whatever differs from the mean, "
        "int8 rounding included",
    )


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
