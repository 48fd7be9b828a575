"""Arguments that are given by name stand in their places."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxconv.targets.qdq.rules.placed import placed


def graph_of(target: Any, *args: Any, **kwargs: Any) -> tuple[fx.GraphModule, fx.Node]:
    graph = fx.Graph()
    x = graph.placeholder("x")
    kind = "call_method" if isinstance(target, str) else "call_function"
    args = tuple(x if one == "x" else one for one in args)
    kwargs = {name: x if one == "x" else one for name, one in kwargs.items()}
    node = graph.create_node(kind, target, args, kwargs)
    graph.output(node)
    return fx.GraphModule(nn.Module(), graph), node


@pytest.mark.parametrize(
    ("function", "given", "kwargs", "args", "left"),
    [
        (torch.roll, (), {"input": "x", "shifts": 1, "dims": 2}, (1, 2), {}),
        (torch.permute, (), {"dims": (0, 2, 1), "input": "x"}, ((0, 2, 1),), {}),
        ("permute", ("x",), {"dims": (0, 2, 1)}, ((0, 2, 1),), {}),
        ("select", ("x",), {"dim": 1, "index": 2}, (1, 2), {}),
        (torch.mean, (), {"input": "x", "dim": (1, 2), "keepdim": True}, ((1, 2),), {"keepdim": True}),
        (torch.flatten, (), {"input": "x", "end_dim": 1}, (), {"end_dim": 1}),
        (torch.clamp, ("x",), {"max": 1.0}, (), {"max": 1.0}),
        (F.relu, (), {"input": "x", "inplace": True}, (), {"inplace": True}),
        (F.hardsigmoid, (), {"input": "x"}, (), {}),
        (F.avg_pool2d, (), {"input": "x", "kernel_size": 2, "padding": 1}, (2,), {"padding": 1}),
        # taken by name alone
        (F.gelu, (), {"input": "x", "approximate": "tanh"}, (), {"approximate": "tanh"}),
        (torch.div, (), {"input": "x", "other": 2, "rounding_mode": "floor"}, (2,), {"rounding_mode": "floor"}),
        (torch.add, (), {"input": "x", "other": 2, "alpha": 3}, (2,), {"alpha": 3}),
        ("argsort", ("x",), {"dim": 1, "stable": True}, (), {"dim": 1, "stable": True}),
    ],
)
def test_up_to_the_first_that_is_left_out(
    function: Callable[..., Any] | str, given: Any, kwargs: Any, args: Any, left: Any
) -> None:
    module, node = graph_of(function, *given, **kwargs)
    image = torch.randn(4, 4, 4)
    before = module(image)
    placed(module)
    assert node.args[1:] == args and node.kwargs == left
    assert isinstance(node.args[0], fx.Node)
    module.recompile()
    assert torch.equal(module(image), before)


def test_what_torch_does_not_know_stays() -> None:
    def own(value: Tensor, *, by: int) -> Tensor:
        return value * by

    module, node = graph_of(own, "x", by=3)
    assert placed(module) is module
    assert (node.args[1:], node.kwargs) == ((), {"by": 3})
