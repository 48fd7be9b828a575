"""Small Q/DQ graphs, written node by node, and what becomes of them in an ExecuTorch program."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxconv.targets.executorch.lowering import written
from fxconv.targets.executorch.rules import RULES
from fxconv.targets.qdq.exporting import exported
from fxconv.targets.qdq.ruling import Rule, apply_rules
from fxconv.targets.qdq.writer import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE, SOURCE, VALUE

IMAGES = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(0))
INPUT = (0.02, -3)
OUTPUT = (0.03, 5)


class Graph:
    """A Q/DQ graph that grows; `x` is its quantized input."""

    def __init__(self) -> None:
        self.root, self.graph, self.count = nn.Module(), fx.Graph(), 0
        self.generator = torch.Generator().manual_seed(1)
        self.x = self.quantized(self.graph.placeholder("x"), INPUT)

    def read(self, quantize: fx.Node) -> fx.Node:
        return self.graph.call_function(DEQUANTIZE, (quantize, *quantize.args[1:]))

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        node = self.graph.call_function(function, args, kwargs)
        node.meta[SOURCE] = f"n{self.count}"
        return node

    def quantized(self, value: fx.Node, settings: Sequence[Any] = OUTPUT) -> fx.Node:
        node = self.graph.call_function(QUANTIZE, (value, *settings[:2], -128, 127, torch.int8))
        node.meta[VALUE] = (f"n{self.count}", 0)
        self.count += 1
        return node

    def constant(self, value: Tensor) -> fx.Node:
        name = f"constant_{len(list(self.root.buffers()))}"
        self.root.register_buffer(name, value)
        return self.graph.get_attr(name)

    def weight(self, *shape: int) -> fx.Node:
        integers = torch.randint(-100, 100, shape, dtype=torch.int8, generator=self.generator)
        scales = torch.rand(shape[0], generator=self.generator) * 0.004 + 0.001
        zeros = torch.zeros(shape[0], dtype=torch.int64)
        held = [self.constant(value) for value in (integers, scales, zeros)]
        return self.graph.call_function(DEQUANTIZE_CHANNELS, (*held, 0, -127, 127, torch.int8))

    def convolution(self, given: fx.Node | None = None, padding: int = 1) -> fx.Node:
        """A float convolution of 8 to 8 channels."""
        bias = self.constant(torch.randn(8, generator=self.generator))
        return self.call(
            F.conv2d, self.read(given or self.x), self.weight(8, 8, 3, 3), bias, (1, 1), (padding, padding)
        )

    def layer(self, given: fx.Node | None = None, settings: Sequence[Any] = (0.05, 4)) -> fx.Node:
        """A convolution's int8 value."""
        return self.quantized(self.convolution(given), settings)

    def done(self, *values: fx.Node) -> fx.GraphModule:
        read = tuple(self.read(value) if value.target is QUANTIZE else value for value in values)
        self.graph.output(read if len(read) > 1 else read[0])
        return fx.GraphModule(self.root, self.graph).eval()


def single(function: Callable[..., Any], *args: Any, follows: bool = True, **kwargs: Any) -> fx.GraphModule:
    """A convolution, and one operation on its int8 values; in the same scale if it `follows`, else in another."""
    graph = Graph()
    given = graph.layer()
    result = graph.call(function, graph.read(given), *args, **kwargs)
    return graph.done(graph.quantized(result, given.args[1:3] if follows else OUTPUT))


def applied(module: fx.GraphModule, rules: Sequence[Rule] = RULES, images: Tensor = IMAGES) -> fx.GraphModule:
    return apply_rules(copy.deepcopy(module), [(images,)], rules)


def without(rule: Rule) -> tuple[Rule, ...]:
    return tuple(each for each in RULES if each is not rule)


def places(module: fx.GraphModule, rules: Sequence[Rule] = RULES, images: Tensor = IMAGES) -> dict[str, str]:
    """Where each kind of operation runs once the graph is lowered, and under "delegates" how many there are."""
    return lowered(module, rules, images)[1]


def lowered(
    module: fx.GraphModule, rules: Sequence[Rule] = RULES, images: Tensor = IMAGES
) -> tuple[bytes, dict[str, str]]:
    pytest.importorskip("executorch")
    content, placement = written(exported(applied(module, rules, images), (images,), None, None, 1), {})
    found = {one.operation: one.where.value for one in placement.operations}
    return content, {**found, "delegates": str(placement.delegates)}


def run(module: fx.GraphModule, images: Tensor = IMAGES) -> Tensor:
    with torch.no_grad():
        result = module(images)
    return result if isinstance(result, Tensor) else torch.cat([value.flatten() for value in result])


def steps_between(module: fx.GraphModule, content: bytes, scale: float, images: Tensor = IMAGES) -> int:
    """The most steps that a loaded program's output is away from the graph's."""
    from fxconv.targets.executorch.runtime import load

    got = load(content)(images)
    got = got if isinstance(got, Tensor) else torch.cat([value.flatten() for value in got])
    return round(float((got - run(module, images)).abs().max()) / scale)
