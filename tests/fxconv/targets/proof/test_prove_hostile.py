"""Files that benchmarks/fuzz.py makes by the thousand, through `fxconv verify`: none of them does any harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile import KINDS, MARK, made, originals
from benchmarks.hostile.programs import BODIES, WHEN, program

pytestmark = pytest.mark.usefixtures("warm_processes_of_its_own")
# Files of these reach the process that runs them; the others are refused before, most of them in no time.
_RUN = ("golden inputs that lie", "programs that write, map files, loop, or fill the memory")
_FEW = [(kind, seed) for kind in KINDS if kind not in _RUN for seed in range(2)]
_MORE = [(kind, seed) for kind in _RUN for seed in range(9)]


@pytest.fixture(scope="module")
def files():
    return originals()


@pytest.mark.parametrize(("kind", "seed"), [*_FEW, *_MORE])
def test_it_is_verified_or_refused(command, tmp_path, files, kind, seed):
    path = tmp_path / "file"
    path.write_bytes(made(kind, seed, files))
    run = command("verify", "--timeout", "2", "--memory", "500", str(path))
    printed = run.stdout + run.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in printed)
    assert run.status in (0, 1, 2) and "Traceback" not in run.stderr and "INTERNAL ERROR" not in run.stderr
    if run.status == 2:
        assert not run.stdout
        assert run.stderr.startswith("fxconv: error: ") and run.stderr.count("\n") == 1
    else:
        assert run.stdout.startswith(f"{path}: ")
    marks = [place / MARK for place in (run.folder, tmp_path, tmp_path.parent, Path("/tmp"))]
    assert run.files == [] and not [mark for mark in marks if mark.exists()]


def test_the_programs_would_do_harm_if_they_ran(tmp_path, monkeypatch):
    """The tests above would say nothing of a program that cannot write."""
    import torch
    from torch.jit.mobile import _load_for_lite_interpreter

    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.ptl").write_bytes(program(BODIES[0], WHEN[0]))
    module = _load_for_lite_interpreter("x.ptl")
    assert not (tmp_path / MARK).exists()
    module(torch.zeros(1))
    assert (tmp_path / MARK).exists()
    (tmp_path / MARK).unlink()
    (tmp_path / "y.ptl").write_bytes(program(BODIES[0], WHEN[1]))
    _load_for_lite_interpreter("y.ptl")  # loading is enough
    assert (tmp_path / MARK).exists()
