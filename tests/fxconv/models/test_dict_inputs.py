"""Forwards that take a dict."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fxconv.errors import UserError
from fxconv.models.dict_inputs import key_asked_for
from fxconv.models.signature import InputSignature


def by_key(batch):
    return batch["pixels"]


def by_get(batch):
    return batch.get("depth")


def by_items(batch):
    return list(batch.items())


def by_number(batch):
    return batch[0, 0, 0, 0, 0]


def wrong(batch):
    return batch.view(7)


@pytest.mark.parametrize(
    ("read", "key"), [(by_key, "pixels"), (by_get, "depth"), (by_items, "image"), (by_number, None), (wrong, None)]
)
def test_the_key_that_is_asked_for(read, key):
    with pytest.raises(Exception) as error:
        read(torch.zeros(1, 3, 8, 8))
    assert key_asked_for(error.value) == key


@pytest.mark.parametrize("annotation", [dict, dict[str, Tensor], "Dict[str, Tensor]"])
def test_an_annotation_says_so(annotation):
    class Net(nn.Module):
        def forward(self, batch):
            return batch

    Net.forward.__annotations__["batch"] = annotation
    with pytest.raises(
        UserError, match=r"^net takes a dict, batch, and a file takes tensors alone; put the model into"
    ):
        InputSignature.of(Net(), "net")
