"""Why torch.export or ExecuTorch refuses a module, in one line."""

import pytest
import torch
from torch import Tensor, nn

from fxconv.targets.executorch.refusals import cause, refusal
from fxconv.targets.qdq.exporting import exported


class OneBatch(nn.Module):
    """Its code counts on the batch of the example."""

    def forward(self, x: Tensor) -> Tensor:
        return x * len([1 for _ in x])


class EvenHeight(nn.Module):
    """Its code counts on even heights."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[2] % 2 == 0 else x


def why(module: nn.Module, batch: int | None, sizes: tuple[int, int] | None) -> str:
    with pytest.raises(Exception, match="Constraints violated") as raised:
        exported(module, (torch.zeros(2, 3, 8, 8),), batch, sizes, 1)
    return refusal(raised.value)


def test_sizes_that_code_binds_are_told_without_the_advice_of_export() -> None:
    assert why(OneBatch(), 8, None) == "the model's code makes a fixed number of the batch"
    told = why(EvenHeight(), None, (8, 24))
    assert told.startswith("the model's code does not take every height, it asks for ") and "TORCH_LOGS" not in told


def test_other_messages_stay() -> None:
    assert refusal(ValueError("no such thing\nmore of it")) == "no such thing"
    assert cause(RuntimeError("no such thing")) == "no such thing"


def test_the_first_failure_is_told_and_the_pass_that_it_was_in() -> None:
    error = RuntimeError("An error occurred when running the 'FuseBatchNormPass' pass after the following passes: []")
    error.__cause__ = AssertionError("the weight is no constant")
    assert cause(error) == "AssertionError: the weight is no constant, in its FuseBatchNormPass"
