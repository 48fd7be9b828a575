"""`python -m fxconv` is the command `fxconv`."""

from __future__ import annotations

import runpy

import pytest

from fxconv.cli import startup


@pytest.fixture
def steps(monkeypatch, own_signals):
    """What the process would do to itself, noted instead of done."""
    done: list[str] = []
    monkeypatch.setattr(startup, "put_off_compiler", lambda: done.append("compiler put off"))
    monkeypatch.setattr(startup, "keep_freed_memory", lambda: done.append("memory kept"))
    monkeypatch.setattr(startup, "end", lambda status: done.append(f"ended with {status}"))
    return done


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (["passes"], 0, "fold-relu6", ""),
        (["convert", "--help"], 0, "Usage: fxconv convert [OPTIONS]", ""),
        (["convrt"], 2, "", "fxconv: error: no such command 'convrt'"),
    ],
)
def test_it_starts_ends_and_prints_as_the_command_does(steps, monkeypatch, capsys, words, status, out, err):
    monkeypatch.setattr("sys.argv", ["/somewhere/fxconv/__main__.py", *words])
    runpy.run_module("fxconv", run_name="__main__")
    assert steps == ["compiler put off", "memory kept", f"ended with {status}"]
    printed = capsys.readouterr()
    assert out in printed.out
    assert printed.err.startswith(err) and bool(printed.err) == bool(err)


def test_importing_it_runs_nothing(steps):
    runpy.run_module("fxconv.__main__", run_name="fxconv.__main__")
    assert steps == []
