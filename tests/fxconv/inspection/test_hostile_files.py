"""Sixty-three of the files that benchmarks/fuzz.py makes by the thousand: each is read, or refused in one line."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest
from fxconv_commands import REPO

from benchmarks.hostile import KINDS, MARK, made, originals
from fxconv.errors import UserError
from fxconv.inspection import inspect


@pytest.fixture(scope="module")
def files():
    return originals()


def _called(*_, **__):
    raise AssertionError("code of the file's was run")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_or_refused(command, tmp_path, files, monkeypatch, kind, seed):
    path = tmp_path / "file"
    path.write_bytes(made(kind, seed, files))
    monkeypatch.setattr(os, "system", _called)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, _called)
    run = command("inspect", "--no-schemas", str(path))
    printed = run.stdout + run.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in printed)
    if run.status == 0:
        assert run.stdout.startswith(f"{path}: ") and not run.stderr
        found = inspect(path)
        assert sum(part.bytes for part in found.parts) == path.stat().st_size
    else:
        assert run.status == 2 and not run.stdout
        assert run.stderr.startswith(f"fxconv: error: {path}: ") and run.stderr.count("\n") == 1
    assert run.files == [] and not (tmp_path / MARK).exists() and not (tmp_path.parent / MARK).exists()


def test_originals_are_read(tmp_path, files):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert sum(part.bytes for part in inspect(tmp_path / name).parts) == len(data)


def test_the_same_number_is_the_same_file(files):
    for kind in KINDS:
        assert made(kind, 1, files) == made(kind, 1, files)


def test_most_of_what_is_truncated_is_refused(tmp_path, files):
    refused = 0
    for seed in range(20):
        (tmp_path / "file").write_bytes(made("truncated", seed, files))
        try:
            inspect(tmp_path / "file")
        except UserError:
            refused += 1
    assert refused >= 18


LONG_TEXT = """
import resource, sys
sys.path.insert(0, {repo!r})
from fxconv.inspection.code import operators_in
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
text = 'x = "' + 'torch.save(\\\\"' * 1_000_000 + '"; y = torch.relu(x)'
print([(operator.name, operator.calls) for operator in operators_in([text])])
"""


def test_a_text_of_megabytes_in_the_code_takes_little_memory():
    program = LONG_TEXT.format(repo=str(REPO))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[('aten::relu', 1)]\n", "")
