"""docs/writing_a_pass.md does what it says: its files are written, its commands run, what they print is compared."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from fxconv_commands import REPO, run_here

PAGE = (REPO / "docs" / "writing_a_pass.md").read_text()
KERNELS = (REPO / "docs" / "kernels.md").read_text().splitlines()
LEFT_OUT = "..."


def blocks(language: str) -> list[str]:
    """The page's code blocks in this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


# Each begins with its name as a comment.
FILES = {text.splitlines()[0].removeprefix("# "): text for text in blocks("python")}


@dataclass(frozen=True)
class Printed:
    """One command, and what the page shows of what it prints."""

    command: str
    lines: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """A regular expression for all that is printed; `...` alone is any lines, within a line anything in it."""
        shown = [
            r"(?:.*\n)*?" if line == LEFT_OUT else r"[^\n]*".join(map(re.escape, line.split(LEFT_OUT))) + r"\n"
            for line in self.lines
        ]
        return "".join(shown)

    @property
    def status(self) -> int:
        """The exit status that goes with what is shown: 1 for a check that failed, 2 for a mistake."""
        last = self.lines[-1] if self.lines else ""
        if not last.startswith("fxconv: error: "):
            return 0
        return 1 if "differs from the original" in last else 2


def printed_in(block: str) -> list[Printed]:
    """The commands of one block, in order."""
    parts = [part.splitlines() for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [Printed(command, tuple(lines)) for command, *lines in parts]


SESSIONS = [printed_in(block) for block in blocks("console")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The page's files, and beside them a `fxconv` and a `python` that are those of this test."""
    place = tmp_path_factory.mktemp("walk")
    for name, text in FILES.items():
        (place / name).write_text(text)
    (place / "bin").mkdir()
    for name, words in (("fxconv", f'"{sys.executable}" "{REPO / "cli.py"}"'), ("python", f'"{sys.executable}"')):
        (place / "bin" / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (place / "bin" / name).chmod(0o755)
    return place


def test_the_page_has_its_files_and_commands():
    assert list(FILES) == ["net.py", "roll_to_cat.py", "test_roll_to_cat.py", "wrong.py"]
    first = [[one.command.split()[0] for one in session] for session in SESSIONS]
    assert first == [*[["fxconv"]] * 3, ["python"], *[["fxconv"]] * 3, ["FXCONV_DUMP=graphs", "grep"]]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session[0].command)
def test_every_command_prints_what_the_page_shows(session, folder, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    environment = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "NO_COLOR", "COLUMNS")}
    environment |= {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(REPO)}
    environment |= {"OMP_NUM_THREADS": "1"}
    for printed in session:
        if printed.command.startswith("fxconv "):
            done = run_here(folder, *shlex.split(printed.command)[1:])
            status, out, err = done.status, done.stdout, done.stderr
        else:
            ended = subprocess.run(
                printed.command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            status, out, err = ended.returncode, ended.stdout, ended.stderr
        assert status == printed.status, err
        # Warnings, and the error that ends a command, are on stderr; the page has the error behind the rest.
        error = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("warning: "))
        assert re.fullmatch(printed.pattern, out + error), out + error


def test_what_is_shown_is_really_compared():
    printed = Printed("true", ("first", LEFT_OUT, "a ... of it"))
    assert re.fullmatch(printed.pattern, "first\nsecond\nthird\na part (all) of it\n")
    assert re.fullmatch(printed.pattern, "first\na part of it\n")
    assert not re.fullmatch(printed.pattern, "first\na part of it\nmore\n")
    assert not re.fullmatch(printed.pattern, "before\nfirst\na part of it\n")
    assert not re.fullmatch(printed.pattern, "first\na part\nof it\n")


def test_the_pass_is_below_a_hundred_lines_and_keeps_to_what_is_public():
    text = FILES["roll_to_cat.py"]
    lines = len(text.splitlines())
    assert lines < 100
    assert f"to a tested pass of {lines} lines" in " ".join((REPO / "README.md").read_text().split())
    homes = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert {home for home in homes if home.startswith(("rewrites", "fxconv"))} == {"rewrites", "rewrites.modules"}


def test_the_rows_shown_are_those_of_the_kernel_table():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(rows) == 4
    for row in rows:
        assert row in KERNELS


def test_every_page_it_points_to_is_there():
    assert "docs/writing_a_pass.md" in (REPO / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (REPO / "docs" / target).exists(), target
