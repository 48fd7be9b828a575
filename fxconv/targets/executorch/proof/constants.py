"""Whether the numbers in a file are the int8 module's: integers, scales, zero points and biases, all of them.

A layer of the file is found by its weights, a value by its scale and zero point; what is left over on either side is
paired as well as it can be, so that a fault has the name of the operation it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fxconv.targets.executorch.proof.file_numbers import FileLayer, FileNumbers, Grid, Integers
from fxconv.targets.executorch.proof.module_numbers import ModuleConstant, ModuleLayer, ModuleNumbers
from fxconv.targets.executorch.proof.value_pairs import value_problems

# A bias's scale is a product of two float32 numbers.
_BIAS_SCALE = 1e-6
# An integer is the nearest to its bias, but for what float32 arithmetic leaves open; that of a folded operation is
# rounded twice.
_NEAREST, _TWICE = 0.501, 1.001
_FLOAT32 = 2.0**-22


@dataclass(frozen=True)
class HeldNumbers:
    """One row: a layer with its weights, scales, bias and ranges, or all that is wrong with something else.

    `where` is the operation of the int8 module, `what` says what of it was compared; `note` how a rule of lowering
    changed it, `problem` what differs, "" for nothing.
    """

    where: str
    what: str
    note: str = ""
    problem: str = ""


def compare(module: ModuleNumbers, file: FileNumbers) -> tuple[HeldNumbers, ...]:
    """A row for each layer of the int8 module, one for each of its constants and for the scales of all its values.

    Beyond these there is a row for each fault.
    """
    rows = _layers(module.layers, file) + _constants(module.constants, file)
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


def _layers(layers: Sequence[ModuleLayer], file: FileNumbers) -> list[HeldNumbers]:
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
    rows = []
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
            problem = _layer_problem(one, other) or _float_bias_problem(one, file)
            rows.append(HeldNumbers(one.where, what, note, problem))
        elif _in_float(one, file):
            rows.append(HeldNumbers(one.where, "weights", "in float in the file: its integers times their scales"))
        else:
            rows.append(HeldNumbers(one.where, what, note, "no layer of the file has its weights"))
    said = "is a layer of the file that the int8 module does not have"
    rows += [HeldNumbers(other.place, f"{other.weight.size} weight integers", "", said) for other in left]
    return rows


def _distance(one: ModuleLayer, other: FileLayer) -> float:
    return (one.given != other.given) + (one.gives != other.gives)


def _in_float(layer: ModuleLayer, file: FileNumbers) -> bool:
    """Whether the file has the layer's weights in float, in any order of their dimensions."""
    if layer.scales.size not in (1, layer.weight.size) and layer.weight.size % layer.scales.size:
        return False
    by_channel = layer.weight.reshape(layer.scales.size, -1).astype(np.float32) * layer.scales[:, None]
    wanted = np.sort(by_channel, axis=None)
    alike = [np.sort(floats, axis=None) for floats in file.floats if floats.size == wanted.size]
    return any(np.allclose(floats, wanted, rtol=1e-6) for floats in alike)


def _layer_problem(one: ModuleLayer, other: FileLayer) -> str:
    """All that differs, "" for nothing."""
    if one.given is None and other.bias is not None:
        return "the bias is of integers in the file, of float numbers in the int8 module"
    problems = [
        _integers_problem("weight", one.weight, other.weight),
        _scales_problem(one, other),
        _bias_problem(one, other) if one.given is not None else "",
        _grid_problem("reads its input", one.given, other.given),
        _grid_problem("gives its output", one.gives, other.gives),
    ]
    return "; ".join(problem for problem in problems if problem)


def _float_bias_problem(layer: ModuleLayer, file: FileNumbers) -> str:
    """Of a layer whose input is ranged at every call: its bias stands in the file, in float."""
    if layer.given is not None or not layer.bias.any():
        return ""
    bias = layer.bias.astype(np.float32)
    return "" if any(np.array_equal(one, bias) for one in file.floats) else "the file does not have its bias"


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


def _constants(constants: Sequence[ModuleConstant], file: FileNumbers) -> list[HeldNumbers]:
    rows = []
    for one in constants:
        what = f"{one.integers.size} integers, scale and zero point"
        alike = [other for other in file.constants if other.integers.size == one.integers.size]
        if any(other.grid == one.grid and np.array_equal(other.integers, one.integers) for other in alike):
            rows.append(HeldNumbers(one.where, what))
            continue
        values = (one.integers - one.grid.zero_point).astype(np.float32) * one.grid.scale
        if any(floats.size == values.size and np.array_equal(floats, values) for floats in file.floats):
            rows.append(HeldNumbers(one.where, "values", "in float in the file: its integers times their scale"))
        elif not alike:
            rows.append(HeldNumbers(one.where, what, "", "no constant of the file has its integers"))
        else:
            problem = _integers_problem("", one.integers, alike[0].integers).replace("  ", " ")
            problem = problem or f"the file has it with {alike[0].grid}, the int8 module with {one.grid}"
            rows.append(HeldNumbers(one.where, what, "", problem))
    return rows
