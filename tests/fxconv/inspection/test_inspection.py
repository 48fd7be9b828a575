"""Files of every kind, made here, and what `inspect` says they are."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fxconv_commands import REPO
from fxconv_torch import optimized
from torch import nn
from torch.jit.mobile import (
    _backport_for_mobile,
    _export_operator_list,
    _get_model_bytecode_version,
    _load_for_lite_interpreter,
)
from torch.package import PackageExporter

from benchmarks.hostile.archives import zip_of
from benchmarks.hostile.formats import executorch_of, onnx_of
from fxconv.environment import has_xnnpack
from fxconv.errors import UserError
from fxconv.inspection import Inspection, Kind, inspect, with_schemas

EXTRAS = {"labels.txt": "cat\ndog", "input.json": '{"shape": [1, 3, 8, 8]}'}


class Net(nn.Module):
    """A convolution, a batch norm, a linear layer, a tensor in a list, and one that is in it twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10)
        self.tied = self.head.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def script() -> torch.jit.ScriptModule:
    torch.manual_seed(0)
    return torch.jit.script(Net().eval())


@pytest.fixture
def lite(script, tmp_path) -> Path:
    script._save_for_lite_interpreter(str(tmp_path / "lite.ptl"), _extra_files=EXTRAS)
    return tmp_path / "lite.ptl"


def facts(found: Inspection) -> dict[str, str]:
    return dict(found.facts)


def assert_adds_up(found: Inspection) -> None:
    assert sum(part.bytes for part in found.parts) == found.bytes == found.path.stat().st_size
    assert all(part.bytes > 0 for part in found.parts)


def works(found: Inspection) -> dict[str, bool]:
    return {one.call: not one.problem for one in found.loaders}


# ---- programs ----


def test_lite_archive(lite):
    found = inspect(lite)
    assert found.kind is Kind.LITE
    assert found.bytecode_version == _get_model_bytecode_version(str(lite)) == 8
    assert {one.full_name for one in found.operators} == set(
        _export_operator_list(_load_for_lite_interpreter(str(lite)))
    )
    assert next(one for one in found.operators if one.name == "aten::conv2d").arguments == 6
    assert [(one.name, one.text) for one in found.extras] == sorted(EXTRAS.items())
    assert facts(found)["methods"].startswith("forward(x: Tensor) (")
    assert facts(found)["class"].endswith("Net")
    assert not found.problems
    assert_adds_up(found)


def test_calls_it_names_for_a_lite_archive_work(lite):
    named = works(inspect(lite))
    assert named["LiteModuleLoader.load(path)"]
    x = torch.ones(1, 3, 8, 8)
    assert named["torch.jit.mobile._load_for_lite_interpreter(path)"] and named["torch.jit.load(path)"]
    assert torch.equal(_load_for_lite_interpreter(str(lite))(x), torch.jit.load(str(lite))(x))


def test_call_it_names_for_torchscript_works_and_the_lite_one_does_not(script, tmp_path):
    path = tmp_path / "full.pt"
    torch.jit.save(script, str(path), _extra_files=EXTRAS)
    found = inspect(path)
    assert found.kind is Kind.TORCHSCRIPT and found.bytecode_version is None
    assert works(found)["Module.load(path)"] and works(found)["torch.jit.load(path)"]
    refusal = next(one for one in found.loaders if "LiteModuleLoader.load" in one.call)
    assert '"bytecode.pkl not found"' in refusal.problem
    with pytest.raises(RuntimeError, match=r"bytecode\.pkl"):
        _load_for_lite_interpreter(str(path))
    torch.jit.load(str(path))
    assert {extra.name for extra in found.extras} == set(EXTRAS)
    assert_adds_up(found)


def test_operators_that_torchscript_code_names(script, tmp_path):
    path = tmp_path / "full.pt"
    torch.jit.save(script, str(path))
    named = {one.name for one in inspect(path).operators}
    graph = script.inlined_graph
    called = {node.kind() for node in graph.findAllNodes("aten::conv2d") + graph.findAllNodes("aten::linear")}
    assert called | {"aten::batch_norm", "aten::relu", "aten::mean", "prim::RaiseException"} <= named
    assert all(torch._C._jit_get_schemas_for_operator(name) for name in named)


def test_no_operator_is_read_out_of_a_text(tmp_path):
    class Says(nn.Module):
        def forward(self, x: torch.Tensor) -> str:
            return "torch.save(x) ops.aten.from_file(" + str(x.dim())

    torch.jit.save(torch.jit.script(Says()), str(tmp_path / "says.pt"))
    found = inspect(tmp_path / "says.pt")
    assert {"aten::dim", "aten::add"} <= {one.name for one in found.operators}
    assert not {"aten::save", "aten::from_file"} & {one.name for one in found.operators}
    assert not found.problems


@pytest.mark.parametrize("version", [4, 5, 6, 7])
def test_older_bytecode(lite, version):
    older = lite.with_name("older.ptl")
    assert _backport_for_mobile(str(lite), str(older), version)
    found = inspect(older)
    assert found.bytecode_version == version
    assert {one.full_name for one in found.operators} == set(
        _export_operator_list(_load_for_lite_interpreter(str(older)))
    )
    assert all((one.arguments is None) == (version < 6) for one in found.operators)
    assert_adds_up(found)


def test_optimized_for_mobile(script, tmp_path):
    optimized(script)._save_for_lite_interpreter(str(tmp_path / "net.ptl"))
    found = inspect(tmp_path / "net.ptl")
    assert facts(found)["optimized for mobile"] == "yes"
    operator = "prepacked::conv2d_clamp_run" if has_xnnpack() else "aten::conv2d"
    assert operator in {one.name for one in found.operators}
    tensors = next(part for part in found.parts if part.name == "tensors")
    assert dict(found.storages) == {"float32": tensors.bytes} and len(found.tensors) == tensors.records


def test_every_byte_of_an_int8_artifact_has_its_type(small_conversion, tmp_path):
    small_conversion.save(tmp_path / "small.ptl")
    found = inspect(tmp_path / "small.ptl")
    assert {one.full_name for one in found.operators} == set(small_conversion.artifact.operators)
    assert found.bytecode_version == small_conversion.artifact.bytecode_version
    assert sum(dict(found.storages).values()) == next(part for part in found.parts if part.name == "tensors").bytes
    assert dict(found.storages)["qint8"] > dict(found.storages)["float32"]
    assert_adds_up(found)


def test_lite_flatbuffer(script, lite, tmp_path):
    script._save_for_lite_interpreter(str(tmp_path / "flat.ptl"), _extra_files=EXTRAS, _use_flatbuffer=True)
    found, same = inspect(tmp_path / "flat.ptl"), inspect(lite)
    assert found.kind is Kind.LITE_FLATBUFFER and found.bytecode_version == 9
    assert [(o.full_name, o.arguments, o.calls) for o in found.operators] == [
        (o.full_name, o.arguments, o.calls) for o in same.operators
    ]
    assert sorted((t.shape, t.dtype) for t in found.tensors) == sorted((t.shape, t.dtype) for t in same.tensors)
    assert dict(found.storages) == dict(same.storages)
    assert_adds_up(found)


def test_schemas_are_those_of_this_torch(lite):
    plain = inspect(lite)
    assert {one.schema for one in plain.operators} == {None}
    found = with_schemas(plain)
    schema = next(one.schema for one in found.operators if one.full_name == "aten::mean.dim")
    assert schema == str(torch._C._get_schema("aten::mean", "dim"))


def test_operators_that_write_files_are_a_problem(tmp_path):
    class Saves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "elsewhere")
            return x

    torch.jit.script(Saves())._save_for_lite_interpreter(str(tmp_path / "saves.ptl"))
    assert inspect(tmp_path / "saves.ptl").problems == ("aten::save writes files: run it only if you trust it",)


def test_executorch(tmp_path):
    operators = [("aten::add", "out"), ("aten::mul", "Scalar_out")]
    (tmp_path / "net.pte").write_bytes(executorch_of(operators, ["XnnpackBackend", "XnnpackBackend"]))
    found = inspect(tmp_path / "net.pte")
    assert found.kind is Kind.EXECUTORCH
    assert [(one.full_name, one.calls) for one in found.operators] == [
        ("aten::add.out", 1),
        ("aten::mul.Scalar_out", 1),
    ]
    assert facts(found)["methods"] == "forward" and facts(found)["delegates"] == "XnnpackBackend (2)"
    assert_adds_up(found)


def test_onnx(tmp_path):
    nodes = [("Conv", ""), ("Relu", ""), ("Relu", ""), ("Fancy", "com.me")]
    (tmp_path / "net.onnx").write_bytes(onnx_of(nodes, {"w": ([2, 3], bytes(24))}))
    found = inspect(tmp_path / "net.onnx")
    assert found.kind is Kind.ONNX
    assert {one.name: one.calls for one in found.operators} == {"Conv": 1, "Relu": 2, "com.me::Fancy": 1}
    assert [(one.name, one.dtype, one.shape, one.bytes) for one in found.tensors] == [("w", "float32", (2, 3), 24)]
    assert facts(found)["producer"] == "hand 1.0" and facts(found)["operator sets"] == "ai.onnx 17"
    assert [(one.name, one.text) for one in found.extras] == [("author", "me")]
    assert_adds_up(found)


def test_exported_program_and_package(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()
    with PackageExporter(tmp_path / "net.pt") as package:
        package.extern("**")
        package.save_pickle("model", "model.pkl", module)
    archive = {"models/model.json": b"{}", "data/weights/weight_0": bytes(48), "archive_format": b"pt2"}
    (tmp_path / "net.pt2").write_bytes(zip_of(archive))  # as torch.export.save lays it out, which takes seconds
    for name, kind, part in (("net.pt", Kind.PACKAGE, "model"), ("net.pt2", Kind.EXPORTED, "data")):
        found = inspect(tmp_path / name)
        assert found.kind is kind
        assert part in [one.name for one in found.parts]
        assert_adds_up(found)


# ---- weights ----


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
def test_state_dict(tmp_path, new):
    state = Net().state_dict()
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=new)
    found = inspect(tmp_path / "net.pth")
    assert found.kind is Kind.STATE_DICT
    assert {one.name: (one.dtype, one.shape) for one in found.tensors} == {
        name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in state.items()
    }
    once = {tensor.data_ptr(): tensor.nbytes for tensor in state.values()}  # one of them is there twice
    assert sum(dict(found.storages).values()) == sum(once.values())
    assert not works(found)["Module.load(path), LiteModuleLoader.load(path), torch.jit.load(path)"]
    assert_adds_up(found)


def test_types_of_tensors(tmp_path):
    types = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.bool, torch.complex64)
    state = {str(kind): torch.zeros(3, 5, dtype=kind) for kind in (*types, torch.float8_e4m3fn, torch.uint16)}
    torch.save(state, tmp_path / "types.pth")
    found = inspect(tmp_path / "types.pth")
    assert {f"torch.{one.dtype}": one.bytes for one in found.tensors} == {
        name: tensor.nbytes for name, tensor in state.items()
    }


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
def test_checkpoint(tmp_path, new):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    content = {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(content, tmp_path / "last.pth", _use_new_zipfile_serialization=new)
    found = inspect(tmp_path / "last.pth")
    assert found.kind is Kind.CHECKPOINT
    assert facts(found)["keys"] == "epoch, model, optimizer"
    assert "model.conv.weight" in {one.name for one in found.tensors}
    assert not found.problems
    assert torch.load(tmp_path / "last.pth", weights_only=True)["epoch"] == 3  # as the report says it can be


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
def test_pickled_module(tmp_path, new):
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 1)), tmp_path / "net.pth", _use_new_zipfile_serialization=new)
    found = inspect(tmp_path / "net.pth")
    assert found.kind is Kind.MODULE
    assert facts(found)["class"] == "torch.nn.modules.container.Sequential"
    assert "torch.nn.modules.conv.Conv2d" in facts(found)["needs the code of"]
    assert [one.name for one in found.tensors] == ["0.weight", "0.bias"]
    assert any("--unsafe-load" in problem for problem in found.problems)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "net.pth", weights_only=True)


def test_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    state = {"w": torch.zeros(4, 5), "b": torch.zeros(5, dtype=torch.float16)}
    save_file(state, str(tmp_path / "net.safetensors"), {"epoch": "3"})
    found = inspect(tmp_path / "net.safetensors")
    assert found.kind is Kind.SAFETENSORS
    assert [(one.name, one.dtype, one.shape, one.bytes) for one in found.tensors] == [
        ("w", "float32", (4, 5), 80),
        ("b", "float16", (5,), 10),
    ]
    assert [(one.name, one.text) for one in found.extras] == [("epoch", "3")]
    assert_adds_up(found)


# ---- none of these ----


def _numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


NONE_OF_THESE = {
    "missing": (lambda path: None, "no such file"),
    "a folder": (Path.mkdir, "is a folder"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "numpy": (_numpy, "is a NumPy array, no model"),
    "text": (lambda path: path.write_text("<!DOCTYPE html>\n<html>"), 'a text that begins "<!DOCTYPE html>", no model'),
    "lfs": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid 1"), "git lfs pull"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08\0\0"), "is compressed by gzip; unpack it first"),
    "bytes": (lambda path: path.write_bytes(bytes(range(1, 9))), "it begins with the bytes 01 02 03 04 05 06 07 08"),
    "png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "is a PNG image, no model"),
    "npz": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "is a NumPy archive (.npz), no model"),
}


@pytest.mark.parametrize("name", NONE_OF_THESE)
def test_none_of_these(tmp_path, name):
    make, words = NONE_OF_THESE[name]
    make(tmp_path / "file")
    with pytest.raises(UserError) as refused:
        inspect(tmp_path / "file")
    assert str(refused.value).startswith(f"{tmp_path / 'file'}: ") and words in str(refused.value)


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a device or a pipe; give a file"):
        inspect(tmp_path / "pipe")


def test_a_file_of_many_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="its zip directory is missing"):
        inspect(tmp_path / "huge")


def test_tflite_is_told_apart(tmp_path):
    (tmp_path / "net.tflite").write_bytes(struct.pack("<I", 24) + b"TFL3" + bytes(30))
    assert inspect(tmp_path / "net.tflite").kind is Kind.TFLITE


def test_torch_is_not_imported(lite):
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        f"sys.argv = ['fxconv', 'inspect', '--no-schemas', {str(lite)!r}]\n"
        "from fxconv.cli import app as cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
