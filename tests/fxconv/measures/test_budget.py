"""--max-drop: the fewest layers in float that keep the promise, or the best that was reached."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from fxconv_commands import REPO, assert_user_error
from fxconv_outliers import HUGE, hopeless, outliers
from PIL import Image
from rich.console import Console
from torch import nn

import fxconv
from fxconv.config import Recipe, WeightScheme
from fxconv.config_file import reproducing
from fxconv.conversion import Conversion
from fxconv.data.labels import LabelledBatches
from fxconv.errors import ConversionError, UserError
from fxconv.measures.budget import _Search, _units
from fxconv.measures.judge import Judgement, Score
from fxconv.measures.layer_cost import LayerCost
from fxconv.quantization.engine import engine

OUTLIERS = REPO / "tests" / "fxconv" / "fxconv_outliers.py"


@pytest.fixture(scope="module")
def one_kept() -> Conversion:
    """A network of which one layer's weights do not bear one scale for all."""
    torch.set_num_threads(1)
    model, (calibration, images) = outliers("weight")
    # what has to be in float is planted, and must not depend on what a recipe mends
    options = {"max_drop": 5.0, "weight_scheme": WeightScheme.per_tensor, "recipe": (Recipe.none,)}
    return fxconv.convert(model, [calibration], held_out=[images], **options)


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
    assert abs(kept.extra_cpu_ms) < 100
    assert one_kept.judgement.extra_cpu_ms != 0.0


def test_without_need_nothing_is_kept():
    model, (calibration, images) = outliers("none")
    conversion = fxconv.convert(model, [calibration], held_out=[images], max_drop=5.0, recipe=(Recipe.none,))
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
        recipe=(Recipe.none,),
        keep_float=("head",),
    )
    assert conversion.config.keep_float == ("head", HUGE)


def test_the_found_choices_give_the_same_without_a_search(one_kept):
    model, (calibration, images) = outliers("weight")
    again = fxconv.convert(model, [calibration], config=reproducing(one_kept.config, one_kept.recipe.steps))
    assert again.judgement is None
    assert one_kept.config.keep_float == (HUGE,)
    assert answered(again.int8, images) == answered(one_kept.int8, images)
    torch.backends.quantized.engine = "qnnpack"
    assert torch.equal(again.int8(images), one_kept.int8(images))


def test_what_is_in_float_is_not_taken_for_equalized():
    model, (calibration, images) = outliers("weight")
    options = {"max_drop": 5.0, "weight_scheme": WeightScheme.per_tensor, "recipe": (Recipe.equalization,)}
    found = fxconv.convert(model, [calibration], held_out=[images], **options)
    assert found.verified, found.verdict
    assert found.judgement.kept and found.recipe.equalized


def test_a_budget_that_cannot_be_met_names_the_best(tmp_path):
    _, (calibration, images) = outliers("none")
    path = tmp_path / "model.ptl"
    with pytest.raises(ConversionError, match=r"max_drop=2 cannot be met: top-1 agreement .* at best on 100 images, "
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
        recipe=(Recipe.none,),
    )
    found = conversion.judgement
    assert (found.measure, found.float_accuracy, found.allowed) == ("accuracy", 0.75, 0.71)
    assert found.before.accuracy < 0.71 <= found.after.accuracy
    assert found.paths == (HUGE,)


def test_labels_without_a_budget_are_scored_only():
    model, (calibration, images) = outliers("none")
    held_out = LabelledBatches([images], answered(model, images))
    found = fxconv.convert(model, [calibration], held_out=held_out, recipe=(Recipe.none,)).judgement
    assert (found.max_drop, found.allowed, found.kept, found.float_accuracy) == (None, None, (), 1.0)
    assert found.after.accuracy == found.after.agreement


def test_a_budget_without_other_images_is_refused(small_model, batches):
    with pytest.raises(UserError, match=r"max_drop is judged on images not used for calibration, and there are none"):
        fxconv.convert(small_model, batches, max_drop=1.0)


def test_a_budget_finer_than_one_image_is_warned_of(small_model, batches):
    conversion = fxconv.convert(small_model, batches[:2], held_out=batches[2:], max_drop=12.4)
    assert conversion.judgement.warnings == (
        "on 8 images one answer is 12.5 points, so max_drop=12.4 allows none to change; judge by more (held_out)",
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


class Counted:
    """A judge of candidates that are nothing but the paths of what they have in float."""

    def __init__(self, score: Callable[[set[str]], float]) -> None:
        self.function, self.tried = score, list[set[str]]()

    def again(self, paths: tuple[str, ...]) -> SimpleNamespace:
        return SimpleNamespace(int8=paths)

    def score(self, paths: tuple[str, ...]) -> Score:
        self.tried.append(set(paths))
        return Score(self.function(set(paths)))


def searched(score: Callable[[set[str]], float], layers: list[LayerCost]) -> tuple[set[str], Counted]:
    """What a search for 99 % keeps, where nothing in float gives 90 %."""
    judge = Counted(score)
    result = Judgement("", 100, None, Score(0.9), Score(0.9), 1.0, 0.99)
    search = _Search(judge.again, judge, result, lambda name: nullcontext(), lambda *_: None)
    quantized, kept = search.cheapest(layers)
    assert set(quantized.int8) == {one.where for one in kept}
    return set(quantized.int8), judge


MANY = [layer(f"l{number:02}", 10 + number / 4) for number in range(60)]


def test_a_layer_that_makes_it_worse_is_left_out_again():
    kept, judge = searched(lambda paths: 0.95 + 0.04 * ("l02" in paths) - 0.05 * ("l01" in paths), MANY)
    assert kept == {"l02"}
    assert judge.tried == [{"l00"}, {"l00", "l01"}, {"l00", "l02"}, {"l02"}]


def test_a_layer_that_makes_it_worse_by_chance_stays():
    worse = {"l00": 0.88, "l00 l01": 0.99}
    kept, _ = searched(lambda paths: worse.get(" ".join(sorted(paths)), 0.9), MANY)
    assert kept == {"l00", "l01"}


def test_what_turned_out_unnecessary_is_dropped():
    kept, _ = searched(lambda paths: 0.99 if {"l01", "l04"} <= paths else 0.9, MANY)
    assert kept == {"l01", "l04"}


def test_many_layers_are_found_in_few_steps():
    needed = {f"l{number:02}" for number in range(40)}
    kept, judge = searched(lambda paths: 0.9 + 0.09 * len(paths & needed) / 40, MANY)
    assert kept == needed
    assert len(judge.tried) < 40


def test_layers_that_nothing_helps_are_not_tried_for_ever():
    with pytest.raises(ConversionError, match=r"is 90.0 % at best on 100 images, with nothing in float"):
        searched(lambda paths: 0.9, MANY)
    with pytest.raises(ConversionError, match=r"is 95.0 % at best on 100 images, with 24 of 60 operations in float"):
        searched(lambda paths: 0.95 if len(paths) == 24 else 0.9, MANY)


def test_the_report_shows_what_was_kept_and_its_price(one_kept):
    report = json.loads(one_kept.report.json_text())["judgement"]
    assert report["measure"] == "top-1 agreement with float"
    assert report["score"] == one_kept.judgement.after.agreement
    assert report["kept"][0]["where"] == HUGE
    assert report["extra_bytes"] == 1728
    assert (report["max_drop"], report["allowed"]) == (5.0, 0.95)


@pytest.fixture
def classes(tmp_path):
    """Four folders of photographs, and the same as a list."""
    generator = torch.Generator().manual_seed(0)
    lines = ["file,class"]
    for index, name in enumerate(("2_cat", "0_bird", "3_dog", "1_boat")):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        for number in range(6):
            pixels = torch.randint(0, 256, (12, 12, 3), dtype=torch.uint8, generator=generator).numpy()
            Image.fromarray(pixels).save(tmp_path / "photographs" / name / f"{number}.png")
            lines.append(f"{name}/{number}.png,{(2, 0, 3, 1)[index]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


def test_accuracy_from_class_folders_and_from_a_list(command, classes):
    words = ("convert", f"{OUTLIERS}:weight_outlier", "--input-size", "3x12x12", "--calib-count", "16")
    folder, labels = str(classes / "photographs"), str(classes / "labels.csv")
    run = command(*words, "--eval", folder, "--max-drop", "8", "--json", "report.json", "--report")
    by_folder = run.report["judgement"]
    assert run.status == 0
    assert by_folder["measure"] == "accuracy"
    assert by_folder["images"] == 24
    assert by_folder["score"] >= by_folder["float_accuracy"] - 0.08
    assert by_folder["source"].startswith(f"24 of 24 labelled photographs in {folder}")
    assert "Judged on images not used for calibration" in run.stdout
    listed = command(*words, "--eval", folder, "--labels", labels, "--max-drop", "8", "--json", "report.json")
    assert listed.status == 0
    same = ("images", "float_accuracy", "before", "after", "kept")
    assert [listed.report["judgement"][key] for key in same[:4]] == [by_folder[key] for key in same[:4]]


def test_what_calibration_uses_is_not_judged_by(command, classes):
    run = command(
        *("convert", f"{OUTLIERS}:no_outlier", "--input-size", "3x12x12", "--calib-count", "10"),
        *("--calib", str(classes / "photographs"), "--eval", str(classes / "photographs"), "--json", "report.json"),
    )
    assert run.report["judgement"]["images"] == 14
    assert run.report["judgement"]["max_drop"] is None


def test_the_report_on_a_terminal_shows_what_was_kept(one_kept):
    page = io.StringIO()
    one_kept.report.print(Console(file=page, width=200, highlight=False))
    lines = page.getvalue().splitlines()
    rows = [line.split() for line in lines if line.startswith(f"{HUGE}  ")]
    assert ["+1.7", "kB"] in [row[-4:-2] for row in rows]
    assert any(line.startswith("--max-drop 5 asks for top-1 agreement with float of at least 95.0 %") for line in lines)
    (kept,) = [line for line in lines if line.startswith("kept in float  second.conv: +1.7 kB")]
    assert f"without {100 * one_kept.judgement.before.agreement:.1f} %" in kept


def test_the_command_line_tells_of_mistakes_in_one_line(command):
    small = ("convert", "mobilenet_v2", "--max-drop")
    assert_user_error(command(*small, "-1"), "--max-drop -1: give percentage points from 0 to 100")
    assert_user_error(command(*small, "nan"), "--max-drop nan")
    assert_user_error(command("convert", "mobilenet_v2", "--eval", "gone"), "--eval gone: no such folder")
    assert_user_error(command("convert", "mobilenet_v2", "--labels", "gone"), "--labels gone: cannot be read")
