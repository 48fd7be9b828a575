"""The quantized engine that kernels come from, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fxconv.config import Config, Engine
from fxconv.environment import has_vnni
from fxconv.quantization.torch_notices import without_notices


def reduces_range(config: Config) -> bool:
    """Whether activations use 7 bits: the desktop engines overflow 16-bit sums on processors without VNNI."""
    return config.engine is not Engine.qnnpack and not has_vnni()


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Run with this quantized engine, and put the old one back; torch's notices about its kernels are not heard."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        with without_notices():
            yield
    finally:
        torch.backends.quantized.engine = before
