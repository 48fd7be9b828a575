"""`--runtime` and `--op-list` on the command line: what is printed and written, and how the commands end."""

from __future__ import annotations

import json

import pytest
import torch
from fxconv_commands import SMALL, assert_user_error
from torch import nn

ROUNDS = ("--recipe", "none", "--min-sqnr=-1000")
NOTE = "mind          its native libraries are aligned to 4 KB, and Google Play wants 16 KB"


@pytest.fixture
def lite(tmp_path) -> str:
    module = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU(approximate="tanh")).eval())
    module._save_for_lite_interpreter(str(tmp_path / "net.ptl"))
    return str(tmp_path / "net.ptl")


def test_inspect_says_which_releases_load_a_file(command, lite):
    run = command("inspect", lite, "--no-schemas")
    lines = run.stdout.splitlines()
    place = lines.index("Libraries for phones")
    assert run.status == 0
    assert lines[place + 2] == (
        "no   pytorch_android_lite 1.10.0           its bytecode has version 8, and 3 to 7 are read; its archive has "
        "format 10, and 1 to 6 are read; aten::gelu: it takes 1 argument in this release, and the file passes 2; "
        "pytorch_android_lite==1.12.1 has it"
    )
    assert lines[place + 3].startswith("no   pytorch_android_lite 1.11, 1.12       its archive has format 10")
    assert "yes  pytorch_android_lite 1.12.1 to 2.1.0  LiteModuleLoader.load(path)" in lines
    assert "yes  LibTorch-Lite 1.12.0 to 2.1.0         torch::jit::_load_for_mobile(path)" in lines


def test_inspect_for_a_release_that_loads_it(command, lite):
    run = command("inspect", lite, "--no-schemas", "--runtime", "PyTorch-Android-Lite==2.1", "--json", "found.json")
    lines = run.stdout.splitlines()
    place = lines.index("pytorch_android_lite==2.1.0: loads it")
    assert run.status == 0 and "Libraries for phones" not in lines
    assert lines[place + 2] == "call          LiteModuleLoader.load(path)"
    assert lines[place + 3] == "build.gradle  implementation 'org.pytorch:pytorch_android_lite:2.1.0'"
    assert lines[place + 4].startswith(NOTE)
    (told,) = json.loads((run.folder / "found.json").read_text())["runtimes"]
    assert (told["release"], told["loads"], told["missing"]) == ("pytorch_android_lite==2.1.0", True, [])


def test_inspect_ends_with_1_when_one_release_does_not(command, lite):
    asked = ("--runtime", "LibTorch-Lite==2.1.0", "--runtime", "LibTorch-Lite==1.11.0")
    run = command("inspect", lite, "--no-schemas", *asked, "--json", "found.json")
    lines = run.stdout.splitlines()
    assert run.status == 1 and run.stderr == ""
    assert "LibTorch-Lite==2.1.0: loads it" in lines
    place = lines.index("LibTorch-Lite==1.11.0: does not load it")
    assert lines[place + 2] == "problem  its archive has format 10, and 1 to 9 are read"
    assert lines[place + 3] == (
        "missing  aten::gelu: it takes 1 argument in this release, and the file passes 2; LibTorch-Lite==1.12.0 has it"
    )
    assert lines[place + 4] == "Podfile  pod 'LibTorch-Lite', '1.11.0'"
    told = json.loads((run.folder / "found.json").read_text())["runtimes"]
    assert [one["loads"] for one in told] == [True, False]
    assert told[1]["missing"] == [
        {
            "operator": "aten::gelu",
            "reason": "it takes 1 argument in this release, and the file passes 2",
            "layers": [],
            "since": "LibTorch-Lite==1.12.0",
        }
    ]


def test_a_release_that_there_is_not(command, lite):
    run = command("inspect", lite, "--runtime", "pytorch_android_lite==3")
    assert_user_error_with(
        run, "there is no such release of pytorch_android_lite; known are pytorch_android_lite==2.1.0"
    )
    for word in ("convert", "inspect"):
        arguments = SMALL if word == "convert" else (lite,)
        assert_user_error_with(command(word, *arguments, "--runtime", "torch==2.1.0"), "no library for phones")


def assert_user_error_with(run, fragment: str) -> None:
    assert run.status == 2 and run.stdout == "" and run.stderr.count("\n") == 1 and fragment in run.stderr


def test_the_operator_list_of_a_file(command, lite):
    run = command("inspect", lite, "--no-schemas", "--op-list", "ops.yaml")
    assert run.status == 0
    assert (run.folder / "ops.yaml").read_text() == "- aten::conv2d\n- aten::gelu\n"
    kept = (run.folder / "ops.yaml").read_bytes()
    torch.save({"a": torch.ones(2)}, run.folder / "weights.pth")
    refused = command("inspect", "weights.pth", "--no-schemas", "--op-list", "ops.yaml")
    assert_user_error_with(refused, "is no file of the lite interpreter (state_dict)")
    assert (run.folder / "ops.yaml").read_bytes() == kept
    assert_user_error_with(command("inspect", lite, "--op-list", lite), "is the same file as the file")
    assert_user_error_with(command("inspect", lite, "--op-list", "x", "--json", "x"), "choose another name")


def test_convert_for_an_old_release(command):
    asked = ("--runtime", "libtorch-lite==1.10.0", "--op-list", "ops.yaml", "-o", "net.ptl", "--json", "report.json")
    run = command("convert", *SMALL, *ROUNDS, *asked, "--quiet")
    assert run.status == 0, run.stderr
    lines = {line.partition("  ")[0]: line for line in run.stdout.splitlines()}
    assert lines["runtime"].endswith("LibTorch-Lite==1.10.0 loads it: torch::jit::_load_for_mobile(path)")
    assert lines["Podfile"].endswith("pod 'LibTorch-Lite', '1.10.0'")
    assert "its bytecode is written in version 7" in lines["mind"]
    assert run.report["artifact"]["bytecode_version"] == 7 and run.report["runtime"]["loads"] is True
    listed = (run.folder / "ops.yaml").read_text().splitlines()
    assert listed == [f"- {name}" for name in run.report["artifact"]["operators"]]
    again = command("inspect", "net.ptl", "--no-schemas", "--runtime", "LibTorch-Lite==1.10.0")
    assert again.status == 0 and "LibTorch-Lite==1.10.0: loads it" in again.stdout


def test_a_conversion_that_does_not_fit_writes_nothing(command, tmp_path):
    (tmp_path / "product.py").write_text(
        "import torch\n\n\nclass Product(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.query, self.key = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(3, 8, 3)\n\n"
        "    def forward(self, x):\n"
        "        return torch.matmul(self.query(x).flatten(2), self.key(x).flatten(2).transpose(1, 2))\n"
    )
    asked = ("--input-size", "3x12x12", "--calib-count", "4", "--runtime", "pytorch_android_lite==1.11", "--quiet")
    run = command("convert", f"{tmp_path}/product.py:Product", *asked, *ROUNDS, "-o", "p.ptl", "--op-list", "ops.yaml")
    assert run.status == 1 and run.stdout == ""
    assert run.stderr.splitlines()[-1] == (
        "fxconv: error: pytorch_android_lite==1.11 cannot load the model: quantized::matmul (layer matmul): this "
        "release has no such operator; pytorch_android_lite==1.12.1 has it; keep it in float (--keep-float matmul), or "
        "take pytorch_android_lite==1.12.1"
    )
    assert not [name for name in run.files if name.endswith((".ptl", ".yaml", ".part"))]


def test_a_dry_run_has_no_operator_list(command):
    assert_user_error(command("convert", *SMALL, "--dry-run", "--op-list", "ops.yaml"), "--op-list shows a conversion")
