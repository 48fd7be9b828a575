"""The ranges of the int8 values of a module, and how often each of its graphs is called, read off one run of it."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.ao.nn.quantized as nnq
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from fxconv.models import forward
from fxconv.verification.float_forms import is_int8_operation
from fxconv.verification.walks import walked
from rewrites.parts import graphs_in
from rewrites.values import submodule

# Unsigned integers and their zero point, moved by this, are the signed ones that a file has.
UNSIGNED = 128


@dataclass(frozen=True)
class Range:
    """Scale and zero point of a value, the latter as the int8 module has it: 0 to 255."""

    scale: float
    zero_point: int

    def quantized(self, integers: Tensor) -> Tensor:
        """The values of a file's int8 integers, as the int8 module has them."""
        moved = (integers.to(torch.int16) + UNSIGNED).to(torch.uint8)
        return torch._make_per_tensor_quantized_tensor(moved, self.scale, self.zero_point)


@dataclass
class GraphRanges:
    """Of one graph: `ranges` of the tensors that each int8 operation gives, by its node, None for one in float.

    The nodes are in running order; one that only hands a float on is among them, one that picks from a tuple is not.
    `numbers` are the plain numbers that each node was given, or gave, `full` the nodes that gave more than tensors
    without elements.
    """

    ranges: dict[str, list[Range | None]]
    calls: int = 0
    numbers: dict[str, set[float]] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)


def ranges_of(int8: nn.Module, image: tuple[Any, ...]) -> dict[str, GraphRanges]:
    """Of every graph, by its path. The module's engine must be the current one."""
    readers = {path: _RangeReader(graph) for path, graph in graphs_in(int8).items()}
    with walked(int8, {path: reader.run for path, reader in readers.items()}):
        forward.returned(int8, image)
    return {path: reader.found for path, reader in readers.items()}


class _RangeReader(fx.Interpreter):
    """Runs an int8 graph, and notes its int8 operations and their ranges."""

    def __init__(self, int8: fx.GraphModule) -> None:
        super().__init__(int8)
        self.int8 = int8
        self.found = GraphRanges({})

    def run(self, *args: Any, **options: Any) -> Any:
        """One call of the graph."""
        self.found.calls += 1
        return super().run(*args, **options)

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        is_int8 = is_int8_operation(submodule(self.int8, n), n, self.env)
        picks = is_int8 and picks_one(n, self.fetch_args_kwargs_from_env(n)[0])
        given = self.fetch_args_kwargs_from_env(n) if n.op != "placeholder" else ()
        result = super().run_node(n)
        self.found.numbers.setdefault(n.name, set()).update(_numbers(n, given, result))
        if any(not isinstance(leaf, Tensor) or leaf.numel() for leaf in tree_leaves(result)):
            self.found.full.add(n.name)
        if is_int8 and not picks:
            found = [_range(leaf) for leaf in tree_leaves(result)]
            if any(found) or isinstance(submodule(self.int8, n), nnq.DeQuantize):  # no read of a shape
                self.found.ranges[n.name] = found
        return result


def picks_one(node: fx.Node, args: Sequence[Any]) -> bool:
    """Whether a node takes one of several values, which are those of the operation that gave them."""
    return node.target is operator.getitem and isinstance(args[0], (tuple, list))


def _range(leaf: Any) -> Range | None:
    if not isinstance(leaf, Tensor) or not leaf.is_quantized:
        return None
    return Range(leaf.q_scale(), leaf.q_zero_point())


def _numbers(node: fx.Node, given: Any, result: Any) -> Iterator[float]:
    leaves = tree_leaves((given, result))
    yield from (float(leaf) for leaf in leaves if isinstance(leaf, (int, float)) and not isinstance(leaf, bool))
    if node.target is F.scaled_dot_product_attention:  # it scales by this itself
        yield float(given[0][0].shape[-1]) ** -0.5
