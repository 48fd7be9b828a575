"""Whether every constant of a file is one of the int8 module's, but for the integers of layers.

What the int8 module does not have as it is may be what ExecuTorch makes of the operation, such as the index of a pad:
then the program of the float module, of which no rule of lowering and no Q/DQ form is a part, has it as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fxconv.targets.qdq.proof.file_numbers import FileConstant, FileNumbers, FileTensor, Numbers
from fxconv.targets.qdq.proof.held_numbers import HeldNumbers
from fxconv.targets.qdq.proof.module_tensors import ModuleScalar, ModuleTensor

# A rule of lowering writes a number as this integer, or its negative, of a scale that is the number over it.
_MOST = 127
# A constant has the name of an operation whose number is as near as this.
_NEAR = 0.25
_Constant = FileTensor | FileConstant
FloatProgram = Callable[[], FileNumbers | None]


def account(
    tensors: Sequence[ModuleTensor], scalars: Sequence[ModuleScalar], file: FileNumbers, floating: FloatProgram
) -> list[HeldNumbers]:
    """A row for each of these tensors and numbers that an operation reads, and one for each constant that is none.

    `file.constants` are those of int8 that are no tensor of the int8 module's. `floating` gives the numbers of the
    float module's program, None where there is none; it is asked only for what is not found otherwise.
    """
    known: list[ModuleTensor | ModuleScalar] = [*tensors, *(one for one in scalars if one.number)]
    left: list[_Constant] = [one for one in file.tensors if not _any(one, tensors, scalars)]
    left += [one for one in file.constants if not any(_stands_for(one, each.number) for each in scalars)]
    lacking = [one for one in known if one.is_read and not _has(file, one)]
    if left or lacking:
        program = floating()
        left = [one for one in left if program is None or not _stands_in(program, one)]
        # what the float module's program lacks as well became something else on the way
        lacking = [one for one in lacking if left or program is None or _has(program, one)]
    missed = {id(one) for one in lacking}
    rows = [HeldNumbers(one.where, _what(one)) for one in known if one.is_read and id(one) not in missed]
    return [*rows, *_faults(lacking, left, scalars)]


def _what(one: ModuleTensor | ModuleScalar) -> str:
    return f"{one.name}, {one.values.size} numbers" if isinstance(one, ModuleTensor) else "its number"


def _any(one: FileTensor, tensors: Sequence[ModuleTensor], scalars: Sequence[ModuleScalar]) -> bool:
    if one.values.size == 1 and any(_equal(one.values, np.array(each.number)) for each in scalars):
        return True
    return any(same_numbers(one.values, each.values) for each in tensors)


def _has(file: FileNumbers, one: ModuleTensor | ModuleScalar) -> bool:
    if isinstance(one, ModuleTensor):
        return any(same_numbers(held.values, one.values) for held in file.tensors)
    number = np.float32(one.number)
    return (
        any(held.values.size == 1 and _equal(held.values, np.array(one.number)) for held in file.tensors)
        or any(_stands_for(held, one.number) for held in file.constants)
        or any(np.float32(held) == number for held in file.scalars)
    )


def _stands_in(program: FileNumbers, one: _Constant) -> bool:
    if isinstance(one, FileConstant):
        return False
    return any(held.dtype == one.dtype and _equal(held.values, one.values) for held in program.tensors)


def _stands_for(one: FileConstant, number: float) -> bool:
    """Whether an int8 constant is what a rule of lowering makes of a plain number."""
    scale = np.float32(abs(number) / _MOST)
    return one.grid.zero_point == 0 and one.grid.scale == scale and one.integers.tolist() == [_MOST * np.sign(number)]


def same_numbers(held: Numbers, own: Numbers) -> bool:
    """Whether these are the same numbers, to a bit, in some order of the dimensions."""
    return held.size == own.size and any(_equal(held, one) for one in orders(own, held.shape))


def orders(own: Numbers, shape: tuple[int, ...]) -> Iterator[Numbers]:
    """The same numbers, and those in all orders of their dimensions that have this shape."""
    yield own
    sides, wanted = own.squeeze(), [side for side in shape if side != 1]
    if sorted(sides.shape) != sorted(wanted):
        return
    for order in itertools.permutations(range(sides.ndim)):
        if order != tuple(range(sides.ndim)) and [sides.shape[dim] for dim in order] == wanted:
            yield sides.transpose(order)


def _equal(held: Numbers, own: Numbers) -> bool:
    """Whether numbers are the same in the type in which they are held; no fraction is an integer."""
    if held.size != own.size or (held.dtype.kind in "iub" and own.dtype.kind == "f" and (own != np.trunc(own)).any()):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.array_equal(held.ravel(), own.astype(held.dtype).ravel(), equal_nan=held.dtype.kind == "f"))


def _faults(
    lacking: Sequence[ModuleTensor | ModuleScalar], left: Sequence[_Constant], scalars: Sequence[ModuleScalar]
) -> Iterator[HeldNumbers]:
    """A row for each tensor and number that the file lacks, beside what it has instead, and one for each other."""
    over = list(left)
    for one in lacking:
        beside = min(over, key=lambda each: _far(each, one), default=None)
        if beside is None or not np.isfinite(_far(beside, one)):
            yield HeldNumbers(one.where, _what(one), "", "no constant of the file has it")
            continue
        over.remove(beside)
        yield HeldNumbers(one.where, _what(one), "", _differing(one, beside))
    for each in over:
        near = min(scalars, key=lambda one: _far(each, one), default=None)
        if near is not None and _far(each, near) < _NEAR * abs(near.number):
            yield HeldNumbers(near.where, "its numbers", "", _differing(near, each))
            continue
        what = str(each) if isinstance(each, FileTensor) else f"int8 of {each.integers.size} integers, {each.grid}"
        yield HeldNumbers(each.place, "a constant", "", f"reads a constant that the int8 module does not have: {what}")


def _values(one: _Constant) -> Numbers:
    if isinstance(one, FileTensor):
        return one.values
    found: Numbers = (one.integers - one.grid.zero_point) * np.float64(one.grid.scale)
    return found


def _far(each: _Constant, one: ModuleTensor | ModuleScalar) -> float:
    """How far a constant is from what it may be meant to be; infinite where it cannot be."""
    own = one.values if isinstance(one, ModuleTensor) else np.array([one.number])
    held = _values(each)
    if held.size != own.size or held.dtype.kind not in "iuf":
        return np.inf
    far = np.abs(held.ravel().astype(np.float64) - own.ravel().astype(np.float64))
    return float(np.nan_to_num(far, nan=np.finfo(np.float64).max / max(far.size, 1)).sum())


def _differing(one: ModuleTensor | ModuleScalar, beside: _Constant) -> str:
    held = _values(beside).ravel()
    if isinstance(one, ModuleScalar):
        return f"its number is {held[0]:.9g} in the file ({beside.place}), {one.number:.9g} in the int8 module"
    own = one.values.ravel()
    off = np.flatnonzero(held != own.astype(held.dtype))
    first = int(off[0])
    count = f"{off.size} of the {own.size} numbers" if own.size > 1 else "the number"
    return (
        f"{count} of its {one.name} {'are' if off.size > 1 else 'is'} not the int8 module's: at {first} the file has "
        f"{held[first]:.9g} ({beside.place}), the module {own[first]:.9g}"
    )
