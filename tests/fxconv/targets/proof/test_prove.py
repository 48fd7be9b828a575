"""A file proves itself, in a process of its own, or says why not."""

from __future__ import annotations

import json
import stat
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from fxconv_commands import assert_user_error
from torch import fx, nn

import fxconv
from benchmarks.hostile.archives import zip_of
from fxconv import replay
from fxconv.errors import UserError
from fxconv.targets.mobile.lite_file import load_lite
from fxconv.targets.mobile.lowering import to_bytes
from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.proof import metadata
from fxconv.targets.proof.golden import golden, input_spec
from fxconv.targets.proof.prove import HasNone, check_runnable, prove

pytestmark = pytest.mark.usefixtures("warm_processes_of_its_own")


def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 100))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("proof") / "x.ptl"
    data = [torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))]
    fxconv.convert(network(), calibration=data, recipe=("none",)).save(path)
    return path


def rewritten(path, target, change):
    """The file with other golden inputs: the same program, as its own TorchScript gives it."""
    kept = change(json.loads(replay.extra_file(str(path), replay.FILE)))
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for entry in source.infolist():
            content = source.read(entry)
            archive.writestr(entry, json.dumps(kept) if entry.filename.endswith(replay.FILE) else content)
    return target


def off(content):
    content["cases"][0]["outputs"][0]["sha256"] = "0" * 64
    content["cases"][0]["outputs"][0].pop("data", None)
    return content


def test_a_file_proves_itself(path):
    proof = prove(path)
    assert proof.exact and proof.passed and proof.problem == ""
    assert (proof.torch, proof.rule, proof.outputs_of) == (torch.__version__, "equal", "int8 module")
    assert all(output.values == 100 for case in proof.cases for output in case.outputs)
    assert proof.as_json()["passed"] is True


def test_the_command_says_so(command, path):
    run = command("verify", str(path), "--json", "proof.json")
    assert (run.status, run.stderr) == (0, "")
    first = run.stdout.splitlines()[0]
    assert first.startswith(f"{path}: bit-exact under torch {torch.__version__} on ")
    assert first.endswith("golden input") and "every bit" in run.stdout
    report = json.loads((run.folder / "proof.json").read_text())
    assert report["golden"]["exact"] is True and report["against"] is None and report["file"] == str(path)


def test_a_file_that_computes_something_else_fails_with_status_1(command, path, tmp_path):
    other = rewritten(path, tmp_path / "other.ptl", off)
    proof = prove(other)
    assert not proof.passed and proof.problem.startswith("golden input 0: output 0 differs")
    run = command("verify", str(other), "--json", "proof.json")
    assert run.status == 1 and "DIFFERS" in run.stdout
    assert run.stderr.splitlines()[-1].startswith(f"fxconv: error: {other}: does not verify: golden input 0: output 0 ")
    assert json.loads((run.folder / "proof.json").read_text())["golden"]["passed"] is False


class Saving(nn.Module):
    """Writes a file where it runs."""

    def forward(self, x):
        torch.save(x, "written")
        return x


def with_golden(module, path):
    spec = input_spec(torch.rand(1, 3, 8, 8), None)
    text = golden(fx.symbolic_trace(nn.ReLU()), bytes(100_000), [spec], "qnnpack", False, MOBILE).text
    path.write_bytes(to_bytes(module, {replay.FILE: text}))
    return path


def test_a_file_that_does_more_than_compute_is_not_loaded(command, tmp_path):
    path = with_golden(torch.jit.script(Saving()), tmp_path / "x.ptl")
    words = r"x.ptl: not run, because aten::save writes .*; only what computes is run here"
    with pytest.raises(UserError, match=words):
        prove(path)
    with pytest.raises(UserError, match=words):
        check_runnable(path)
    run = command("verify", str(path))
    assert_user_error(run, "not run, because aten::save")
    run = command("verify", str(path), "--python", sys.executable)
    assert_user_error(run, "not run, because aten::save")
    assert run.files == []


class Endless(nn.Module):
    """Computes for hours."""

    def forward(self, x):
        for _ in range(1_000_000_000):
            x = x.relu()
        return x


class Hungry(nn.Module):
    """Wants 8 GB."""

    def forward(self, x):
        return torch.ones([8, 1024, 1024, 256]) + x.mean()


def test_time_and_memory_have_limits(tmp_path):
    endless = with_golden(torch.jit.script(Endless()), tmp_path / "endless.ptl")
    with pytest.raises(UserError, match=r"endless.ptl: the process that read it (crashed|took)[^\n]*; raise --timeout"):
        prove(endless, seconds=2)
    hungry = with_golden(torch.jit.script(Hungry()), tmp_path / "hungry.ptl")
    with pytest.raises(UserError, match=r"hungry.ptl: does not run under torch .*memory"):
        prove(hungry, megabytes=1000)


def test_another_python_replays_it_after_this_one_read_its_operators(path, tmp_path):
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexec {sys.executable} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    proof = prove(path, str(program))
    assert proof.exact
    *settings, program, file, limit, _, _ = (tmp_path / "words").read_text().split()
    assert settings == ["-W", "ignore"]
    assert Path(program).name == "replay.py" and file == str(path) and limit == "--limit"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('#!/bin/sh\necho "ModuleNotFoundError: No module named torch" >&2; exit 1', "failed: ModuleNotFoundError"),
        ("#!/bin/sh\necho 7", "printed something else than it should"),
        (None, "no such program; give a Python"),
        ("text", "cannot be run; give a Python"),
    ],
)
def test_a_program_that_is_no_python_with_torch_is_told(path, tmp_path, text, words):
    program = tmp_path / "python"
    if text is not None:
        program.write_text(text)
        program.chmod(0o644 if text == "text" else 0o755)
    with pytest.raises(UserError, match=f"^--python .*: {words}"):
        prove(path, str(program))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file; give a .ptl or .pte"),
        (b"", "is empty; copy it again"),
        (b"PK\x05\x06" + bytes(18), "is a zip archive that torch did not write"),
    ],
)
def test_what_proves_nothing_is_told_in_one_line(command, tmp_path, content, words):
    path = tmp_path / "x.ptl"
    if content is not None:
        path.write_bytes(content)
    assert_user_error(command("verify", str(path)), words)


def test_a_file_without_golden_inputs_says_what_else_there_is(tmp_path):
    (tmp_path / "x.ptl").write_bytes(to_bytes(torch.jit.script(nn.ReLU())))
    with pytest.raises(HasNone, match=r"--no-golden.*; --against MODEL compares it with its float model"):
        prove(tmp_path / "x.ptl")


@pytest.mark.parametrize("record", ["extra/golden.json", "z.pkl"])
def test_a_record_that_does_not_unpack_is_told_in_one_line(command, path, tmp_path, record):
    with zipfile.ZipFile(path) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    squeezed = bytearray(zip_of({**records, "z.pkl": bytes(range(256)) * 40}, squeezed=True))
    start = squeezed.index(f"archive/{record}".encode()) + len(f"archive/{record}")
    squeezed[start : start + 8] = b"\xff" * 8
    (tmp_path / "x.ptl").write_bytes(squeezed)
    assert_user_error(command("verify", str(tmp_path / "x.ptl")), f"{record} is damaged; copy it again")


def test_golden_inputs_in_what_is_no_program_are_not_run(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.ptl", "w") as archive:
        archive.writestr("x/extra/golden.json", '{"format": 1}')
    with pytest.raises(UserError, match=r"x.ptl: is a zip archive that torch did not write"):
        prove(tmp_path / "x.ptl")


def test_the_phones_own_reader_finds_the_texts(path):
    """Android's loader hands extra files over by name: what it reads is what is in the archive."""
    files = {replay.FILE: "", metadata.FILE: ""}
    found = {name: replay.extra_file(str(path), name) for name in files}
    assert all(text and text.isascii() for text in found.values())
    assert callable(load_lite(path))
