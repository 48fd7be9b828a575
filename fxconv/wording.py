"""What is said, in the words of whoever is told: options on the command line, keywords in Python.

Messages are written for the command line, `--max-drop 150: give ...`; a function of the public API says
`max_drop=150: give ...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from fxconv.errors import ConversionError, UserError

# What an option is called in Python, where that is not the field of Config of the same name.
PYTHON: dict[str, str] = {
    "--calib": "calibration",
    "--example": "example_inputs",
    "--input-size": "the size of example_inputs",
    "--eval": "held_out",
    "--train": "training",
    "--train-count": "training",
    "--checkpoint": "checkpoint",
    "--labels": "labels",
    "--pass": "passes",
    "--output": "output",
    "--quiet": "progress=False",
    "--java": "java=True",
    "--no-golden": "golden=False",
    "--normalize-in-graph": "normalize_in_graph=True",
    "--allow-frozen-branches": "allow_frozen_branches=True",
    "--report": "report.print()",
    "--full": "report.print(unfolded=True)",
    "--html": "report.write_html()",
    "--json": "report.json()",
    "--op-list": "fxconv inspect FILE --op-list",
    "--save-calibration": "save_calibration()",
    "--calibration": "calibration",
}
_LOADING = "Python gives the module itself, which fxconv does not load"
_COMMAND = "of a command that has no function in Python"
_TERMINAL = "about the command line itself"
_PIP = "of pip"
# Options that nothing in Python stands for, and why.
COMMAND_LINE_ONLY: dict[str, str] = {
    "--weights": _LOADING,
    "--weights-key": _LOADING,
    "--weights-prefix": _LOADING,
    "--unsafe-load": _LOADING,
    "--heads": _LOADING,
    "--model": _LOADING,
    "--against": _COMMAND,
    "--count": _COMMAND,
    "--counts": _COMMAND,
    "--sources": _COMMAND,
    "--emit": _COMMAND,
    "--format": _COMMAND,
    "--limit": _COMMAND,
    "--memory": _COMMAND,
    "--ops": _COMMAND,
    "--photographs": _COMMAND,
    "--pass-only": _COMMAND,
    "--python": _COMMAND,
    "--runs": _COMMAND,
    "--threads": _COMMAND,
    "--top": _COMMAND,
    "--timeout": _COMMAND,
    "--config": "Python gives config=, a value",
    "--save-config": "Python has conversion.config, a value",
    "--dry-run": "Python has rewrites.rewrite",
    "--force-reinstall": _PIP,
    "--no-deps": _PIP,
    "--help": _TERMINAL,
    "--version": _TERMINAL,
    "--traceback": _TERMINAL,
    "--install-completion": _TERMINAL,
    "--show-completion": _TERMINAL,
}
# What may stand behind an option as its value, and is no other word of the sentence: Config's choices.
VALUES = frozenset(
    (
        "static",
        "dynamic",
        "qat",
        "qnnpack",
        "x86",
        "onednn",
        "functional",
        "wrap",
        "per-channel",
        "per-tensor",
        "histogram",
        "minmax",
        "percentile",
        "mse",
        "auto",
        "none",
        "reader-ranges",
        "bias-correction",
        "weight-ranges",
        "equalization",
        "bias-absorption",
        "adaround",
        "float",
        "labels",
        "script",
        "trace",
        "peaks",
        "index",
        "noise",
        "keep",
        "first",
        "last",
        "conv-bn-fusion",
        "insert-fold-prepack-ops",
        "remove-dropout",
        "fuse-add-relu",
        "hoist-conv-packed-params",
        "vulkan-automatic-gpu-transfer",
        "nearest",
        "nearest-exact",
        "bilinear",
        "bicubic",
        "box",
        "hamming",
        "lanczos",
        "torchvision",
        "timm",
        "unit",
        "raw",
    )
)

_CHOICE = rf"(?:{'|'.join(sorted(VALUES, key=len, reverse=True))})(?![\w-])"
# A number, a choice, a placeholder such as DIR, or what the message is about: `--calib folder: no such folder`.
_VALUE = rf"(?:-?\d[\w.+-]*(?<![.])|{_CHOICE}|[A-Z][\w.:]*\w(?!\w)|\S+(?=:(?:\s|$)))"
# Layers, passes and arguments have any name, and these options are given several times: one sequence in Python.
_NAME = r"(?!(?:goes|is|out|or|and|keeps)\b)[^\s,;:()]+(?::[^\s,;:()]+)*"
_GIVEN = re.compile(
    rf"(?P<command>\bfxconv [a-z]+ [^;,)]*)"
    rf"|(?P<named>--(?:keep-float|pass|skip|model-arg)) (?P<names>{_NAME}(?: (?P=named) {_NAME})*)"
    rf"|(?P<chosen>--(?:recipe|block)) (?P<choices>{_CHOICE}(?: (?P=chosen) {_CHOICE})*)"
    rf"|(?P<option>(?<![\w-])--[a-z][a-z0-9-]*)(?: (?P<value>{_VALUE})(?P<others>(?: or {_CHOICE})*))?"
)
_AT_COMMAND_LINE = ContextVar("at_command_line", default=False)


@contextmanager
def at_command_line() -> Iterator[None]:
    """What is said inside is read by somebody who types options."""
    token = _AT_COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _AT_COMMAND_LINE.reset(token)


@contextmanager
def in_python_words() -> Iterator[None]:
    """The user's mistakes and failed checks that leave this block say what to do in Python, unless a command runs."""
    try:
        yield
    except (UserError, ConversionError) as error:
        if error.args:
            error.args = (worded(str(error)), *error.args[1:])
        raise


def worded(text: str) -> str:
    """A sentence with the options in it as keywords, unless a command runs. What is a command to type stays one."""
    return text if _AT_COMMAND_LINE.get() else in_python(text)


def in_python(text: str) -> str:
    """A sentence with the options in it as keywords of `fxconv.convert`."""
    return _GIVEN.sub(_keyword, text)


def name_of(option: str) -> str:
    """What an option is called in Python; itself, where nothing stands for it."""
    return option if option in COMMAND_LINE_ONLY else PYTHON.get(option, option.removeprefix("--").replace("-", "_"))


def with_article(name: str) -> str:
    """`an int`, `a list`: a noun, or the name of a type, with the article that fits; a name in capitals is a word."""
    return f"{'an' if name[:1] in 'aeiouAEIO' else 'a'} {name}"


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _keyword(found: re.Match[str]) -> str:
    if found["command"]:
        return found[0]
    if several := found["named"] or found["chosen"]:
        names = (found["names"] or found["choices"]).split(f" {several} ")
        listed = ", ".join(map(repr, names))
        return f"{name_of(several)}={f'[{listed}]' if len(names) > 1 else listed}"
    name, value = name_of(found["option"]), found["value"]
    if name.startswith("--"):
        return found[0]
    is_subject = found.string[found.end() :].startswith(":")
    if value is None or (_is_placeholder(value, "FILE") and not is_subject):
        return name
    if not name.isidentifier():  # a phrase, which takes no value
        return name if _is_placeholder(value) else f"{name} ({value})"
    others = [repr(word) for word in found["others"].split(" or ")[1:]]
    plain = _is_number(value) or (_is_placeholder(value) and not is_subject)
    return " or ".join([f"{name}={value if plain else repr(value)}", *others])


def _is_number(value: str) -> bool:
    return bool(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", value)) or value in ("inf", "-inf", "nan")


def _is_placeholder(value: str, first: str = "[A-Z]+") -> bool:
    """Whether it stands for something: DIR, FILE.npz, CxHxW."""
    return bool(re.fullmatch(rf"{first}([.:x][A-Za-z]+)*", value))
