"""Which target a file name asks for, and names that none has."""

from __future__ import annotations

from pathlib import Path

import pytest

from fxconv.errors import UserError
from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.registry import check_suffix, target_of


def test_the_target_of_a_name():
    assert target_of(Path("x.PTL")) is target_of() is MOBILE


@pytest.mark.parametrize("name", ["x.ptl", "X.PTL", "a.b/x.v2.ptl", None])
def test_names_that_are_written(name):
    check_suffix(None if name is None else Path(name), "-o")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a/x.onnx", "-o a/x.onnx: fxconv writes .ptl only, no ONNX file; write a/x.ptl"),
        ("x.pte", "-o x.pte: fxconv writes .ptl only, no ExecuTorch program; write x.ptl"),
        ("x.Pt", "-o x.Pt: fxconv writes .ptl only, no full TorchScript or weights; write x.ptl"),
        ("x.mlmodel", "-o x.mlmodel: fxconv writes .ptl only, no Core ML model; write x.ptl"),
        ("x", "-o x: has no suffix, as the files that fxconv writes do; write x.ptl"),
        ("x.1", "-o x.1: does not end in .ptl, as the files that fxconv writes do; write x.1.ptl"),
        (".ptl", "-o .ptl: has no suffix, as the files that fxconv writes do; write .ptl.ptl"),
    ],
)
def test_names_that_are_not(name, line):
    with pytest.raises(UserError) as error:
        check_suffix(Path(name), "-o")
    assert str(error.value) == line


def test_a_folder_is_told_by_whoever_writes(tmp_path):
    check_suffix(tmp_path, "-o")
