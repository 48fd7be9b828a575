"""What torch says of the functions that fxconv is built on: it concerns fxconv, and not whoever calls it.

docs/deprecations.md has what is deprecated, and what follows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# The modules that say so when fxconv calls them: code that torch.fx generates has no module, and is "<string>".
_TORCHS = r"(torch|fxconv|rewrites)\.|<string>$"
_ANY = ""  # of a deprecated method that warns twice: one is said to come from the decorator, wherever Python has that
# Messages as they begin, and where they come from. No categories: what torch 2.12 calls a DeprecationWarning is a
# FutureWarning since 2.14.
_NOTICES = (
    (r"torch\.ao\.quantization is deprecated", _TORCHS),
    (r"torch\.quantize_per_tensor, .* are deprecated", _TORCHS),
    (r"`torch\.jit\.\w+` is (deprecated|not supported)", _TORCHS),
    (r"Lite Interpreter is deprecated", _ANY),
    # Of how its observers and kernels are set by its own functions.
    (r"Please use quant_min and quant_max to specify the range for observers", _TORCHS),
    (r"Currently, qnnpack incorrectly ignores reduce_range", _TORCHS),
)


@contextmanager
def without_notices() -> Iterator[None]:
    """Within, torch's notices about what fxconv calls are not heard, not even as errors; all other warnings are.

    Python has one list of filters for all threads: a notice that another thread causes meanwhile is not heard either.
    That of quantized tensors torch gives once in a process, heard or not, and past Python, on stderr, when a file of
    the lite interpreter makes the first one: so one is made here.
    """
    with warnings.catch_warnings():
        for message, module in _NOTICES:
            warnings.filterwarnings("ignore", message, module=module)
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Within, no warning is heard at all: for functions of torch's that run nothing of the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
