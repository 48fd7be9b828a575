"""Faults in what moves weights, biases and ranges: signs of corrections, caps, range methods, limits of kernels."""

from __future__ import annotations

from benchmarks.faults.mutant import Mutant

_TESTS = "tests/fxconv/quantization"
_RECIPES = "fxconv/quantization/recipes"
_CORRECTION_TEST = f"{_TESTS}/recipes/test_bias_correction.py"
_ABSORPTION_TEST = f"{_TESTS}/recipes/test_bias_absorption.py"
_EQUALIZATION_TEST = f"{_TESTS}/recipes/test_equalization.py"
_READER_TEST = f"{_TESTS}/recipes/test_reader_ranges.py"
_ADAROUND_TEST = f"{_TESTS}/recipes/test_adaround.py"
_OVERFLOW, _OVERFLOW_TEST = "fxconv/quantization/bias_overflow.py", f"{_TESTS}/test_bias_overflow.py"
_REFUSALS, _REFUSALS_TEST = "fxconv/quantization/refusals.py", f"{_TESTS}/test_refusals.py"
_OBSERVERS, _OBSERVERS_TEST = "fxconv/quantization/observers.py", f"{_TESTS}/test_observers.py"
_METHODS = "fxconv/quantization/range_methods.py"

CORRECTIONS = (
    Mutant(
        "the bias correction has the other sign",
        f"{_RECIPES}/bias_correction.py",
        "(layer.weight.detach().double() - rounded.double())",
        "(rounded.double() - layer.weight.detach().double())",
        (f"{_CORRECTION_TEST}::test_the_mean_output_is_what_it_was",),
    ),
    Mutant(
        "means of further images are added, their number is not",
        f"{_RECIPES}/bias_correction.py",
        "self.counts[name] = self.counts.get(name, 0) + other.counts[name]",
        "self.counts[name] = self.counts.get(name, 0) or other.counts[name]",
        (f"{_CORRECTION_TEST}::test_means_of_two_runs_are_those_of_both_together",),
    ),
    Mutant(
        "absorbed bias is added to the layer it is taken off",
        f"{_RECIPES}/bias_absorption.py",
        "_add_to_bias(weighted(part), -moved)",
        "_add_to_bias(weighted(part), moved)",
        (f"{_ABSORPTION_TEST}::test_the_function_stays_on_inputs_far_from_those_seen",),
    ),
    Mutant(
        "absorbed bias is taken off the layers that read it",
        f"{_RECIPES}/bias_absorption.py",
        "_add_to_bias(layer, (weight * by_input(layer, moved.double())).flatten(1).sum(1))",
        "_add_to_bias(layer, -(weight * by_input(layer, moved.double())).flatten(1).sum(1))",
        (f"{_ABSORPTION_TEST}::test_the_function_stays_on_inputs_far_from_those_seen",),
    ),
    Mutant(
        "a channel at its cap is moved",
        f"{_RECIPES}/bias_absorption.py",
        "torch.where(high < own, low.clamp(min=0), 0.0)",
        "low.clamp(min=0)",
        (f"{_ABSORPTION_TEST}::test_a_channel_that_falls_to_zero_or_reaches_its_cap_stays",),
    ),
    Mutant(
        "what is read with padding is moved",
        f"{_RECIPES}/bias_absorption.py",
        "if not group.keeps_constants or not lows",
        "if not lows",
        (f"{_ABSORPTION_TEST}::test_padding_reads_what_no_channel_gave",),
    ),
    Mutant(
        "readers of an equalized channel are not scaled back",
        f"{_RECIPES}/equalization.py",
        "layer.weight.detach() * by_input(layer, self.scales)",
        "layer.weight.detach() * 1",
        (f"{_EQUALIZATION_TEST}::test_the_function_stays_on_inputs_far_from_those_seen",),
    ),
    Mutant(
        "the bias of an equalized layer is left as it was",
        f"{_RECIPES}/equalization.py",
        "layer.bias.detach() / self.scales",
        "layer.bias.detach()",
        (f"{_EQUALIZATION_TEST}::test_the_function_stays_on_inputs_far_from_those_seen",),
    ),
    Mutant(
        "the cap of an equalized ReLU6 is left as it was",
        f"{_RECIPES}/equalization.py",
        "own.caps / self.scales)",
        "own.caps)",
        (f"{_EQUALIZATION_TEST}::test_a_channel_at_its_cap_stays_and_the_others_get_caps_of_their_own",),
    ),
    Mutant(
        "an equalized channel may grow beyond the largest",
        f"{_RECIPES}/equalization.py",
        "torch.minimum(torch.maximum(wanted, least), torch.ones_like(used))",
        "torch.minimum(wanted, torch.ones_like(used))",
        (f"{_EQUALIZATION_TEST}::test_no_channel_grows_beyond_the_largest",),
    ),
    Mutant(
        "a channel that is always zero is scaled",
        f"{_RECIPES}/equalization.py",
        "return torch.where((used > 0) & (after > 0), scales, 1.0)",
        "return scales",
        (f"{_EQUALIZATION_TEST}::test_a_dead_channel_is_left_alone",),
    ),
    Mutant(
        "adaptive rounding may be worse than rounding to nearest",
        f"{_RECIPES}/adaround.py",
        "start = torch.where(is_better[..., None], found, nearest)",
        "start = found",
        (f"{_ADAROUND_TEST}::test_an_output_that_rounding_to_nearest_suits_keeps_it",),
    ),
    Mutant(
        "adaptive rounding moves what lies on a step",
        f"{_RECIPES}/adaround.py",
        "lies_between = (steps != floor).float()",
        "lies_between = torch.ones_like(steps)",
        (f"{_ADAROUND_TEST}::test_what_lies_on_a_step_stays",),
    ),
    Mutant(
        "the readers' worst range is taken",
        f"{_RECIPES}/reader_ranges.py",
        "min(found, key=found.__getitem__)",
        "max(found, key=found.__getitem__)",
        (f"{_READER_TEST}::test_the_range_is_that_of_the_reader",),
    ),
    Mutant(
        "a range that loses nearly all of the power may be taken",
        f"{_RECIPES}/reader_ranges.py",
        "if lost > MOST_LOST * self.power[observer] or cut > MOST_LOST:",
        "if lost > 0.95 * self.power[observer] or cut > 0.95:",
        (f"{_READER_TEST}::test_a_range_that_loses_what_it_should_hold_is_none",),
    ),
    Mutant(
        "biases may fill 36 bits",
        _OVERFLOW,
        "_LARGEST_BIAS = 2.0**30",
        "_LARGEST_BIAS = 2.0**36",
        (f"{_OVERFLOW_TEST}::test_only_the_channel_that_needs_it_gets_another_scale",),
    ),
    Mutant(
        "of two inputs the coarser one says how much room a bias needs",
        _OVERFLOW,
        "scales[module] = min(scale, scales.get(module, math.inf))",
        "scales[module] = max(scale, scales.get(module, 0.0))",
        (f"{_OVERFLOW_TEST}::test_a_layer_called_twice_has_room_at_its_finer_input",),
    ),
)

RANGES = (
    Mutant(
        "the percentile method cuts one in a hundred",
        _METHODS,
        "_CUT_SHARE = 1e-4",
        "_CUT_SHARE = 1e-2",
        (f"{_OBSERVERS_TEST}::test_percentile_cuts_one_in_ten_thousand_at_either_end",),
    ),
    Mutant(
        "the variance of a step is ten times too small",
        _METHODS,
        "((high - low) / steps) ** 2 / 12 * number",
        "((high - low) / steps) ** 2 / 120 * number",
        (f"{_OBSERVERS_TEST}::test_ranges_are_as_good_as_torchs_own",),
    ),
    Mutant(
        "a value that stands for seventeen counts once",
        _OBSERVERS,
        ".view(2, -1).mul_(step)):",
        ".view(2, -1)):",
        (f"{_OBSERVERS_TEST}::test_of_a_large_image_one_value_in_seventeen_is_counted_and_stands_for_all",),
    ),
    Mutant(
        "merged observers keep their own extremes",
        _OBSERVERS,
        "self.max_val = torch.maximum(self.max_val, other.max_val)",
        "pass",
        (f"{_OBSERVERS_TEST}::test_batches_do_not_matter",),
    ),
    Mutant(
        "infinite values are observed",
        _OBSERVERS,
        "if not (math.isfinite(least) and math.isfinite(most)):",
        "if False:",
        (f"{_OBSERVERS_TEST}::test_what_is_not_finite_is_refused",),
    ),
    Mutant(
        "weights use -128",
        _OBSERVERS,
        '"quant_min": -127,',
        '"quant_min": -128,',
        (f"{_OBSERVERS_TEST}::test_the_largest_weight_is_127_steps",),
    ),
    Mutant(
        "a capped convolution's activation is not clamped while it is calibrated",
        "rewrites/modules.py",
        "return nn.functional.hardtanh(input, 0.0, self.cap)",
        "return nn.functional.relu(input)",
        ("tests/rewrites/test_fusion.py::test_the_range_of_a_capped_convolution",),
    ),
    Mutant(
        "a capped sum is not clamped while it is calibrated",
        "rewrites/modules.py",
        "nn.functional.hardtanh(torch.add(x, y), 0.0, self.cap)",
        "nn.functional.relu(torch.add(x, y))",
        ("tests/rewrites/test_fusion.py::test_the_range_of_a_capped_sum",),
    ),
    Mutant(
        "steps finer than the kernel takes are added",
        _REFUSALS,
        "FINEST, COARSEST = 2.0**-14, 2.0**8",
        "FINEST, COARSEST = 2.0**-16, 2.0**8",
        (f"{_REFUSALS_TEST}::test_the_ratios_an_addition_takes",),
    ),
    Mutant(
        "steps coarser than the kernel takes are added",
        _REFUSALS,
        "FINEST, COARSEST = 2.0**-14, 2.0**8",
        "FINEST, COARSEST = 2.0**-14, 2.0**9",
        (f"{_REFUSALS_TEST}::test_the_ratios_an_addition_takes",),
    ),
    Mutant(
        "a constant may be more steps than 32 bits hold",
        _REFUSALS,
        "_MOST_STEPS = 2.0**30",
        "_MOST_STEPS = 2.0**33",
        (f"{_REFUSALS_TEST}::test_a_range_is_widened[a constant of a billion steps]",),
    ),
    Mutant(
        "a range is widened whoever else reads it",
        _REFUSALS,
        "if cost <= _TOLERATED:",
        "if True:",
        (f"{_REFUSALS_TEST}::test_the_operation_goes_to_float",),
    ),
    Mutant(
        "a capped range is widened beyond its cap",
        _REFUSALS,
        "if caps and wanted * 255 > caps[0]:",
        "if False:",
        (f"{_REFUSALS_TEST}::test_the_operation_goes_to_float",),
    ),
)
