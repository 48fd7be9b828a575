"""What makes a conversion verified: each condition by itself, on an audit and a ledger made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fxconv.config import Config, RangeMethod
from fxconv.quantization.recipe_search.recipe import ChosenRecipe
from fxconv.verification.audit import Audit, OpAudit
from fxconv.verification.parity import EQUALIZED, STAGES, TRAINED, StageParity
from fxconv.verification.verdict import cure, is_verified

OPERATION = OpAudit("conv", "Conv2d", 100, 1, 0.0, 0.0)
AUDIT = Audit((OPERATION,), 4)
LEDGER = tuple(
    StageParity(stage, "original", 0.0, 60.0, None, "equal", True, 8)
    for stage in STAGES
    if stage not in (EQUALIZED, TRAINED)
)
RECIPE = ChosenRecipe()


def test_all_of_it_passed() -> None:
    assert is_verified(AUDIT, LEDGER, RECIPE)


@pytest.mark.parametrize("place", range(len(LEDGER)))
def test_a_stage_that_failed_or_did_not_run_verifies_nothing(place: int) -> None:
    failed = (*LEDGER[:place], replace(LEDGER[place], passed=False), *LEDGER[place + 1 :])
    assert not is_verified(AUDIT, failed, RECIPE)
    assert not is_verified(AUDIT, (*LEDGER[:place], *LEDGER[place + 1 :]), RECIPE)


def test_stages_in_another_order_verify_nothing() -> None:
    assert not is_verified(AUDIT, LEDGER[::-1], RECIPE)
    assert not is_verified(AUDIT, (*LEDGER, LEDGER[-1]), RECIPE)


def test_an_operation_that_failed_the_audit_verifies_nothing() -> None:
    assert not is_verified(Audit((OPERATION, replace(OPERATION, problem="half of it is off")), 4), LEDGER, RECIPE)


def test_an_audit_without_inputs_verifies_nothing() -> None:
    assert not is_verified(replace(AUDIT, inputs=0), LEDGER, RECIPE)


CUT = replace(OPERATION, cut=0.147, problem="14.7 % of its power lies outside its range")


def test_the_cure_of_a_range_that_cuts_is_the_users() -> None:
    said = cure(Audit((OPERATION, CUT), 4), LEDGER, Config(), "")
    assert said == (
        "calibrate on more of what the model will see (--calib, --calib-count), take the widest ranges "
        "(--observer minmax), or leave it in float (--keep-float conv)"
    )
    assert "minmax" not in cure(Audit((CUT,), 4), LEDGER, Config(observer=RangeMethod.minmax), "")


def test_the_cure_of_anything_else_is_not() -> None:
    off = replace(OPERATION, problem="half of it is off")
    both = replace(CUT, problem=f"its bias is not the float layer's; {CUT.problem}")
    for failed in ((off,), (CUT, off), (both,)):
        assert cure(Audit(failed, 4), LEDGER, Config(), "").startswith("the model is not at fault")
