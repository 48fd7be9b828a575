"""Groups of options: what typer sees of them, what a command gets, and which choices of `Config` they are."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from fxconv.cli.commands import COMMANDS
from fxconv.cli.commands.convert import convert
from fxconv.cli.options.calibration import CalibrationImages, CalibrationOptions
from fxconv.cli.options.groups import choices, takes_groups
from fxconv.cli.options.int8 import Int8Options
from fxconv.cli.options.passes import PassOptions
from fxconv.config import Config, Engine, Recipe

SizeOption = Annotated[int, typer.Option("--size")]


@dataclass(frozen=True)
class Base:
    name: Annotated[str, typer.Option()]
    size: SizeOption = 1


@dataclass(frozen=True)
class Larger(Base):
    size: SizeOption = 7
    deep: Annotated[bool, typer.Option("--deep")] = False


called: list[object] = []


@takes_groups
def build(context: typer.Context, *, first: SizeOption = 3, group: Larger, last: bool = True) -> None:
    """What it says."""
    called[:] = [context, first, group, last]


def test_typer_sees_the_options_of_a_group_where_the_group_stands():
    parameters = inspect.signature(build).parameters
    assert list(parameters) == ["context", "first", "name", "size", "deep", "last"]
    assert parameters["context"].annotation is typer.Context
    assert parameters["size"].annotation == SizeOption
    assert (parameters["name"].default, parameters["size"].default) == (inspect.Parameter.empty, 7)
    assert (build.__name__, build.__doc__) == ("build", "What it says.")


def test_the_command_gets_the_group():
    build(context="context", first=1, name="x", size=2, deep=True, last=False)
    assert called == ["context", 1, Larger("x", 2, True), False]


def test_an_option_in_two_groups_is_a_mistake():
    def twice(one: Base, other: Larger) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'name'"):
        takes_groups(twice)


def test_what_options_leave_open_config_decides():
    groups = CalibrationImages(), CalibrationOptions(), Int8Options(), PassOptions()
    given = choices(*groups)
    assert not {"recipe", "keep_float", "passes", "skip", "calib"} & set(given)
    assert Config(**given) == Config()


def test_what_is_given_is_a_choice_of_config():
    int8, passes = Int8Options(Engine.x86, recipe=[Recipe.equalization], keep_float=["a", "b"]), PassOptions(["m:C"])
    config = Config(**choices(int8, passes, held_out=5))
    assert (config.engine, config.recipe, config.keep_float) == (Engine.x86, (Recipe.equalization,), ("a", "b"))
    assert (config.passes, config.held_out) == (("m:C",), 5)


def test_every_choice_but_where_to_stop_is_an_option_of_convert():
    options = set(inspect.signature(convert).parameters)
    assert {field.name for field in dataclasses.fields(Config)} - options == {"until"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_an_option_that_is_a_choice_has_its_default(command):
    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    for name, parameter in inspect.signature(command).parameters.items():
        if name in defaults and name != "held_out" and parameter.default:
            assert parameter.default == defaults[name], name
