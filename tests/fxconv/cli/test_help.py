"""`--help` of every command: panels by need, nothing cut or broken, and examples that can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from fxconv.cli import app
from fxconv.cli.commands import COMMANDS, PANELS
from fxconv.cli.help import Row, rows_of
from fxconv.cli.options.panels import ARGUMENTS, OTHER
from fxconv.cli.options.panels import PANELS as OPTION_PANELS
from fxconv.config import Engine

NAMES = [command.__name__ for command in COMMANDS]
each_command = pytest.mark.parametrize("declared_", COMMANDS, ids=NAMES)


def page(command, monkeypatch, width: int, *words: str) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    run = command(*words, "--help")
    assert (run.status, run.stderr) == (0, "")
    return run.stdout


def titles(printed: str) -> list[str]:
    return re.findall("^╭─ (.+?) ─+╮$", printed, re.MULTILINE)


def examples(printed: str) -> list[str]:
    """The lines of the examples that are typed, from the name of the program on."""
    lines = printed.partition(" Examples:\n")[2].splitlines()
    return [line[line.index("fxconv ") :] for line in lines if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", [*NAMES, ""])
def test_a_page_fits_and_breaks_no_word(name, width, command, monkeypatch):
    printed = page(command, monkeypatch, width, *filter(None, [name]))
    assert max(map(len, printed.splitlines())) <= width
    assert "<" not in printed and str(2**63 - 1) not in printed and "x>=" not in printed
    words = set(printed.split())
    for row in rows_of(dict(zip(NAMES, COMMANDS, strict=True)).get(name, app.options)):
        assert {*row.names.split(), *row.takes.split(), *row.help.split()} <= words, row
    assert "\N{NO-BREAK SPACE}" not in printed


@each_command
def test_every_option_has_a_panel_that_is_known_and_says_what_it_does(declared_):
    for row in rows_of(declared_):
        assert row.panel in OPTION_PANELS and (row.panel == OTHER) == (row.names == "-h, --help"), row
        assert row.help.strip(), row


@pytest.mark.parametrize("name", NAMES)
def test_panels_stand_in_the_order_of_need(name, command, monkeypatch):
    found = titles(page(command, monkeypatch, 80, name))
    assert found == [panel for panel in OPTION_PANELS if panel in found]
    assert found[-1] == OTHER


def test_what_few_need_stands_last(command, monkeypatch):
    found = titles(page(command, monkeypatch, 80, "convert"))
    assert found[:3] == [ARGUMENTS, "Model", "Calibration"] and found[-2:] == ["Advanced", OTHER]


@pytest.mark.parametrize("name", [*NAMES, ""])
def test_a_page_ends_with_examples_that_can_be_typed(name, command, monkeypatch):
    typed = examples(page(command, monkeypatch, 80, *filter(None, [name])))
    assert typed and (name != "convert" or 4 <= len(typed) <= 6)
    program: Any = typer.main.get_command(app.app)
    for line in typed:
        _, called, *words = shlex.split(line)
        assert called == (name or called)
        if "--help" not in words:
            program.commands[called].make_context(called, words)  # raises for an option that there is not


def test_the_commands_stand_in_panels_a_line_each(command, monkeypatch):
    printed = page(command, monkeypatch, 80)
    assert titles(printed) == [*PANELS, OTHER]
    for declared_ in COMMANDS:
        summary = (declared_.__doc__ or "").splitlines()[0]
        assert len(re.findall(rf"^│ {declared_.__name__} +{re.escape(summary)} *│$", printed, re.MULTILINE)) == 1
    assert printed.count("--install-completion") == 1


def test_without_a_command_the_page_is_printed(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run = command()
    assert (run.status, run.stderr) == (0, "")
    assert run.stdout == page(command, monkeypatch, 80)


def test_on_a_narrow_screen_what_an_option_does_stands_below_it(command, monkeypatch):
    lines = page(command, monkeypatch, 44, "bench").splitlines()
    assert max(map(len, lines[: lines.index(" Examples:")])) <= 44
    at = lines.index(f"│ --runs N{' ' * 33}│")
    assert lines[at + 1].startswith("│     Runs of each file. [default: 50]")


def declared(
    plain: Annotated[int, typer.Option(help="A number.")],
    several: Annotated[list[Path] | None, typer.Option("-s", "--several", help="Files.")] = None,
    both: Annotated[bool, typer.Option(help="Either.")] = True,
    switch: Annotated[bool, typer.Option("--switch", help="On.")] = False,
    engine: Annotated[Engine, typer.Option(help="Which.", rich_help_panel="Int8")] = Engine.qnnpack,
    zero: Annotated[float, typer.Option(metavar="DB", help="None.")] = 0.0,
    hidden: Annotated[bool, typer.Option(hidden=True)] = False,
    file: Annotated[str, typer.Argument(help="A file.")] = "x",
) -> None:
    """What it says."""


def test_a_row_is_what_the_parameter_declares():
    blank = "\N{NO-BREAK SPACE}"
    assert list(rows_of(declared)) == [
        Row("--plain", "N", "A number.", OTHER),
        Row("-s, --several", "PATH", "Files.", OTHER),
        Row("--both, --no-both", "", f"Either. [default:{blank}both]", OTHER),
        Row("--switch", "", "On.", OTHER),
        Row("--engine", "qnnpack|x86|onednn", f"Which. [default:{blank}qnnpack]", "Int8"),
        Row("--zero", "DB", f"None. [default:{blank}0.0]", OTHER),
        Row("[FILE]", "", "A file.", ARGUMENTS),
        Row("-h, --help", "", "Show this page.", OTHER),
    ]
