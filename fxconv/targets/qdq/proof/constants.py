"""Whether the numbers in a file are the int8 module's: integers, scales, zero points and biases, all of them.

A layer of the file is found by its weights, a value by its scale and zero point; what is left over on either side is
paired as well as it can be, so that a fault has the name of the operation it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from fxconv.targets.qdq.proof.accounted import FloatProgram, account, orders
from fxconv.targets.qdq.proof.file_numbers import (
    FileConstant,
    FileLayer,
    FileNumbers,
    FileTensor,
    Grid,
    Integers,
    Numbers,
)
from fxconv.targets.qdq.proof.held_numbers import HeldNumbers
from fxconv.targets.qdq.proof.module_numbers import ModuleConstant, ModuleLayer, ModuleNumbers
from fxconv.targets.qdq.proof.value_pairs import value_problems

# A bias's scale is a product of two float32 numbers.
_BIAS_SCALE = 1e-6
# An integer is the nearest to its bias, but for what float32 arithmetic leaves open; that of a folded operation is
# rounded twice.
_NEAREST, _TWICE = 0.501, 1.001
_FLOAT32 = 2.0**-22


def compare(module: ModuleNumbers, file: FileNumbers, floating: FloatProgram = lambda: None) -> tuple[HeldNumbers, ...]:
    """A row for each layer of the int8 module, for each other operation with numbers, and for the scales of all values.

    Beyond these there is a row for each fault. `floating` gives the numbers of the float module's program, None where
    there is none; see `account`.
    """
    rows, accounted = _layers(module.layers, file)
    more, others = _constants(module.constants, file)
    rows += more
    accounted |= others
    left = replace(
        file,
        tensors=tuple(one for one in file.tensors if id(one) not in accounted),
        constants=tuple(one for one in file.constants if id(one) not in accounted),
    )
    rows += account(module.tensors, module.scalars, left, floating)
    faults = value_problems(module.values, file.values)
    count = len(module.values) - len(faults)
    rows.append(HeldNumbers("all int8 values", f"scale and zero point of {count} values"))
    rows += [HeldNumbers(where, "scale and zero point of its values", "", problem) for where, problem in faults]
    rows += [HeldNumbers(said.partition(":")[0], "what parts of the file take", "", said) for said in file.problems]
    return tuple(rows)


# How far two layers are apart, None where they cannot be one.
_Way = Callable[[ModuleLayer, FileLayer], float | None]


def _paired(
    ones: Sequence[ModuleLayer], others: Iterable[FileLayer], ways: Iterable[_Way]
) -> tuple[list[FileLayer | None], list[FileLayer]]:
    """Each of `ones` beside one of `others` that is nearest, by one way after the other, and the others left over."""
    left, pairs = list(others), dict[int, FileLayer]()
    for way in ways:
        for place, one in enumerate(ones):
            if place in pairs:
                continue
            found = [(far, index) for index, other in enumerate(left) if (far := way(one, other)) is not None]
            if found:
                pairs[place] = left.pop(min(found)[1])
    return [pairs.get(place) for place in range(len(ones))], left


def _layers(layers: Sequence[ModuleLayer], file: FileNumbers) -> tuple[list[HeldNumbers], set[int]]:
    """The rows, and which constants of the file are weights and biases of layers that are in float there."""

    def same(one: ModuleLayer, other: FileLayer) -> float | None:
        return 0 if np.array_equal(one.weight, other.weight) and not _layer_problem(one, other) else None

    def same_weight(one: ModuleLayer, other: FileLayer) -> float | None:
        if not np.array_equal(one.weight, other.weight):
            return None
        return _distance(one, other)

    def alike(one: ModuleLayer, other: FileLayer) -> float | None:
        if one.weight.size != other.weight.size:
            return None
        return _distance(one, other) + int((one.weight != other.weight).sum())

    found, left = _paired(layers, file.layers, (same, same_weight, alike))
    rows, accounted = list[HeldNumbers](), set[int]()
    for one, other in zip(layers, found, strict=True):
        what = f"{one.weight.size} weight integers, {one.scales.size} scales, bias, input and output ranges"
        note = ""
        if one.folded:
            note = f"{one.folded} is folded into it"
            note += f": scales over {one.divisor}, bias with a half more" if one.divisor != 1 else ""
        if other is not None:
            if one.given is None:
                what = f"{one.weight.size} weight integers, {one.scales.size} scales, bias"
                note = "its input is ranged at every call"
            rows.append(HeldNumbers(one.where, what, note, _layer_problem(one, other)))
        elif (weights := _in_float(one, file)) is not None:
            bias = [each for each in file.tensors if each.place == weights.place and _may_be_bias(one, each)]
            accounted |= {id(weights), *map(id, bias)}
            note = "in float in the file: its integers times their scales"
            rows.append(HeldNumbers(one.where, "weights and bias", note, _float_bias_problem(one, bias)))
        else:
            rows.append(HeldNumbers(one.where, what, note, "no layer of the file has its weights"))
    said = "is a layer of the file that the int8 module does not have"
    rows += [HeldNumbers(other.place, f"{other.weight.size} weight integers", "", said) for other in left]
    return rows, accounted


def _distance(one: ModuleLayer, other: FileLayer) -> float:
    return (one.given != other.given) + (one.gives != other.gives)


def _in_float(layer: ModuleLayer, file: FileNumbers) -> FileTensor | None:
    """The layer's weights in the file in float, in any order of their dimensions."""
    wanted = layer.floats()
    alike = [one for one in file.tensors if one.values.size == wanted.size and one.values.dtype.kind == "f"]
    return next((one for one in alike if _are_near(one.values, wanted)), None)


def _are_near(held: Numbers, wanted: Numbers) -> bool:
    # a product of two float32 numbers
    return any(np.allclose(held.ravel(), one.ravel(), rtol=1e-6, atol=0) for one in orders(wanted, held.shape))


def _may_be_bias(layer: ModuleLayer, one: FileTensor) -> bool:
    return one.values.size == layer.bias.size and one.values.dtype.kind == "f" and one.values.size != layer.weight.size


def _layer_problem(one: ModuleLayer, other: FileLayer) -> str:
    """All that differs, "" for nothing."""
    if one.given is None and other.bias is not None:
        return "the bias is of integers in the file, of float numbers in the int8 module"
    if one.given is None and (problem := _plain_bias_problem(one, other.float_bias)):
        return problem
    problems = [
        _integers_problem("weight", one.weight, other.weight),
        _scales_problem(one, other),
        _bias_problem(one, other) if one.given is not None else "",
        _grid_problem("reads its input", one.given, other.given),
        _grid_problem("gives its output", one.gives, other.gives),
    ]
    return "; ".join(problem for problem in problems if problem)


def _plain_bias_problem(layer: ModuleLayer, bias: Numbers | None) -> str:
    """Of a layer whose input is ranged at every call: its own bias is the module's, in float."""
    wanted = layer.bias.astype(np.float32)
    if bias is None:
        return "the file does not have its bias" if wanted.any() else ""
    if bias.size not in (1, wanted.size) and wanted.size != 1:
        return f"the file has {bias.size} numbers of its bias, the int8 module {wanted.size}"
    wanted, got = np.broadcast_arrays(wanted, bias.ravel())
    off = np.flatnonzero(got != wanted)
    return _bias_told(int(off[0]), got, wanted) if off.size else ""


def _float_bias_problem(layer: ModuleLayer, found: Sequence[FileTensor]) -> str:
    """Of a layer that is in float in the file: its bias, which is what the kernels add, and stands beside its weights.

    The kernels of the int8 module round it to integers, and so does the file's.
    """
    if not found:
        return "the file does not have its bias" if layer.bias.any() else ""
    if layer.given is None:
        return _plain_bias_problem(layer, found[0].values)
    got, steps = found[0].values.ravel().astype(np.float64), layer.bias_steps()
    off = np.flatnonzero(np.abs(got / (layer.scales.astype(np.float64) * float(layer.given.scale)) - steps)
                         > _NEAREST + np.abs(steps) * _FLOAT32)  # fmt: skip
    return _bias_told(int(off[0]), got, layer.bias) if off.size else ""


def _bias_told(first: int, got: Numbers, wanted: Numbers) -> str:
    return f"the bias of channel {first} is {got[first]:.9g} in the file, {wanted[first]:.9g} in the int8 module"


def _integers_problem(what: str, wanted: Integers, got: Integers) -> str:
    if wanted.size != got.size:
        return f"the file has {got.size} {what} integers, the int8 module {wanted.size}"
    off = np.flatnonzero(wanted != got)
    if not off.size:
        return ""
    first = int(off[0])
    count = f"{off.size} of its {wanted.size} {what} integers are" if off.size > 1 else f"one of its {what} integers is"
    return f"{count} not the int8 module's: at {first} the file has {got[first]}, the module {wanted[first]}"


def _scales_problem(one: ModuleLayer, other: FileLayer) -> str:
    wanted = one.scales if one.divisor == 1 else (one.scales.astype(np.float64) / one.divisor).astype(np.float32)
    if other.scales.size not in (1, wanted.size) and wanted.size != 1:
        return f"the file has {other.scales.size} weight scales, the int8 module {wanted.size}"
    wanted, got = np.broadcast_arrays(wanted, other.scales)
    # a division by 6 may be rounded in float32 or before it
    off = np.flatnonzero(wanted != got if one.divisor == 1 else ~np.isclose(wanted, got, rtol=1e-6, atol=0))
    if not off.size:
        return ""
    first = int(off[0])
    return (
        f"the weight scale of channel {first} is {got[first]:.9g} in the file, {wanted[first]:.9g} in the int8 module"
    )


def _bias_problem(one: ModuleLayer, other: FileLayer) -> str:
    wanted = one.bias_steps()
    got = np.zeros(1, np.int64) if other.bias is None else other.bias
    if got.size not in (1, wanted.size) and wanted.size != 1:
        return f"the file has {got.size} bias integers, the int8 module {wanted.size}"
    wanted, integers = np.broadcast_arrays(wanted, got)
    most = (_NEAREST if one.divisor == 1 else _TWICE) + np.abs(wanted) * _FLOAT32
    # what no int32 holds stands at its end
    ends = np.iinfo(np.int32)
    off = np.flatnonzero(np.abs(np.clip(wanted, ends.min, ends.max) - integers) > most)
    if off.size:
        first = int(off[0])
        said = f"{integers[first]} in the file, {wanted[first]:.2f} in the int8 module"
        return f"the bias integer of channel {first} is {said}"
    if other.bias is None or not other.bias.any() or other.given is None:
        return ""
    made = other.scales.astype(np.float64) * float(other.given.scale)
    if not np.allclose(other.bias_scales, made, rtol=_BIAS_SCALE, atol=0):
        return "the scales of its bias are not those of its input times its weights"
    return ""


def _grid_problem(what: str, wanted: Grid | None, got: Grid | None) -> str:
    if got == wanted:
        return ""
    none = "no scale, in float"
    return f"{what} with {got or none} in the file, with {wanted or none} in the int8 module"


def _constants(constants: Sequence[ModuleConstant], file: FileNumbers) -> tuple[list[HeldNumbers], set[int]]:
    """The rows, and which constants of the file are these."""
    rows, accounted = list[HeldNumbers](), set[int]()
    for one in constants:
        what = f"{one.integers.size} integers, scale and zero point"
        alike = [other for other in file.constants if other.integers.size == one.integers.size]
        same = [other for other in alike if other.grid == one.grid and np.array_equal(other.integers, one.integers)]
        values = (one.integers - one.grid.zero_point).astype(np.float32) * one.grid.scale
        floats = [held for held in file.tensors if np.array_equal(held.values.ravel(), values)]
        accounted |= {id(held) for held in (*same, *floats)}
        if same:
            rows.append(HeldNumbers(one.where, what))
        elif floats:
            rows.append(HeldNumbers(one.where, "values", "in float in the file: its integers times their scale"))
        elif not alike:
            rows.append(HeldNumbers(one.where, what, "", "no constant of the file has its integers"))
        else:
            rows.append(HeldNumbers(one.where, what, "", _constant_problem(one, alike[0])))
            accounted.add(id(alike[0]))
    return rows, accounted


def _constant_problem(one: ModuleConstant, other: FileConstant) -> str:
    problem = _integers_problem("", one.integers, other.integers).replace("  ", " ")
    return problem or f"the file has it with {other.grid}, the int8 module with {one.grid}"
