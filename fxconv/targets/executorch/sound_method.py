"""What must hold of a method before anybody's program is run: its tensors, where they lie, its instructions.

ExecuTorch trusts the program that it loads: it does not look whether an instruction's value is of the kind it takes,
and computes addresses from the offsets that it finds.
"""

from __future__ import annotations

from collections.abc import Iterator

from fxconv.inspection.executorch_values import (
    BOUNDED,
    DELEGATE,
    FREE,
    JUMP,
    KERNEL,
    MOVE,
    STATIC,
    Instruction,
    Listed,
    Method,
    TensorValue,
    Unknown,
)
from fxconv.targets.executorch.kernels import KERNELS, unfit

# What the runtime's tensors may have, and its types for them (not those of bits, and the quantized ones).
_MOST_SIDES = 16
_TYPES = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 11, 15, 27, 28, 29})


def faults(method: Method, most: int) -> Iterator[str]:
    """What is wrong with a method, each as it goes on after "its method forward".

    `most` is how many bytes may be planned for it.
    """
    yield from _arena_faults(method, most)
    if not all(_is_sound(value, method) for value in method.values if isinstance(value, Listed)):
        yield "has a list of values that are not there, or of another kind"
        return  # what its instructions are given is looked up in them
    for number, value in enumerate(method.values):
        if isinstance(value, Unknown):
            yield f"has a value of an unknown kind ({value.number})"
        elif isinstance(value, TensorValue):
            yield from (f"has a tensor (value {number}) {words}" for words in _tensor_faults(value, method, most))
    for chain in method.chains:
        for step in chain:
            yield from _step_faults(step, len(chain), method)
    placed = set(method.inputs) | _placed(method)
    for number in (*method.inputs, *method.outputs):
        value = method.values[number]
        if isinstance(value, Listed) and value.kind not in ("ints", "doubles", "bools"):
            yield "takes or returns a list of tensors"
        if number in method.inputs and isinstance(value, TensorValue) and value.content is not None:
            yield "takes a tensor that is a constant"
        if isinstance(value, TensorValue) and number not in placed:
            yield f"returns a tensor (value {number}) that has no place in memory"


def _arena_faults(method: Method, most: int) -> Iterator[str]:
    if any(size < 0 for size in method.arenas):
        yield "asks for memory of a negative size"
    if (asked := sum(method.arenas[1:])) > most:
        yield f"asks for {asked >> 20:,} MB of memory, more than the {most >> 20:,} MB it may have"


def _tensor_faults(value: TensorValue, method: Method, most: int) -> Iterator[str]:
    if value.scalar_type not in _TYPES:
        yield f"of a type that is not run here ({value.dtype})"
    if len(value.sizes) > _MOST_SIDES or value.bytes > most:
        yield "larger than the memory it may have"
    if sorted(value.order) != list(range(len(value.sizes))):
        yield "whose order of dimensions is none"
    if value.dynamism not in (STATIC, BOUNDED):
        yield "of a size without bound"
    if value.storage_offset:
        yield "that begins elsewhere than at its beginning"
    if value.external:
        yield "whose numbers are in another file"
    if value.buffer and value.planned is not None:
        yield "that is changed and has numbers to begin with"
    if value.planned is not None:
        arena, offset = value.planned
        if not 0 < arena < len(method.arenas) or offset + value.bytes > method.arenas[arena]:
            yield "that reaches beyond the memory planned for it"


def _is_sound(value: Listed, method: Method) -> bool:
    """Whether the values that a list names are there, and of its kind."""
    if value.kind in ("doubles", "bools"):
        return True
    numbers = [int(one) for one in value.items if not (one == -1 and value.kind == "optional tensors")]
    if not all(0 <= number < len(method.values) for number in numbers):
        return False
    found = [method.values[number] for number in numbers]
    if value.kind == "ints":
        return all(isinstance(one, int) and not isinstance(one, bool) for one in found)
    return all(isinstance(one, TensorValue) or (one is None and value.kind == "optional tensors") for one in found)


def _step_faults(step: Instruction, count: int, method: Method) -> Iterator[str]:
    if step.kind == KERNEL:
        name = ".".join(part for part in method.operators[step.target] if part)
        if name not in KERNELS:
            yield f"calls {name}, which is not known to do nothing but compute"
        elif words := unfit(name, step.arguments, method):
            yield words
    elif step.kind == MOVE:
        if len({type(method.values[number]) for number in step.arguments}) > 1:
            yield "moves a value over one of another kind"
    elif step.kind == JUMP:
        condition = method.values[step.arguments[0]]
        if not 0 <= step.target <= count:
            yield "jumps out of its program"
        if not isinstance(condition, bool) and not (isinstance(condition, TensorValue) and condition.dtype == "bool"):
            yield "jumps by a condition that is none"
    elif step.kind == FREE:
        yield "frees memory"
    elif step.kind != DELEGATE:
        yield f"has an instruction of an unknown kind ({step.kind})"
    yield from _memory_faults(step, method)


def _memory_faults(step: Instruction, method: Method) -> Iterator[str]:
    """Tensors without a place in memory, which a kernel would write to all the same; and constants written to."""
    if step.kind not in (KERNEL, DELEGATE, JUMP):
        return
    there = set(method.inputs) | _placed(method)
    for number in step.arguments:
        if isinstance(method.values[number], TensorValue) and number not in there:
            yield f"works on a tensor (value {number}) that has no place in memory"
    if step.kind == KERNEL and step.arguments:
        made = method.values[step.arguments[-1]]
        if isinstance(made, TensorValue) and made.content is not None:
            yield "writes to a constant"


def _placed(method: Method) -> set[int]:
    """The numbers of tensors that lie somewhere before the first instruction, or get there by a move."""
    there = {
        number
        for number, value in enumerate(method.values)
        if isinstance(value, TensorValue) and (value.planned is not None or value.content is not None)
    }
    moved = {one.arguments[1] for one in method.instructions if one.kind == MOVE}
    return there | moved
