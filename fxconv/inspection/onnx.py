"""ONNX models: producer, operator sets, operators and weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from fxconv.inspection.extras import LONGEST_TEXT, extra_file
from fxconv.inspection.found import ExtraFile, Inspection, Kind, Operator, Part, StoredTensor, Unreadable, with_rest
from fxconv.inspection.protobuf import Field, Message, NotOne

# Fields of onnx.proto, by number.
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSET, _METADATA = 1, 2, 3, 7, 8, 14
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_KIND, _DOMAIN = 4, 7  # of a node
_DIMS, _TYPE, _NAME, _VALUES = 1, 2, 8, (4, 5, 6, 7, 9, 10, 11)  # of a tensor
_TYPES = (
    *("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16"),
    *("float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
)
_NEWEST_IR, _MOST_SIDES = 100, 64


@dataclass
class _Graph:
    """What the graph holds: operators with their calls, weights, how many inputs and outputs."""

    calls: Counter[str] = field(default_factory=Counter)
    tensors: list[StoredTensor] = field(default_factory=list)
    inputs: int = 0
    outputs: int = 0


def is_onnx(data: memoryview) -> bool:
    """Whether the file is an ONNX model: it begins with a version of the format, and has a graph."""
    if len(data) < 4 or data[0] != _IR_VERSION << 3:
        return False
    try:
        fields = {one.number: one for one in Message(data).fields()}
    except NotOne:
        return False
    return _GRAPH in fields and _IR_VERSION in fields and 0 < fields[_IR_VERSION].value < _NEWEST_IR


def inspect_onnx(data: memoryview, bare: Inspection) -> Inspection:
    """What the model says of itself. Raises `Unreadable` when its graph is damaged."""
    try:
        return _inspected(Message(data), bare)
    except NotOne as error:
        raise Unreadable("is an ONNX model whose graph is damaged; copy it again") from error


def _inspected(message: Message, bare: Inspection) -> Inspection:
    texts: dict[int, str] = {}
    sets: list[str] = []
    extras: list[ExtraFile] = []
    graph = _Graph()
    version = 0
    for one in message.fields():
        if one.number == _IR_VERSION:
            version = one.value
        elif one.number in (_PRODUCER, _PRODUCER_VERSION):
            texts[one.number] = message.text(one)
        elif one.number == _OPSET:
            inside = message.inside(one)
            sets.append(f"{message.text(inside.get(1)) or 'ai.onnx'} {inside[2].value if 2 in inside else 0}")
        elif one.number == _METADATA:
            extras.append(_extra(message, one))
        elif one.number == _GRAPH:
            _read_graph(message, one, graph)
    facts = (
        ("format version", str(version)),
        ("producer", " ".join(texts[n] for n in (_PRODUCER, _PRODUCER_VERSION) if texts.get(n)) or "not said"),
        ("operator sets", ", ".join(sets) or "not said"),
        ("inputs and outputs", f"{graph.inputs} and {graph.outputs}"),
    )
    stored = sum(tensor.bytes for tensor in graph.tensors)
    return replace(
        bare,
        kind=Kind.ONNX,
        facts=facts,
        parts=with_rest([Part("tensors", stored, len(graph.tensors))], len(message.data), "graph"),
        tensors=tuple(sorted(graph.tensors, key=lambda tensor: -tensor.bytes)),
        operators=tuple(Operator(name, calls=graph.calls[name]) for name in sorted(graph.calls)),
        extras=tuple(extras),
    )


def _read_graph(message: Message, within: Field, graph: _Graph) -> None:
    for one in message.fields(within):
        if one.number == _NODE:
            inside = message.inside(one)
            domain = message.text(inside.get(_DOMAIN))
            graph.calls[(f"{domain}::" if domain else "") + message.text(inside.get(_KIND))] += 1
        elif one.number == _INITIALIZER:
            graph.tensors.append(_tensor(message, one))
        elif one.number in (_INPUT, _OUTPUT):
            graph.inputs += one.number == _INPUT
            graph.outputs += one.number == _OUTPUT


def _tensor(message: Message, within: Field) -> StoredTensor:
    """An initializer; its bytes are those here, none where its values lie in another file."""
    shape: list[int] = []
    name, kind, stored = "", 0, 0
    for one in message.fields(within):
        if one.number == _DIMS:
            shape += message.numbers(one)
        elif one.number == _TYPE:
            kind = one.value
        elif one.number == _NAME:
            name = message.text(one)
        elif one.number in _VALUES:
            stored += one.bytes
    if len(shape) > _MOST_SIDES:
        raise NotOne
    return StoredTensor(name, _TYPES[kind] if kind < len(_TYPES) else f"type {kind}", tuple(shape), stored)


def _extra(message: Message, within: Field) -> ExtraFile:
    inside = message.inside(within)
    begin, end = (inside[2].begin, inside[2].end) if 2 in inside else (0, 0)
    content = bytes(message.data[begin : min(end, begin + LONGEST_TEXT)])
    return extra_file(message.text(inside.get(1)), end - begin, content)
