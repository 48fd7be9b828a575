"""`--help`: the options in panels by how often they are needed, no word broken, and examples at the end.

It is made of what the commands' own parameters say, so that it is the same with every release of typer.
"""

from __future__ import annotations

import inspect
import io
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo, OptionInfo

from fxconv.cli.options.panels import ARGUMENTS, OTHER, PANELS

EXAMPLES = "Examples:"
# Lines of more characters are hard to read; names of more get a line of their own.
_WIDEST, _NAMES = 110, 30
# Below so many columns, what an option does stands below its name.
_NARROW = 60
# A blank at which no line ends.
_JOINED = "\N{NO-BREAK SPACE}"
_WORDS = {int: "N", float: "NUMBER", Path: "PATH", str: "TEXT"}


@dataclass(frozen=True)
class Row:
    """An option, an argument or a command: its names, what it takes, what it does, and where it stands."""

    names: str
    takes: str
    help: str
    panel: str

    def lines(self, width: int, column: int) -> Iterator[Text]:
        """The row in lines of at most `width` characters, none of which ends inside a word."""
        name = Text.assemble((self.names, "bold cyan"), (f" {self.takes}" if self.takes else "", "yellow"))
        beside = width >= _NARROW
        indent = column + 2 if beside else 4
        words = textwrap.wrap(self.help, max(width - indent, 20), break_long_words=False, break_on_hyphens=False)
        if beside and len(name) <= column and words:
            yield Text.assemble(name, " " * (indent - len(name)), words.pop(0).replace(_JOINED, " "))
        else:
            yield name
        yield from (Text(" " * indent + line.replace(_JOINED, " ")) for line in words)


class HelpfulCommand(TyperCommand):
    """A command, and its page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page: usage, what it does, its options in panels, examples."""
        rows = list(rows_of(self.callback or (lambda: None)))
        takes = [row.names for row in rows if row.panel == ARGUMENTS]
        formatter.write(_page(" ".join([ctx.command_path, "[OPTIONS]", *takes]), self.help or "", rows, PANELS))


class HelpfulGroup(TyperGroup):
    """The program, and its page: the commands in panels."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page: usage, what it does, its commands in panels, its options, examples."""
        commands = [self.commands[name] for name in self.list_commands(ctx)]
        rows = [
            Row(str(one.name), "", (one.help or "").splitlines()[0], str(getattr(one, "rich_help_panel", "")))
            for one in commands
        ]
        panels = (*dict.fromkeys(row.panel for row in rows), OTHER)
        rows += [*rows_of(self.callback or (lambda: None)), *_COMPLETION]
        formatter.write(_page(f"{ctx.command_path} COMMAND [OPTIONS]", self.help or "", rows, panels))


_HELP = Row("-h, --help", "", "Show this page.", OTHER)
# The options that typer adds to the program.
_COMPLETION = (
    Row("--install-completion", "", "Have the shell complete words, from its next start on.", OTHER),
    Row("--show-completion", "", "Print what does that, to be installed by hand.", OTHER),
)


def rows_of(command: Callable[..., Any]) -> Iterator[Row]:
    """The arguments and options of a command, as its parameters declare them, and --help."""
    declared = inspect.unwrap(command, stop=lambda one: hasattr(one, "__signature__"))
    hints = get_type_hints(declared, include_extras=True)
    for name, parameter in inspect.signature(declared).parameters.items():
        if get_origin(hints.get(name)) is Annotated:
            kind, info = get_args(hints[name])[:2]
            if isinstance(info, ArgumentInfo):
                may_be_left_out = parameter.default is not inspect.Parameter.empty
                names = info.metavar or name.upper()
                yield Row(f"[{names}]" if may_be_left_out else names, "", info.help or "", ARGUMENTS)
            elif isinstance(info, OptionInfo) and not info.hidden:
                yield _option(name, kind, info, parameter.default)
    yield _HELP


def _option(name: str, kind: Any, info: OptionInfo, default: Any) -> Row:
    kinds = _kinds(kind)
    dashed = name.strip("_").replace("_", "-")
    declared = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]
    names = [part for one in declared for part in one.split("/")]
    if not names:
        names = [f"--{dashed}", f"--no-{dashed}"] if bool in kinds else [f"--{dashed}"]
    short_first = sorted(names, key=lambda part: part.startswith("--"))
    shown = _default(info.show_default, default, names)
    words = (info.help or "") + (f" [default:{_JOINED}{shown}]" if shown else "")
    return Row(", ".join(short_first), info.metavar or _takes(kinds), words, info.rich_help_panel or OTHER)


def _kinds(kind: Any) -> tuple[Any, ...]:
    """The types in `list[Path] | None`, without None and without the list."""
    if get_origin(kind) in (Union, types.UnionType, list):
        return tuple(inner for part in get_args(kind) for inner in _kinds(part) if inner is not type(None))
    return (kind,)


def _takes(kinds: Sequence[Any]) -> str:
    (kind,) = kinds
    if kind is bool:
        return ""
    return "|".join(one.value for one in kind) if issubclass(kind, Enum) else _WORDS[kind]


def _default(shown: bool | str, default: Any, names: Sequence[str]) -> str:
    """What stands for an option that is not given; "" where that is nothing, or no."""
    if isinstance(shown, str):
        return shown
    if not shown or default is inspect.Parameter.empty or default is None or default is False:
        return ""
    if default is True:
        return names[0].lstrip("-") if len(names) > 1 else ""
    return str(default.value) if isinstance(default, Enum) else str(default)


def _page(usage: str, text: str, rows: Sequence[Row], panels: Sequence[str]) -> str:
    """The whole page, as wide as the screen, and no wider than is good to read."""
    told, _, examples = inspect.cleandoc(text).partition(f"\n{EXAMPLES}\n")
    screen = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty() or None, highlight=False)
    width = min(screen.width, _WIDEST)
    inside = width - 4
    parts: list[Any] = [Text.assemble(" ", ("Usage: ", "bold"), usage), ""]
    parts += [*(Text(f" {line}") for line in _filled(told, width - 2)), ""]
    others = dict.fromkeys(row.panel for row in rows if row.panel not in panels)
    for panel in (*panels[:-1], *others, panels[-1]):
        if here := [row for row in rows if row.panel == panel]:
            column = min(max(len(f"{row.names} {row.takes}".rstrip()) for row in here), _NAMES)
            lines = Text("\n").join(line for row in here for line in row.lines(inside, column))
            parts.append(Panel(lines, title=panel, title_align="left", border_style="dim", width=width))
    if examples:
        parts += ["", Text(f" {EXAMPLES}", "bold"), *_examples(examples)]
    screen.print(Group(*parts), width=width, no_wrap=True, crop=False, overflow="ignore")
    written = screen.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def _filled(text: str, width: int) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ""
        yield from textwrap.wrap(paragraph, max(width, 20), break_long_words=False, break_on_hyphens=False)


def _examples(text: str) -> Iterator[Text]:
    """What each does, in a line that begins with #, and the command below it."""
    for line in textwrap.dedent(text).strip().splitlines():
        yield Text(f"   {line}", "dim" if line.startswith("#") else "")
