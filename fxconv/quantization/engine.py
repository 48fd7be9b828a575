"""The quantized engine that kernels come from, for a while."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fxconv.config import Config, Engine
from fxconv.environment import has_vnni


def reduces_range(config: Config) -> bool:
    """Whether activations use 7 bits: the desktop engines overflow 16-bit sums on processors without VNNI."""
    return config.engine is not Engine.qnnpack and not has_vnni()


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Run with this quantized engine, and put the old one back."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back torch's deprecation notices: they are about fxconv's calls, not the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
