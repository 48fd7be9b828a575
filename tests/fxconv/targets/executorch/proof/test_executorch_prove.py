"""The proof of a file on the disk, and faults planted in its bytes and in what it is written from."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fxconv_proofs import Image, Made, Many, Small, made
from torch import nn

from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.xnnpack_graph import XnnGraph, read_xnnpack
from fxconv.targets.executorch import lowering
from fxconv.targets.executorch.proof import running
from fxconv.targets.executorch.proof.file_numbers import numbers_of
from fxconv.targets.executorch.proof.prove import FileProof, prove
from fxconv.targets.own_process import Ended
from fxconv.targets.qdq.proof.file_numbers import FileLayer

pytest.importorskip("executorch")


@dataclass
class Lowered:
    """A network and its file; `twin` are the bytes of its twin, once they were asked for."""

    made: Made
    form: nn.Module
    content: bytes
    twin: bytes = b""

    def lower(self, module: nn.Module) -> bytes:
        if not self.twin:
            self.twin = bytes_of(module, self.made.images[0])
        return self.twin

    def proof(self, folder: Path, content: bytes = b"", images: list[Image] | None = None) -> FileProof:
        path = folder / "net.pte"
        path.write_bytes(content or self.content)
        given = self.made
        return prove(given.int8, given.floating, self.form, path, images or given.images, self.lower)


def bytes_of(module: nn.Module, example: Image) -> bytes:
    """A module on which the rules ran already, as a file."""
    return lowering.lower_alike(module, example)


def lowered(given: Made) -> Lowered:
    program = lowering.lower(given.qdq, given.images[0], largest_batch=1)
    return Lowered(given, program.module, program.content)


@pytest.fixture(scope="module")
def many() -> Lowered:
    return lowered(made(Many))


@pytest.fixture(scope="module")
def small() -> Lowered:
    return lowered(made(Small))


def graph_of(content: bytes) -> XnnGraph:
    program = read_program(memoryview(content))
    (forward,) = (method for method in program.methods if method.name == "forward")
    return read_xnnpack(forward.delegates[0].blob, program.named)


def layer(content: bytes, where: int) -> FileLayer:
    return numbers_of(content).layers[where]


def patched(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) == 1 and len(old) == len(new)
    return content.replace(old, new)


def test_a_sound_file_is_proven(many, tmp_path, warm_processes_of_its_own):
    found = many.proof(tmp_path)
    assert found.problem == "" and found.proven
    names = [op.where for op in found.operations]
    assert {"stem", "depth", "excite and hardsigmoid", "mul", "add", "chunk", "cat", "up", "head"} < set(names)
    assert names.count("shared") == 2
    assert all(op.values and op.worst <= 1 for op in found.operations)
    rows = {row.where: row for row in found.numbers}
    assert rows["excite"].note == "hardsigmoid is folded into it: scales over 6, bias with a half more"
    assert [row.where for row in found.numbers].count("shared") == 2 and "all int8 values" in rows
    same, outputs = found.rows
    assert (same.stage, same.against, same.max_abs_diff, same.rule) == ("file", "twin", 0.0, "equal")
    assert outputs.max_abs_diff == 0.0
    # near the int8 module, and not its bits: that is measured end to end
    wanted = many.made.int8(*many.made.images[0])
    assert [leaf.shape for leaf in found.outputs[0]] == [leaf.shape for leaf in wanted]


def test_a_channels_last_example_changes_nothing(small, tmp_path, warm_processes_of_its_own):
    turned: list[Image] = [(image.contiguous(memory_format=torch.channels_last),) for (image,) in small.made.images]
    assert bytes_of(small.form, turned[0]) == bytes_of(small.form, small.made.images[0])
    found = small.proof(tmp_path, images=turned)
    plain = small.proof(tmp_path)
    assert found.problem == plain.problem == ""
    assert all(torch.equal(a[0], b[0]) for a, b in zip(found.outputs, plain.outputs, strict=True))


def scale(content: bytes) -> bytes:
    """The scale of the linear layer's output, which no value behind it shares."""
    gives = layer(content, 2).gives
    assert gives is not None
    return patched(content, struct.pack("<f", gives.scale), struct.pack("<f", gives.scale * np.float32(1.25)))


def zero_point(content: bytes) -> bytes:
    """The zero point that stands beside that scale."""
    gives = layer(content, 2).gives
    assert gives is not None and gives.zero_point
    at, number = content.index(struct.pack("<f", gives.scale)), struct.pack("<i", gives.zero_point)
    place = at - 4 if content[at - 4 : at] == number else at + 4
    assert content[place : place + 4] == number
    return content[:place] + struct.pack("<i", gives.zero_point + 5) + content[place + 4 :]


def constant(content: bytes, number: int, item: int, add: int) -> bytes:
    """One integer of a constant that the second convolution reads."""
    graph = graph_of(content)
    node = [node for node in graph.nodes if node.kind == "Conv2d"][1]
    held = graph.by_id[node.inputs[number]].content
    assert held is not None
    values = np.frombuffer(bytes(held), "i1" if item == 1 else "<i4").copy()
    values[0] += add if values[0] + add < 127 or item == 4 else -add
    assert bytes(held) in content
    return content.replace(bytes(held), values.tobytes())


PATCHES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "scale": (scale, "head: gives its output with scale"),
    "zero point": (zero_point, "head: gives its output with scale"),
    "weight": (
        lambda content: constant(content, 1, 1, 90),
        "second: one of its weight integers is not the int8 module's",
    ),
    "bias": (lambda content: constant(content, 2, 4, 30_000), "second: the bias integer of channel 0 is"),
}


@pytest.mark.parametrize("fault", PATCHES)
def test_a_fault_in_the_bytes_of_the_file_alone(small, fault, tmp_path, warm_processes_of_its_own):
    plant, said = PATCHES[fault]
    found = small.proof(tmp_path, plant(small.content))
    assert found.problem.startswith(said), found.problem
    # the twin was written without it: each operation of that is right, and the file does not do what it does
    assert not any(op.problem for op in found.operations)
    same, _ = found.rows
    # a zero point that stands there once moves a value's integers and nothing else: only reading it back tells
    assert same.passed == (fault == "zero point") and same.against == "twin"


def shifted(form: nn.Module, fault: str, where: str) -> nn.Module:
    """The form with one number of a layer changed, before it is lowered."""
    wrong: Any = copy.deepcopy(form)
    (node,) = (node for node in wrong.graph.nodes if node.meta.get("int8") == (where, 0))
    place = {"scale": 1, "zero point": 2}.get(fault)
    for one in (node, *node.users):
        if place is not None:
            value = one.args[place] * 1.25 if place == 1 else one.args[place] + 5
            one.args = (*one.args[:place], value, *one.args[place + 1 :])
    convolution = node.args[0]
    if fault == "weight":
        held = getattr_of(wrong, convolution.args[1].args[0].target)
        held.view(-1)[0] += 90 if held.view(-1)[0] < 30 else -90
    if fault == "bias":
        held = getattr_of(wrong, convolution.args[2].target)
        held.view(-1)[0] += 1.0
    wrong.recompile()
    return wrong


def getattr_of(module: nn.Module, target: str) -> torch.Tensor:
    path, _, name = target.rpartition(".")
    held: torch.Tensor = getattr(module.get_submodule(path), name)
    return held


@pytest.mark.parametrize("faults", [("scale", "weight"), ("zero point", "bias")])
def test_faults_that_the_file_and_its_twin_both_have(small, faults, tmp_path, warm_processes_of_its_own):
    """Two at a time, in layers of their own: to lower is what takes long."""
    form = small.form
    told = {}
    for fault in faults:
        where = PATCHES[fault][1].partition(":")[0]
        form, told[where] = shifted(form, fault, where), PATCHES[fault][1]
    wrong = Lowered(small.made, form, bytes_of(form, small.made.images[0]))
    found = wrong.proof(tmp_path)
    assert len(told) == 2
    for where, said in told.items():
        rows = [f"{row.where}: {row.problem}" for row in found.numbers if row.where == where]
        assert any(row.startswith(said) for row in rows), rows
    # the file does what its twin does, and both are wrong: the operations are, on the file's own values
    assert found.rows[0].passed
    assert {op.where for op in found.operations if op.problem} == set(told)


def test_a_file_that_does_not_load_is_told(small, tmp_path, warm_processes_of_its_own):
    found = small.proof(tmp_path, b"no program")
    assert not found.proven and found.operations == ()
    assert "the file does not load or run" in next(row.problem for row in found.rows)
    with pytest.raises(Ended):
        running.outputs_of([b"no program"], small.made.images)
