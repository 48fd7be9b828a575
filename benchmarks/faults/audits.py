"""Faults in the kernel audit, in what it expects of ranges and weights, and in the audit of dynamic quantization."""

from __future__ import annotations

from benchmarks.faults.mutant import Mutant

_AUDIT, _AUDIT_TEST = "fxconv/verification/audit.py", "tests/fxconv/verification/test_audit.py"
_STEPS = "fxconv/verification/steps.py"
_WEIGHTS = "fxconv/verification/weights_and_ranges.py"
_WEIGHTS_TEST = "tests/fxconv/verification/test_weights_and_ranges.py"
_EXPECTED = "fxconv/quantization/expected_ranges.py"
_DYNAMIC, _DYNAMIC_TEST = "fxconv/verification/dynamic_audit.py", "tests/fxconv/quantization/test_dynamic.py"
_PLANTED = "tests/fxconv/conversion/test_planted_faults.py"

AUDIT = (
    Mutant(
        "a value counts as off four steps from the reference, not two",
        _STEPS,
        "STEPS = 2\n",
        "STEPS = 4\n",
        (f"{_AUDIT_TEST}::test_a_kernel_is_held_to_two_steps",),
    ),
    Mutant(
        "two values in a hundred may be off, not one in a thousand",
        _STEPS,
        "OFF_SHARE = 0.001\n",
        "OFF_SHARE = 0.02\n",
        (f"{_AUDIT_TEST}::test_one_value_in_a_thousand_may_be_off",),
    ),
    Mutant(
        "a range may cut off three tenths of the power",
        _AUDIT,
        "CUT_SHARE = 0.1\n",
        "CUT_SHARE = 0.3\n",
        (f"{_AUDIT_TEST}::test_a_range_that_cuts_off_a_tenth_of_the_power_fails",),
    ),
    Mutant(
        "what lies two steps beyond an end counts as rounded to it",
        _AUDIT,
        "beyond[beyond.abs() <= scale / 2] = 0",
        "beyond[beyond.abs() <= scale * 2] = 0",
        (f"{_AUDIT_TEST}::test_what_rounds_to_an_end_is_not_cut_off",),
    ),
    Mutant(
        "the rule 'was calibrated, but does not run in int8' is switched off",
        _AUDIT,
        "if path not in ran and owner not in ran:",
        "if False:",
        (f"{_AUDIT_TEST}::test_what_was_calibrated_and_runs_in_float_is_missed",),
    ),
    Mutant(
        "an int8 operation may read other values than its float form",
        _AUDIT,
        "if twin is None or _call(node) != _call(twin):",
        "if twin is None:",
        (f"{_PLANTED}::test_an_operation_that_reads_other_values",),
    ),
    Mutant(
        "the rule 'is not a quantized module' is switched off",
        _AUDIT,
        "if not is_int8(self.int8.get_submodule(observed)):",
        "if False:",
        (f"{_PLANTED}::test_a_float_layer_where_int8_should_be",),
    ),
    Mutant(
        "a dequantize may compute",
        _AUDIT,
        "if not torch.equal(reference, result):",
        "if False:",
        (f"{_PLANTED}::test_a_dequantize_that_computes",),
    ),
    Mutant(
        "what follows its input may have another range",
        _AUDIT,
        "return follow_problem(args, result)",
        'return ""',
        (f"{_PLANTED}::test_a_module_that_leaves_int8",),
    ),
    Mutant(
        "an observer need not have seen what the audited images give",
        _AUDIT,
        "if least >= expected.least - slack and most <= expected.most + slack:",
        "if True:",
        (f"{_PLANTED}::test_an_observer_that_saw_a_part_of_the_values",),
    ),
    Mutant(
        "of the audited images the last one alone gives the extremes",
        _AUDIT,
        "(min(before[0], least), max(before[1], most))",
        "(least, most)",
        (f"{_AUDIT_TEST}::test_extremes_are_those_of_all_images",),
    ),
    Mutant(
        "weights and biases are not compared",
        _AUDIT,
        "weight_problem(path, floating, module, self.changes)",
        '""',
        (f"{_PLANTED}::test_weights_that_are_not_the_layers",),
    ),
    Mutant(
        "weights may lie a step and more from the float ones",
        _WEIGHTS,
        "_WEIGHT_STEPS = 0.51",
        "_WEIGHT_STEPS = 1.2",
        (f"{_WEIGHTS_TEST}::test_weights_are_within_half_a_step",),
    ),
    Mutant(
        "weights rounded to either side may lie two steps off",
        _WEIGHTS,
        "_EITHER_STEP = 1.01",
        "_EITHER_STEP = 2.01",
        (f"{_WEIGHTS_TEST}::test_weights_rounded_to_either_side_are_within_a_step",),
    ),
    Mutant(
        "weights that are cut off need not come nearer by it",
        _WEIGHTS,
        "(changes.cuts and _is_closer(error, own, scales))",
        "changes.cuts",
        (f"{_WEIGHTS_TEST}::test_weights_may_be_cut_off_where_that_brings_them_nearer",),
    ),
    Mutant(
        "the bias rule without bias correction is switched off",
        _WEIGHTS,
        "elif isinstance(wanted, Tensor) and (got is None or not torch.equal(got, wanted)):",
        "elif False:",
        (f"{_WEIGHTS_TEST}::test_a_bias_is_the_float_layers",),
    ),
    Mutant(
        "the bias rule with bias correction is switched off",
        _WEIGHTS,
        "if got is None or not torch.allclose(got, corrected, rtol=1e-4, atol=1e-4 * float(corrected.abs().max())):",
        "if False:",
        (f"{_WEIGHTS_TEST}::test_a_corrected_bias_is_the_one_the_weights_call_for",),
    ),
    Mutant(
        "what follows its input may have another zero point",
        _WEIGHTS,
        " or got.q_zero_point() != given.q_zero_point():",
        ":",
        (f"{_WEIGHTS_TEST}::test_what_follows_has_the_range_of_its_input",),
    ),
    Mutant(
        "an operation may run with another zero point than was calibrated",
        _WEIGHTS,
        " and zero_point == expected.zero_point:",
        ":",
        (f"{_WEIGHTS_TEST}::test_a_range_is_the_one_that_was_calibrated",),
    ),
    Mutant(
        "an operation may run with a scale a third larger than was calibrated",
        _WEIGHTS,
        "if math.isclose(scale, expected.scale, rel_tol=1e-5)",
        "if math.isclose(scale, expected.scale, rel_tol=0.3)",
        (f"{_WEIGHTS_TEST}::test_a_range_is_the_one_that_was_calibrated",),
    ),
    Mutant(
        "what is wrong with an observer's own numbers is passed over",
        _WEIGHTS,
        "if expected.problem:",
        "if False:",
        (f"{_WEIGHTS_TEST}::test_a_range_is_the_one_that_was_calibrated",),
    ),
    Mutant(
        "an observer's zero point may be three off",
        _EXPECTED,
        "abs(zero - zero_point) > 1",
        "abs(zero - zero_point) > 3",
        (f"{_PLANTED}::test_a_wrong_zero_point_in_one_observer[2]",),
    ),
    Mutant(
        "an observer's range may reach beyond what it saw",
        _EXPECTED,
        "if low < min(least, 0.0) - slack or high > max(most, 0.0) + slack:",
        "if False:",
        (f"{_PLANTED}::test_an_interval_beyond_what_was_seen",),
    ),
    Mutant(
        "an observer that never saw a value has a range",
        _EXPECTED,
        "return observer.min_val.numel() > 0 and bool((observer.min_val <= observer.max_val).all())",
        "return True",
        (f"{_PLANTED}::test_an_observer_that_never_ran[head]",),
    ),
    Mutant(
        "a range of one value is not named",
        _EXPECTED,
        "if expected.least == expected.most:",
        "if False:",
        ("tests/fxconv/quantization/test_observers.py::test_ranges_that_say_little_are_named",),
    ),
)

DYNAMIC = (
    Mutant(
        "a linear layer need not give what its weights give for its rounded input",
        _DYNAMIC,
        "EXACT_DB = 40.0",
        "EXACT_DB = -40.0",
        (f"{_DYNAMIC_TEST}::test_the_audit_finds_what_was_tampered_with",),
    ),
    Mutant(
        "a recurrent layer may give anything",
        _DYNAMIC,
        "_ALIKE_DB = 10.0",
        "_ALIKE_DB = -40.0",
        (f"{_DYNAMIC_TEST}::test_a_recurrent_layer_is_compared_with_its_float_form",),
    ),
    Mutant(
        "weights may lie a step and more from the float ones, dynamically",
        _DYNAMIC,
        "_WEIGHT_STEPS = 0.51",
        "_WEIGHT_STEPS = 1.8",
        (f"{_DYNAMIC_TEST}::test_the_audit_finds_what_was_tampered_with",),
    ),
    Mutant(
        "the rule 'is a layer for int8 and is in float' is switched off",
        _DYNAMIC,
        "if path not in known and path not in inside]",
        "if False]",
        (f"{_DYNAMIC_TEST}::test_the_audit_finds_what_was_tampered_with",),
    ),
    Mutant(
        "a layer that never ran passes",
        _DYNAMIC,
        "if not tally.values:",
        "if False:",
        (f"{_DYNAMIC_TEST}::test_a_layer_that_never_runs_is_told",),
    ),
)
