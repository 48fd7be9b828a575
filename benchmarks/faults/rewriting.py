"""Faults in the rewriting: folding, fusing, what a pass must leave alone, what the kernels refuse."""

from __future__ import annotations

from benchmarks.faults.mutant import Mutant

_FUSION, _FUSION_TEST = "rewrites/fusion.py", "tests/rewrites/test_fusion.py"
_PASSES, _TESTS = "rewrites/passes", "tests/rewrites/passes"
_LIMITS = "rewrites/kernel_limits.py"

REWRITING = (
    Mutant(
        "a batch norm folds into a transposed convolution without its epsilon",
        _FUSION,
        "torch.rsqrt(norm.running_var + norm.eps)",
        "torch.rsqrt(norm.running_var)",
        (f"{_FUSION_TEST}::test_a_batch_norm_folds_into_a_transposed_convolution",),
    ),
    Mutant(
        "the mean of a folded batch norm is not scaled",
        _FUSION,
        "((bias - norm.running_mean) * scale + shift)",
        "(bias * scale - norm.running_mean + shift)",
        (f"{_FUSION_TEST}::test_a_batch_norm_folds_into_a_transposed_convolution",),
    ),
    Mutant(
        "a batch norm folds into the groups of a transposed convolution in the wrong order",
        _FUSION,
        "scale.reshape(conv.groups, 1, -1, *(1",
        "scale.reshape(-1, conv.groups).t().reshape(conv.groups, 1, -1, *(1",
        (f"{_FUSION_TEST}::test_a_batch_norm_folds_into_a_transposed_convolution",),
    ),
    Mutant(
        "a value that is read twice is fused away",
        _FUSION,
        "and (reader := sole_reader(value)) is not None:",
        "and (reader := next(iter(value_readers(value)), None)) is not None:",
        (f"{_FUSION_TEST}::test_a_value_that_is_read_twice_does_not_fuse",),
    ),
    Mutant(
        "a module that is called twice is fused",
        _FUSION,
        " and self.calls[id(module)] == 1 and id(module) not in self.read",
        " and id(module) not in self.read",
        (f"{_FUSION_TEST}::test_a_module_that_is_called_twice_does_not_fuse",),
    ),
    Mutant(
        "a module whose weight is read by name is fused",
        _FUSION,
        " and self.calls[id(module)] == 1 and id(module) not in self.read",
        " and self.calls[id(module)] == 1",
        (f"{_FUSION_TEST}::test_a_module_whose_weight_is_read_by_name_does_not_fuse",),
    ),
    Mutant(
        "a batch norm over tokens folds into the linear layer",
        _FUSION,
        "fits = channels.axis == 1 and not channels.spread and norm.num_features",
        "fits = not channels.spread and norm.num_features",
        ("tests/rewrites/test_norm_folding.py::test_it_stands_alone_and_says_why",),
    ),
    Mutant(
        "a batch norm folds into the convolution behind it, which pads with zeros",
        _FUSION,
        'if module.padding_mode == "zeros" and _pads(module):',
        "if False:",
        ("tests/rewrites/test_norm_folding.py::test_it_stands_alone_and_says_why",),
    ),
    Mutant(
        "a ReLU6 is folded whoever else reads its producer",
        f"{_PASSES}/fold_relu6.py",
        "if sole_reader(producer) is not node:",
        "if False:",
        (f"{_TESTS}/test_fold_relu6.py::test_refuses_a_producer_that_is_read_elsewhere",),
    ),
    Mutant(
        "a ReLU6 is folded across a change in place",
        f"{_PASSES}/fold_relu6.py",
        "if changes_in_place(graph_module, node) or changes_between(graph_module, producer, node):",
        "if False:",
        (f"{_TESTS}/test_fold_relu6.py::test_refuses_an_addition_before_a_change_in_place",),
    ),
    Mutant(
        "a clamp that begins below 0 is folded",
        f"{_PASSES}/fold_relu6.py",
        "if module.min_val == 0 and module.max_val > 0 else None",
        "if module.max_val > 0 else None",
        (f"{_TESTS}/test_fold_relu6.py::test_left_as_it_is",),
    ),
    Mutant(
        "a ReLU6 behind a layer that is called twice is folded",
        f"{_PASSES}/fold_relu6.py",
        "if (calls := len(calls_of(graph_module, producer))) > 1:",
        "if (calls := len(calls_of(graph_module, producer))) > 9:",
        (f"{_TESTS}/test_fold_relu6.py::test_refuses",),
    ),
    Mutant(
        "a dropout that is on is dropped",
        f"{_PASSES}/drop_inference_noops.py",
        "return training is False",
        "return True",
        (f"{_TESTS}/test_drop_inference_noops.py::test_left_as_it_is",),
    ),
    Mutant(
        "a function that changes its input becomes a module that does not",
        f"{_PASSES}/functional_to_module.py",
        "    if changes_in_place(graph_module, node):\n",
        "    if False:\n",
        (f"{_TESTS}/test_functional_to_module.py::test_refuses",),
    ),
    Mutant(
        "what is random is folded into a constant",
        f"{_PASSES}/fold_constants.py",
        "if node not in random and _may_be_constant",
        "if _may_be_constant",
        (f"{_TESTS}/test_fold_constants.py::test_what_is_random_is_drawn_anew_every_time",),
    ),
    Mutant(
        "what the input writes into is folded into a constant",
        f"{_PASSES}/fold_constants.py",
        "_give_up(constant, write.shared | {write.node})",
        "pass",
        (f"{_TESTS}/test_fold_constants.py::test_a_view_that_the_input_writes_into",),
    ),
    Mutant(
        "a change that is seen through what may be a view goes out of place",
        f"{_PASSES}/_writes/sharing.py",
        'raise Refusal(f"{other.name} may share memory with {value.name}, which it changes, and is read later")',
        "continue",
        (f"{_TESTS}/test_out_of_place.py::test_refuses_a_change_seen_through_what_may_be_a_view",),
    ),
    Mutant(
        "a change of a buffer goes out of place",
        f"{_PASSES}/out_of_place.py",
        'if other.op == "get_attr" and _outlives_a_call(graph_module, other):',
        "if False:",
        (f"{_TESTS}/test_out_of_place.py::test_refuses_a_change_of_a_buffer",),
    ),
    Mutant(
        "shared weights are copied",
        f"{_PASSES}/unshare_modules.py",
        "elif any(True for _ in module.parameters()) or any(True for _ in module.buffers()):",
        "elif False:",
        (f"{_TESTS}/test_unshare_modules.py::test_weights_stay_shared",),
    ),
    Mutant(
        "a view of another type becomes a reshape",
        f"{_PASSES}/view_to_reshape.py",
        "if any(isinstance(argument, torch.dtype) for argument in (*node.args, *node.kwargs.values())):",
        "if False:",
        (f"{_TESTS}/test_view_to_reshape.py::test_refuses_another_type",),
    ),
    Mutant(
        "a pad is put in front of a value that was changed meanwhile",
        f"{_PASSES}/padding_modes.py",
        "if changes_between(graph_module, value, node):",
        "if False:",
        (f"{_TESTS}/test_numeric_padding.py::test_refuses_where_no_pad_can_stand",),
    ),
    Mutant(
        "of an odd number of zeros the larger half goes in front",
        f"{_PASSES}/numeric_padding.py",
        "[(total // 2, total - total // 2) for total in totals]",
        "[(total - total // 2, total // 2) for total in totals]",
        (f"{_TESTS}/test_numeric_padding.py::test_sides_are_those_torch_pads",),
    ),
    Mutant(
        "int8 values are returned as they are",
        f"{_PASSES}/quant_boundaries.py",
        "return in_int8\n",
        "return False\n",
        (f"{_TESTS}/test_quant_boundaries.py::test_a_network_all_in_int8_has_one_of_each",),
    ),
    Mutant(
        "dilated pools run in int8",
        _LIMITS,
        "if module.dilation not in (1, (1,), (1, 1)):",
        "if False:",
        ("tests/rewrites/test_kernel_table.py::test_settings_the_engine_gets_wrong_are_refused",),
    ),
    Mutant(
        "averages that leave out the padding run in int8",
        _LIMITS,
        "if not module.count_include_pad and module.padding not in (0, (0, 0), (0,)):",
        "if False:",
        ("tests/rewrites/test_kernel_table.py::test_settings_the_engine_gets_wrong_are_refused",),
    ),
    Mutant(
        "a padding value other than 0 is int8",
        _LIMITS,
        "return None if value in (None, 0) else",
        "return None if True else",
        (f"{_TESTS}/test_quant_boundaries.py::test_calls_the_kernels_refuse",),
    ),
)
