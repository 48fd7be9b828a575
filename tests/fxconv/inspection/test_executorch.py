"""What `fxconv inspect` says of ExecuTorch programs."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from benchmarks.hostile.formats import executorch_of, flatbuffer_of
from benchmarks.hostile.pte import content
from fxconv.inspection import DelegateOperator, Inspection, Kind, inspect
from fxconv.inspection.executorch import TEXTS
from fxconv.targets.executorch.allow_list import inspected


@pytest.fixture
def found(tmp_path):
    def read(name: str, data: bytes | None = None) -> Inspection:
        path: Path = tmp_path / name
        path.write_bytes(content(name) if data is None else data)
        inspection = inspect(path)
        assert sum(part.bytes for part in inspection.parts) == path.stat().st_size
        return inspection

    return read


def test_an_int8_program(found):
    read = found("int8.pte")
    facts = dict(read.facts)
    assert read.kind is Kind.EXECUTORCH and not read.problems
    assert facts["methods"] == "forward, fxconv_metadata, fxconv_golden"
    assert facts["method forward"] == "takes float32 1x3x8x8; returns float32 1x5"
    assert facts["ExecuTorch"] == "1.3.1, 1.4.1 and 1.5.1 know all of it, built with its kernels and backends"
    assert facts["delegates"] == "XnnpackBackend (1)" and facts["outside the delegates"] == "none"
    # 6x6 places of 8 channels by 27; 4x4 of 8 by 9 and by 8; 5 by 8
    assert facts["int8 multiply-accumulates"] == "9,992 of 9,992 (100.0 %)"
    delegate = read.delegates[0]
    assert (delegate.method, delegate.calls, delegate.what) == ("forward", 1, "XNNPACK, processors of all kinds")
    assert DelegateOperator("Conv2d", "qint8", 2, 6 * 6 * 8 * 27 + 4 * 4 * 8 * 8) in delegate.operators
    assert DelegateOperator("Convert", "fp32 to qint8", 1) in delegate.operators
    assert {part.name: part.records for part in read.parts} == {
        "delegates": 1,
        "program": 0,
        "weights of delegates": 16,
        "alignment": 0,
    }


def test_metadata_stands_under_the_names_that_other_artifacts_have(found):
    extras = {one.name: one.text for one in found("int8.pte").extras}
    assert json.loads(extras["fxconv.json"])["inputs"] == [{"shape": [1, 3, 8, 8]}] and list(extras) == [
        "fxconv.json",
        "golden.json",
    ]
    from fxconv import replay
    from fxconv.targets.proof import metadata

    assert TEXTS == {"fxconv_metadata": metadata.FILE, "fxconv_golden": replay.FILE}


def test_a_float_program_with_kernels_between_its_delegates(found):
    read = found("mixed.pte")
    facts = dict(read.facts)
    assert facts["constants"] == "classes: 5, sides: 8, 8"
    assert facts["outside the delegates"].startswith("aten::add.out (1), aten::cumsum.out (1), aten::gt.Scalar_out (1)")
    assert facts["int8 multiply-accumulates"] == "0 of 3,908 (0.0 %)"
    assert {(one.name, one.dtype) for delegate in read.delegates for one in delegate.operators} == {
        ("StaticTranspose", "fp32"),
        ("Conv2d", "fp32"),
        ("FullyConnected", "fp32"),
    }
    assert [(one.name, one.text) for one in read.extras] == [("labels", "cat\ndog")]
    assert [(one.name, one.dtype, one.bytes) for one in read.tensors] == [
        ("constant 1", "int64", 8),
        ("constant 2", "int64", 8),
    ]


def test_other_backends_are_named_and_not_read(found):
    read = found("gpu.pte", executorch_of([("aten::add", "out")], ["VulkanBackend", "NobodysBackend"]))
    assert [(one.backend, one.what, one.operators, one.problem) for one in read.delegates] == [
        ("VulkanBackend", "Vulkan, GPUs of Android phones", (), ""),
        ("NobodysBackend", "", (), ""),
    ]
    assert "int8 multiply-accumulates" not in dict(read.facts)


def test_a_delegate_that_cannot_be_read_is_a_problem(found):
    read = found("odd.pte", executorch_of([], ["XnnpackBackend"]))
    assert read.problems == (
        "delegate 0 (XnnpackBackend): is no XNNPACK graph of a version known here "
        "(it begins with the bytes of nothing)",
    )


def test_a_newer_schema_is_said(found):
    read = found("new.pte", flatbuffer_of({0: struct.pack("<I", 3), 1: [{0: "forward"}]}, b"ET12"))
    assert dict(read.facts)["ExecuTorch"] == "a release newer than 1.5.1: it knows schema versions up to 0"


def test_what_is_printed(command, tmp_path):
    (tmp_path / "int8.pte").write_bytes(content("int8.pte"))
    run = command("inspect", "--no-schemas", "--json", "found.json", str(tmp_path / "int8.pte"))
    assert run.status == 0 and run.stderr == ""
    lines = [" ".join(line.split()) for line in run.stdout.splitlines()]
    place = lines.index("Delegates: 1")
    assert lines[place + 2 : place + 6] == [
        "method backend bytes type operators",
        "forward XnnpackBackend 4,416 qint8 StaticTranspose 2, Conv2d 2, DepthwiseConv2d 1, Add 1, "
        "GlobalAvgPooling2d 1, "
        "StaticReshape 1, FullyConnected 1",
        "fp32 to qint8 Convert 1",
        "qint8 to fp32 Convert 1",
    ]
    assert "yes Runtime.get().load_program(path) Python, executorch.runtime" in lines
    read = json.loads((run.folder / "found.json").read_text())
    assert read["delegates"][0]["operators"][0]["calls"] >= 1 and read["kind"] == "ExecuTorch program"


def test_files_that_executorch_writes_now(tmp_path):
    """Where ExecuTorch is installed, of whatever release, its files say the same as those that are kept here."""
    pytest.importorskip("executorch")
    from benchmarks.hostile.pte import write

    write.main(tmp_path)
    for name in ("int8.pte", "mixed.pte"):
        fresh, kept = inspect(tmp_path / name), inspect(Path(write.FOLDER / name))
        assert not fresh.problems and fresh.extras == kept.extras
        assert dict(fresh.facts)["int8 multiply-accumulates"] == dict(kept.facts)["int8 multiply-accumulates"]
        assert [one.operators for one in fresh.delegates] == [one.operators for one in kept.delegates]
        assert inspected(tmp_path / name).kind is Kind.EXECUTORCH
