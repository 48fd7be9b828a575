"""One scale for all that a concatenation joins, and for what only moves values."""

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import Graph, applied, lowered, run, single, steps_between, without
from torch import fx

from fxconv.errors import ConversionError
from fxconv.targets.executorch.rules.one_scale import one_scale


def joined() -> fx.GraphModule:
    graph = Graph()
    given = graph.layer()
    return graph.done(graph.quantized(graph.call(torch.cat, [graph.read(graph.x), graph.read(given)], 1)))


def test_without_it_a_concatenation_of_two_scales_does_not_load() -> None:
    from fxconv.targets.executorch.runtime import load

    content, _ = lowered(joined(), without(one_scale))
    with pytest.raises(ConversionError, match="Failed to create cat2 node"):
        load(content)


def test_with_it_it_loads_and_stays_in_int8() -> None:
    content, found = lowered(joined())
    assert found == {"convolution": "int8", "cat": "int8", "delegates": "1"}
    assert steps_between(joined(), content, 0.03) <= 1
    assert torch.equal(run(applied(joined())), run(joined()))


@pytest.mark.parametrize(
    "module",
    [
        single(torch.max_pool2d, 2, 2, 0, 1, False, follows=False),
        single(torch.permute, (0, 2, 3, 1), follows=False),
        single(F.pad, (1, 0, 1, 0), follows=False),
        single(torch.narrow, 1, 2, 3, follows=False),
    ],
)
def test_what_moves_values_is_quantized_in_its_own_scale_first(module: fx.GraphModule) -> None:
    assert torch.equal(run(applied(module)), run(module))
    content, found = lowered(module)
    assert set(found.values()) == {"int8", "1"}
    assert steps_between(module, content, 0.03) <= 1
