"""What a graph must hold before XNNPACK is given it: each fault alone, in a graph that is sound otherwise."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from benchmarks.hostile.pte import content
from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.xnnpack_graph import XnnGraph, XnnNode, read_xnnpack
from fxconv.inspection.xnnpack_schema import NO_VALUE
from fxconv.targets.executorch.sound_graph import call_faults, faults

MOST = 1 << 20


def program():
    return read_program(memoryview(content("int8.pte")))


def graph() -> XnnGraph:
    found = program()
    return read_xnnpack(found.methods[0].delegates[0].blob, found.named)


def first(kind: str) -> XnnNode:
    return next(node for node in graph().nodes if node.kind == kind)


def with_node(kind: str, inputs=None, outputs=None, **fields: object) -> XnnGraph:
    """With the first node of a kind another."""
    found, old = graph(), first(kind)
    new = replace(old, inputs=inputs or old.inputs, outputs=outputs or old.outputs, fields={**old.fields, **fields})
    place = [node.kind for node in found.nodes].index(kind)
    return replace(found, nodes=(*found.nodes[:place], new, *found.nodes[place + 1 :]))


def with_value(number: int, **fields: object) -> XnnGraph:
    found = graph()
    return replace(found, values=tuple(replace(v, **fields) if v.id == number else v for v in found.values))


def weight() -> int:
    return first("Conv2d").inputs[1]


def bias() -> int:
    return first("Conv2d").inputs[2]


def made() -> int:
    return first("Conv2d").output


def test_a_graph_that_executorch_wrote_is_sound():
    found = program()
    assert list(faults(graph(), MOST)) == []
    assert list(call_faults(graph(), tuple(found.methods[0].values[n] for n in (0, 1)))) == []


SCALE = memoryview(struct.pack("<f", float("nan")))
FAULTS = {
    "has two values of one id": lambda: with_value(made(), id=weight()),
    "whose number of dimensions is another": lambda: with_value(made(), sides=3),
    "larger than the memory it may have": lambda: with_value(made(), shape=(1 << 20,) * 4),
    "of type unknown (99), per tensor, which is none": lambda: with_value(made(), datatype="unknown (99)"),
    "of type qcint8, per tensor, which is none": lambda: with_value(made(), datatype="qcint8"),
    "with fewer numbers than its shape says": lambda: with_value(weight(), content=memoryview(bytes(9))),
    "with flags that are not known": lambda: with_value(made(), flags=8),
    "with a zero point that is none": lambda: with_value(made(), zero_point=200),
    "with a scale that is none": lambda: with_value(made(), scale_bytes=SCALE),
    "quantized along a dimension that it does not have": lambda: with_value(weight(), channels=4),
    "with fewer scales than channels": lambda: with_value(weight(), scale_bytes=memoryview(bytes(8))),
    "takes or returns values that are not there": lambda: replace(graph(), inputs=(77,)),
    "takes or returns values that are not marked so": lambda: with_value(graph().inputs[0], flags=2),
    "neither taken nor returned": lambda: with_value(made(), flags=2, external_id=5),
    "returns what it does not compute": lambda: replace(graph(), nodes=graph().nodes[:-1]),
    "has a node of an unknown kind": lambda: replace(
        graph(), nodes=(XnnNode("unknown (77)", (), (), {}, 0, None), *graph().nodes)
    ),
    "has a Conv2d of values that are not there": lambda: with_node("Conv2d", inputs=(99, weight(), bias())),
    "has a Add of values that are not there": lambda: with_node("Add", inputs=(made(), NO_VALUE)),
    "that takes what is computed after it": lambda: with_node("Conv2d", inputs=(graph().outputs[0], weight(), bias())),
    "that writes over what is there": lambda: with_node("Add", outputs=(made(),)),
    "whose lists are of another length than it says": lambda: with_node("StaticTranspose", perm=(0, 1)),
    "whose order of dimensions is none": lambda: with_node("StaticTranspose", perm=(0, 2, 3, 9)),
    "with a number that is too large": lambda: with_node("Conv2d", padding_top=1 << 30),
    "with more dimensions than it makes": lambda: with_node("StaticReshape", num_dims=3, new_shape=(1, 8, 1)),
    "with a size or step of 0": lambda: with_node("Conv2d", subsampling_height=0),
    "whose weight is of another size than it says": lambda: with_node("Conv2d", kernel_height=30),
    "of another number of channels than it takes": lambda: with_node("Conv2d", groups=3, group_input_channels=8),
    "whose bias is of another size than it says": lambda: with_value(bias(), shape=(2,)),
    "whose weight is computed": lambda: with_value(weight(), content=None, flags=1),
    "whose weight is no matrix": lambda: with_value(first("FullyConnected").inputs[1], shape=(5, 2, 4), sides=3),
}


@pytest.mark.parametrize("words", FAULTS)
def test_one_fault(words):
    assert any(words in one for one in faults(FAULTS[words](), MOST))


def test_a_bias_may_be_missing():
    assert list(faults(with_node("Conv2d", inputs=(*first("Conv2d").inputs[:2], NO_VALUE)), MOST)) == []


def test_what_it_is_called_with():
    taken, given = (program().methods[0].values[n] for n in (0, 1))
    words = {
        "is called with 1 values instead of 2": (taken,),
        "is called with something that is no tensor": (taken, 5),
        "is called with int8 where it takes fp32": (replace(taken, scalar_type=1), given),
        "is called with a tensor of another number of dimensions": (replace(taken, sizes=(3, 8, 8)), given),
        "writes to a constant": (taken, replace(given, content=memoryview(bytes(20)))),
    }
    assert {key: list(call_faults(graph(), values)) for key, values in words.items()} == {key: [key] for key in words}


@pytest.mark.parametrize("datatype", ["qbint4", "qdint8"])
def test_groups_and_tokens(datatype):
    how = ("per group of channels", 0) if datatype == "qbint4" else ("per token, when it runs", 9)
    found = with_value(weight(), datatype=datatype, quantization=how[0], group=how[1], channels=0)
    words = "quantized in groups that do not fit it" if datatype == "qbint4" else "dimensions that it does not have"
    assert any(words in one for one in faults(found, MOST))
