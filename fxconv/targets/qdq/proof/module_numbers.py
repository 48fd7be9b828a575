"""The integers, scales, zero points and biases of an int8 module, which a file written from it must have.

They are the module's own. Of the Q/DQ form only its make is asked: which values it still has, for rules of lowering
fold some operations into those that read them, which operations it writes as layers, and where it quantizes a value
once more.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from fxconv.quantization.failing_operation import operation_path, operator_name
from fxconv.quantization.int8_weights import int8_weight
from fxconv.targets.qdq.dynamic import DYNAMIC
from fxconv.targets.qdq.proof.file_numbers import Grid, Integers, Scales
from fxconv.targets.qdq.proof.made_layers import made_layers, own_operation
from fxconv.targets.qdq.proof.module_ranges import UNSIGNED, GraphRanges, Range
from fxconv.targets.qdq.proof.module_tensors import ModuleScalar, ModuleTensor, others_of, scalars_of, tensors_of
from fxconv.targets.qdq.proof.values import int8_values
from fxconv.targets.qdq.writer import QUANTIZE, SOURCE
from rewrites.parts import graphs_in, prefixed
from rewrites.values import attribute, submodule

# hardsigmoid(x) is x / 6 + 1 / 2 between 0 and 1: folded into a layer it is that layer with its scales divided by this.
HARDSIGMOID_STEPS = 6


@dataclass(frozen=True)
class ModuleLayer:
    """A convolution or linear layer where it is called; `bias` in float, as the module has it.

    `given` and `gives` are None of a layer whose input is ranged at every call, and whose output is float.
    `folded` is the operation that stands in the file as the same layer, "" for none; the scales are divided by
    `divisor` then, and half a unit is added to the bias where that is not 1.
    """

    where: str
    weight: Integers
    scales: Scales
    bias: npt.NDArray[np.float64]
    given: Grid | None
    gives: Grid | None
    folded: str = ""
    divisor: int = 1
    shape: tuple[int, ...] = ()
    axis: int = 0

    def floats(self) -> npt.NDArray[np.float32]:
        """The integers times their scales, which differ along `axis`, in the weight's shape."""
        integers = self.weight.astype(np.float32)
        if not self.shape:
            return (integers.reshape(self.scales.size, -1) * self.scales[:, None]).ravel()
        along = [1] * len(self.shape)
        along[self.axis] = self.scales.size
        return integers.reshape(self.shape) * self.scales.reshape(along)

    def bias_steps(self) -> npt.NDArray[np.float64]:
        """What the runtime adds to the sum of products, before it is rounded to integers."""
        assert self.given is not None
        half = self.divisor / 2 if self.divisor != 1 else 0.0
        return (self.bias + half) / (self.scales.astype(np.float64) * float(self.given.scale))


@dataclass(frozen=True)
class ModuleValue:
    """An int8 value; `follows` says that its grid is that of a value it is made of, so that it need not be apart."""

    where: str
    operator: str
    grid: Grid
    follows: bool
    is_layer: bool


@dataclass(frozen=True)
class ModuleConstant:
    """An int8 tensor that the module holds and that is no weight."""

    where: str
    grid: Grid
    integers: Integers


@dataclass(frozen=True)
class ModuleNumbers:
    """All of them; layers and values as often as the graphs they stand in are called."""

    layers: tuple[ModuleLayer, ...]
    values: tuple[ModuleValue, ...]
    constants: tuple[ModuleConstant, ...]
    tensors: tuple[ModuleTensor, ...] = ()
    scalars: tuple[ModuleScalar, ...] = ()


def numbers_of(int8: nn.Module, qdq: nn.Module, ranges: Mapping[str, GraphRanges]) -> ModuleNumbers:
    """The numbers of `int8`, whose ranges are known; `qdq` is its Q/DQ form after the rules of lowering."""
    layers, values, constants = list[ModuleLayer](), list[ModuleValue](), list[ModuleConstant]()
    tensors, scalars = list[ModuleTensor](), list[ModuleScalar]()
    forms = graphs_in(qdq)
    for path, graph in graphs_in(int8).items():
        reader = _GraphReader(path, graph, forms[path], ranges[path])
        for _ in range(ranges[path].calls):
            layers += reader.layers()
            values += reader.values()
        constants += reader.constants()
        tensors += tensors_of(path, graph, reader.made, ranges[path].full)
        scalars += scalars_of(path, graph, ranges[path].numbers)
    tensors += others_of(int8)
    return ModuleNumbers(tuple(layers), tuple(values), tuple(constants), tuple(tensors), tuple(scalars))


class _GraphReader:
    def __init__(self, path: str, int8: fx.GraphModule, form: fx.GraphModule, ranges: GraphRanges) -> None:
        self.path, self.int8, self.form, self.ranges = path, int8, form, ranges.ranges
        self.kept: set[tuple[str, int]] = {node.meta["int8"] for node in int8_values(form)}
        self.made = made_layers(int8, form)

    def _where(self, node: fx.Node) -> str:
        return prefixed(self.path, operation_path(node))

    def layers(self) -> Iterator[ModuleLayer]:
        for node in self.int8.graph.nodes:
            module = submodule(self.int8, node)
            if isinstance(module, DYNAMIC):
                yield self._dynamic(node, module)
            if node.name not in self.ranges:
                continue
            if (made := self.made.get(node.name)) is not None:
                grids = self._grids(node.all_input_nodes[0])[0], _grid(self.ranges[node.name][0])
                yield ModuleLayer(self._where(node), made.weight, made.scales, made.bias, *grids)
            if module is None or (weight := int8_weight(module)) is None:
                continue
            if not hasattr(module, "bias") or not callable(module.bias):
                continue  # a prelu, whose weight is no layer's
            given, gives = self._grids(node.all_input_nodes[0]), _grid(self.ranges[node.name][0])
            reader = self._folded_into(node)
            divisor, folded = 1, ""
            if reader is not None:
                gives, folded = _grid(self.ranges[reader.name][0]), self._where(reader)
                is_hardsigmoid = isinstance(own_operation(submodule(self.int8, reader)), nn.Hardsigmoid)
                divisor = HARDSIGMOID_STEPS if is_hardsigmoid else 1
            bias = module.bias()
            scales = _scales(weight)
            yield ModuleLayer(
                self._where(node),
                weight.int_repr().numpy().astype(np.int64).ravel(),
                scales,
                np.zeros(1) if bias is None else bias.detach().double().numpy(),
                given[0],
                gives,
                folded,
                divisor,
                tuple(weight.shape),
                _axis(weight),
            )

    def _dynamic(self, node: fx.Node, module: Any) -> ModuleLayer:
        """A linear layer whose input is ranged anew at every call."""
        weight, bias = module.weight().detach(), module.bias()
        integers = weight.int_repr().numpy().astype(np.int64).ravel()
        shift = np.zeros(1) if bias is None else bias.detach().double().numpy()
        return ModuleLayer(self._where(node), integers, _scales(weight), shift, None, None, "", 1, tuple(weight.shape))

    def _folded_into(self, node: fx.Node) -> fx.Node | None:
        """The only reader of a value that the Q/DQ form no longer has, where that has its own."""
        if (node.name, 0) in self.kept:
            return None
        readers = [reader for reader in node.users if (reader.name, 0) in self.kept]
        return readers[0] if len(readers) == 1 else None

    def _grids(self, node: fx.Node) -> list[Grid]:
        """The grids of the int8 values of a node, those it picks from a tuple's included."""
        if node.op == "get_attr":
            held = attribute(self.int8, str(node.target))
            return [_grid_of(held)] if isinstance(held, Tensor) and held.is_quantized else []
        if node.name not in self.ranges:
            return self._picked(node)
        return [_grid(one) for one in self.ranges[node.name] if one is not None]

    def _picked(self, node: fx.Node) -> list[Grid]:
        """The grid of one of the values of an operation that gives several."""
        if node.target is not operator.getitem or not isinstance(node.args[0], fx.Node):
            return []
        found, index = self.ranges.get(node.args[0].name, []), node.args[1]
        known = found[index] if isinstance(index, int) and index < len(found) else None
        return [_grid(known)] if known is not None else []

    def values(self) -> Iterator[ModuleValue]:
        for node in self.int8.graph.nodes:
            given = {grid for read in node.all_input_nodes for grid in self._grids(read)}
            module = submodule(self.int8, node)
            for index, known in enumerate(self.ranges.get(node.name, [])):
                if known is None or (node.name, index) not in self.kept:
                    continue
                is_layer = module is not None and int8_weight(module) is not None
                grid = _grid(known)
                yield ModuleValue(
                    self._where(node), operator_name(self.int8, node), grid, grid in given and not is_layer, is_layer
                )
        yield from self._again()

    def _again(self) -> Iterator[ModuleValue]:
        """What a rule of lowering quantizes once more: with the grid of what the operation gives, or of what it reads.

        Any other grid is none of the int8 module's; then the operation's own is what the file should have.
        """
        nodes = {node.name: node for node in self.int8.graph.nodes}
        for made in self.form.graph.find_nodes(op="call_function", target=QUANTIZE):
            source = nodes.get(next((one.meta[SOURCE] for one in _behind(made) if SOURCE in one.meta), ""))
            if "int8" in made.meta or source is None:
                continue
            known = [*self._grids(source), *(grid for read in source.all_input_nodes for grid in self._grids(read))]
            own = Grid(np.float32(made.args[1]), int(made.args[2]))
            where = f"{self._where(source)}, inside"
            if known:
                grid = own if own in known else known[0]
                yield ModuleValue(where, "Quantize", grid, own in known, False)

    def constants(self) -> Iterator[ModuleConstant]:
        for node in self.int8.graph.find_nodes(op="get_attr"):
            held = attribute(self.int8, str(node.target))
            if isinstance(held, Tensor) and held.is_quantized:
                moved = UNSIGNED if held.dtype == torch.quint8 else 0
                integers = held.int_repr().numpy().astype(np.int64).ravel() - moved
                yield ModuleConstant(prefixed(self.path, str(node.target)), _grid_of(held), integers)


def _behind(node: fx.Node) -> Iterator[fx.Node]:
    """What reads a quantized value, behind its dequantize nodes."""
    yield node
    for reader in node.users:
        yield reader
        yield from reader.users


def _grid(known: Range | None) -> Grid:
    assert known is not None
    return Grid(np.float32(known.scale), known.zero_point - UNSIGNED)


def _grid_of(held: Tensor) -> Grid:
    moved = UNSIGNED if held.dtype == torch.quint8 else 0
    return Grid(np.float32(held.q_scale()), held.q_zero_point() - moved)


def _scales(weight: Tensor) -> Scales:
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        return weight.q_per_channel_scales().float().numpy()
    return np.array([weight.q_scale()], np.float32)


def _axis(weight: Tensor) -> int:
    is_by_channel = weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
    return weight.q_per_channel_axis() if is_by_channel else 0
