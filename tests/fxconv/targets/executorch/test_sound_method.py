"""What a method must hold before it is run: each fault alone, in a program that is sound otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.hostile.pte import content
from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.executorch_values import FREE, UNBOUNDED, Instruction, Listed, Method, TensorValue, Unknown
from fxconv.targets.executorch.sound_method import faults

MOST = 1 << 20


def method() -> Method:
    """A method of two delegates, kernels, moves and jumps."""
    return read_program(memoryview(content("mixed.pte"))).methods[0]


def changed(number: int, **fields: object) -> Method:
    """With one of its values another: `value` itself, or fields of the tensor that it is."""
    found = method()
    values = list(found.values)
    values[number] = fields["value"] if "value" in fields else replace(values[number], **fields)
    return replace(found, values=tuple(values))


def stepped(place: int, **fields: object) -> Method:
    """With one of its instructions another."""
    found = method()
    chain = list(found.chains[0])
    chain[place] = replace(chain[place], **fields)
    return replace(found, chains=(tuple(chain),))


def planned() -> int:
    """The number of a tensor that has a place in memory, and is neither taken nor returned."""
    found = method()
    return next(
        number
        for number, value in enumerate(found.values)
        if isinstance(value, TensorValue) and value.planned and number not in (*found.inputs, *found.outputs)
    )


def place_of(kind: str) -> int:
    return next(place for place, one in enumerate(method().instructions) if one.kind == kind)


def test_a_method_that_executorch_wrote_is_sound():
    assert list(faults(method(), MOST)) == []


FAULTS = {
    "asks for memory of a negative size": lambda: replace(method(), arenas=(0, -8)),
    "asks for 8,192 MB of memory, more than the 1 MB": lambda: replace(method(), arenas=(0, 8 << 30)),
    "has a value of an unknown kind": lambda: changed(3, value=Unknown(14)),
    "that is not run here (qint8)": lambda: changed(planned(), scalar_type=12),
    "that is not run here (type 77)": lambda: changed(planned(), scalar_type=77),
    "larger than the memory it may have": lambda: changed(planned(), sizes=(1 << 20, 1 << 20), order=(0, 1)),
    "whose order of dimensions is none": lambda: changed(planned(), order=(0, 7)),
    "of a size without bound": lambda: changed(planned(), dynamism=UNBOUNDED),
    "that begins elsewhere": lambda: changed(planned(), storage_offset=4),
    "whose numbers are in another file": lambda: changed(planned(), external=True),
    "that is changed and has numbers to begin with": lambda: changed(planned(), buffer=1),
    "that reaches beyond the memory planned for it": lambda: changed(planned(), planned=(1, 1 << 40)),
    "has a tensor (value 2) that reaches beyond": lambda: changed(2, planned=(9, 0)),
    "has a list of values that are not there": lambda: changed(3, value=Listed("ints", (999,))),
    "or of another kind": lambda: changed(3, value=Listed("tensors", (3,))),
    "calls aten::nothing.out, which is not known": lambda: replace(
        method(), operators=(("aten::nothing", "out"), *method().operators[1:])
    ),
    "calls aten::cumsum.out with 2 values instead of 5": lambda: stepped(place_of("kernel"), arguments=(1, 2)),
    "jumps out of its program": lambda: stepped(place_of("jump if false"), target=99),
    "jumps by a condition that is none": lambda: stepped(place_of("jump if false"), arguments=(0,)),
    "frees memory": lambda: stepped(0, kind=FREE),
    "has an instruction of an unknown kind": lambda: stepped(0, kind="unknown (9)"),
    "moves a value over one of another kind": lambda: stepped(place_of("move"), arguments=(0, 3)),
    "that has no place in memory": lambda: changed(planned(), planned=None),
}


@pytest.mark.parametrize("words", FAULTS)
def test_one_fault(words):
    assert any(words in one for one in faults(FAULTS[words](), MOST))


def test_a_constant_is_not_written_to():
    found = method()
    constant = next(n for n, one in enumerate(found.values) if isinstance(one, TensorValue) and one.content is not None)
    place = place_of("kernel")
    arguments = found.instructions[place].arguments
    assert "writes to a constant" in list(faults(stepped(place, arguments=(*arguments[:-2], constant, constant)), MOST))
    taken = replace(found, inputs=(constant,))
    assert "takes a tensor that is a constant" in list(faults(taken, MOST))


def test_what_is_returned_has_a_place():
    bare = TensorValue(6, (2,), (0,), "static", 0, 0, None, None, False, "")
    found = Method("f", (bare,), (), (0,), (), (), (), (0,))
    assert list(faults(found, MOST)) == ["returns a tensor (value 0) that has no place in memory"]
    assert list(faults(replace(found, inputs=(0,)), MOST)) == []
    moved = Instruction("move", 0, (0, 0))
    assert list(faults(replace(found, chains=((moved,),)), MOST)) == []
