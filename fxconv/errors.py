"""The three kinds of trouble, never mixed: refusals are data in a report; these are the others, and a failed check."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

# Longer than any sentence of fxconv's own; what some compilers put on one line must not fill a screen.
_LONGEST = 400
_INSTALLED = re.compile(r"(?<![\w./-])/[^\s'\":]*?/(?:site|dist)-packages/")
_SUMMARIES = ("The following operation failed in the TorchScript interpreter", "Traceback of TorchScript")


class UserError(Exception):
    """The user's mistake: one line that says what is wrong, where, and how to mend it. Exit status 2."""


class ConversionError(Exception):
    """The conversion ran and its result must not be shipped: a check failed. Exit status 1."""


class ArgumentError(UserError, TypeError):
    """An argument of a function that it does not know, or whose type it does not take."""


class ValuesError(UserError, ValueError):
    """Values, given from Python, that nothing can be made of."""


class InternalError(RuntimeError):
    """A fault of fxconv's own: the message names pass and node, or the stage; `__cause__` is what was raised."""

    def __init__(self, stage: str, cause: BaseException) -> None:
        # A PassError says by itself which pass it was, and at which node.
        super().__init__(
            message_line(cause) if hasattr(cause, "pass_name") else f"INTERNAL ERROR in {stage}: {described(cause)}"
        )


class OwnFormError(InternalError):
    """A fault of fxconv's own that came up in code of the user's, of which the message names the line.

    The model alone takes the same input: what failed is its rewritten or quantized form.
    """

    def __init__(self, place: str, cause: BaseException) -> None:
        RuntimeError.__init__(
            self,
            f"INTERNAL ERROR in fxconv's form of the model: {place}, failed with {described(cause)}, where the model "
            "alone takes the same input",
        )


def check_known(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises `ArgumentError` for the first keyword in `given` that is not `known`, naming the nearest, or all."""
    names = list(dict.fromkeys(known))
    for keyword in given:
        if keyword not in names:
            near = difflib.get_close_matches(keyword, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
            raise ArgumentError(f"{function}() has no keyword {keyword!r}; {hint}")


@contextmanager
def stage(name: Callable[[], str]) -> Iterator[None]:
    """Whatever is raised inside and is neither the user's mistake nor a failed check is an `InternalError`.

    `name` is asked only then: which stage it is may change while the block runs.
    """
    try:
        yield
    except (UserError, ConversionError, InternalError, BrokenPipeError):
        raise
    except Exception as error:
        raise InternalError(name(), error) from error


def message_line(error: BaseException | str) -> str:
    """The one line of a message that says what happened, at most 400 characters; "" when there is no message.

    torch's messages run over many lines: TorchScript's tell in the last one, all others in the first.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return ""
    if lines[0].startswith(_SUMMARIES):
        line = lines[-1]
    elif lines[0].endswith(":") and len(lines) > 1:
        line = f"{lines[0]} {lines[1]}"
    else:
        line = lines[0]
    return _shortened(from_here(line))


def from_here(text: str) -> str:
    """Others' words with paths as a person would give them: from the current folder, or inside a package."""
    text = _INSTALLED.sub("", text)
    with suppress(OSError):  # the folder may be gone
        here = os.getcwd()  # noqa: PTH109
        if here != "/":
            text = re.sub(rf"(?<![\w./-]){re.escape(here)}/(?=[^\s/])", "", text)
    return text


def engine_words(error: BaseException) -> str:
    """What an engine's kernel says when it refuses, in one line, without torch's words around it."""
    return message_line(str(error).split("please report a bug to PyTorch.")[-1]).strip("' ")


def described(error: BaseException) -> str:
    """An exception in one line: its type, and the telling line of its message if it has one."""
    words = message_line(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def one_line(message: str) -> str:
    """A whole message on one line, cut in its middle when it is long: its end says how to mend things."""
    return _shortened(" ".join(message.split()), 3 * _LONGEST)


def _shortened(text: str, longest: int = _LONGEST) -> str:
    half = longest // 2 - 3
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"
