"""The integers, scales and zero points that stand in a .pte, read from its bytes without running it.

Layers are convolutions and linear layers of XNNPACK's, their weights in the order torch has them. Values are int8 ones
that the file computes, each with what it is made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.executorch_values import DELEGATE, KERNEL, Delegated, Method, ProgramFile, TensorValue
from fxconv.inspection.xnnpack_graph import XnnGraph, XnnNode, XnnValue, read_xnnpack
from fxconv.inspection.xnnpack_schema import NO_VALUE
from fxconv.targets.executorch.proof.file_tensors import constant_of, given_to, in_torch_order, is_layer
from fxconv.targets.qdq.proof.file_numbers import (
    FileConstant,
    FileLayer,
    FileNumbers,
    FileTensor,
    FileValue,
    Grid,
    Integers,
)

# Where they are constants they hold integers of int8 modules, else values that are computed.
_INT8 = ("qint8", "qcint8")
_INT32 = ("qint32", "qcint32")
_XNNPACK = "XnnpackBackend"
# Of the operators of programs: scale and zero point are their second and third argument, the result is the last.
_QUANTIZE, _DEQUANTIZE = "quantized_decomposed::quantize_per_tensor", "quantized_decomposed::dequantize_per_tensor"


def numbers_of(data: bytes, method: str = "forward") -> FileNumbers:
    """What stands in a file. Raises `inspection.found.Unreadable` where it cannot be read."""
    program = read_program(memoryview(data))
    return _Reader(program, next(one for one in program.methods if one.name == method)).found()


@dataclass
class _Reader:
    """Goes through a method in running order; `grids` are those of the program's int8 values, by number."""

    program: ProgramFile
    method: Method
    grids: dict[int, Grid] = field(default_factory=dict)
    layers: list[FileLayer] = field(default_factory=list)
    values: list[FileValue] = field(default_factory=list)
    constants: list[FileConstant] = field(default_factory=list)
    tensors: list[FileTensor] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def found(self) -> FileNumbers:
        for number, step in enumerate(self.method.instructions):
            if step.kind == KERNEL:
                self._kernel(f"instruction {number}", ".".join(self.method.operators[step.target]), step.arguments)
            elif step.kind == DELEGATE:
                self._delegate(self.method.delegates[step.target], step.target, step.arguments)
        self.tensors += given_to(self.method, "what the program returns", self.method.outputs)
        layers, values, constants = tuple(self.layers), tuple(self.values), tuple(self.constants)
        scalars = frozenset(float(one) for one in self.method.values if isinstance(one, (int, float)))
        return FileNumbers(layers, values, constants, tuple(self.tensors), tuple(self.problems), scalars)

    def _kernel(self, place: str, operator: str, arguments: tuple[int, ...]) -> None:
        tensors = [one for one in arguments[:-1] if isinstance(self.method.values[one], TensorValue)]
        read = arguments[1:] if operator.startswith(_DEQUANTIZE) else arguments
        self.tensors += given_to(self.method, f"{place} ({operator})", read)
        if not operator.startswith((_QUANTIZE, _DEQUANTIZE)):
            # an operator that works on int8 values as they are hands their grid on
            handed = {self.grids[one] for one in tensors if one in self.grids}
            if len(handed) == 1 and self._is_int8(arguments[-1]):
                self.grids[arguments[-1]] = next(iter(handed))
            return
        scale, zero_point = (self.method.values[one] for one in arguments[1:3])
        if not isinstance(scale, (int, float)) or not isinstance(zero_point, int):
            self.problems.append(f"{place} ({operator}): has no scale and zero point")
            return
        grid = Grid(np.float32(scale), zero_point)
        if operator.startswith(_QUANTIZE):
            self.grids[arguments[-1]] = grid
            self.values.append(FileValue(grid, f"{place} ({operator})", ()))
        else:
            self._expect(f"{place} ({operator})", arguments[0], grid)

    def _is_int8(self, number: int) -> bool:
        value = self.method.values[number]
        return isinstance(value, TensorValue) and value.dtype == "int8"

    def _expect(self, place: str, number: int, grid: Grid) -> None:
        """What reads an int8 value of the program must take it for what it is."""
        value = self.method.values[number]
        if isinstance(value, TensorValue) and value.content is not None:
            integers = np.frombuffer(value.content, "i1").astype(np.int64)
            self.constants.append(FileConstant(grid, place, integers))
            return
        known = self.grids.get(number)
        if known != grid:
            self.problems.append(f"{place}: reads with {grid} what was given with {known or 'nothing'}")

    def _delegate(self, delegate: Delegated, number: int, arguments: tuple[int, ...]) -> None:
        if delegate.backend != _XNNPACK:
            self.problems.append(f"delegate {number}: is handed to {delegate.backend}")
            return
        graph = read_xnnpack(delegate.blob, self.program.named, self.program.budget)
        reader = _GraphReader(graph, number)
        for value in graph.values:
            if not value.is_input:
                continue
            given, grid = arguments[value.external_id], reader.grid(value.id)
            if grid is not None:
                held = self.method.values[given]
                is_constant = isinstance(held, TensorValue) and held.content is not None
                places = reader.places(value.id) if is_constant else [f"delegate {number}"]
                for place in places:
                    self._expect(place, given, grid)
            else:
                for place in reader.places(value.id):
                    self.tensors += given_to(self.method, place, (given,))
        self.layers += reader.layers()
        self.values += reader.values()
        self.constants += reader.constants()
        self.tensors += reader.tensors()
        for value in graph.values:
            if value.is_output and (grid := reader.grid(value.id)) is not None:
                self.grids[arguments[value.external_id]] = grid


class _GraphReader:
    """Reads the graph of one delegate."""

    def __init__(self, graph: XnnGraph, number: int) -> None:
        self.graph, self.number, self.by_id = graph, number, graph.by_id
        self.makers = {output: node for node in graph.nodes for output in node.outputs}

    def grid(self, number: int) -> Grid | None:
        """The grid of a value, None where it is float."""
        value = self.by_id[number]
        return Grid(value.scales[0], value.zero_point) if value.datatype == "qint8" else None

    def _place(self, index: int) -> str:
        return f"node {index} of delegate {self.number} ({self.graph.nodes[index].kind})"

    def places(self, number: int) -> list[str]:
        """Where a value is read."""
        found = [self._place(index) for index, node in enumerate(self.graph.nodes) if number in node.inputs]
        return found or [f"nothing in delegate {self.number}"]

    def _weight(self, node: XnnNode) -> XnnValue | None:
        """The constant integers of a layer; None for a node that is none, or has other weights."""
        held = self.by_id[node.inputs[1]] if is_layer(node) else None
        return held if held is not None and held.datatype in _INT8 and held.constant is not None else None

    def layers(self) -> Iterator[FileLayer]:
        for index, node in enumerate(self.graph.nodes):
            held = self._weight(node)
            if held is None or held.constant is None:
                continue
            bias = self.by_id.get(node.inputs[2]) if node.inputs[2] != NO_VALUE else None
            is_integers = bias is not None and bias.datatype in _INT32
            integers = bias.constant if bias is not None and is_integers else None
            floats = bias.constant if bias is not None and bias.datatype == "fp32" else None
            yield FileLayer(
                node.kind,
                self._place(index),
                in_torch_order(node, held.constant).astype(np.int64).ravel(),
                held.scales,
                integers.astype(np.int64) if integers is not None else None,
                bias.scales if bias is not None else np.zeros(0, np.float32),
                self.grid(node.inputs[0]),
                self.grid(node.output),
                floats,
            )

    def values(self) -> Iterator[FileValue]:
        for index, node in enumerate(self.graph.nodes):
            for output in node.outputs:
                if (grid := self.grid(output)) is not None:
                    yield FileValue(grid, self._place(index), tuple(self._sources(node)), is_layer(node))

    def _sources(self, node: XnnNode) -> Iterator[Grid]:
        """The grids of the int8 values that a node is made of, looking through what is float on the way."""
        for number in node.inputs:
            if number == NO_VALUE or self.by_id[number].content is not None:
                continue
            grid = self.grid(number)
            if grid is not None:
                yield grid
            elif number in self.makers:
                yield from self._sources(self.makers[number])

    def _read(self) -> Iterator[tuple[XnnValue, XnnNode | None, int, str]]:
        """Each constant that is not in a layer of integers, with the node that reads it, as which input, and where."""
        known = set[int]()
        for index, node in enumerate(self.graph.nodes):
            own = node.inputs[1:] if self._weight(node) is not None else ()
            known |= set(own)
            for position, number in enumerate(node.inputs):
                if number == NO_VALUE or number in own or self.by_id[number].content is None:
                    continue
                known.add(number)
                yield self.by_id[number], node, position, self._place(index)
        for value in self.graph.values:
            if value.content is not None and value.id not in known:
                yield value, None, 0, f"nothing in delegate {self.number}"

    def constants(self) -> Iterator[FileConstant]:
        for value, _, _, place in self._read():
            if (grid := self.grid(value.id)) is not None:
                yield FileConstant(grid, place, _flat(value))

    def tensors(self) -> Iterator[FileTensor]:
        for value, node, position, place in self._read():
            if self.grid(value.id) is None:
                yield constant_of(value, node, position, place)


def _flat(value: XnnValue) -> Integers:
    assert value.constant is not None
    return value.constant.ravel().astype(np.int64)
