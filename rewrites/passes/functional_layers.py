"""F.linear(x, self.weight, self.bias)  ->  nn.Linear; layer and group norms alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.naming import class_word
from rewrites.passes._layers import check_type, make_layers


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    check_type(weight)
    if weight.ndim != 2:
        raise Refusal("its weight has one dimension; that of a linear layer has two")
    return nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")


def _layer_norm(normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> nn.Module:
    if bias is not None and weight is None:
        raise Refusal("a layer norm with a bias and no weight has no module")
    return nn.LayerNorm(normalized_shape, eps, weight is not None, bias is not None, device="meta")


def _group_norm(num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> nn.Module:
    if weight is None or bias is None:
        raise Refusal("a group norm without weight and bias does not say how many channels its module has")
    return nn.GroupNorm(num_groups, weight.shape[0], eps, device="meta")


def _batch_norm(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    rank: int,
) -> nn.Module:
    if training or running_mean is None or running_var is None:
        raise Refusal("a batch norm that takes its statistics from its input is not what its module does in eval mode")
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(rank)
    if kind is None:
        raise Refusal("a batch norm of an input whose rank is not known has no module")
    if (weight is None) != (bias is None):
        raise Refusal("a batch norm with one of weight and bias has no module")
    made = kind(len(running_mean), eps, momentum, affine=weight is not None, device="meta")
    made.num_batches_tracked = torch.tensor(0)  # torch looks for one, and makes it for a checkpoint that has none
    return made


FACTORIES: dict[Callable[..., Any], Callable[..., nn.Module]] = {
    F.linear: _linear,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
}


def _stem(weight: str, kind: type[nn.Module]) -> str:
    """A name for a new module: `qkv_weight` makes a `qkv`, any other what its class is called."""
    named = weight.removesuffix("weight").rstrip("_") if weight.endswith("weight") else ""
    return named or class_word(kind)


class FunctionalLayers(RewritePass):
    """Functional linear layers and norms on the model's own parameters become modules.

    What it does: `F.linear`, `F.layer_norm`, `F.group_norm` and `F.batch_norm` whose weights and statistics are
    parameters and buffers become the module that holds these very tensors: the model's own where it has one, a new one
    where it has not.

    Why: observers and quantized layers belong to modules; as functions they are float operations.

    Leaves alone: weights computed from the input, or of what the forward changes; settings computed when the model
    runs; a group norm without weight and bias; a batch norm that takes its statistics from its input.
    """

    name = "functional-layers"

    def run(self, editor: Editor) -> None:
        make_layers(editor, FACTORIES, "observers and quantized layers belong to modules", _stem)

    @staticmethod
    def example() -> nn.Module:
        class Functional(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.randn(4, 8))

            def forward(self, x: Tensor) -> Tensor:
                return F.linear(x, self.weight)

        return Functional()
