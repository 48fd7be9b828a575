"""A file of the lite interpreter, anybody's: checked, loaded, run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fxconv.diagnostics.diagnosis import cure_of
from fxconv.errors import UserError, message_line
from fxconv.measures.latency import set_mobile_threads
from fxconv.models.signature import in_words
from fxconv.targets.mobile import allow_list
from fxconv.targets.mobile.lite_file import load_lite


def prepared(path: Path, threads: int = 1) -> None:
    """Make this process one that can run a file. Raises `UserError` when the file must not be run."""
    if any(name.startswith("torchvision::") for name in allow_list.operators_of(path)):
        import torchvision  # noqa: F401  registers them
    torch.backends.quantized.engine = "qnnpack"
    set_mobile_threads(threads)


def loaded(path: Path) -> Callable[..., Any]:
    """A file that is prepared for, in the lite interpreter. Raises `UserError` when it does not load."""
    try:
        return load_lite(path)
    except Exception as error:  # torch's own are of many types
        raise UserError(
            f"{path}: does not load ({_words(error)}); {cure_of(error, 'give a .ptl of this torch or an older one')}"
        ) from error


def ran(module: Callable[..., Any], example: tuple[Any, ...], path: Path) -> None:
    """Run it once. Raises `UserError` when it does not take what it is given."""
    try:
        with torch.no_grad():
            module(*example)
    except Exception as error:
        what = f"does not run on an input of {in_words(example)}"
        raise UserError(
            f"{path}: {what} ({_words(error)}); {cure_of(error, 'give --input-size or --example')}"
        ) from error


def _words(error: Exception) -> str:
    return message_line(error) or type(error).__name__
