"""What gives the numbers in a tensor to Python, and whose code asks."""

from __future__ import annotations

import linecache
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from rewrites import location

GIVES_NUMBERS = frozenset(
    {
        *(Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__complex__, Tensor.__index__),
        *(Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__contains__, Tensor.__dlpack__),
        *(Tensor.equal, Tensor.allclose, Tensor.is_nonzero, torch.equal, torch.allclose, torch.is_nonzero),
        *(Tensor.__deepcopy__, Tensor.__reduce_ex__),
    }
)
"""Everything that gives the numbers in a tensor to Python."""
SELECTS = frozenset(
    {
        *(Tensor.nonzero, torch.nonzero, torch.argwhere, Tensor.argwhere, Tensor.masked_select, torch.masked_select),
        *(Tensor.unique, torch.unique, Tensor.unique_consecutive, torch.unique_consecutive),
    }
)
"""What gives as many values as the numbers say."""
_TORCH, _TORCHVISION, _PYTHON, _REWRITES = (
    f"{Path(str(module.__file__)).parent}/" for module in (torch, torchvision, linecache, location)
)
_FXCONV = f"{Path(__file__).parents[1]}/"


def is_torch(filename: str) -> bool:
    """Whether code is torch's own, wherever torch lies."""
    return filename.startswith(_TORCH)


def is_torchvision(filename: str) -> bool:
    """Whether code is torchvision's own."""
    return filename.startswith(_TORCHVISION)


def is_library(filename: str) -> bool:
    """Whether code is torch's, Python's or fxconv's own, which asks on behalf of somebody."""
    if filename.startswith(_PYTHON):
        return "-packages/" not in filename or is_torch(filename)
    return filename.startswith((_TORCH, _FXCONV, _REWRITES))
