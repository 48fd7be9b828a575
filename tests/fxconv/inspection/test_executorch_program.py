"""Programs of ExecuTorch: two as ExecuTorch wrote them, and ones built by hand."""

from __future__ import annotations

import struct

import pytest

from benchmarks.hostile.formats import Raw, flatbuffer_of, vector
from benchmarks.hostile.pte import content
from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.executorch_values import DELEGATE, JUMP, KERNEL, MOVE, Listed, TensorValue
from fxconv.inspection.found import Unreadable


def program(name: str):
    return read_program(memoryview(content(name)))


def built(plan: dict[int, object], **further: object):
    fields: dict[int, object] = {0: bytes(4), 1: [plan]}
    return read_program(memoryview(flatbuffer_of(fields | {int(n[1:]): v for n, v in further.items()}, b"ET12")))


def tensor(*sizes: int, **further: object) -> dict[int, object]:
    fields: dict[int, object] = {0: b"\x06", 2: vector("i", *sizes), 3: vector("B", *range(len(sizes)))}
    return {0: b"\x05", 1: fields | {int(n[1:]): v for n, v in further.items()}}


def test_a_program_of_one_delegate():
    found = program("int8.pte")
    assert (found.version, [method.name for method in found.methods]) == (
        0,
        ["forward", "fxconv_metadata", "fxconv_golden"],
    )
    forward = found.methods[0]
    assert [(one.kind, one.target, one.arguments) for one in forward.instructions] == [(DELEGATE, 0, (0, 1))]
    taken, given = (forward.values[number] for number in (*forward.inputs, *forward.outputs))
    assert (taken.dtype, taken.sizes, taken.planned) == ("float32", (1, 3, 8, 8), (1, 0))
    assert (given.dtype, given.sizes) == ("float32", (1, 5))
    assert forward.delegates[0].backend == "XnnpackBackend" and forward.delegates[0].blob[4:8] == b"XH00"
    assert not forward.constant and forward.text is None and forward.arenas[1] >= 4 * 3 * 64
    assert len(found.named) == 16 and all(len(data) > 0 for data in found.named.values())


def test_texts_of_constant_methods_are_found_without_running_anything():
    texts = {name: bytes(text) for name, text in program("int8.pte").texts.items()}
    assert texts == {
        "fxconv_metadata": b'{"schema": 1, "inputs": [{"shape": [1, 3, 8, 8]}]}',
        "fxconv_golden": b'{"format": 1}',
    }
    assert [str(method.text) for method in program("mixed.pte").methods if method.text] == ["cat\ndog"]


def test_kernels_branches_and_constants_between_delegates():
    forward = program("mixed.pte").methods[0]
    kinds = [one.kind for one in forward.instructions]
    assert kinds.count(DELEGATE) == 2 and kinds.count(JUMP) == 2 and kinds.count(MOVE) == 2
    called = [".".join(forward.operators[one.target]) for one in forward.instructions if one.kind == KERNEL]
    assert called[:2] == ["aten::cumsum.out", "aten::mean.out"] and "aten::gt.Scalar_out" in called
    held = [one for one in forward.values if isinstance(one, TensorValue) and one.content is not None]
    assert [struct.unpack("<q", one.content) for one in held] == [(1,), (2,)]
    numbers = {method.name: [method.values[n] for n in method.outputs] for method in program("mixed.pte").methods[2:]}
    assert numbers == {"classes": [5], "sides": [8, 8]}


def test_values_of_all_kinds():
    kinds = [
        {0: b"\x01", 1: {}},
        {0: b"\x02", 1: {0: struct.pack("<q", -7)}},
        {0: b"\x03", 1: {0: b"\x01"}},
        {0: b"\x04", 1: {0: struct.pack("<d", 0.5)}},
        tensor(2, 3, _5=struct.pack("<I", 1)),
        {0: b"\x06", 1: {0: "text"}},
        {0: b"\x07", 1: {0: vector("q", 1, 1)}},
        {0: b"\x08", 1: {0: vector("d", 1.5, -2.0)}},
        {0: b"\x09", 1: {0: vector("B", 1, 0)}},
        {0: b"\x0a", 1: {0: vector("i", 4)}},
        {0: b"\x0b", 1: {0: vector("i", -1, 4)}},
        {0: b"\x0c", 1: {}},
    ]
    buffers = [{0: Raw(struct.pack("<I", 0))}, {0: Raw(struct.pack("<I6f", 24, *range(6)))}]
    values = built({0: "forward", 2: kinds}, _2=buffers).methods[0].values
    assert values[:4] == (None, -7, True, 0.5) and str(values[5]) == "text"
    assert values[4].sizes == (2, 3) and struct.unpack("<6f", values[4].content) == (0, 1, 2, 3, 4, 5)
    assert values[6:11] == (
        Listed("ints", (1, 1)),
        Listed("doubles", (1.5, -2.0)),
        Listed("bools", (True, False)),
        Listed("tensors", (4,)),
        Listed("optional tensors", (-1, 4)),
    )
    assert values[11].number == 12


DAMAGED = {
    "calls an operator it does not have": {0: "f", 5: [{2: [{0: b"\x01", 1: {0: struct.pack("<i", 3)}}]}]},
    "calls a delegate it does not have": {0: "f", 5: [{2: [{0: b"\x02", 1: {0: struct.pack("<i", 0)}}]}]},
    "calls with values it does not have": {0: "f", 5: [{2: [{0: b"\x03", 1: {1: struct.pack("<i", 9)}}]}]},
    "takes or returns values it does not have": {0: "f", 4: vector("i", 0)},
    "lacks what it hands to a delegate": {0: "f", 7: [{0: "XnnpackBackend", 1: {0: b"\x01", 1: struct.pack("<I", 5)}}]},
    "lacks the values of a tensor": {0: "f", 2: [tensor(2, _5=struct.pack("<I", 1))]},
    "a shape no tensor has": {0: "f", 2: [tensor(2, -1)]},
}


@pytest.mark.parametrize("words", DAMAGED)
def test_what_points_nowhere_is_refused(words):
    with pytest.raises(Unreadable, match=words):
        built(DAMAGED[words])


def test_too_few_numbers_for_a_tensor_are_refused():
    buffers = [{0: Raw(struct.pack("<I", 0))}, {0: Raw(struct.pack("<I", 4) + bytes(4))}]
    with pytest.raises(Unreadable, match="too few values for a tensor"):
        built({0: "f", 2: [tensor(2, _5=struct.pack("<I", 1))]}, _2=buffers)


@pytest.mark.parametrize("kept", [30, 100, 4000, -20])
def test_a_truncated_program_is_refused(kept):
    with pytest.raises(Unreadable, match="truncated"):
        read_program(memoryview(content("int8.pte")[:kept]))


def test_one_value_many_times_over_is_not_read_without_end():
    with pytest.raises(Unreadable, match="more than 300,000 rows"):
        built({0: "f", 2: [{0: b"\x06", 1: {0: "x"}}] * 400_000})
    with pytest.raises(Unreadable, match="more than 300,000 rows"):
        built({0: "f", 7: [{0: "XnnpackBackend"}] * 20_000})


def test_the_same_as_the_schema_of_executorch():
    """Where ExecuTorch is installed its own reader says the same of the files here."""
    pytest.importorskip("executorch")
    from executorch.exir._serialize._program import deserialize_pte_binary

    for name in ("int8.pte", "mixed.pte"):
        theirs, ours = deserialize_pte_binary(content(name)).program, program(name)
        assert [plan.name for plan in theirs.execution_plan] == [method.name for method in ours.methods]
        for plan, method in zip(theirs.execution_plan, ours.methods, strict=True):
            assert [(one.name, one.overload) for one in plan.operators] == list(method.operators)
            assert (tuple(plan.inputs), tuple(plan.outputs)) == (method.inputs, method.outputs)
            assert tuple(plan.non_const_buffer_sizes) == method.arenas
            calls = [one.instr_args for chain in plan.chains for one in chain.instructions]
            assert [tuple(one.args) for one in calls if hasattr(one, "args")] == [
                one.arguments for one in method.instructions if one.kind in (KERNEL, DELEGATE)
            ]
            for value, read in zip(plan.values, method.values, strict=True):
                if isinstance(read, TensorValue):
                    assert (tuple(value.val.sizes), int(value.val.scalar_type)) == (read.sizes, read.scalar_type)
