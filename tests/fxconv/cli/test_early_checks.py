"""What names and files tell is told before torch is imported: in a fraction of a second, not after some."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fxconv_commands import REPO

# Runs each command line in turn, in one process; tells its status, its last line, and whether torch is imported by now.
PROGRAM = f"""
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
sys.path.insert(0, {str(REPO)!r})
from fxconv.cli.app import main
told = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["fxconv", *words]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code
    told.append([status, (out.getvalue() + err.getvalue()).strip().splitlines()[-1], "torch" in sys.modules])
print(json.dumps(told))
"""

WRONG = {
    "convert mobilenet_v33": "unknown model 'mobilenet_v33'; did you mean mobilenet_v3",
    "diff mobilenet_v33": "unknown model 'mobilenet_v33'; did you mean mobilenet_v3",
    "sensitivity mobilenet_v33": "unknown model 'mobilenet_v33'; did you mean mobilenet_v3",
    "study mobilenet_v33": "unknown model 'mobilenet_v33'; did you mean mobilenet_v3",
    "example . --model mobilenet_v33": "unknown model 'mobilenet_v33'; did you mean mobilenet_v3",
    "verify here.ptl --against mobilenet_v33": "unknown model 'mobilenet_v33'; did you mean mobilenet_v3",
    "convert detector:resnet81": "unknown detector 'detector:resnet81'; did you mean detector:resnet18?",
    "convert gone.onnx": "gone.onnx: no such file; check the name: MODEL is a name",
    "convert gone.py:Net": "gone.py: no such file; expected FILE.py:NAME",
    "convert resnet18 --weights gone.pth": "--weights gone.pth: no such file",
    "convert resnet18 --calib gone": "--calib gone: no such file or folder",
    "sensitivity resnet18 --calib gone.npz:x": "--calib gone.npz:x: no such file or folder",
    "convert resnet18 --example gone.npy": "--example gone.npy: no such file",
    "diff resnet18 --example gone.npy": "--example gone.npy: no such file",
    "convert resnet18 --eval gone": "--eval gone: no such folder",
    "convert resnet18 --labels gone.txt": "--labels gone.txt: cannot be read (No such file or directory)",
    "convert resnet18 --mode qat --train gone": "--train gone: no such file or folder",
    "convert resnet18 -o gone/x.ptl": "-o gone/x.ptl: there is no folder gone",
    "convert resnet18 --json gone/x.json": "--json gone/x.json: there is no folder gone",
    "convert resnet18 --config gone.json": "--config gone.json: cannot be read",
    "convert resnet18 --input-size big": "--input-size big: expected N, HxW",
    "convert resnet18 --model-arg x": "--model-arg x: expected KEY=VALUE",
    "convert resnet18 --heads hm:1": "--heads hm:1: only a detector has heads to choose; resnet18 is none",
    "convert detector:resnet18 --heads hm": "--heads hm: expected NAME:CHANNELS",
    "convert resnet18 --engine gpu": "'gpu' is not one of 'qnnpack'",
    "convert resnet18 --clib x": "no such option: --clib (Possible options: --calib",
    "convert resnet18 --skip fold-relu": "unknown pass 'fold-relu'; did you mean fold-relu6",
    "diff resnet18 --until fold-relu": "unknown pass 'fold-relu'; did you mean fold-relu6",
    "diff resnet18 --pass-only fold-relu": "unknown pass 'fold-relu'; did you mean fold-relu6",
    "convert resnet18 --pass Mine": "--pass Mine: expected FILE.py:NAME or PACKAGE.MODULE:NAME",
    "convert resnet18 --pass gone.py:Mine": "gone.py: no such file; expected FILE.py:NAME",
    "convert resnet18 --preprocess gone.py:pixels": "gone.py: no such file; expected FILE.py:NAME",
    "study resnet18 --sources gone": "--sources gone: no such folder",
    "study resnet18 --counts ten": "--counts ten: expected numbers of images",
    "example gone": "DIR gone: no such folder",
    "verify gone.ptl": "gone.ptl: no such file; give a .ptl or .pte",
    "bench gone.ptl": "gone.ptl: no such file; give a .ptl or .pte",
    "inspect gone.ptl": "gone.ptl: no such file",
    "compare gone.json gone.json": "gone.json: No such file or directory",
    "explain fold-relu": "unknown pass 'fold-relu'; did you mean fold-relu6",
    "models resnte": "models resnte: no name fits",
    "covnert resnet18": "no such command 'covnert'. Did you mean 'convert'?",
}
RIGHT = {
    "models": "mobilenet_v3 (means mobilenet_v3_large)",
    "models detector:*": "detector:resnet18",
    "passes": "request)",
    "--version": "Python",
    "--help": "",
    "convert --help": "",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, tuple[int, str, bool]]:
    """How each command line ended, its last line, and whether torch had been imported by then."""
    folder: Path = tmp_path_factory.mktemp("early")
    (folder / "here.ptl").write_bytes(b"")
    lines = [*WRONG, *RIGHT]
    words = json.dumps([line.split() for line in lines])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, words], cwd=folder, capture_output=True, text=True, check=True
    )
    return {line: tuple(end) for line, end in zip(lines, json.loads(done.stdout), strict=True)}


@pytest.mark.parametrize("line", WRONG)
def test_what_names_and_files_tell_is_told_without_torch(line, told):
    status, last, has_torch = told[line]
    assert (status, has_torch) == (2, False)
    assert last.startswith("fxconv: error: ") and WRONG[line] in last


@pytest.mark.parametrize("line", RIGHT)
def test_lists_and_help_need_no_torch(line, told):
    status, last, has_torch = told[line]
    assert (status, has_torch) == (0, False)
    assert RIGHT[line] in last
