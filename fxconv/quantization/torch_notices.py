"""What torch says of the functions that fxconv is built on: it concerns fxconv, and not whoever calls it.

docs/deprecations.md has what is deprecated, and what follows.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

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
    Some torch gives once in a process, heard or not, and past Python, on stderr, where an operator or a file of the
    lite interpreter is called and no function of torch's that Python knows: so they are caused here.
    """
    with warnings.catch_warnings():
        for message, module in _NOTICES:
            warnings.filterwarnings("ignore", message, module=module)
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
        _cause_those_of_dynamic_layers()
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Within, no warning is heard at all: for functions of torch's that run nothing of the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@functools.lru_cache(maxsize=1)
def _cause_those_of_dynamic_layers() -> None:
    """That qnnpack ignores reduce_range, which torch's own dynamic layers ask every engine for: it has 8 bits anyway.

    The kernels say so before they look at their input, and refuse one of a single dimension: nothing is computed, which
    would settle the number of threads. What is said within an autograd function, Python's filters hear.
    """
    before = torch.backends.quantized.engine
    if "qnnpack" not in torch.backends.quantized.supported_engines:
        return
    torch.backends.quantized.engine = "qnnpack"
    try:
        _Heard.apply(torch.zeros(1))
    finally:
        torch.backends.quantized.engine = before


class _Heard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        weight = torch.quantize_per_tensor(torch.zeros(1, 1), 1.0, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(weight, None)
        for kernel in (torch.ops.quantized.linear_dynamic, torch.ops.quantized.linear_relu_dynamic):
            with suppress(RuntimeError):
                kernel(x, packed, True)
        return x
