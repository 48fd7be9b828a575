"""Modules that are called with tensors, as files are, around those that take or return anything else."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fxconv.models import forward
from fxconv.models.signature import InputSignature


class OnlyTraced(nn.Module):
    """A module of fxconv's own that TorchScript does not take, so that nobody has to be told why.

    What stands around all is called so in the artifact, in whatever file of fxconv's it is written.
    """

    _jit_override_qualname = "__torch__.Whole"


class _TakingTensors(OnlyTraced):
    """A model that takes a list of images, called with one tensor of them, as an artifact is."""

    def __init__(self, module: nn.Module, signature: InputSignature) -> None:
        super().__init__()
        self.module, self.signature = module, signature

    def forward(self, *tensors: Tensor) -> Any:
        return self.module(*self.signature.arguments(tensors))


def taking_tensors(module: nn.Module, signature: InputSignature) -> nn.Module:
    """The module itself, or one that makes of a tensor `[1, C, H, W]` the list of images that it takes."""
    return _TakingTensors(module, signature).eval() if signature.as_list else module


class Flat(nn.Module):
    """A module whose outputs, of any nesting, come out as one tensor or a tuple of tensors, as a trace needs them."""

    _jit_override_qualname = OnlyTraced._jit_override_qualname

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        leaves = tuple(forward.tensors(self.module(*inputs)))
        return leaves[0] if len(leaves) == 1 else leaves
