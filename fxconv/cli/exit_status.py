"""How a command ends: whatever was raised becomes one line and an exit status."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from fxconv.cli.signals import STOPPED, STOPS
from fxconv.diagnostics.blame import OUT_OF_MEMORY, blamed, is_out_of_memory
from fxconv.diagnostics.known_errors import Place
from fxconv.errors import ConversionError, InternalError, OwnFormError, UserError, described, from_here, one_line

DONE, FAILED, WRONG = 0, 1, 2
# What a shell reports for a program that a closed pipe ended, as most programs are.
CLOSED_PIPE = 141
_REPORT = (
    "this is a fault of fxconv's: run again with --traceback, and report what it prints together with the model and "
    "fxconv --version"
)


@dataclass(frozen=True)
class Outcome:
    """An exit status, and the line that goes to stderr with it; "" when there is nothing to say."""

    status: int
    line: str = ""


def outcome_of(error: BaseException) -> Outcome:
    """What to say of `error`, and with which status to end.

    Three kinds, never mixed: 1 is a check that failed or a fault of fxconv's, which says so; 2 is for the user to mend;
    130, 143 and 129 are requests to stop, 141 a reader that went away.
    """
    if isinstance(error, KeyboardInterrupt) or STOPS.received is not None:
        return Outcome(STOPS.status, f"{STOPS.word}; {STOPPED}")
    # rich ends the process itself where nobody reads its help
    if isinstance(error, BrokenPipeError) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    ):
        return Outcome(CLOSED_PIPE)
    if any(map(is_out_of_memory, _chain(error))):
        return Outcome(WRONG, f"out of memory{_place(error)}; {OUT_OF_MEMORY.cure}")
    if isinstance(error, UserError):
        return Outcome(WRONG, _too_deep("") if _is_too_deep(error.__cause__) else one_line(str(error)))
    if isinstance(error, ConversionError):
        return Outcome(FAILED, one_line(str(error)))
    cause = error.__cause__ if isinstance(error, InternalError) and error.__cause__ else error
    if not hasattr(cause, "pass_name"):  # what a pass of fxconv's ran into is never the user's to mend
        if _is_too_deep(cause):
            return Outcome(WRONG, _too_deep(_place(error)))
        if not isinstance(error, OwnFormError) and (theirs := _users(cause, _place(error))):
            return Outcome(WRONG, one_line(theirs))
        if isinstance(cause, OSError) and (refused := _environment(cause)):
            return Outcome(WRONG, one_line(refused))
    from fxconv.diagnostics.diagnosis import known

    internal = error if isinstance(error, InternalError) else InternalError("the command line", error)
    diagnosis = known(cause)
    if diagnosis is not None and diagnosis.known_error.place is Place.INSTALLATION:
        return Outcome(WRONG, one_line(f"{diagnosis.cause}; {diagnosis.cure}"))
    told = f"; of such errors is known: {diagnosis.cause}; {diagnosis.cure}" if diagnosis is not None else ""
    return Outcome(FAILED, one_line(f"{internal}{told}; {_REPORT}"))


def _place(error: BaseException) -> str:
    """` in calibration`, when the stage is known."""
    before, found, after = str(error).partition("INTERNAL ERROR in ")
    return f" in {after.partition(':')[0]}" if found and not before else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _is_too_deep(error: BaseException | None) -> bool:
    return isinstance(error, RecursionError)


def _too_deep(place: str) -> str:
    return f"the model is nested too deeply for Python{place}, or calls itself without end; make it less deep"


def _users(error: BaseException, place: str) -> str:
    """What to say of an error raised in code of the user's own; "" when it was raised in fxconv's."""
    frame = blamed(error.__traceback__)
    if frame is None:
        return "code of the model's ends the process; take its exit out" if isinstance(error, SystemExit) else ""
    from rewrites.location import short

    what = "ends the process" if isinstance(error, SystemExit) else f"failed with {described(error)}"
    return f"the code in {short(frame.filename)}, line {frame.lineno} ({frame.line}), {what}{place}; mend it there"


def _environment(error: OSError) -> str:
    """A file or stream that the system refused, which whoever runs the command can mend; "" when it is neither."""
    if error.filename is not None:
        return f"{from_here(str(error.filename))}: {error.strerror}; check that it is there, and that you may use it"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF):
        return f"the output cannot be written ({error.strerror}); check where stdout goes, and the space there"
    return ""


def usage(error: BaseException, command: str) -> Outcome:
    """A usage error of the parser's in one line, as this program words its own."""
    text = " ".join(error.format_message().split()).replace("Value error, ", "").rstrip(".")  # type: ignore[attr-defined]
    if not text:
        return Outcome(DONE)  # nothing was asked for, and the help has been shown
    return Outcome(WRONG, one_line(f"{text[:1].lower()}{text[1:]} ({command} --help)"))
