"""Faults in the parity ledger, in what makes a conversion verified, and in what is compared at other inputs."""

from __future__ import annotations

from benchmarks.faults.mutant import Mutant

_PARITY, _PARITY_TEST = "fxconv/verification/parity.py", "tests/fxconv/verification/test_parity.py"
_OUTPUTS = "fxconv/measures/output_comparison.py"
_CONVERSION, _CONVERSION_TEST = "fxconv/conversion.py", "tests/fxconv/test_conversion.py"
_VERDICT, _VERDICT_TEST = "fxconv/verification/verdict.py", "tests/fxconv/verification/test_verdict.py"
_WRITE = "fxconv/targets/write.py"
_SAME, _SAME_TEST = "fxconv/verification/same_function.py", "tests/fxconv/verification/test_same_function.py"
_SIZES, _SIZES_TEST = "fxconv/verification/other_sizes.py", "tests/fxconv/verification/test_other_sizes.py"
_OTHER = "fxconv/verification/other_inputs.py"
_BATCHES, _BATCHES_TEST = "fxconv/verification/other_batches.py", "tests/fxconv/verification/test_other_batches.py"
_PLANTED = "tests/fxconv/conversion/test_planted_faults.py"
_REPLAYED, _REPLAYED_TEST = (
    "fxconv/measures/replayed_decisions.py",
    "tests/fxconv/measures/test_replayed_decisions.py",
)

LEDGER = (
    Mutant(
        "fusing may leave 20 dB",
        _PARITY,
        "FUSED_SQNR_DB = 60.0",
        "FUSED_SQNR_DB = 20.0",
        (f"{_PARITY_TEST}::test_fusing_leaves_60_db",),
    ),
    Mutant(
        "the rewritten model may differ by twice the tolerance",
        _OUTPUTS,
        "self.largest <= tolerance * self.peak",
        "self.largest <= 2 * tolerance * self.peak",
        (f"{_PARITY_TEST}::test_the_rewritten_model_must_be_equal_unless_a_pass_declares_a_tolerance",),
    ),
    Mutant(
        "int8 may be 1 dB below the least that was asked for",
        _PARITY,
        "lambda noise: noise.sqnr >= min_sqnr)",
        "lambda noise: noise.sqnr >= min_sqnr - 1)",
        (f"{_PARITY_TEST}::test_sqnr_is_over_all_images_together",),
    ),
    Mutant(
        "a lowered form may differ without a float island",
        _PARITY,
        "(has_islands and noise.sqnr >= ISLAND_SQNR_DB)",
        "noise.sqnr >= ISLAND_SQNR_DB",
        (f"{_PARITY_TEST}::test_a_lowered_form_may_differ_across_float_islands_only_and_by_40_db_at_most",),
    ),
    Mutant(
        "what was trained may give values that are no numbers",
        _PARITY,
        "lambda noise: math.isfinite(noise.largest))",
        "lambda noise: True)",
        (f"{_PARITY_TEST}::test_what_was_trained_on_labels_gives_numbers_at_least",),
    ),
    Mutant(
        "of several outputs the first one alone is judged",
        _PARITY,
        "for index, noise in enumerate(each) if not accept(noise)]",
        "for index, noise in enumerate(each[:1]) if not accept(noise)]",
        (f"{_PARITY_TEST}::test_a_loud_output_does_not_hide_a_destroyed_one",),
    ),
    Mutant(
        "of several outputs the best one is shown",
        _PARITY,
        "min((noise.sqnr for noise in each)",
        "max((noise.sqnr for noise in each)",
        (f"{_PARITY_TEST}::test_a_loud_output_does_not_hide_a_destroyed_one",),
    ),
    Mutant(
        "outputs of another shape are compared all the same",
        _OUTPUTS,
        "if [t.shape for t in expected] != [t.shape for t in got]:",
        "if [t.numel() for t in expected] != [t.numel() for t in got]:",
        (f"{_PARITY_TEST}::test_another_shape_or_number_of_outputs_is_caught",),
    ),
    Mutant(
        "a value that is no number is no difference",
        _OUTPUTS,
        ".nan_to_num(math.inf, math.inf)",
        ".nan_to_num(0.0, math.inf)",
        (f"{_PARITY_TEST}::test_a_planted_nan_is_caught",),
    ),
    Mutant(
        "in float64 a sum in another order may move a thousandth",
        _SAME,
        "DOUBLE_TOLERANCE = 1e-12",
        "DOUBLE_TOLERANCE = 1e-3",
        (f"{_SAME_TEST}::test_another_function_fails_in_float64_too",),
    ),
    Mutant(
        "a difference that float64 shows as well passes",
        _SAME,
        "if in_double.passed:",
        "if True:",
        (f"{_SAME_TEST}::test_another_function_fails_in_float64_too",),
    ),
    Mutant(
        "a stage of the ledger may be left out",
        _VERDICT,
        "complete = tuple(row.stage for row in ledger) == stages and audit.inputs > 0",
        "complete = audit.inputs > 0",
        (f"{_VERDICT_TEST}::test_a_stage_that_failed_or_did_not_run_verifies_nothing",),
    ),
    Mutant(
        "the stages of the ledger may come in any order",
        _VERDICT,
        "complete = tuple(row.stage for row in ledger) == stages",
        "complete = {row.stage for row in ledger} == set(stages)",
        (f"{_VERDICT_TEST}::test_stages_in_another_order_verify_nothing",),
    ),
    Mutant(
        "an audit without inputs verifies",
        _VERDICT,
        " == stages and audit.inputs > 0",
        " == stages",
        (f"{_VERDICT_TEST}::test_an_audit_without_inputs_verifies_nothing",),
    ),
    Mutant(
        "a failed audit verifies",
        _VERDICT,
        "return complete and not audit.failed and all(",
        "return complete and all(",
        (f"{_VERDICT_TEST}::test_an_operation_that_failed_the_audit_verifies_nothing",),
    ),
    Mutant(
        "a failed stage verifies",
        _VERDICT,
        "not audit.failed and all(row.passed for row in ledger)",
        "not audit.failed",
        (f"{_VERDICT_TEST}::test_a_stage_that_failed_or_did_not_run_verifies_nothing",),
    ),
    Mutant(
        "what failed is written to the output all the same",
        _CONVERSION,
        "if places and conversion.verified:",
        "if places:",
        (f"{_PLANTED}::test_a_swapped_scale_in_one_functional",),
    ),
    Mutant(
        "what failed can be saved",
        _CONVERSION,
        "if not self.verified:",
        "if False:",
        (f"{_CONVERSION_TEST}::test_a_failed_conversion_is_returned_and_cannot_be_saved",),
    ),
    Mutant(
        "a saved file is not read back",
        _CONVERSION,
        "if staged.path.read_bytes() != file.artifact.data:",
        "if False:",
        (f"{_CONVERSION_TEST}::test_save_notices_bytes_that_changed_on_their_way_to_the_disk",),
    ),
    Mutant(
        "other bytes on the disk pass where the outputs are the same",
        "fxconv/targets/mobile/target.py",
        "if row.passed and on_disk != content:",
        "if False:",
        (f"{_CONVERSION_TEST}::test_a_file_that_runs_but_is_another_one_is_refused",),
    ),
    Mutant(
        "golden inputs that differ pass",
        _WRITE,
        "    if not problem:\n",
        "    if True:\n",
        ("tests/fxconv/targets/proof/test_golden.py::test_a_file_whose_golden_inputs_differ_is_not_verified",),
    ),
    Mutant(
        "a replayed decision is that of the run itself",
        _REPLAYED,
        "return other.clone()",
        "return out",
        (f"{_REPLAYED_TEST}::test_a_decision_is_the_first_runs_and_the_values_are_the_second_ones",),
    ),
    Mutant(
        "two runs may ask different questions",
        _REPLAYED,
        " or self.replayed[len(self.made)][0] != name:",
        ":",
        (f"{_REPLAYED_TEST}::test_two_runs_that_do_not_ask_the_same",),
    ),
    Mutant(
        "decisions inside of a graph are replayed too",
        _REPLAYED,
        "if self.inside or func._schema.is_mutable or",
        "if func._schema.is_mutable or",
        (f"{_REPLAYED_TEST}::test_what_happens_inside_of_a_graph_is_no_decision",),
    ),
)

SIZES = (
    Mutant(
        "a smaller height is not tried",
        _SIZES,
        "_SHARES = ((0.75, 1.25), (1.25, 1.0))",
        "_SHARES = ((1.25, 1.25), (1.25, 1.0))",
        (f"{_SIZES_TEST}::test_a_decision_that_does_not_hold_at_other_sizes",),
    ),
    Mutant(
        "a size that fails is not told",
        _OTHER,
        'else f"it fails ({type(error).__name__})"',
        'else ""',
        (f"{_SIZES_TEST}::test_a_table_made_for_one_size",),
    ),
    Mutant(
        "a size at which it computes something else is not told",
        _OTHER,
        "if not row.passed:",
        "if False:",
        (f"{_SIZES_TEST}::test_a_decision_that_does_not_hold_at_other_sizes",),
    ),
    Mutant(
        "what a trace has fixed is not told",
        _OTHER,
        'return "" if row.passed else f"tracing',
        'return "" if True else f"tracing',
        (f"{_SIZES_TEST}::test_what_only_a_trace_fixes[trace]",),
    ),
    Mutant(
        "a traced model is not tried",
        _OTHER,
        "bool(self.rewritten.fixed) or self.is_traced",
        "bool(self.rewritten.fixed)",
        (f"{_SIZES_TEST}::test_what_only_a_trace_fixes[trace]",),
    ),
    Mutant(
        "an image is repeated to make a batch of it",
        _BATCHES,
        "return value.flip(-1).roll(step, -1) if",
        "return value if",
        (f"{_BATCHES_TEST}::test_rows_are_the_images_and_then_made_of_the_first",),
    ),
    Mutant(
        "an even number of images is not tried",
        _BATCHES,
        "_MORE = (2, 1)",
        "_MORE = (2,)",
        (f"{_BATCHES_TEST}::test_a_batch_that_a_line_has_decided[by_an_even_number-1]",),
    ),
    Mutant(
        "a batch that float refuses ends the trials of sizes",
        _OTHER,
        "            return None\n        try:",
        "            raise\n        try:",
        (f"{_BATCHES_TEST}::test_a_batch_that_float_refuses_does_not_keep_sizes_from_being_tried",),
    ),
)
