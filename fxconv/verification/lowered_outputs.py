"""What must be the same bits of an int8 module and of its lowered form, told apart where int8 values tie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import boxes

from fxconv.models import forward
from fxconv.models.dispatch import passed_on
from fxconv.models.graph_calls import Inputs

# Values that leave int8 are told apart by noise of this many steps from end to end.
_APART = 0.9


class _ToldApart(TorchDispatchMode):
    """Keeps what leaves int8, and moves each value by less than half a step, the same way in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = passed_on(func, args, kwargs or {})
        if func._schema.name != "aten::dequantize" or not isinstance(out, Tensor) or not args[0].is_quantized:
            return out
        self.left.append(out.clone())
        seed = int(args[0].int_repr().sum(dtype=torch.int64))  # by what it holds: optimizing drops what nobody reads
        noise = torch.rand(out.shape, generator=torch.Generator().manual_seed(seed)) - 0.5
        return out + _APART * args[0].q_scale() * noise


@contextmanager
def _suppressing_as_when_traced() -> Iterator[None]:
    """torchvision suppresses many boxes by the algorithm that it takes while it is traced, which rounds otherwise.

    By the one it takes in Python one box more or less is left, now and then, and nothing behind it can be compared.
    """
    before = boxes._batched_nms_vanilla
    boxes._batched_nms_vanilla = boxes._batched_nms_coordinate_trick
    try:
        yield
    finally:
        boxes._batched_nms_vanilla = before


def comparable_outputs(
    int8: nn.Module, lowered: Any, reference: forward.Outputs, images: Sequence[Inputs]
) -> tuple[forward.Outputs, forward.Outputs]:
    """What must be the same bits of an int8 module and of its lowered form, for each image: `reference` and outputs.

    Where int8 values go into code that selects, as in a detector, equal scores are put into an order that says nothing
    and differs from one implementation of a selection to the next. So every value that leaves int8 is compared, and
    then the outputs, computed from values that a noise of less than half a step, the same in both, has told apart.
    """
    if isinstance(int8, fx.GraphModule):
        return reference[: len(images)], forward.outputs(lowered, images)
    both: tuple[forward.Outputs, forward.Outputs] = ([], [])
    for image in images:
        left, found = [], []
        for module in (int8, lowered):
            with _ToldApart() as mode, _suppressing_as_when_traced():
                found.append(forward.outputs(module, [image])[0])
            left.append(mode.left)
        left[0] = _read(left[0], left[1])
        for values, returned, outputs in zip(left, found, both, strict=True):
            outputs.append([*values, *returned])
    return both


def _read(values: list[Tensor], lowered: list[Tensor]) -> list[Tensor]:
    """`values` without those that the lowered form does not make, because nothing reads them."""
    kept: list[Tensor] = []
    for value in values:
        if len(kept) < len(lowered) and torch.equal(value, lowered[len(kept)]):
            kept.append(value)
    return kept if len(kept) == len(lowered) else values
