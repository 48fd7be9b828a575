"""Messages in the words of whoever is told: every option of which fxconv speaks has a word in Python, or a reason."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from enum import Enum
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import fxconv
from fxconv import conversion
from fxconv.config import Config
from fxconv.errors import ConversionError, InternalError, UserError
from fxconv.pixel_options import RECIPES
from fxconv.wording import (
    COMMAND_LINE_ONLY,
    PYTHON,
    VALUES,
    at_command_line,
    counted,
    in_python,
    in_python_words,
    name_of,
    with_article,
    worded,
)

SOURCES = Path(fxconv.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z](?:[a-z0-9-]*[a-z0-9])?(?![\w-])")
# Strings that hold what begins with two dashes and is no option of the command line.
NO_OPTIONS = {
    "report/html": "properties of CSS",
    "replay.py": "a program with arguments of its own",
    "report/torches_page.py": "writes a page of docs/",
    "report/releases_page.py": "writes a page of docs/",
    "wording.py": "the table itself",
}
KEYWORDS = {
    *inspect.signature(fxconv.convert).parameters,
    *inspect.signature(conversion.convert).parameters,
    *(field.name for field in dataclasses.fields(Config)),
}


def options_in_strings() -> dict[str, str]:
    """Every option in a string of the sources, and a file that has it."""
    found: dict[str, str] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        place = path.relative_to(SOURCES).as_posix()
        if place.startswith(tuple(NO_OPTIONS)):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= dict.fromkeys(OPTION.findall(node.value), place)
    return found


def test_the_sources_speak_of_options():
    assert {"--max-drop", "--calib", "--weights"} <= set(options_in_strings())


@pytest.mark.parametrize("option", sorted(options_in_strings()))
def test_every_option_is_a_keyword_in_python_or_has_a_reason_why_not(option):
    if option in COMMAND_LINE_ONLY:
        assert COMMAND_LINE_ONLY[option]
        assert name_of(option) == option
    elif option not in PYTHON:
        assert name_of(option) in KEYWORDS, options_in_strings()[option]


def test_the_words_are_keywords_attributes_of_a_conversion_or_said_in_words():
    for option, words in PYTHON.items():
        keyword = words.partition("=")[0]
        about_a_report = words.startswith("report.") and hasattr(fxconv.Conversion, "report")
        a_method = words.endswith("()") and hasattr(fxconv.Conversion, words[:-2])
        assert keyword in KEYWORDS or about_a_report or a_method or " " in words, option
        assert option not in COMMAND_LINE_ONLY


def test_all_choices_are_known_as_values():
    kinds = [kind for hint in get_type_hints(Config).values() for kind in (hint, *get_args(hint))]
    members = {member.value for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum) for member in kind}
    assert members | set(RECIPES) == VALUES


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("--max-drop 150: give points from 0 to 100", "max_drop=150: give points from 0 to 100"),
        ("--max-drop goes with --mode static or qat, not", "max_drop goes with mode='static' or 'qat', not"),
        ("--recipe auto --recipe none: give auto", "recipe=['auto', 'none']: give auto"),
        ("(--keep-float features.0) or leave", "(keep_float='features.0') or leave"),
        ("--keep-float a.0 --keep-float b.*, try", "keep_float=['a.0', 'b.*'], try"),
        ("--calib /tmp/x.npy:a: no such file", "calibration='/tmp/x.npy:a': no such file"),
        ("photographs (--calib DIR) give", "photographs (calibration=DIR) give"),
        ("give --example FILE.npz with x and y", "give example_inputs with x and y"),
        ("set --input-size, or less", "set the size of example_inputs, or less"),
        ("or accept it (--min-sqnr -3)", "or accept it (min_sqnr=-3)"),
        ("leave --normalize-in-graph out", "leave normalize_in_graph=True out"),
        ("asked for (--no-golden)", "asked for (golden=False)"),
        ("4 more; --json FILE has them all", "4 more; report.json() has them all"),
        ("lower --calib-count", "lower calib_count"),
        ("fxconv convert MODEL --mode qat; use --mode qat", "fxconv convert MODEL --mode qat; use mode='qat'"),
        ("--config c.json: is not JSON", "--config c.json: is not JSON"),
        ("a--b and --", "a--b and --"),
    ],
)
def test_options_become_keywords(typed, written):
    assert in_python(typed) == written
    assert in_python(written) == written


@pytest.mark.parametrize("kind", [UserError, ConversionError])
def test_mistakes_and_failed_checks_leave_a_function_in_its_words(kind):
    with pytest.raises(kind, match=r"^seed=-1: give more$"), in_python_words():
        raise kind("--seed -1: give more")


def test_a_fault_of_fxconvs_is_told_as_it_is():
    with pytest.raises(InternalError, match="--seed"), in_python_words():
        raise InternalError("--seed", ValueError("x"))


def test_the_command_line_keeps_its_words():
    with at_command_line(), pytest.raises(UserError, match=r"^--seed -1: give"):
        Config(seed=-1)
    with at_command_line():
        assert worded("lower --seed") == "lower --seed"
    assert worded("lower --seed") == "lower seed"


def test_a_command_says_what_to_type(command):
    run = command("convert", "mobilenet_v2", "--max-drop", "150")
    assert run.status == 2
    assert run.stderr == "fxconv: error: --max-drop 150: give percentage points from 0 to 100, such as 1\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [("int", "an int"), ("list", "a list"), ("ImageFolder", "an ImageFolder"), ("UNet", "a UNet"), ("str", "a str")],
)
def test_the_article_fits(name, said):
    assert with_article(name) == said


def test_one_is_no_plural():
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
