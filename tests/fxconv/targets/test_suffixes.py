"""Names of files that fxconv writes, and names that it does not, told without importing torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fxconv.errors import UserError
from fxconv.targets.suffixes import check_suffix, check_suffixes


@pytest.mark.parametrize("name", ["x.ptl", "X.PTL", "a.b/x.v2.ptl", "x.pte", "X.Pte", None])
def test_names_that_are_written(name):
    check_suffix(None if name is None else Path(name), "-o")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a/x.onnx", "-o a/x.onnx: fxconv writes .ptl or .pte only, no ONNX file; write a/x.ptl"),
        ("x.ptd", "-o x.ptd: fxconv writes .ptl or .pte only, no data file of ExecuTorch; write x.ptl"),
        ("x.Pt", "-o x.Pt: fxconv writes .ptl or .pte only, no full TorchScript or weights; write x.ptl"),
        (
            "x.mlmodel",
            "-o x.mlmodel: fxconv writes .ptl or .pte only, no Core ML model, which decides itself what runs in which "
            "type, so that its integers cannot be read back; write x.ptl",
        ),
        (
            "x.dlc",
            "-o x.dlc: fxconv writes .ptl or .pte only, no file of Qualcomm's SDK, which needs that SDK and its chip "
            "to be tried; write x.ptl",
        ),
        ("x", "-o x: has no suffix, as the files that fxconv writes do; write x.ptl"),
        ("x.1", "-o x.1: does not end in .ptl or .pte, as the files that fxconv writes do; write x.1.ptl"),
        ("a/.pte", "-o a/.pte: has no name before its suffix; write a/model.pte"),
    ],
)
def test_names_that_are_not(name, line):
    with pytest.raises(UserError) as error:
        check_suffix(Path(name), "-o")
    assert str(error.value) == line


def test_the_targets_of_several_names_one_file_each():
    assert check_suffixes([Path("b.pte"), Path("a.PTL")]) == ("mobile", "executorch")
    assert check_suffixes([]) == ()
    with pytest.raises(UserError, match=r"^-o b.PTL: is a second .ptl beside a.ptl; name one file of each kind$"):
        check_suffixes([Path("a.ptl"), Path("b.PTL")], "-o")


def test_a_folder_is_told_by_whoever_writes(tmp_path):
    check_suffix(tmp_path, "-o")


def test_it_needs_no_torch():
    program = "import sys, fxconv.targets.suffixes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
