"""Work in a process of its own, which may end as it likes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from fxconv.targets.own_process import Ended, Failed, answer, packed, unpacked, words_for


def python(program):
    return [sys.executable, "-c", program]


def test_the_last_line_is_the_answer():
    assert answer(python('print("noise"); print(\'{"a": 1}\')')) == {"a": 1}
    echo = "import sys, json; print(json.dumps({'given': sys.stdin.read()}))"
    assert answer(python(echo), b"text") == {"given": "text"}


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", Ended, r"^crashed \(SIGSEGV\)$"),
        ("import time; time.sleep(60)", Ended, r"^took more than 1 s$"),
        ("raise ValueError('what went wrong')", Failed, "^failed: ValueError: what went wrong$"),
        ("", Failed, "^failed: it says nothing$"),
        ("print('no JSON')", Failed, "^failed: it says nothing$"),
        ("print(3)", Failed, "^printed something else than it should$"),
    ],
)
def test_every_other_end_is_told(program, kind, words):
    with pytest.raises(kind, match=words):
        answer(python(program), seconds=1 if "sleep" in program else 30)


def test_a_function_of_fxconvs_runs_with_this_processes_modules_and_its_arguments(tmp_path, monkeypatch):
    (tmp_path / "somebodys.py").write_text("import sys, json\ndef told(): print(json.dumps({'words': sys.argv[2:]}))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert answer(words_for("somebodys", "told", "a", "b c")) == {"words": ["a", "b c"]}


TYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.complex64,
    torch.bool,
    torch.uint8,
    torch.int32,
    torch.int64,
]


@pytest.mark.parametrize("dtype", TYPES)
def test_tensors_cross_a_pipe_as_what_they_are(dtype):
    given = [torch.tensor([[0, 1], [1, 0]]).to(dtype), torch.zeros((), dtype=dtype), torch.zeros(0, 3, dtype=dtype)]
    found = unpacked(packed(given))
    assert [value.dtype for value in found] == [dtype] * 3
    assert all(map(torch.equal, given, found))


def test_a_conjugate_and_a_bfloat16_cross_a_pipe_too():
    lazy, short = torch.complex(torch.ones(2), torch.ones(2)).conj(), torch.tensor([1.5], dtype=torch.bfloat16)
    first, second, third = unpacked(packed([lazy, lazy.imag, short]))
    assert torch.equal(first, lazy.resolve_conj()) and second.tolist() == [-1, -1]
    assert third.dtype is torch.float32 and third.tolist() == [1.5]


def test_the_tests_fork_what_it_starts(warm, monkeypatch):
    """A process that imports torch anew takes seconds: the program is one that `fxconv_warm` knows."""
    words = words_for("fxconv.targets.own_process", "no_such_function")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: pytest.fail("started anew"))
    assert b"no_such_function" in warm.run(words).stderr
