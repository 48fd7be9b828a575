"""What the shell is answered when it completes a command line, and how completion is installed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fxconv_commands import REPO, assert_user_error

from fxconv.cli import completion


@pytest.fixture
def complete(command, monkeypatch):
    """`complete("fxconv con")`: what bash is answered about the last word of that line."""

    def answered(line: str) -> list[str]:
        monkeypatch.setenv("_FXCONV_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        run = command()
        assert (run.status, run.stderr) == (0, "")
        return run.stdout.split()

    return answered


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fxconv con", ["convert"]),
        ("fxconv s", ["sensitivity", "study"]),
        ("fxconv --sh", ["--show-completion"]),
        ("fxconv convert mobilenet_v3", ["mobilenet_v3_large", "mobilenet_v3_small"]),
        ("fxconv diff resnet1", ["resnet101", "resnet152", "resnet18"]),
        ("fxconv convert resnet18 --calib-", ["--calib-count"]),
        ("fxconv convert resnet18 --recipe ada", ["adaround"]),
        ("fxconv convert resnet18 --mode ", ["static", "dynamic", "qat"]),
    ],
)
def test_words_of_the_command_line_are_completed(complete, line, words):
    assert complete(line) == words


@pytest.mark.parametrize("line", ["fxconv convert net.p", "fxconv convert resnet18 --calib photo", "fxconv inspect v3"])
def test_nothing_is_answered_where_a_file_may_stand_so_that_bash_completes_files(complete, line):
    assert complete(line) == []


def test_a_model_is_any_name_that_begins_so():
    assert completion.models("mobilenet_v3") == ["mobilenet_v3_large", "mobilenet_v3_small"]


def test_a_shell_is_answered_before_torch_is_imported():
    line = {"_FXCONV_COMPLETE": "complete_bash", "COMP_WORDS": "fxconv convert alex", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fxconv"],
        cwd=REPO,
        env=os.environ | line,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alexnet\n")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "fxconv.cli.completion" in imported
    assert not {"torch", "torchvision", "numpy"} & imported


def test_fish_learns_by_the_status_that_a_file_may_stand_here(command, monkeypatch):
    monkeypatch.setenv("_FXCONV_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "fxconv convert net.p")
    run = command()
    assert (run.status, run.stdout, run.stderr) == (1, "", "")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def shell(monkeypatch):
    """`shell("bash")`: the shell that typer finds among the processes above this one; None: none."""

    def found(name: str | None) -> None:
        monkeypatch.setattr("shellingham.detect_shell", lambda: (name, f"/bin/{name}"))

    return found


def test_show_completion_prints_the_script_and_writes_nothing(command, home, shell):
    shell("bash")
    run = command("--show-completion")
    assert (run.status, run.stderr) == (0, "")
    assert "_FXCONV_COMPLETE=complete_bash $1" in run.stdout
    assert run.stdout.endswith("\ncomplete -o default -F _fxconv_completion fxconv\n")
    assert not home.exists()


def test_install_completion_writes_the_script_and_has_bash_read_it(command, home, shell):
    shell("bash")
    run = command("--install-completion")
    script = home / ".bash_completions" / "fxconv.sh"
    assert (run.status, run.stderr) == (0, "")
    assert run.stdout.startswith(f"bash completion installed in {script}\n")
    assert "complete -o default -F _fxconv_completion fxconv" in script.read_text()
    assert str(script) in (home / ".bashrc").read_text()


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_a_shell_without_completion_is_the_users_to_mend(command, home, shell, option):
    shell("csh")
    assert_user_error(command(option), option, "run it from bash, zsh, fish or PowerShell")
    assert not home.exists()
