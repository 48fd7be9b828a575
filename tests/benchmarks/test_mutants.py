"""benchmarks/mutants.py on a project of one function and one test: what is killed, what survives, what is refused."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import mutants
from benchmarks.faults import PLANTED
from benchmarks.faults.mutant import Mutant, problem

ROOT = Path(__file__).resolve().parents[2]
TEST = ("test_sign.py::test_of_a_negative_number",)
KILLED = Mutant("the sign is always 1", "sign.py", "-1 if x < 0 else 1", "1", TEST)
SURVIVES = Mutant("0 has the sign -1", "sign.py", "x < 0", "x <= 0", TEST)
ENDLESS = Mutant("it never ends", "sign.py", "return", "while True: pass\n    return", TEST)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "sign.py").write_text("def sign(x):\n    return -1 if x < 0 else 1\n")
    tested = "from sign import sign\n\n\ndef test_of_a_negative_number():\n    assert sign(-5) == -1\n"
    (tmp_path / "test_sign.py").write_text(tested)
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def run(project: Path, *planted: Mutant, words: tuple[str, ...] = ()) -> int:
    return mutants.main(words, {"Signs": planted}, project, ())


def test_a_fault_that_a_test_sees_is_killed_and_the_page_says_by_which(project, capsys):
    assert run(project, KILLED) == 0
    assert "1 faults, all killed" in capsys.readouterr().out
    page = (project / "docs" / "mutants.md").read_text()
    assert "| the sign is always 1 | `sign.py` | `test_sign.py::test_of_a_negative_number` |" in page
    assert "-1 if x < 0" in (project / "sign.py").read_text()


def test_a_fault_that_no_test_sees_ends_with_status_1_and_the_next_is_planted_alone(project, capsys):
    assert run(project, SURVIVES, KILLED) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "survived: 0 has the sign -1"
    page = (project / "docs" / "mutants.md").read_text()
    assert "2 faults" in page and "1 of them" in page and "| 0 has the sign -1 | `sign.py` | **nothing** |" in page


def test_a_test_that_takes_too_long_kills(project, capsys):
    assert run(project, ENDLESS, words=("--seconds", "3")) == 0
    assert "it never ends: more than 3 s" in capsys.readouterr().out


def test_an_interruption_leaves_nothing(project, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def interrupted(copy, mutant, seconds):
        assert list((tmp_path / "temporary").iterdir()) != []
        raise KeyboardInterrupt

    monkeypatch.setattr(mutants.Copy, "tried", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(project, KILLED)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_only_some_are_tried_and_the_page_stays(project, capsys):
    assert run(project, KILLED, SURVIVES, words=("--only", "always")) == 0
    assert "0 has the sign" not in capsys.readouterr().out
    assert not (project / "docs" / "mutants.md").exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (Mutant("a", "sign.py", "x > 0", "x", TEST), "a: sign.py holds 'x > 0' 0 times, not once"),
        (Mutant("a", "sign.py", "x", "y", TEST), "a: sign.py holds 'x' 2 times, not once"),
        (Mutant("a", "sign.py", "x < 0", "x < 0", TEST), "a: nothing is changed"),
        (Mutant("a", "signs.py", "x < 0", "x", TEST), "a: there is no file signs.py"),
        (Mutant("a", "sign.py", "x < 0", "x", ("test_signs.py::test",)), "a: there is no file test_signs.py"),
        (Mutant("a", "sign.py", "x < 0", "x", ()), "a: no tests are named"),
    ],
    ids=["no such text", "twice", "the same", "no such file", "no test file", "no tests"],
)
def test_a_row_that_does_not_fit_is_refused_before_anything_runs(wrong, told, project, capsys, monkeypatch):
    monkeypatch.delattr(mutants, "Copy")
    assert run(project, KILLED, wrong) == 2
    assert capsys.readouterr().err == f"{told}\n"


def test_tests_that_fail_without_a_fault_say_nothing(project, capsys):
    (project / "test_sign.py").write_text("def test_of_a_negative_number():\n    assert False\n")
    assert run(project, KILLED) == 2
    assert "without a fault the tests do not pass (status 1)" in capsys.readouterr().err


def test_a_test_that_does_not_run_does_not_kill(project, capsys):
    broken = Mutant("it is no Python", "sign.py", "return", "return return", TEST)
    assert run(project, broken) == 2
    assert "it is no Python: its tests do not run (status 4)" in capsys.readouterr().err


def test_every_fault_of_the_table_can_be_planted():
    planted = [mutant for several in PLANTED.values() for mutant in several]
    assert [words for mutant in planted if (words := problem(mutant, ROOT))] == []
    assert len({mutant.name for mutant in planted}) == len(planted) >= 45
