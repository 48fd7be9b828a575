"""Changes of shape as reshapes to numbers."""

import pytest
import torch
from qdq_graphs import IMAGES, applied, lowered, places, run, single, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules import RULES
from fxconv.targets.executorch.rules.reshapes import reshapes
from fxconv.targets.qdq.ruling import apply_rules


def test_without_it_unsqueeze_splits_the_delegate() -> None:
    module = single(torch.unsqueeze, 1)
    assert places(module, without(reshapes))["unsqueeze_copy"] == "portable"
    content, found = lowered(module)
    assert found == {"convolution": "int8", "view_copy": "int8", "delegates": "1"}
    assert steps_between(module, content, 0.05) <= 1


@pytest.mark.parametrize(
    "module",
    [
        single(torch.flatten, 1),
        single(torch.unflatten, 1, (2, 4)),
        single(torch.reshape, (2, -1)),
        single(torch.squeeze),
    ],
)
def test_values_are_kept(module: fx.GraphModule) -> None:
    assert torch.equal(run(applied(module)), run(module))


def test_a_batch_of_any_size_is_the_one_size_that_is_free() -> None:
    module = apply_rules(single(torch.flatten, 1), [(IMAGES,), (IMAGES[:1],)], RULES)
    (node,) = module.graph.find_nodes(op="call_function", target=torch.reshape)
    assert node.args[1] == (-1, 8 * 12 * 12)
