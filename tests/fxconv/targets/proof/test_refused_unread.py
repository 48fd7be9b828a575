"""What `fxconv inspect` refuses, `verify` and `bench` refuse in the same words, and nothing of torch reads it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from fxconv_commands import assert_user_error

from benchmarks.hostile import KINDS, made, originals
from benchmarks.hostile.archives import records_of, two_counts, two_directories, two_long_directories
from benchmarks.hostile.programs import BODIES, WHEN, program
from fxconv.analysis.float_comparison import compare_with_float
from fxconv.errors import UserError
from fxconv.inspection import Kind, inspect
from fxconv.targets.mobile.allow_list import operators_of
from fxconv.targets.proof.bench import bench
from fxconv.targets.proof.prove import check_runnable, prove

WAYS_IN = {
    "verify": prove,
    "verify --python": lambda path: prove(path, sys.executable),
    "verify --against": lambda path: compare_with_float(path, "mobilenet_v3_small", weights="random"),
    "bench": lambda path: bench([path], "8"),
    "the processes": operators_of,
    "a check": check_runnable,
}
# These take a reader seconds, and six ways in six times as many.
_LENGTHY = ("files that take hours to read", "records without end")


@pytest.fixture(scope="module")
def files():
    return originals()


@pytest.fixture
def unread(monkeypatch):
    """Nothing of torch reads a file here, and no process is started for it."""

    def refuse(*words, **more):
        raise AssertionError(f"read by {words}")

    import torch.jit.mobile

    for name in ("_get_model_ops_and_info", "_load_for_lite_interpreter", "_get_model_bytecode_version"):
        monkeypatch.setattr(torch.jit.mobile, name, refuse)
    monkeypatch.setattr(subprocess, "run", refuse)


def refusal(way, path) -> str:
    with pytest.raises(UserError) as error:
        way(path)
    return str(error.value)


@pytest.mark.parametrize("way", WAYS_IN)
@pytest.mark.parametrize("hide", [two_directories, two_long_directories, two_counts])
def test_a_program_behind_a_second_directory(files, tmp_path, unread, way, hide):
    """Python, and its reader of classes, see a file of fxconv's; torch would load what writes a file."""
    shown, hidden = records_of(files["lite.ptl"]), records_of(program(BODIES[0], WHEN[1]))
    hidden |= dict.fromkeys(shown.keys() - hidden.keys(), b"")
    shown |= dict.fromkeys(hidden.keys() - shown.keys(), b"")
    path = tmp_path / "x.ptl"
    path.write_bytes(hide(dict(sorted(shown.items())), dict(sorted(hidden.items()))))
    assert torch._C.PyTorchFileReader(str(path)).get_record("bytecode.pkl") == hidden["bytecode.pkl"]
    assert refusal(WAYS_IN[way], path) == refusal(inspect, path)
    assert "its zip directory says two things" in refusal(inspect, path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in _LENGTHY])
def test_what_inspect_refuses_is_refused_in_its_words(files, tmp_path, unread, kind):
    path = tmp_path / "x.ptl"
    for seed in range(2):
        path.write_bytes(made(kind, seed, files))
        try:
            found = inspect(path)
        except UserError as error:
            words = [str(error)]
        else:
            if found.kind in (Kind.LITE, Kind.EXECUTORCH):
                continue  # it may be read, or its own allow-list says why not
            words = ["the lite interpreter", "for the lite interpreter"]
        for name, way in WAYS_IN.items():
            assert any(one in refusal(way, path) for one in words), name


@pytest.mark.parametrize("words", [("verify",), ("verify", "--python", sys.executable), ("bench", "--input-size", "8")])
def test_the_commands_say_so_in_one_line(command, files, tmp_path, unread, words):
    records = records_of(files["lite.ptl"])
    (tmp_path / "x.ptl").write_bytes(two_directories(records, records))
    run = command(words[0], str(tmp_path / "x.ptl"), *words[1:])
    assert_user_error(run, "x.ptl: its zip directory says two things, and readers differ in which they take")
