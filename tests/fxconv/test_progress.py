"""How far a work has come: its phases, counts, and how long its steps took."""

from __future__ import annotations

import pytest

import fxconv
from fxconv.progress import Clock, Steps, conversion_phases

NONE = (fxconv.config.Recipe.none,)


def test_a_step_has_its_place_among_the_phases():
    steps = Steps(("loading", "calibration", "lowering"))
    assert (steps.name, steps.count) == ("starting", None)
    steps.tell("loading", 0, 1)
    assert (steps.name, steps.count) == ("step 1 of 3: loading", None)
    steps.tell("calibration", 20, 100)
    assert (steps.name, steps.count) == ("step 2 of 3: calibration", (20, 100))
    steps.tell("verification", 0, 1)  # what comes between belongs to the phase before
    assert (steps.name, steps.count) == ("step 2 of 3: verification", None)
    steps.tell("loading", 0, 1)  # never back
    assert steps.name == "step 2 of 3: loading"


def test_a_step_that_is_entered_again_keeps_its_count_in_its_phase():
    steps = Steps(("calibration", "recipe"))
    steps.tell("calibration", 3, 4)
    steps.tell("calibration", 0, 1)
    assert steps.count == (3, 4)
    steps.tell("recipe", 0, 1)
    steps.tell("calibration", 0, 1)
    assert steps.count is None


def test_without_phases_a_step_is_its_name():
    steps = Steps()
    steps.tell("measuring memory", 1, 2)
    assert (steps.name, steps.count) == ("measuring memory", (1, 2))


def test_the_clock_adds_up_a_step_that_is_entered_again():
    told = []
    clock = Clock(lambda *step: told.append(step), {"loading": 2.0})
    for _ in range(2):
        with clock.step("audit"):
            pass
    assert told == [("audit", 0, 1)] * 2
    assert list(clock.total()) == ["loading", "audit", "total"] and clock.total()["loading"] == 2.0


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, {}),
        ({"recipe": NONE}, {"is_tried": False}),
        ({"max_drop": 50.0, "recipe": NONE}, {"is_tried": False, "is_judged": True}),
        ({"mode": "dynamic"}, {"is_dynamic": True}),
    ],
)
def test_the_phases_are_those_of_a_conversion_in_their_order(options, asked, small_model, batches):
    first: dict[str, None] = {}
    others = [batch.flip(-1) for batch in batches] if "max_drop" in options else None
    fxconv.convert(small_model, batches, held_out=others, progress=lambda step, *_: first.setdefault(step), **options)
    phases = conversion_phases(**asked)[1:]  # a command loads the model
    assert [step for step in first if step in phases] == list(phases)
