"""Graphs for XNNPACK: one as ExecuTorch wrote it, and ones built by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from benchmarks.hostile.formats import Raw, flatbuffer_of, vector
from benchmarks.hostile.pte import content
from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.found import Unreadable
from fxconv.inspection.xnnpack_graph import read_xnnpack
from fxconv.inspection.xnnpack_schema import NO_VALUE


@pytest.fixture(scope="module")
def graph():
    program = read_program(memoryview(content("int8.pte")))
    return read_xnnpack(program.methods[0].delegates[0].blob, program.named)


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def value(datatype: int, *dims: int, how: dict[int, object] | None = None, kind: int = 0, **further: object):
    fields: dict[int, object] = {0: struct.pack("<h", datatype), 1: number(len(dims)), 2: vector("I", *dims)}
    fields |= {int(name[1:]): one for name, one in further.items()}
    return {0: b"\x02", 1: {0: fields, 1: bytes([kind]), 2: how}} if how else {0: b"\x01", 1: fields}


def test_nodes_in_order(graph):
    assert [node.kind for node in graph.nodes] == [
        *("Convert", "StaticTranspose", "Conv2d", "DepthwiseConv2d", "Conv2d", "Add", "GlobalAvgPooling2d"),
        *("StaticTranspose", "StaticReshape", "FullyConnected", "Convert"),
    ]
    assert (graph.mark, graph.externals, len(graph.inputs), len(graph.outputs)) == ("XN01", 2, 1, 1)
    first = next(node for node in graph.nodes if node.kind == "Conv2d")
    sizes = {name: first.fields[name] for name in ("kernel_height", "groups", "group_input_channels", "padding_top")}
    assert sizes == {"kernel_height": 3, "groups": 1, "group_input_channels": 3, "padding_top": 0}
    assert first.limits == (0.0, float("inf")) and "input1_id" not in first.fields
    assert graph.nodes[1].fields["perm"] == (0, 2, 3, 1)
    made: set[int] = {one.id for one in graph.values if one.is_input or one.content is not None}
    for node in graph.nodes:
        assert made.issuperset(node.inputs) and len(node.outputs) == 1
        made.update(node.outputs)


def test_values_with_their_scales_and_integers(graph):
    first = next(node for node in graph.nodes if node.kind == "Conv2d")
    taken, weight, bias, made = (graph.by_id[one] for one in (*first.inputs, first.output))
    assert (taken.datatype, taken.shape, taken.quantization) == ("qint8", (1, 8, 8, 3), "per tensor")
    assert (made.datatype, made.shape, made.zero_point) == ("qint8", (1, 6, 6, 8), -128)
    assert (weight.datatype, weight.quantization, weight.channels, weight.scales.shape) == (
        *("qcint8", "per channel"),
        *(0, (8,)),
    )
    numbers, integers = weight.constant, bias.constant
    assert (numbers.dtype, numbers.shape, integers.dtype, integers.shape) == ("int8", (8, 3, 3, 3), "int32", (8,))
    assert np.abs(numbers).reshape(8, -1).max(1).tolist() == [127] * 8  # each channel takes all of its range
    np.testing.assert_allclose(bias.scales, weight.scales * taken.scales[0], rtol=1e-6)
    assert not numbers.flags.writeable and weight.key and made.constant is None


def test_all_kinds_of_quantization():
    group = {0: vector("f", 1.0, 2.0), 1: struct.pack("<i", 0), 2: struct.pack("<i", 4)}
    held = {0: vector("f"), 2: struct.pack("<i", 2), 4: number(1), 5: number(4)}
    values = [
        value(3, 2, how={0: struct.pack("<f", 0.5), 1: struct.pack("<i", -3)}, kind=2),
        value(8, 2, 4, how={0: vector("f", 0.25, 0.5), 1: struct.pack("<i", 0)}, kind=1),
        value(9, 2, 4, how={0: struct.pack("<i", 1)}, kind=3),
        value(10, 2, 4, how=group, kind=4),
        value(10, 2, 4, how=held, kind=4),
        value(3, 2, how={0: struct.pack("<f", 0.5)}, kind=9),
        value(99, 2),
    ]
    blob = _blob(
        {2: values, 8: [{}, {0: struct.pack("<Q", 0), 1: struct.pack("<Q", 8)}]}, np.array([1, 2, 3, 4], "<u2") << 7
    )
    found = read_xnnpack(memoryview(blob), {}).values
    assert [(one.datatype, one.quantization) for one in found] == [
        ("qint8", "per tensor"),
        ("qcint4", "per channel"),
        ("qdint8", "per token, when it runs"),
        ("qbint4", "per group of channels"),
        ("qbint4", "per group of channels"),
        ("qint8", "unknown (9)"),
        ("unknown (99)", ""),
    ]
    assert (found[0].scales.tolist(), found[0].zero_point) == ([0.5], -3)
    assert (found[1].scales.tolist(), found[1].channels, found[1].bytes) == ([0.25, 0.5], 0, 4)
    assert (found[3].scales.tolist(), found[3].group) == ([1.0, 2.0], 4)
    halves = [float(np.uint32(one << 23).view(np.float32)) for one in (1, 2, 3, 4)]
    assert found[4].scales.tolist() == halves
    assert found[6].bytes == 0


def _blob(fields: dict[int, object], constants: np.ndarray) -> bytes:
    """A graph behind the header that says where its constants are."""
    flat, held = flatbuffer_of(fields, b"XN01"), constants.tobytes()
    header = bytes(4) + b"XH00" + struct.pack("<HIIIQ", 30, 32, len(flat), 32 + len(flat), len(held)) + bytes(2)
    return header + flat + held


def test_constants_in_the_flatbuffer_as_older_releases_keep_them():
    buffers = [{}, {0: Raw(struct.pack("<I2f", 8, 1.5, -2.0))}]
    blob = flatbuffer_of({2: [value(1, 2, _3=number(1))], 6: buffers}, b"XN00")
    found = read_xnnpack(memoryview(blob), {})
    assert found.mark == "XN00" and found.values[0].constant.tolist() == [1.5, -2.0]


def test_a_node_of_no_kind_that_is_known_and_a_bias_that_is_not_there():
    unknown = {0: bytes([200]), 1: {0: number(1)}, 2: number(7)}
    linear = {0: b"\x02", 1: {0: number(3), 1: number(4), 2: number(NO_VALUE), 3: number(5)}}
    found = read_xnnpack(memoryview(flatbuffer_of({1: [unknown, linear]}, b"XN01")), {}).nodes
    assert (found[0].kind, found[0].inputs, found[0].output, found[0].handle) == ("unknown (200)", (), NO_VALUE, 7)
    assert (found[1].kind, found[1].inputs, found[1].outputs) == ("FullyConnected", (3, 4, NO_VALUE), (5,))


def test_what_is_not_there_is_refused(graph):
    named = {0: struct.pack("<Q", (1 << 64) - 1), 2: "weights"}
    for blob, words in {
        flatbuffer_of({2: [value(1, 2, _3=number(3))]}, b"XN01"): "whose numbers are not there",
        flatbuffer_of({8: [{}, named]}, b"XN01"): "whose weights are not in the file",
        flatbuffer_of({8: [{}, {1: struct.pack("<Q", 100)}]}, b"XN01"): "whose weights go on beyond its end",
        flatbuffer_of({}, b"XN77"): "no XNNPACK graph of a version known here",
        b"": "no XNNPACK graph of a version known here",
        bytes(4) + b"XH00" + bytes(8): "truncated",
    }.items():
        with pytest.raises(Unreadable, match=words):
            read_xnnpack(memoryview(blob), {})
