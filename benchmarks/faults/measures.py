"""Faults in what a model is measured by and fed with: peaks, agreement, budget, held-out images, labels, pixels."""

from __future__ import annotations

from benchmarks.faults.mutant import Mutant

_PEAKS, _PEAKS_TEST = "fxconv/models/heatmap_peaks.py", "tests/fxconv/models/test_heatmap_peaks.py"
_SIMILARITY, _SIMILARITY_TEST = "fxconv/measures/similarity.py", "tests/fxconv/measures/test_similarity.py"
_JUDGE, _JUDGE_TEST = "fxconv/measures/judge.py", "tests/fxconv/measures/test_judge.py"
_BUDGET, _BUDGET_TEST = "fxconv/measures/budget.py", "tests/fxconv/measures/test_budget.py"
_LABELS, _LABELS_TEST = "fxconv/data/labels.py", "tests/fxconv/data/test_labels.py"
_HELD_OUT_TEST = "tests/fxconv/data/test_held_out.py"
_PIXELS, _PIXELS_TEST = "fxconv/models/preprocessing.py", "tests/fxconv/models/test_preprocessing.py"

PEAKS = (
    Mutant(
        "a plateau beside a higher cell is a peak",
        _PEAKS,
        "goes_on = peaks & (_around",
        "goes_on = ~peaks & (_around",
        (f"{_PEAKS_TEST}::test_a_plateau_is_one_detection_at_its_first_cell_unless_a_neighbour_is_higher",),
    ),
    Mutant(
        "every cell of a plateau is a peak",
        _PEAKS,
        "return peaks & (labels == own)",
        "return peaks & (labels <= cells)",
        (f"{_PEAKS_TEST}::test_a_plateau_is_one_detection_at_its_first_cell_unless_a_neighbour_is_higher",),
    ),
    Mutant(
        "a score at the threshold counts",
        _PEAKS,
        "(scores > self.threshold)",
        "(scores >= self.threshold)",
        (f"{_PEAKS_TEST}::test_a_score_at_the_threshold_does_not_count",),
    ),
    Mutant(
        "noise carries a cell past one that is a step higher",
        _PEAKS,
        "_WITHIN = 0.999",
        "_WITHIN = 2.5",
        (f"{_PEAKS_TEST}::test_noise_leaves_one_of_a_pair_and_never_beats_a_step",),
    ),
    Mutant(
        "x and y are exchanged",
        _PEAKS,
        "rows = [x.float(), y.float(), ranked,",
        "rows = [y.float(), x.float(), ranked,",
        (f"{_PEAKS_TEST}::test_rows_are_pixels_score_class_and_the_best_come_first",),
    ),
)

MEASURES = (
    Mutant(
        "of several outputs the best one's SQNR counts",
        _SIMILARITY,
        "return min((noise.sqnr",
        "return max((noise.sqnr",
        (f"{_SIMILARITY_TEST}::test_the_worst_of_several_outputs_counts",),
    ),
    Mutant(
        "an answer that is not asked for counts as the same",
        _SIMILARITY,
        "self.same += sum(a == b for a, b in pairs)",
        "self.same += len(pairs)",
        (f"{_SIMILARITY_TEST}::test_agreement_is_the_share_of_images_with_the_same_class_on_top",),
    ),
    Mutant(
        "the accuracy of int8 is that of float",
        _JUDGE,
        "len(pairs), self._accuracy(found))",
        "len(pairs), self._accuracy(self.wanted))",
        (f"{_JUDGE_TEST}::test_accuracy_is_with_the_labels",),
    ),
    Mutant(
        "a budget with labels is about agreement",
        _JUDGE,
        "return (score.agreement if self.float_accuracy is None else score.accuracy) or 0.0",
        "return score.agreement or 0.0",
        (f"{_JUDGE_TEST}::test_the_budget_is_about_agreement_or_about_accuracy",),
    ),
    Mutant(
        "a budget is exceeded by half a point",
        _JUDGE,
        "_ROUNDING = 1e-9",
        "_ROUNDING = 5e-3",
        (f"{_JUDGE_TEST}::test_shares_are_compared_with_room_for_rounding",),
    ),
    Mutant(
        "a point of the budget is a tenth",
        _JUDGE,
        "- max_drop / 100)",
        "- max_drop / 10)",
        (f"{_BUDGET_TEST}::test_with_labels_the_budget_is_about_accuracy",),
    ),
    Mutant(
        "what turned out unnecessary stays in float",
        _BUDGET,
        "kept = self._pruned(kept)",
        "pass",
        (f"{_BUDGET_TEST}::test_what_turned_out_unnecessary_is_dropped",),
    ),
    Mutant(
        "generated images to judge by are those calibrated on",
        "fxconv/data/held_out.py",
        'getattr(data, "seed", 0) + 1)',
        'getattr(data, "seed", 0))',
        (f"{_HELD_OUT_TEST}::test_all_photographs_used_up_means_generated_images_and_a_warning",),
    ),
    Mutant(
        "a photograph to judge by takes the place of one that cannot be read",
        "fxconv/data/calibration_photographs.py",
        "if len(self._spares) > self._held_out:",
        "if self._spares:",
        (f"{_HELD_OUT_TEST}::test_a_photograph_that_cannot_be_read_is_not_replaced_by_one_held_out",),
    ),
    Mutant(
        "rows to judge by begin with the last of calibration",
        "fxconv/data/calibration_arrays.py",
        "self.places, self._spares = order[:count], order[count:]",
        "self.places, self._spares = order[:count], order[count - 1 :]",
        (f"{_HELD_OUT_TEST}::test_the_rows_behind_those_of_calibration",),
    ),
    Mutant(
        "what was calibrated on counts as unseen",
        "fxconv/data/held_out.py",
        "return HeldOut(data, False, warning)",
        "return HeldOut(data, True, warning)",
        (f"{_HELD_OUT_TEST}::test_tensors_from_python_serve_for_both_and_the_warning_says_so",),
    ),
    Mutant(
        "labelled photographs that calibration uses are judged by",
        _LABELS,
        "if path.resolve() not in used}",
        "if True}",
        (f"{_LABELS_TEST}::test_what_calibration_uses_is_not_judged_by",),
    ),
    Mutant(
        "labels stand in the order of the files' names",
        _LABELS,
        "return [self.classes[path] for path in self.paths]",
        "return [self.classes[path] for path in sorted(self.paths)]",
        (f"{_LABELS_TEST}::test_labels_stand_in_the_order_of_the_images",),
    ),
    Mutant(
        "numbers in front of folders' names are no indices",
        _LABELS,
        "    if all(numbers.values()):\n",
        "    if False:\n",
        (f"{_LABELS_TEST}::test_numbers_in_front_are_the_index_when_all_folders_have_one",),
    ),
    Mutant(
        "mean and deviation of a preset are exchanged",
        _PIXELS,
        "mean, std = (tuple(preset.mean), tuple(preset.std)) if",
        "std, mean = (tuple(preset.mean), tuple(preset.std)) if",
        (f"{_PIXELS_TEST}::test_equals_the_transforms_of_the_weights",),
    ),
    Mutant(
        "pixels are divided before the mean is taken off",
        "fxconv/targets/wrapping/normalization.py",
        ".sub(self.mean).div(self.std)",
        ".div(self.std).sub(self.mean)",
        ("tests/fxconv/targets/wrapping/test_normalization.py::test_normalize_gives_torchvisions_bits",),
    ),
)
