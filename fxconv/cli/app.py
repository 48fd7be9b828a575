"""The command line: the commands, and how each of them ends.

Each parses, calls the library, renders, in a file of its own in `fxconv.cli.commands`. It imports torch if it needs it.
"""

from __future__ import annotations

import sys
import time
import traceback
from contextlib import suppress
from typing import Annotated, NoReturn

from fxconv.cli.signals import STOPS, stops_in_one_line

_STARTED = time.perf_counter()
with stops_in_one_line():
    import typer

    from fxconv.cli import completion, exit_status, startup, streams
    from fxconv.cli.commands import COMMANDS, PANELS
    from fxconv.cli.help import HelpfulCommand, HelpfulGroup
    from fxconv.inspection.printable import visible
    from fxconv.wording import at_command_line

_IMPORTED_IN = time.perf_counter() - _STARTED

HELP = """A vision model as its authors wrote it in; a verified int8 artifact for phones, and the diff of what was
changed, out.

Examples:
    # A model of torchvision, its ranges from your photographs
    fxconv convert mobilenet_v3_small --calib photographs/
    # What it would change, and why
    fxconv diff mobilenet_v3_small
    # All options of a command, with examples
    fxconv convert --help
"""

app = typer.Typer(
    help=HELP,
    cls=HelpfulGroup,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _versions(asked: bool) -> None:
    if asked:
        from fxconv.environment import versions

        typer.echo(versions())
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_versions, help="Print the versions that matter.")
    ] = False,
) -> None:
    """Options of no command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _panel, _commands in PANELS.items():
    for _command in _commands:
        app.command(cls=HelpfulCommand, rich_help_panel=_panel)(_command)


def main() -> NoReturn:
    """Run the command line; every kind of trouble ends with one line and its own exit status.

    0 done and verified; 1 converted but not verified, or a fault of fxconv's; 2 the user's input was wrong; 130, 143
    and 129 interrupted, terminated, hung up; 141 nobody reads the output any more.
    """
    STOPS.listen()
    streams.open_closed()
    streams.print_anything()
    end, error = _run()
    STOPS.end()
    with suppress(OSError):  # nobody reads it; the status says it
        if error is not None and "--traceback" in sys.argv:
            print(visible("".join(traceback.format_exception(error)), "\n\t"), file=sys.stderr, end="")
        if end.line:  # its words may be a file's
            _tell(f"fxconv: error: {visible(end.line)}")
    raise SystemExit(end.status)


def _tell(line: str) -> None:
    """One line on stderr; on a terminal folded between words."""
    if not sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)
        return
    from fxconv.cli.terminal import console
    from fxconv.report.tables import say

    say(console(stderr=True), line)


def start() -> NoReturn:
    """What the command `fxconv` runs: `main`, in a process that starts and ends as fast as it can."""
    startup.put_off_compiler()
    startup.keep_freed_memory()
    try:
        main()
    except SystemExit as end:
        startup.end(int(end.code or 0))


def _run() -> tuple[exit_status.Outcome, BaseException | None]:
    """The command, to its last printed word: how it ended, and what it raised if it did."""
    end, raised = exit_status.Outcome(exit_status.DONE), None
    try:
        with streams.quiet_libraries(), at_command_line():
            command = typer.main.get_command(app)
            completion.answer(command)
            with completion.installing():
                context = command.make_context("fxconv", sys.argv[1:], obj=_IMPORTED_IN)
            with context:
                command.invoke(context)
        STOPS.check()
    except typer.Exit as done:  # --help, --version
        end = exit_status.Outcome(done.exit_code)
    except BaseException as error:
        usage = hasattr(error, "format_message")  # the parser's own
        end = exit_status.usage(error, " ".join(["fxconv", *_named()])) if usage else exit_status.outcome_of(error)
        raised = error
    try:
        streams.flush()
    except OSError as error:
        if end.status == exit_status.DONE:
            end, raised = exit_status.outcome_of(error), error
    return end, raised


def _named() -> list[str]:
    known = {command.__name__ for command in COMMANDS}
    return [word for word in sys.argv[1:2] if word in known]
