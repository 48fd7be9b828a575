"""`fxconv inspect --runtime`, for both kinds of files: each is asked of its own libraries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fxconv_commands import Command, assert_user_error
from torch import nn

from benchmarks.hostile.pte import content


@pytest.fixture
def pte(tmp_path: Path) -> str:
    path = tmp_path / "net.pte"
    path.write_bytes(content("int8.pte"))
    return str(path)


@pytest.fixture
def ptl(tmp_path: Path) -> str:
    torch.jit.script(nn.ReLU())._save_for_lite_interpreter(str(tmp_path / "net.ptl"))
    return str(tmp_path / "net.ptl")


def test_a_release_that_loads_a_program(command: Command, pte: str) -> None:
    asked = ("--runtime", "executorch==1.3", "--json", "found.json")
    run = command("inspect", pte, "--no-schemas", *asked)
    lines = run.stdout.splitlines()
    place = lines.index("executorch==1.3.1: loads it")
    assert (run.status, run.stderr) == (0, "")
    assert lines[place + 2 : place + 5] == [
        "call           Module.load(path), in Swift Module(filePath: path)",
        "build.gradle   implementation 'org.pytorch:executorch-android:1.3.1'",
        'Package.swift  .package(url: "https://github.com/pytorch/executorch.git", branch: "swiftpm-1.3.1")',
    ]
    (told,) = json.loads((run.folder / "found.json").read_text())["runtimes"]
    assert (told["release"], told["loads"], len(told["lines"])) == ("executorch==1.3.1", True, 2)


def test_without_a_release_all_are_told(command: Command, pte: str) -> None:
    lines = command("inspect", pte, "--no-schemas").stdout.splitlines()
    assert lines[lines.index("Libraries for phones") + 2 :] == [
        "yes  executorch 1.3.1 to 1.5.1  Module.load(path), in Swift Module(filePath: path)"
    ]


def test_a_library_for_other_files_is_refused(command: Command, pte: str, ptl: str) -> None:
    assert_user_error(
        command("inspect", pte, "--runtime", "pytorch_android_lite==2.1.0"),
        f"--runtime pytorch_android_lite==2.1.0: loads .ptl files, and {pte} is an ExecuTorch program; name a library "
        "for .pte files, executorch==1.5.1 say",
    )
    assert_user_error(
        command("inspect", ptl, "--runtime", "executorch==1.5"),
        f"--runtime executorch==1.5.1: loads .pte files, and {ptl} is a lite-interpreter archive; name a library for "
        ".ptl files, pytorch_android_lite==2.1.0 say",
    )
    assert_user_error(command("inspect", pte, "--op-list", "ops.yaml"), "is no file of the lite interpreter")


def test_a_program_that_no_release_loads_ends_with_1(command: Command, tmp_path: Path) -> None:
    data = content("mixed.pte").replace(b"XnnpackBackend", b"CoreMLBackend\0")
    path = tmp_path / "other.pte"
    path.write_bytes(data)
    run = command("inspect", str(path), "--no-schemas", "--runtime", "executorch==1.5")
    assert run.status == 1 and "executorch==1.5.1: does not load it" in run.stdout
