"""The state_dict in a checkpoint -> a module, or one line that says what does not fit, and what would."""

from __future__ import annotations

import copy
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from fxconv.errors import UserError
from fxconv.models.checkpoint_file import SAVE, content_of
from fxconv.models.checkpoint_offers import offers
from fxconv.models.checkpoint_parts import State, parts_in, preferred
from fxconv.wording import with_article

# What DataParallel, Lightning and torch.compile put before every key.
_PREFIXES = ("module.", "model.", "_orig_mod.")
_AVERAGED = "n_averaged"  # a counter that torch's AveragedModel keeps beside the weights
_DENSENET_OLD_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


@dataclass(frozen=True)
class Checkpoint:
    """A state_dict in a file, and what else is there.

    `source` is the value of --weights; `state` what was chosen; `parts` are all state_dicts in the file by their dotted
    paths, of which `key` is the chosen one's; of it, names that begin with `prefix` were taken, without that. `asked`
    says that the user named the key.
    """

    source: str
    state: State
    parts: Mapping[str, State]
    key: str = ""
    prefix: str = ""
    asked: bool = False

    def load_into(self, module: nn.Module, name: str) -> tuple[str, tuple[str, ...]]:
        """Load it strictly, as the module's own types; where it comes from in words, and what the user must know.

        `name` is the model, for messages. Raises `UserError` naming all that does not fit, and what in the file would.
        """
        own = module.state_dict()
        if problems := misfits(matched(self.state, own), own):
            cure = offers(self.parts, self.key, own, name, lambda state: _fits(state, own), self.asked)
            raise UserError(f"--weights {self.source} does not fit {name}: {'; '.join(problems)}{cure}")
        load_into(module, self.state, self.source, name)
        words = self.words(_stripped(self.state, own)[1])
        others = [key for key, state in self.parts.items() if key != self.key and _fits(state, own)]
        if self.asked or not others:
            return words, ()
        fit = "fits" if len(others) == 1 else "fit"
        return words, (f"{self.source}: its {self.key} is taken; {some(others)} {fit}, too: --weights-key {others[0]}",)

    def words(self, stripped: str = "") -> str:
        """The file, which of its state_dicts, and what was taken off its names: `x.pt, its ema, 'module.' stripped`."""
        key = f", its {self.key}" if self.key else ""
        prefix = f", {self.prefix + stripped!r} stripped" if self.prefix + stripped else ""
        left = len(self.parts[self.key]) - len(self.state) if self.prefix else 0
        beside = f", {left} other{'s' * (left != 1)} left out" if left else ""
        return f"{self.source}{key}{prefix}{beside}"


def read_checkpoint(path: Path, unsafe: bool = False, key: str | None = None, prefix: str | None = None) -> Checkpoint:
    """The state_dict in a file that torch.save or safetensors wrote, bare or wrapped in dicts.

    Of several the one at `key`, a dotted path, or under the usual name; with `prefix` only names that begin with it,
    without it. With `unsafe` objects are unpickled, too, and a pickled model gives its state_dict. Raises `UserError`
    as `content_of` does, and when it is not clear which state_dict is meant.
    """
    content = content_of(path, unsafe)
    parts = parts_in(content)
    if not parts:
        raise _without(content, path)
    chosen = _named(parts, key, path) if key is not None else preferred(parts)
    if chosen is None:
        raise UserError(
            f"--weights {path}: holds several state_dicts, {some(parts, 6)}; say which with --weights-key "
            f"{next(iter(parts))}"
        )
    state = parts[chosen]
    if prefix is not None:
        prefix, state = _under(state, prefix, path)
    return Checkpoint(str(path), state, parts, chosen, prefix or "", key is not None)


def _named(parts: Mapping[str, State], key: str, path: Path) -> str:
    """The path of the state_dict that a key names; the only one below it, too."""
    if key in parts:
        return key
    below = [one for one in parts if one.startswith(f"{key}.")]
    if len(below) == 1:
        return below[0]
    if list(parts) == [""]:
        raise UserError(f"--weights-key {key}: {path} is one state_dict, without a key; leave it out")
    raise UserError(f"--weights-key {key}: {path} has no state_dict there; it has {some(below or parts, 6)}")


def _under(state: State, prefix: str, path: Path) -> tuple[str, State]:
    """What begins with a prefix, with or without its last dot, and the rest of those names."""
    for begin in (prefix, f"{prefix}."):
        taken = {key.removeprefix(begin): value for key, value in state.items() if key.startswith(begin)}
        if taken and all(key and not key.startswith(".") for key in taken):
            return begin, taken
    begins = Counter(f"{key.partition('.')[0]}." if "." in key else key for key in state)
    raise UserError(
        f"--weights-prefix {prefix}: no name in {path} begins so; they begin with "
        f"{some([begin for begin, _ in begins.most_common()], 6)}"
    )


def _fits(state: State, own: State) -> bool:
    return not misfits(matched(state, own), own)


def _without(content: Any, path: Path) -> UserError:
    """What to say of content without a state_dict."""
    if not isinstance(content, dict):
        kind = with_article(type(content).__name__)
        return UserError(f"--weights {path}: holds no state_dict (a dict of tensors) but {kind}; {SAVE}")
    held = some(f"{key}: {type(value).__name__}" for key, value in content.items() if not _is_tensor(value))
    return UserError(
        f"--weights {path}: holds no state_dict (a dict of tensors){held and f'; it holds {held}'}; {SAVE}"
    )


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def matched(state: State, own: Mapping[str, Tensor]) -> State:
    """`state` under the names of a module whose state_dict is `own`, as far as they can be told.

    `module.`, `model.` and `_orig_mod.` before every key go when more keys fit without; the names torchvision's
    densenets had before 2019 become the present ones.
    """
    return _stripped(state, own)[0]


def _stripped(state: State, own: Mapping[str, Tensor]) -> tuple[State, str]:
    """The same, and the prefix that went."""
    best, taken, begin = state, "", ""
    stripped = copy.copy(state)  # as it is: torch keeps the version of each layer in an attribute
    if _AVERAGED not in own:
        stripped.pop(_AVERAGED, None)
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in stripped)), None):
        stripped = copy.copy(stripped)
        if hasattr(stripped, "_metadata"):
            stripped._metadata = copy.copy(stripped._metadata)
        consume_prefix_in_state_dict_if_present(stripped, prefix)
        begin += prefix
        if _hits(stripped, own) > _hits(best, own):
            best, taken = stripped, begin
    renamed = copy.copy(best)
    for key in best:
        renamed[_DENSENET_OLD_KEY.sub(r"\1\2", key)] = renamed.pop(key)
    return (renamed if _hits(renamed, own) > _hits(best, own) else best), taken


def _hits(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    return len(state.keys() & own.keys())


def misfits(state: State, own: Mapping[str, Tensor]) -> list[str]:
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


def head_sizes(state: State, own: Mapping[str, Tensor], most: int = 3) -> list[int]:
    """How many classes a checkpoint may have, smallest first: each first dimension that alone differs."""
    found = {
        state[key].shape[0]
        for key in own.keys() & state.keys()
        if state[key].ndim and state[key].shape[1:] == own[key].shape[1:] and state[key].shape != own[key].shape
    }
    return sorted(found - {0})[:most]


def load_into(module: nn.Module, state: State, source: str, name: str) -> None:
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
