"""Average pools over volumes, for which ExecuTorch has no kernel."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import INPUT, Graph, applied, lowered, run, steps_between, without
from torch import fx, nn

from fxconv.targets.executorch.lowering import lower
from fxconv.targets.executorch.rules.volume_pools import volume_pools

VOLUMES = torch.randn(2, 3, 4, 7, 6, generator=torch.Generator().manual_seed(0))
POOLS = [
    pytest.param((2, 7, 6), {"stride": 1}, id="all of a frame"),
    pytest.param(2, {}, id="a stride that is the kernel"),
    pytest.param((2, 3, 2), {"stride": (1, 2, 3), "padding": (1, 1, 0)}, id="zeros count"),
    pytest.param(3, {"stride": 2, "padding": 1, "count_include_pad": False}, id="zeros do not"),
    pytest.param((3, 2, 4), {"ceil_mode": True, "padding": 1}, id="rounded up"),
]


def pooled(kernel: Any, **settings: Any) -> fx.GraphModule:
    graph = Graph()
    return graph.done(graph.quantized(graph.call(F.avg_pool3d, graph.read(graph.x), kernel, **settings), INPUT))


@pytest.mark.parametrize(("kernel", "settings"), POOLS)
def test_it_gives_the_same(kernel: Any, settings: dict[str, Any]) -> None:
    module = pooled(kernel, **settings)
    ruled = applied(module, images=VOLUMES)
    assert F.avg_pool3d not in {node.target for node in ruled.graph.nodes}
    far = run(ruled, VOLUMES) - run(module, VOLUMES)
    assert float(far.abs().max()) <= 1.001 * INPUT[0]
    assert (far != 0).float().mean() < 0.01  # a sum in another order may lie on the other side of a half


def test_without_it_the_program_does_not_load() -> None:
    pytest.importorskip("executorch")
    from fxconv.targets.executorch.runtime import load

    content, found = lowered(pooled(2), without(volume_pools), VOLUMES)
    assert found["avg_pool3d"] == "portable"
    with pytest.raises(Exception, match=r"avg_pool3d|Missing operator"):
        load(content)


@pytest.mark.parametrize(("kernel", "settings"), POOLS[:3])
def test_it_runs(kernel: Any, settings: dict[str, Any]) -> None:
    module = pooled(kernel, **settings)
    content, _ = lowered(module, images=VOLUMES)
    assert steps_between(module, content, INPUT[0], VOLUMES) <= 1


def test_a_module_with_any_batch() -> None:
    pytest.importorskip("executorch")
    graph = Graph()
    graph.root.pool = nn.AvgPool3d(2)
    module = graph.done(graph.quantized(graph.graph.call_module("pool", (graph.read(graph.x),)), INPUT))
    lowered = lower(module, (VOLUMES,))
    from fxconv.targets.executorch.runtime import load

    assert lowered.largest_batch == 8
    again = torch.cat([VOLUMES, VOLUMES[:1]])
    far = load(lowered.content)(again) - run(module, again)
    assert float(far.abs().max()) <= 1.001 * INPUT[0]


def test_a_divisor_of_its_own_is_left() -> None:
    ruled = applied(pooled(2, divisor_override=3), images=VOLUMES)
    assert F.avg_pool3d in {node.target for node in ruled.graph.nodes}
