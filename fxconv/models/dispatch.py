"""Calling an operator from a dispatch mode, as it was called."""

from __future__ import annotations

from typing import Any

import torch


def passed_on(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `func` gives for these arguments.

    A tensor that wraps a Python number (in TorchScript's comparisons, for one) reaches a mode as that number, which an
    operator without an overload for numbers does not take back.
    """
    wanted = {argument.name: str(argument.type) for argument in func._schema.arguments}
    given = [
        torch.tensor(value) if kind == "Tensor" and isinstance(value, (bool, int, float)) else value
        for value, kind in zip(args, wanted.values(), strict=False)
    ]
    return func(*given, **kwargs)
