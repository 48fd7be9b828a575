"""--max-drop: the fewest layers in float that keep the promise, or the best that was reached."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from fxconv_commands import assert_user_error
from fxconv_outliers import HUGE, hopeless, outliers
from torch import nn

import fxconv
from fxconv.budget import _units
from fxconv.config import WeightScheme
from fxconv.conversion import Conversion
from fxconv.errors import ConversionError, UserError
from fxconv.judge import Score
from fxconv.labels import LabelledBatches
from fxconv.probe import LayerCost
from fxconv.quantize import engine


@pytest.fixture(scope="module")
def one_kept() -> Conversion:
    """A network of which one layer's weights do not bear one scale for all."""
    torch.set_num_threads(1)
    model, (calibration, images) = outliers("weight")
    return fxconv.convert(model, [calibration], held_out=[images], max_drop=5.0, weight_scheme=WeightScheme.per_tensor)


def answered(module: nn.Module, images: torch.Tensor) -> list[int]:
    with torch.no_grad(), engine("qnnpack"):
        return [int(module(image[None]).argmax()) for image in images]


def test_only_the_layer_that_needs_it_is_in_float(one_kept):
    found = one_kept.judgement
    assert one_kept.verified
    assert found.paths == (HUGE,)
    assert found.before.agreement < 0.5
    assert found.after.agreement >= found.allowed == 0.95
    (island,) = one_kept.rewritten.islands
    assert island.reason == f"kept in float: --keep-float {HUGE}"


def test_the_score_is_that_of_the_int8_module_on_held_out_images(one_kept):
    model, (_, images) = outliers("weight")
    same = [a == b for a, b in zip(answered(model, images), answered(one_kept.int8, images), strict=True)]
    assert one_kept.judgement.after == Score(sum(same) / 100)
    assert one_kept.judgement.images == 100


def test_the_price_is_in_bytes_and_milliseconds(one_kept):
    (kept,) = one_kept.judgement.kept
    assert (kept.kind, kept.extra_bytes) == ("Conv2d + ReLU", 3 * 8 * 8 * 9)
    assert kept.sqnr_db < 0
    assert abs(kept.extra_ms) < 100


def test_without_need_nothing_is_kept():
    model, (calibration, images) = outliers("none")
    conversion = fxconv.convert(model, [calibration], held_out=[images], max_drop=5.0)
    assert conversion.judgement.paths == ()
    assert conversion.judgement.tried == 1
    assert conversion.config.keep_float == ()
    assert conversion.converted


def test_a_loud_output_takes_its_reader_along():
    model, (calibration, images) = outliers("activation")
    conversion = fxconv.convert(model, [calibration], held_out=[images], max_drop=5.0)
    assert set(conversion.judgement.paths) == {"second.conv", "third.conv"}
    assert conversion.judgement.after.agreement >= 0.95


def test_kept_layers_are_added_to_those_of_the_user(one_kept):
    model, (calibration, images) = outliers("weight")
    conversion = fxconv.convert(
        model,
        [calibration],
        held_out=[images],
        max_drop=5.0,
        weight_scheme=WeightScheme.per_tensor,
        keep_float=("head",),
    )
    assert conversion.config.keep_float == ("head", HUGE)


def test_the_found_choices_give_the_same_without_a_search(one_kept):
    model, (calibration, images) = outliers("weight")
    again = fxconv.convert(model, [calibration], config=replace(one_kept.config, max_drop=None))
    assert again.judgement is None
    assert one_kept.config.keep_float == (HUGE,)
    assert answered(again.int8, images) == answered(one_kept.int8, images)
    torch.backends.quantized.engine = "qnnpack"
    assert torch.equal(again.int8(images), one_kept.int8(images))


def test_a_budget_that_cannot_be_met_names_the_best(tmp_path):
    _, (calibration, images) = outliers("none")
    path = tmp_path / "model.ptl"
    with pytest.raises(ConversionError, match=r"--max-drop 2 cannot be met: top-1 agreement .* at best on 100 images, "
                                              r"with nothing in float, and 98.0 % are asked for") as error:  # fmt: skip
        fxconv.convert(hopeless(), [calibration], held_out=[images], max_drop=2.0, output=path)
    assert "\n" not in str(error.value)
    assert not path.exists()


def test_with_labels_the_budget_is_about_accuracy():
    model, (calibration, images) = outliers("weight")
    right = answered(model, images)
    labels = [label if index % 4 else (label + 1) % 4 for index, label in enumerate(right)]  # float is right on 75 %
    conversion = fxconv.convert(
        model,
        [calibration],
        held_out=LabelledBatches([images], labels),
        max_drop=4.0,
        weight_scheme=WeightScheme.per_tensor,
    )
    found = conversion.judgement
    assert (found.measure, found.float_accuracy, found.allowed) == ("accuracy", 0.75, 0.71)
    assert found.before.accuracy < 0.71 <= found.after.accuracy
    assert found.paths == (HUGE,)


def test_labels_without_a_budget_are_scored_only():
    model, (calibration, images) = outliers("none")
    held_out = LabelledBatches([images], answered(model, images))
    found = fxconv.convert(model, [calibration], held_out=held_out).judgement
    assert (found.max_drop, found.allowed, found.kept, found.float_accuracy) == (None, None, (), 1.0)
    assert found.after.accuracy == found.after.agreement


def test_a_budget_without_other_images_is_refused(small_model, batches):
    with pytest.raises(UserError, match=r"--max-drop is judged on images not used for calibration, and there are none"):
        fxconv.convert(small_model, batches, max_drop=1.0)


def test_a_budget_finer_than_one_image_is_warned_of(small_model, batches):
    conversion = fxconv.convert(small_model, batches[:2], held_out=batches[2:], max_drop=12.4)
    assert conversion.judgement.warnings == (
        "on 8 images one answer is 12.5 points, so --max-drop 12.4 allows none to change; judge by more (--held-out)",
    )
    assert conversion.judgement.warnings[0] in conversion.warnings


def layer(where: str, sqnr: float, output: float | None = None, readers=(), share=0.1, weights=100) -> LayerCost:
    kind = "QuantStub" if where.startswith("quant") else "Conv2d"
    return LayerCost(where, kind, sqnr, None, 100, share, weights, share, output, readers)


def units(*layers: LayerCost) -> list[list[str]]:
    return [[one.where for one in unit] for unit in _units(layers)]


def test_units_are_sorted_by_damage_for_their_price():
    dear = layer("dear", 15, share=0.9)
    assert units(layer("a", 20), layer("b", 10), dear, layer("c", 30)) == [["b"], ["a"], ["dear"]]


def test_the_layer_worth_least_stays_in_int8():
    assert units(layer("a", 20)) == []
    assert units(layer("a", 20), layer("b", 30)) == [["a"]]
    assert units(layer("a", 20), layer("sum", 40, weights=0)) == [["sum"]]


def test_an_output_that_suffers_takes_its_readers_along():
    assert units(layer("a", 10, 30, ("b",)), layer("b", 20), layer("c", 40))[0] == ["a"]
    assert units(layer("a", 10, 10, ("b",)), layer("b", 20), layer("c", 40))[0] == ["a", "b"]
    assert units(layer("quant_x", 5, 5, ("b",), weights=0), layer("b", 20), layer("c", 40)) == [["b"], ["b"]]


def test_the_report_shows_what_was_kept_and_its_price(one_kept):
    report = json.loads(one_kept.report.json_text())["judgement"]
    assert report["measure"] == "top-1 agreement with float"
    assert report["score"] == one_kept.judgement.after.agreement
    assert report["kept"][0]["where"] == HUGE
    assert report["extra_bytes"] == 1728
    assert (report["max_drop"], report["allowed"]) == (5.0, 0.95)


def test_the_command_line_tells_of_mistakes_in_one_line(command):
    small = ("convert", "mobilenet_v2", "--max-drop")
    assert_user_error(command(*small, "-1"), "--max-drop -1: give percentage points from 0 to 100")
    assert_user_error(command(*small, "nan"), "--max-drop nan")
