"""The state_dicts in what a checkpoint holds, each by its dotted path, and which of them is meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

State = dict[str, Tensor]
# Where training scripts put the weights, in the order in which they are looked for: an average comes after the plain
# ones that it was taken of.
_PLAIN = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "params", "weights")
_AVERAGES = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "model_ema_state_dict", "ema", "params_ema"),
    *("averaged_model", "swa_model", "swa_state_dict"),
)
_RANKS = {name: rank for rank, name in enumerate((*_PLAIN, *_AVERAGES))}
# What training keeps beside the weights: the moments of an optimizer are tensors, too.
_TRAINING = ("optim", "scheduler", "lr_sched", "scaler", "amp", "callback", "loops", "rng", "hyper_param", "hparams")
_DEEPEST = 4


def parts_in(content: Any) -> dict[str, State]:
    """Every state_dict (a dict of tensors by name) in nested dicts, by the keys that lead to it with dots between.

    The content itself is "". A module in it gives its state_dict. What training keeps beside weights is left out.
    """
    found: dict[str, State] = {}
    _search(content, "", found, 0)
    return found


def _search(content: Any, path: str, found: dict[str, State], depth: int) -> None:
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, dict) or not content or depth > _DEEPEST:
        return
    if all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        found[path] = content
        return
    for key, value in content.items():
        if isinstance(key, str) and not key.lower().startswith(_TRAINING):
            _search(value, f"{path}.{key}" if path else key, found, depth + 1)


def preferred(parts: Mapping[str, State]) -> str | None:
    """The state_dict that is meant where nobody says: the only one, or the one under the usual name; None of several.

    Small ones beside it, such as the mean and deviation of the pixels, do not count.
    """
    most = max(map(len, parts.values()), default=0)
    known = {path: rank for path in parts if (rank := _rank(path)) is not None}
    if known:
        return min(known, key=lambda path: known[path])
    large = [path for path, state in parts.items() if 2 * len(state) >= most]
    return large[0] if len(large) == 1 else None


def _rank(path: str) -> list[int] | None:
    """The order of a path of usual names; None of one with another in it."""
    ranks = [_RANKS.get(name, -1) for name in path.split(".")] if path else []
    return None if -1 in ranks else ranks
