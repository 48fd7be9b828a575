"""fxconv bench: what is measured is never judged here; what is counted, named and refused is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fxconv_executorch import needs_executorch
from torch import nn

from benchmarks.hostile.pte import content
from fxconv.errors import UserError
from fxconv.targets.proof import bench as library
from fxconv.targets.proof.bench import bench, given_input, input_of


@pytest.fixture
def no_process(monkeypatch):
    """Memory as the process that measures it would report it, without one: importing torch takes seconds."""
    monkeypatch.setattr(library, "peak_memory", lambda path, inputs, threads: 1000 * len(path.name))


def relu(path):
    torch.jit.script(nn.ReLU())._save_for_lite_interpreter(str(path))
    return path


def test_a_row_for_each_file(small_conversion, tmp_path, no_process):
    small_conversion.save(tmp_path / "int8.ptl")
    paths = [tmp_path / "int8.ptl", relu(tmp_path / "r.ptl")]
    steps = []
    found = bench(paths, "32", runs=3, warm_up=1, operators=True, progress=lambda *step: steps.append(step))
    assert (found.runs, found.warm_up, found.threads, found.environment.engine) == (3, 1, 1, "qnnpack")
    first, second = found.files
    assert (first.path, second.path) == tuple(paths)
    assert first.bytes == len(small_conversion.artifact.data)
    assert (first.peak_bytes, second.peak_bytes) == (8000, 5000)
    assert first.input == second.input == "3x32x32"
    assert first.to_first == 1.0
    assert second.to_first == second.runs.ratio(first.runs)
    assert first.cpu_to_first == 1.0
    assert second.cpu_to_first == second.runs.cpu_ratio(first.runs)
    assert [len(one.runs.taken) for one in found.files] == [len(one.runs.cpu) for one in found.files] == [3, 3]
    counted = {call.operator for call in first.profile.calls if call.operator.startswith("quantized::")}
    assert counted == {name for name in small_conversion.artifact.calls if name.startswith("quantized::")}
    assert [(call.operator, call.layer) for call in second.profile.calls] == [("aten::relu", None)]
    for one in found.files:
        added_up = sum(call.ms for call in one.profile.calls) + one.profile.between_ms
        assert added_up == pytest.approx(one.runs.median, rel=0.05)
    assert ("running", 3, 3) in steps
    assert {step for step, _, _ in steps} == {"measuring memory", "running", "profiling"}


def test_without_ops_there_are_none(tmp_path, no_process):
    (one,) = bench([relu(tmp_path / "r.ptl")], "4", runs=2, warm_up=0).files
    assert one.profile is None


def test_json_has_each_run(tmp_path, no_process):
    found = bench([relu(tmp_path / "r.ptl")], "1x4x6", runs=2, warm_up=0, operators=True)
    values = json.loads(found.json_text())
    assert (values["schema"], values["runs"], values["warm_up"], values["threads"]) == (1, 2, 0, 1)
    (row,) = values["files"]
    assert list(row) == [
        "file", "runtime", "bytes", "input", "median_ms", "cpu_ms", "p10_ms", "p90_ms", "spread", "busy", "to_first",
        "cpu_to_first", "peak_bytes", "runs_ms", "runs_cpu_ms", "operators", "between_operators_ms", "profiler_us",
        "scaled",
    ]  # fmt: skip
    operators = sum(call["ms"] for call in row["operators"])
    assert operators + row["between_operators_ms"] == pytest.approx(row["median_ms"], rel=0.05)
    assert row["input"] == "1x4x6"
    assert row["runs_ms"] == list(found.files[0].runs.taken)
    assert list(row["operators"][0]) == ["operator", "layer", "ms", "share"]


@pytest.mark.parametrize(
    ("size", "shape"), [("32", (1, 3, 32, 32)), ("24x32", (1, 3, 24, 32)), ("1x8x8", (1, 1, 8, 8)),
                        ("3x4x8x6", (1, 3, 4, 8, 6))],
)  # fmt: skip
def test_an_input_size_is_an_input_drawn_at_random_always_the_same(size, shape):
    (drawn,) = given_input(size, None)
    assert drawn.shape == shape
    assert torch.equal(drawn, given_input(size, None)[0])
    assert drawn.std() > 0.5


def test_arrays_are_taken_as_they_stand(tmp_path):
    one, other = np.arange(6, dtype=np.float32).reshape(1, 6), np.ones((2, 3), dtype=np.float32, order="F")
    np.save(tmp_path / "one.npy", one)
    np.savez(tmp_path / "two.npz", b=one, a=other)
    assert [array.tolist() for array in given_input(None, tmp_path / "one.npy")] == [one.tolist()]
    assert [array.tolist() for array in given_input(None, tmp_path / "two.npz")] == [one.tolist(), other.tolist()]
    assert [array.tolist() for array in given_input(None, tmp_path / "two.npz:a")] == [other.tolist()]


def test_both_or_neither_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^--input-size and --example: both say what the files take; give one$"):
        given_input("32", tmp_path / "x.npy")
    assert given_input(None, None) is None
    with pytest.raises(UserError, match=r"^x.ptl: does not say what it takes; give --input-size or --example$"):
        input_of("x.ptl", None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((0, 3), np.float32), "an array of shape (0, 3) has no rows"),
        (np.float32(1.0), "an array of shape () has no rows"),
        (np.array(["text"]), "values of type <U4; expected float32"),
    ],
)
def test_arrays_of_nothing(content, words, tmp_path):
    np.save(tmp_path / "x.npy", content)
    with pytest.raises(UserError) as error:
        given_input(None, tmp_path / "x.npy")
    assert words in str(error.value)


def test_a_file_that_does_not_take_it(small_conversion, tmp_path, no_process):
    small_conversion.save(tmp_path / "int8.ptl")
    with pytest.raises(
        UserError, match=r"int8.ptl: does not run on an input of 1x8x8 \(.+\); give --input-size or --ex"
    ):
        bench([tmp_path / "int8.ptl"], "1x8x8", runs=2)


def test_the_command(small_conversion, command):
    path = "int8.ptl"
    small_conversion.save(path)
    relu("relu.ptl")
    done = command("bench", path, "relu.ptl", "--input-size", "32", "--runs", "2", "--ops", "--json", "b.json")
    assert done.status == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert " ".join(lines[0].split()) == "file input median p90 spread CPU to first by CPU size peak memory"
    assert [line.split()[:2] for line in lines[1:3]] == [[path, "3x32x32"], ["relu.ptl", "3x32x32"]]
    assert "qnnpack is made for ARM" in lines[3] + lines[4]  # whether the machine was busy stands before it
    assert lines.index("Operators of int8.ptl") < lines.index("Operators of relu.ptl")
    rows = json.loads((done.folder / "b.json").read_text())["files"]
    assert [row["bytes"] for row in rows] == [(done.folder / row["file"]).stat().st_size for row in rows]
    assert all(row["peak_bytes"] >= 0 for row in rows)


def test_a_file_that_writes_is_not_run(tmp_path, command):
    target = tmp_path / "written"

    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.target = str(target)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, self.target)
            return x

    torch.jit.script(Writes())._save_for_lite_interpreter("hostile.ptl")
    done = command("bench", "hostile.ptl", "--input-size", "32")
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == (
        "fxconv: error: hostile.ptl: not run, because aten::save writes files; only what computes is run here\n"
    )
    assert not target.exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("gone.ptl", "--input-size", "8"), "gone.ptl: no such file; give a .ptl or .pte"),
        (("gone.ptl",), "gone.ptl: does not say what it takes; give --input-size or --example"),
        (("--input-size", "x", "gone.ptl"), "--input-size x: expected N, HxW, CxHxW or CxTxHxW in pixels"),
        (("--example", "no.npy", "gone.ptl"), "--example no.npy: no such file"),
        (("gone.ptl", "--json", "gone.ptl"), ": is the same file as"),
    ],
)
def test_mistakes(words, line, command):
    if words[-1] == "gone.ptl":
        relu("gone.ptl")
    done = command("bench", *words)
    assert (done.status, done.stdout) == (2, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


@needs_executorch
def test_a_program_beside_a_ptl_runs_in_its_own_runtime(small_conversion, golden_pte, tmp_path, no_process, command):
    ptl = tmp_path / "int8.ptl"
    small_conversion.save(ptl)
    found = bench([ptl, golden_pte], runs=3, warm_up=1)
    assert [one.runtime for one in found.files] == ["lite interpreter, qnnpack", "ExecuTorch, XNNPACK"]
    assert [one.input for one in found.files] == ["3x32x32", "3x32x32"]
    run = command("bench", str(ptl), str(golden_pte), "--runs", "2", "--warm-up", "0")
    ran = f"lite interpreter with qnnpack: {ptl}; ExecuTorch with XNNPACK: {golden_pte}"
    assert run.status == 0
    assert f"the kernels differ ({ran}): the ratios are those of runtimes, not of files alone" in run.stdout
    alone = command("bench", str(golden_pte), "--runs", "2", "--warm-up", "0").stdout
    assert "1 thread, ExecuTorch with XNNPACK, this machine; a phone gives other ratios" in alone
    assert "kernels differ" not in alone and "qnnpack" not in alone


def test_ops_are_of_a_ptl_only(tmp_path):
    path = tmp_path / "net.pte"
    path.write_bytes(content("int8.pte"))
    with pytest.raises(UserError, match=r"net.pte: --ops is for .ptl files, and ExecuTorch does not say what each"):
        bench([path], operators=True)
