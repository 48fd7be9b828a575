"""What `fxconv inspect` prints and writes."""

from __future__ import annotations

import json

import pytest
import torch
from fxconv_commands import assert_user_error
from torch import nn

from fxconv.inspection.printable import printable, text_of


@pytest.fixture
def lite(tmp_path):
    def saved(extras):
        module = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))
        module._save_for_lite_interpreter(str(tmp_path / "net.ptl"), _extra_files=extras)
        return str(tmp_path / "net.ptl")

    return saved


def test_what_is_printed(command, lite):
    path = lite({"labels.txt": "cat\ndog", "fxconv.json": '{"input": [1, 3, 8, 8], "mean": [0.5]}'})
    run = command("inspect", path)
    assert run.status == 0 and run.stderr == "" and run.files == []
    lines = run.stdout.splitlines()
    assert lines[0].startswith(f"{path}: lite-interpreter archive, ") and lines[0].endswith(", bytecode version 8")
    assert "yes  LiteModuleLoader.load(path)                         Android, org.pytorch:pytorch_android_lite" in lines
    place = lines.index("labels.txt (7 bytes)")
    assert lines[place + 1 : place + 3] == ["    cat", "    dog"]
    place = lines.index("fxconv.json (38 bytes)")
    assert lines[place + 1 : place + 3] == ["    input: [1, 3, 8, 8]", "    mean: [0.5]"]
    schema = next(line for line in lines if line.startswith("aten::relu "))
    assert schema.split(maxsplit=3) == ["aten::relu", "1", "1", "(Tensor self) -> Tensor"]


def test_json(command, lite):
    path = lite({"labels.txt": "cat"})
    run = command("inspect", path, "--json", "found.json")
    found = json.loads((run.folder / "found.json").read_text())
    assert (found["schema"], found["kind"], found["bytecode_version"]) == (1, "lite-interpreter archive", 8)
    assert found["path"] == path and sum(part["bytes"] for part in found["parts"]) == found["bytes"]
    assert found["extras"] == [{"name": "labels.txt", "bytes": 3, "text": "cat"}]
    schemas = {one["name"]: one["schema"] for one in found["operators"]}
    assert schemas["aten::relu"] == "aten::relu(Tensor self) -> Tensor"
    named = command("inspect", path, "--no-schemas", "--json", "named.json")
    operators = json.loads((named.folder / "named.json").read_text())["operators"]
    assert {one["schema"] for one in operators} == {None} and "schema in this torch" not in named.stdout


def test_what_a_terminal_would_obey_is_written_out(command, lite):
    text = "\x1b[2J[bold]owned by a file\x07\r\u202ebackwards, too"
    run = command("inspect", "--no-schemas", lite({"\x1b[31mred": text, "a.json": '{"\\u001b": "\\u009b"}'}))
    assert "\x1b" not in run.stdout
    assert f"\\x1b[31mred ({len(text.encode())} bytes)" in run.stdout
    assert "    \\x1b[2J[bold]owned by a file\\x07\n    \\u202ebackwards, too\n" in run.stdout
    assert "    \\x1b: \\x9b\n" in run.stdout


def test_long_and_binary_extra_files(command, lite):
    run = command(
        "inspect", "--no-schemas", lite({"long.txt": "line\n" * 100, "data.bin": "\0\1\2", "big.txt": "a" * 300_000})
    )
    assert "    and 88 more lines" in run.stdout
    assert "data.bin (3 bytes, binary or long)" in run.stdout
    assert "big.txt (300,000 bytes, binary or long)" in run.stdout


def test_one_line_for_what_is_no_model(command, tmp_path):
    (tmp_path / "page").write_text("<html>")
    assert_user_error(command("inspect", str(tmp_path / "page")), 'is a text that begins "<html>", no model')
    assert_user_error(command("inspect", "no\x1b[2Jwhere"), "no\\x1b[2Jwhere: no such file; check the name")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 模", "plain ü 模"),
        ("\x1b\x9b\n\0", "\\x1b\\x9b\\x0a\\x00"),
        ("\u202e\ud800\U000e0001", "\\u202e\\ud800\\U000e0001"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_printable_is_cut_to_its_length():
    assert printable("a" * 200, 10) == "aaaaaaa..."
    assert len(printable("\x1b" * 200, 50)) == 50


def test_text_or_not():
    assert text_of("ü\n".encode()) == "ü\n"
    assert text_of(b"\xff\xfe") is None and text_of(b"a\0b") is None and text_of(b"\x01\x02\x03a") is None
