"""Faults in the proof of .pte files: numbers that are read back, and operations on a file's own values."""

from __future__ import annotations

from benchmarks.faults.mutant import Mutant

_ROOM, _TESTS = "fxconv/targets/qdq/proof", "tests/fxconv/targets/qdq/proof"
_TWIN, _TWIN_TEST = (
    f"{place}fxconv/targets/executorch/proof/{name}.py" for place, name in (("", "twin"), ("tests/", "test_twin"))
)
_OPERATIONS, _OPERATIONS_TEST = f"{_ROOM}/operations.py", f"{_TESTS}/test_operations.py"
_CONSTANTS, _CONSTANTS_TEST = f"{_ROOM}/constants.py", f"{_TESTS}/test_constants.py"
_ACCOUNTED, _ACCOUNTED_TEST = f"{_ROOM}/accounted.py", f"{_TESTS}/test_accounted.py"
_PAIRS, _PAIRS_TEST = f"{_ROOM}/value_pairs.py", f"{_TESTS}/test_value_pairs.py"

EXECUTORCH_PROOF = (
    Mutant(
        "an operation of which a file has no values is not missed",
        _OPERATIONS,
        "for node in self.unheld:",
        "for node in ():",
        (f"{_OPERATIONS_TEST}::test_an_operation_whose_values_are_nowhere_fails",),
    ),
    Mutant(
        "an operation is held on the values that its float form gives, not on the file's",
        _OPERATIONS,
        "            return got\n        return torch.quantize_per_tensor",
        "            pass\n        return torch.quantize_per_tensor",
        (f"{_OPERATIONS_TEST}::test_a_fault_in_a_part_has_its_path",
         f"{_OPERATIONS_TEST}::test_what_a_file_returns_must_be_what_its_values_call_for",
         f"{_OPERATIONS_TEST}::test_every_int8_operation_is_held_and_agrees"),
    ),
    Mutant(
        "zero points of a file are taken for those of unsigned integers",
        f"{_ROOM}/module_ranges.py",
        "integers.to(torch.int16) + UNSIGNED",
        "integers.to(torch.int16) + 0",
        (f"{_OPERATIONS_TEST}::test_every_int8_operation_is_held_and_agrees",),
    ),
    Mutant(
        "the second call of a part is taken for the first",
        _TWIN,
        "self.told.calls[self.path] = call + 1",
        "self.told.calls[self.path] = call",
        (f"{_TWIN_TEST}::test_values_of_a_part_that_is_called_twice_are_told_apart_by_the_call",),
    ),
    Mutant(
        "weights of a file may be others than the module's",
        _CONSTANTS,
        "np.flatnonzero(wanted != got)",
        "np.flatnonzero(wanted != wanted)",
        (f"{_CONSTANTS_TEST}::test_one_number_that_differs_is_told_with_the_layers_name",),
    ),
    Mutant(
        "a bias may be an integer beside the nearest one",
        _CONSTANTS,
        "_NEAREST, _TWICE = 0.501, 1.001",
        "_NEAREST, _TWICE = 1.501, 2.001",
        (f"{_CONSTANTS_TEST}::test_a_bias_is_the_nearest_integer_and_no_other",),
    ),
    Mutant(
        "constants of a file that nothing accounts for are not told",
        _ACCOUNTED,
        "    for each in over:\n",
        "    for each in ():\n",
        (f"{_ACCOUNTED_TEST}::test_a_constant_that_nothing_accounts_for_is_told_by_its_place",),
    ),
    Mutant(
        "a tensor of an operation need not be in the file",
        _ACCOUNTED,
        "lacking = [one for one in known if one.is_read and not _has(file, one)]",
        "lacking = []",
        (f"{_ACCOUNTED_TEST}::test_a_tensor_of_an_operation_is_in_the_file_to_a_bit",
         f"{_ACCOUNTED_TEST}::test_one_number_that_differs_fails_with_the_operations_name"),
    ),
    Mutant(
        "a plain number may be any that is written as 127 of a scale",
        _ACCOUNTED,
        "one.grid.zero_point == 0 and one.grid.scale == scale and",
        "one.grid.zero_point == 0 and",
        (f"{_ACCOUNTED_TEST}::test_a_plain_number_is_an_int8_constant_or_a_float_one",),
    ),
    Mutant(
        "a layer that ranges its input at every call may have another's bias",
        _CONSTANTS,
        "if one.given is None and (problem := _plain_bias_problem(one, other.float_bias)):",
        "if one.given is None and (problem := \"\"):",
        (f"{_CONSTANTS_TEST}::test_the_bias_of_such_a_layer_is_its_own_and_not_another_layers",),
    ),
    Mutant(
        "the bias of a layer that is in float is not looked at",
        _CONSTANTS,
        "note, _float_bias_problem(one, bias)))",
        "note, \"\"))",
        (f"{_CONSTANTS_TEST}::test_a_layer_in_float_has_its_own_bias",),
    ),
    Mutant(
        "the divisor of an average that is computed in float is not looked for in it",
        f"{_ROOM}/made_layers.py",
        "return module.op if isinstance(module, Wrapped) else module",
        "return module",
        (f"{_TESTS}/test_made_layers.py::test_an_average_over_a_divisor_of_its_own",),
    ),
    Mutant(
        "layers that range their input at every call are said to be in float",
        "fxconv/targets/executorch/placement.py",
        "if any(_is(value, _OF_CHOSEN_RANGE) for value in given):",
        "if False:",
        ("tests/fxconv/targets/executorch/test_executorch_dynamic.py"
         "::test_layers_that_range_their_input_are_int8_and_the_ledger_says_what_is_held",),
    ),
    Mutant(
        "a file may have values that the module does not",
        _PAIRS,
        "wanted[grid] >= count for grid, count in made.items()",
        "True for grid, count in made.items()",
        (f"{_PAIRS_TEST}::test_what_one_side_lacks_is_told",),
    ),
    Mutant(
        "a folded hard-sigmoid has the bias of the layer alone",
        f"{_ROOM}/module_numbers.py",
        "half = self.divisor / 2 if self.divisor != 1 else 0.0",
        "half = 0.0",
        (f"{_CONSTANTS_TEST}::test_a_folded_hard_sigmoid_has_a_sixth_of_the_scales_and_half_a_unit_more",),
    ),
)  # fmt: skip
