"""The ledger's arithmetic, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fxconv.measures import output_comparison
from fxconv.models import forward
from fxconv.verification import parity


def one(*values: float) -> list[list[Tensor]]:
    """The outputs for one image: one tensor."""
    return [[torch.tensor(values)]]


def test_sqnr_and_largest_difference_by_hand():
    # signal 3² + 4² = 25, noise 0.5² = 0.25: 10 log10 100 = 20 dB
    row = parity.close_enough("int8", one(3.0, 4.0), one(3.0, 4.5), 10.0)
    assert row.sqnr_db == pytest.approx(20.0)
    assert row.max_abs_diff == pytest.approx(0.5)
    assert row.passed
    assert row.problem == ""
    assert row.rule == "at least 10 dB"


def test_sqnr_is_over_all_images_together():
    # signal 9 + 16 + 75 = 100, noise 0.6² + 0.8² = 1: 20 dB
    reference = [[torch.tensor([3.0, 4.0])], [torch.tensor([math.sqrt(75.0)])]]
    found = [[torch.tensor([3.6, 4.8])], [torch.tensor([math.sqrt(75.0)])]]
    row = parity.close_enough("int8", reference, found, 20.5)
    assert row.sqnr_db == pytest.approx(20.0, abs=1e-5)
    assert row.max_abs_diff == pytest.approx(0.8)
    assert not row.passed
    assert row.problem == "SQNR 20.0 dB, largest difference 0.8"


def test_a_loud_output_does_not_hide_a_destroyed_one():
    # boxes of 500 with an error of 1: 54 dB; scores lost altogether: 0 dB, and that is what counts
    reference = [[torch.tensor([500.0]), torch.tensor([0.5, 0.1])]]
    found = [[torch.tensor([501.0]), torch.tensor([0.0, 0.0])]]
    row = parity.close_enough("int8", reference, found, 10.0)
    assert row.sqnr_db == pytest.approx(0.0, abs=1e-5)
    assert not row.passed
    assert row.problem.startswith("output 1: SQNR")


def test_the_tolerance_of_a_quiet_output_is_its_own():
    reference = [[torch.tensor([1000.0]), torch.tensor([0.001])]]
    found = [[torch.tensor([1000.0]), torch.tensor([0.002])]]
    assert not parity.same_function("rewritten", reference, found, 1e-5).passed


def test_equal_infinite_outputs_are_equal():
    row = parity.same_function("rewritten", one(math.inf, 1.0), one(math.inf, 1.0), 0.0)
    assert row.passed
    assert row.max_abs_diff == 0


def test_outputs_that_are_constant_are_named():
    reference = [[torch.zeros(2), torch.tensor([1.0, 2.0])], [torch.zeros(2), torch.tensor([1.0, 2.0])]]
    assert output_comparison.constant_outputs(reference) == [0]


def test_top1_agreement_by_hand():
    reference = [[torch.tensor([[1.0, 0.0], [0.0, 1.0]])], [torch.tensor([[1.0, 0.0], [0.0, 1.0]])]]
    found = [[torch.tensor([[0.9, 0.0], [0.0, 1.0]])], [torch.tensor([[0.1, 0.2], [0.0, 1.0]])]]
    row = parity.close_enough("int8", reference, found, 0.0)
    assert row.top1_agreement == pytest.approx(0.75)


@pytest.mark.parametrize("shape", [(1, 4, 2, 2), (3,), (2, 1)], ids=["a map", "a vector", "one class"])
def test_top1_agreement_needs_rows_of_scores(shape):
    outputs = [[torch.ones(shape)]]
    assert parity.close_enough("int8", outputs, outputs, 10.0).top1_agreement is None


def test_equal_outputs_have_infinite_sqnr():
    row = parity.same_bits("scripted", one(1.0, -2.0, math.inf), one(1.0, -2.0, math.inf), has_islands=False)
    assert (row.sqnr_db, row.max_abs_diff, row.passed) == (math.inf, 0.0, True)


def test_a_planted_nan_is_caught():
    for stage in (
        parity.close_enough("int8", one(1.0, 2.0), one(1.0, math.nan), 0.0),
        parity.same_bits("scripted", one(1.0, 2.0), one(1.0, math.nan), has_islands=True),
        parity.same_function("rewritten", one(1.0, 2.0), one(1.0, math.nan), 1e-5),
        parity.same_function("rewritten", one(1.0, math.nan), one(1.0, math.nan), 0.0),
        parity.close_enough("int8", one(1.0, math.nan), one(1.0, math.nan), 0.0),
    ):
        assert not stage.passed
        assert stage.max_abs_diff == math.inf
        assert stage.sqnr_db == -math.inf


def test_another_shape_or_number_of_outputs_is_caught():
    row = parity.same_bits("scripted", [[torch.ones(1, 4)]], [[torch.ones(4)]], has_islands=True)
    assert not row.passed
    assert row.problem == "outputs of shape [(4,)], not [(1, 4)]"
    row = parity.close_enough("int8", [[torch.ones(2)]], [[torch.ones(2), torch.ones(2)]], 0.0)
    assert not row.passed
    assert row.problem == "outputs of shape [(2,), (2,)], not [(2,)]"


def test_zeros_say_nothing_and_do_not_pass():
    row = parity.close_enough("int8", one(0.0, 0.0), one(0.0, 0.1), 10.0)
    assert row.sqnr_db == -math.inf
    assert not row.passed


def test_the_rewritten_model_must_be_equal_unless_a_pass_declares_a_tolerance():
    # the tolerance is a share of the largest output: 1e-5 of 100 is 0.001
    reference, near, far = one(100.0, 1.0), one(100.0, 1.0009), one(100.0, 1.0011)
    assert not parity.same_function("rewritten", reference, near, 0.0).passed
    assert parity.same_function("rewritten", reference, near, 1e-5).passed
    assert not parity.same_function("rewritten", reference, far, 1e-5).passed


def test_a_lowered_form_may_differ_across_float_islands_only_and_by_40_db_at_most():
    # noise of 0.5 % of the signal's amplitude is 46 dB, of 2 % 34 dB
    assert not parity.same_bits("optimized", one(1.0), one(1.005), has_islands=False).passed
    assert parity.same_bits("optimized", one(1.0), one(1.005), has_islands=True).passed
    assert not parity.same_bits("optimized", one(1.0), one(1.02), has_islands=True).passed


def test_fusing_leaves_60_db():
    # noise of 0.05 % of the signal's amplitude is 66 dB, of 0.2 % 54 dB
    assert parity.same_but_for_rounding("fused", one(1.0), one(1.0005)).passed
    assert not parity.same_but_for_rounding("fused", one(1.0), one(1.002)).passed


def test_what_was_trained_on_labels_gives_numbers_at_least():
    assert parity.only_finite("trained", one(1.0, 2.0), one(-9.0, 0.0), "finite").passed
    for lost in (math.nan, math.inf):
        row = parity.only_finite("trained", one(1.0, 2.0), one(1.0, lost), "finite")
        assert (row.passed, row.rule, row.max_abs_diff) == (False, "finite", math.inf)


def test_a_file_that_does_not_load_gives_a_failed_row():
    row = parity.unreadable("reloaded", RuntimeError("PytorchStreamReader failed\nC++ stack"))
    assert not row.passed
    assert row.problem == "the file does not load or run: RuntimeError: PytorchStreamReader failed"


def test_outputs_are_the_tensors_of_any_structure_in_order():
    def model(x: Tensor) -> dict[str, object]:
        return {"a": x + 1, "b": (x * 2, None), "c": [x * 3]}

    (first,) = forward.outputs(model, [(torch.tensor([1.0]),)])
    assert [leaf.item() for leaf in first] == [2.0, 2.0, 3.0]


def test_outputs_side_by_side_are_those_one_by_one_and_few_are_held():
    torch.manual_seed(0)
    layer, images = nn.Linear(6, 3), [(torch.randn(1, 6),) for _ in range(50)]
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    several = forward.outputs_side_by_side(layer, images)
    first = next(several)
    assert 1 <= len(calls) <= 2 * torch.get_num_threads()
    for wanted, got in zip(forward.outputs(layer, images), [first, *several], strict=True):
        assert torch.equal(wanted[0], got[0])
