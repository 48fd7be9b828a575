"""What looks at the outputs of some modules for as long as it is entered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

_Hooks = TypeVar("_Hooks", bound="ForwardHooks")


class ForwardHooks:
    """Forward hooks, each on its module in `watched`, while this is entered; afterwards no module is kept for them."""

    def __init__(self) -> None:
        self.hooks: list[Any] = []
        self.watched: dict[nn.Module, Callable[..., Any]] = {}

    def __enter__(self: _Hooks) -> _Hooks:
        self.hooks = [module.register_forward_hook(note) for module, note in self.watched.items()]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()  # what is left of them can be neither copied nor saved
        self.watched.clear()
