"""Faults in how int8 is held beside float: channel by channel, on what is returned, on images used for nothing else."""

from __future__ import annotations

from benchmarks.faults.mutant import Mutant

_PARITY, _TWO = "fxconv/verification/parity.py", "tests/fxconv/conversion/test_two_verdicts.py"
_CHANNELS, _CHANNELS_TEST = "fxconv/measures/channel_noise.py", "tests/fxconv/measures/test_channel_noise.py"
_OUTPUTS, _OUTPUTS_TEST = "fxconv/measures/output_comparison.py", "tests/fxconv/measures/test_output_comparison.py"
_REPLAY, _REPLAY_TEST = "fxconv/measures/replayed_decisions.py", "tests/fxconv/measures/test_replayed_decisions.py"
_HELD_OUT, _HELD_OUT_TEST = "fxconv/data/held_out.py", "tests/fxconv/data/test_held_out.py"
_FIDELITY, _FIDELITY_TEST = "fxconv/measures/fidelity.py", "tests/fxconv/measures/test_fidelity.py"
_TOGETHER = "fxconv/quantization/images_together.py"
_TOGETHER_TEST = "tests/fxconv/quantization/test_images_together.py"
_ENDS, _ENDS_TEST = "fxconv/quantization/coarse_ends.py", "tests/fxconv/quantization/test_coarse_ends.py"
_RECIPE = "fxconv/quantization/recipe_search/recipe.py"
_RECIPE_TEST = "tests/fxconv/quantization/recipe_search/test_recipe.py"

FIDELITY = (
    Mutant(
        "a channel that is lost fails nothing",
        _PARITY,
        "if not row.passed or not lost:",
        "if True:",
        (f"{_TWO}::test_a_loud_channel_hides_none_of_the_others",),
    ),
    Mutant(
        "a part of which a third is noise is not warned of",
        _PARITY,
        "LOST_DB, FAINT_DB = 0.0, 5.0",
        "LOST_DB, FAINT_DB = 0.0, 0.0",
        (f"{_TWO}::test_a_channel_of_which_a_third_is_noise_is_warned_of",),
    ),
    Mutant(
        "channels are not looked at",
        _CHANNELS,
        "if dim == channels < len(next(iter(self._shapes))) and not sums.is_uneven:",
        "if False:",
        (f"{_CHANNELS_TEST}::test_scores_beside_boxes_in_pixels",),
    ),
    Mutant(
        "a mean lends power",
        _CHANNELS,
        "return (self.squares - self.total * self.means).clamp(min=0)",
        "return self.squares",
        (f"{_CHANNELS_TEST}::test_an_offset_that_each_channel_has_for_itself_lends_none_either",),
    ),
    Mutant(
        "what is constant in int8 is not called so",
        _CHANNELS,
        "return self.got_low == self.got_high",
        "return self.got_low > self.got_high",
        (f"{_CHANNELS_TEST}::test_an_offset_lends_no_power",),
    ),
    Mutant(
        "columns of a third dimension are not looked at",
        _CHANNELS,
        "return 2 if value.ndim == 3 and value.shape[2] < value.shape[1] else 1",
        "return 1",
        (f"{_CHANNELS_TEST}::test_rows_of_boxes_and_scores",),
    ),
    Mutant(
        "the imaginary part is dropped",
        _OUTPUTS,
        "torch.view_as_real(value.resolve_conj()) if value.is_complex()",
        "value.real if value.is_complex()",
        (f"{_OUTPUTS_TEST}::test_the_imaginary_part_counts",),
    ),
    Mutant(
        "classes are compared as if they were numbers alone",
        _OUTPUTS,
        "return max(decibels(about_mean, self.noise), decibels(self.values, self.others))",
        "return decibels(about_mean, self.noise)",
        (f"{_OUTPUTS_TEST}::test_classes_count_by_how_many_are_equal_and_pixels_by_how_far_off_they_are",),
    ),
    Mutant(
        "channels are looked for where they do not lie",
        "fxconv/measures/output_makers.py",
        "else value.movedim(dim, 1)",
        "else value.movedim(-2, 1)",
        (f"{_TWO}::test_a_loud_channel_however_the_output_lies",),
    ),
    Mutant(
        "an answer that int8 was given counts as its own",
        _REPLAY,
        "result = replaying.owned(result)",
        "result = list(result)",
        (f"{_REPLAY_TEST}::test_an_answer_that_is_returned_is_int8s_own",),
    ),
    Mutant(
        "branches are always float's",
        _REPLAY,
        "_Decisions(recording.made if selects else None)",
        "_Decisions(recording.made)",
        (f"{_REPLAY_TEST}::test_a_branch_that_int8_takes_otherwise_is_what_is_compared",),
    ),
    Mutant(
        "a decision replaces what the model returns",
        _REPLAY,
        "count = 0 if incomparable else len(original[0])",
        "count = 0 if incomparable or any(run.selects for run in runs) else len(original[0])",
        (f"{_REPLAY_TEST}::test_what_it_returns_is_compared_and_what_its_graphs_give_before",),
    ),
    Mutant(
        "images that something was chosen by serve once more",
        _HELD_OUT,
        "(data.others(used + most), used)",
        "(data.others(used + most), 0)",
        (f"{_HELD_OUT_TEST}::test_what_is_behind_those_that_something_was_chosen_by",),
    ),
    Mutant(
        "images that were trained on serve once more",
        _HELD_OUT,
        "others.leave(trained_on.paths)",
        "others.leave(())",
        (f"{_HELD_OUT_TEST}::test_what_was_trained_on_is_not_among_them",),
    ),
    Mutant(
        "a lost channel spoils no grade",
        _FIDELITY,
        "place = max(place, (worst < _FAINT_DB) + (worst < _LOST_DB))",
        "place = max(place, 0)",
        (f"{_FIDELITY_TEST}::test_grades_of_answers",),
    ),
    Mutant(
        "a least agreement that was not measured is reached",
        _FIDELITY,
        "if self.agreement is None:",
        "if self.agreement is None and not self.problem:",
        (f"{_FIDELITY_TEST}::test_what_is_asked_of_it", f"{_TWO}::test_least_agreement_of_what_was_not_measured"),
    ),
    Mutant(
        "steps may cost answers little by little",
        _RECIPE,
        "agreeing = max(agreeing, now, key=lambda one: one.agreement or 0.0)",
        "agreeing = now",
        (f"{_RECIPE_TEST}::test_answers_lost_little_by_little_are_not_lost_beyond_chance",),
    ),
    Mutant(
        "statistics over a batch are not looked for inside",
        _TOGETHER,
        "_TOLERANCE, _DOUBLE_TOLERANCE = 1e-5, 1e-9",
        "_TOLERANCE, _DOUBLE_TOLERANCE = 1e5, 1e-9",
        (f"{_TOGETHER_TEST}::test_statistics_over_the_batch_are_told_from_those_of_an_image",),
    ),
    Mutant(
        "scores beside boxes in pixels share their scale",
        _ENDS,
        "COARSE = 8.0",
        "COARSE = 8e9",
        (f"{_ENDS_TEST}::test_a_fine_part_keeps_its_steps",),
    ),
)
