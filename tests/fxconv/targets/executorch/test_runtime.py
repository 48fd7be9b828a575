"""Programs in ExecuTorch's own runtime."""

import gc
import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import IMAGES, Graph

from fxconv.errors import UserError
from fxconv.targets.executorch.lowering import lower
from fxconv.targets.executorch.quiet import quiet
from fxconv.targets.executorch.runtime import Program, RefusedInput, load, set_threads

pytest.importorskip("executorch")


@pytest.fixture(scope="module")
def content() -> bytes:
    graph = Graph()
    given = graph.layer()
    return lower(
        graph.done(given, graph.quantized(graph.call(F.relu, graph.read(given)), (0.05, 4))), (IMAGES,)
    ).content


def test_several_outputs_are_a_tuple_of_copies(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "two.pte"
    file.write_bytes(content)
    program = load(file)
    gc.collect()
    first = program(IMAGES)
    assert isinstance(first, tuple) and len(first) == 2
    kept = [value.clone() for value in first]
    program(-IMAGES)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_another_memory_format_is_read_as_it_is_meant(content: bytes) -> None:
    program = load(content)
    assert torch.equal(program(IMAGES.to(memory_format=torch.channels_last))[0], program(IMAGES)[0])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((IMAGES[:, :7],), r"takes tensors of 1\.\.8x8x12x12, and is given 2x7x12x12"),
        ((IMAGES.double(),), "takes float32, and is given float64"),
        ((IMAGES, IMAGES), "takes 1 tensors, and is given 2"),
        ((IMAGES[0],), r"takes tensors of 1\.\.8x8x12x12, and is given 8x12x12"),
    ],
)
def test_other_inputs_are_refused(content: bytes, inputs: tuple[torch.Tensor, ...], words: str) -> None:
    with pytest.raises(RefusedInput, match=words):
        load(content)(*inputs)


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "no.pte"
    file.write_bytes(b"\x00" * 64)
    with pytest.raises(UserError, match=r"no\.pte: ExecuTorch does not load it: .+"):
        load(file)


def test_only_the_first_call_of_each_kind_is_listened_to(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """To listen takes ten times as long as a call of a small program."""
    program, heard = load(content), list[int]()
    first = program._first
    monkeypatch.setattr(program, "_first", lambda given: heard.append(len(given[0])) or first(given))
    wanted = [value.clone() for value in program(IMAGES)]
    assert all(torch.equal(a, b) for a, b in zip(program(IMAGES), wanted, strict=True))
    program(IMAGES[:1])
    program(IMAGES)
    assert heard == [2, 1]
    with pytest.raises(RefusedInput, match="takes float32, and is given int32"):  # of a size that ran
        program(IMAGES.int())


def test_a_loaded_program_goes_on_with_other_threads(content: bytes) -> None:
    assert set_threads(1) == 1
    program = load(content)
    wanted = program(IMAGES)[0]
    try:
        assert set_threads(2) == 2
        assert torch.equal(program(IMAGES)[0], wanted) and torch.equal(load(content)(IMAGES)[0], wanted)
    finally:
        assert set_threads(1) == 1
    assert torch.equal(program(IMAGES)[0], wanted)


def test_what_is_printed_goes_into_no_file(content: bytes) -> None:
    """A process with limits may write none, and what runs there may fail."""
    with quiet() as said:
        os.write(2, b"[XNNCompiler.cpp:1] Failed to create node\n" + b"x" * 200_000)
        sys.stderr.write("more\n")
        assert said.reason() == "Failed to create node"


def test_threads_are_said(content: bytes) -> None:
    assert set_threads(1) == 1
    program: Program = load(content)
    assert program(IMAGES[:1]) is not None
