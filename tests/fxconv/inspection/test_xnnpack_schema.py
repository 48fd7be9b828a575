"""The tables of XNNPACK's schema: as the schema in the packages of ExecuTorch has them."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from fxconv.inspection.xnnpack_schema import DATATYPES, MARKS, NODES, QUANTIZATION, inputs_of, outputs_of


def test_inputs_and_outputs_of_nodes():
    assert inputs_of("Conv2d") == ("input1_id", "filter_id", "bias_id") and outputs_of("Conv2d") == ("output_id",)
    assert inputs_of("Concatenate3") == ("input1_id", "input2_id", "input3_id")
    assert inputs_of("Concatenate5")[-1] == "input5_id" and outputs_of("unknown (9)") == ()
    assert outputs_of("ArgMaxPooling2d") == ("output_value_id", "output_index_id")
    assert inputs_of("ScaledDotProductAttention") == ("query_id", "key_id", "value_id", "scale_id", "mask_id")
    assert all(inputs_of(name) and outputs_of(name) for name, _ in NODES.values())


def test_as_executorch_has_them():
    pytest.importorskip("executorch")
    schema = files("executorch.backends.xnnpack.serialization").joinpath("schema.fbs").read_text()
    assert re.search(r'file_identifier "(\w+)"', schema)[1].encode() == MARKS[0]
    tables = {name: _fields(body) for name, body in re.findall(r"table (\w+) \{(.*?)\n\}", schema, re.S)}
    union = re.search(r"union XNodeUnion \{(.*?)\}", schema, re.S)[1]
    rows = [(name, alias or name) for name, alias in re.findall(r"(\w+)(?:: (\w+))?,", union)]
    assert [(f"XNN{name}", list(fields)) for name, fields in NODES.values()] == [
        (name, tables[table]) for name, table in rows
    ]
    types = re.search(r"enum XNNDatatype : short \{(.*?)\n\}", schema, re.S)[1]
    named = re.findall(r"xnn_datatype_(\w+) = (\d+)", types)
    assert [(name, str(number)) for number, (name, _) in enumerate(DATATYPES)] == named
    kinds = re.search(r"union XNNQuantParams \{(.*?)\}", schema, re.S)[1]
    assert re.findall(r"\w+", kinds) == [
        "PerChannelQuant",
        "PerTensorQuant",
        "PerTokenDynamicQuant",
        "PerChannelGroupQuant",
    ]
    assert list(QUANTIZATION) == [1, 2, 3, 4]


def _fields(body: str) -> list[str]:
    marks = {"uint": "", "float": ":f", "[uint]": ":n"}
    found = re.findall(r"^\s*(\w+)\s*:\s*([\[\]\w]+)", re.sub(r"//.*", "", body), re.M)
    return [f"{name}{marks.get(kind, '')}" for name, kind in found]
