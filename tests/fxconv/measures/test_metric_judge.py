"""--metric: a function of the user's judges int8 in the place of top-1 answers, and a budget is met by it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fxconv_commands import Run, assert_user_error
from fxconv_heads import NETWORK, OF_POINTS, OF_SCORES, landmarks, two_heads, write_files
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, Mode, Recipe, WeightScheme
from fxconv.config_file import read, reproducing, text
from fxconv.conversion import Conversion
from fxconv.errors import ConversionError, UserError
from fxconv.measures.judge import Judgement, Score
from fxconv.measures.metric import MetricName
from fxconv.quantization.engine import engine

# what has to be in float is planted, and must not depend on what a recipe mends; the other head may well be ruined
PLAIN: dict[str, Any] = {"weight_scheme": WeightScheme.per_tensor, "recipe": (Recipe.none,), "min_sqnr": -30.0}


def converted(**options: Any) -> Conversion:
    torch.set_num_threads(1)
    model, images, truth = two_heads()
    held_out = [(images[32:52], truth[32:52]), (images[52:], truth[52:])]
    return fxconv.convert(model, [images[:32]], held_out=held_out, **PLAIN, **options)


@pytest.fixture(scope="module")
def by_landmarks() -> Conversion:
    return converted(metric=landmarks, max_drop=5.0)


def error_of(module: nn.Module) -> float:
    _, images, truth = two_heads()
    with torch.no_grad(), engine("qnnpack"):
        return -float((module(images[32:])[1] - truth[32:]).norm(dim=-1).mean())


def test_the_layers_that_the_metric_needs_are_in_float_and_no_others(by_landmarks):
    found = by_landmarks.judgement
    assert by_landmarks.verified
    assert found.paths == (OF_POINTS,)
    assert found.before.metric < found.allowed <= found.after.metric
    assert found.allowed == found.float_metric - 0.05


def test_answers_would_need_others():
    model, images, _ = two_heads()
    found = fxconv.convert(model, [images[:32]], held_out=[images[32:]], max_drop=5.0, **PLAIN).judgement
    assert found.paths == (OF_SCORES,)
    assert found.measure == "top-1 agreement with float"


def test_the_values_are_those_of_the_modules_on_held_out_images(by_landmarks):
    found = by_landmarks.judgement
    assert found.images == 40
    assert found.float_metric == pytest.approx(error_of(two_heads()[0]), abs=1e-6)
    assert found.score == pytest.approx(error_of(by_landmarks.int8), abs=1e-6)
    assert found.drop == pytest.approx(100 * (found.float_metric - found.score))
    assert (found.measure, found.float_accuracy, found.after.agreement) == ("landmarks", None, None)


def test_the_float_models_value_is_asked_for_once():
    asked = []

    def counted(model: Any, batches: Any) -> Tensor:
        asked.append(len(asked))
        return landmarks(model, batches)

    found = converted(metric=counted, max_drop=5.0).judgement
    assert found.kept
    assert len(asked) == 1 + found.tried


def test_the_drop_is_absolute_and_not_bounded_by_100():
    found = converted(metric=lambda model, batches: 1000 * landmarks(model, batches), max_drop=1e6).judgement
    assert found.kept == ()
    assert found.allowed == found.float_metric - 1e4
    assert 100 < found.drop < 1e6


def test_without_a_budget_it_is_told_only():
    conversion = converted(metric=landmarks)
    found = conversion.judgement
    assert (found.max_drop, found.allowed, found.kept, found.tried) == (None, None, (), 1)
    assert found.after == found.before
    assert conversion.config.metric == "fxconv_heads:landmarks"


def test_a_trained_model_is_judged_by_it_too():
    found = converted(metric=landmarks, mode=Mode.qat, epochs=1).judgement
    assert found.float_metric == pytest.approx(error_of(two_heads()[0]), abs=1e-6)
    assert found.measure == "landmarks"


def test_a_budget_that_cannot_be_met_names_the_best_value():
    model, images, _ = two_heads()
    with torch.no_grad():
        held_out = [(images[32:], model(images[32:])[1])]  # float's own landmarks, which int8 never has
    best = r"landmarks is -0\.\d+ at best on 40 images, with \d of \d operations in float, and -?0 is asked for"
    with pytest.raises(ConversionError, match=f"^max_drop=0 cannot be met: {best}") as error:
        fxconv.convert(model, [images[:32]], held_out=held_out, metric=landmarks, max_drop=0.0, **PLAIN)
    assert "\n" not in str(error.value)


def test_without_held_out_images_there_is_no_target():
    model, images, _ = two_heads()
    with pytest.raises(UserError, match="metric is judged on images not used for calibration, and there are none"):
        fxconv.convert(model, [images], metric=landmarks, **PLAIN)


def test_a_failing_metric_is_told_before_anything_is_searched():
    def failing(model: Any, batches: Any) -> float:
        return next(batches)[0].softmax()

    with pytest.raises(UserError, match=r"metric failing: failed with TypeError: .* in test_metric_judge.py, line \d+"):
        converted(metric=failing)


class Segmenting(nn.Module):
    """A class for each pixel of `[N, 3, 16, 16]`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.loud = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.loud(self.body(x)))


def segmenting() -> tuple[nn.Module, Tensor, Tensor]:
    """The network, 40 images, and masks that float gives but for one pixel in ten."""
    torch.manual_seed(0)
    model, images = Segmenting().eval(), torch.randn(40, 3, 16, 16)
    with torch.no_grad():
        model.body[0].weight[1], model.body[0].bias[1] = model.body[0].weight[0], model.body[0].bias[0]
        model.loud[0].weight[0, 0, 1, 1] += 100
        model.loud[0].weight[0, 1, 1, 1] -= 100
        masks = model(images).argmax(1)
    return model, images, torch.where(torch.rand(masks.shape) < 0.1, 0, masks)


def mean_iou(model: Any, batches: Any) -> Tensor:
    """The mean over three classes of what was found and is there, as a share of what was found or is there."""
    both, either = torch.zeros(3), torch.zeros(3)
    for images, masks in batches:
        found = model(images).argmax(1)
        for kind in range(3):
            both[kind] += ((found == kind) & (masks == kind)).sum()
            either[kind] += ((found == kind) | (masks == kind)).sum()
    return (both / either.clamp(min=1)).mean()


def test_mean_iou_of_a_segmentation():
    model, images, masks = segmenting()
    held_out = [(images[16:], masks[16:])]
    found = fxconv.convert(model, [images[:16]], held_out=held_out, metric=mean_iou, max_drop=3.0, **PLAIN).judgement
    assert found.paths == ("loud.conv",)
    assert found.before.metric < found.float_metric - 0.1
    assert found.allowed == found.float_metric - 0.03 <= found.score
    assert 0.5 < found.float_metric < 1
    assert found.drop <= 3


def test_it_trains_too_and_dynamic_has_none():
    assert Config(mode=Mode.qat, metric="a.py:f").metric == "a.py:f"
    with pytest.raises(UserError, match=r"^metric goes with mode='static' or 'qat', not with dynamic: leave one of"):
        Config(mode=Mode.dynamic, metric="a.py:f")
    with pytest.raises(UserError, match=r"max_drop=inf: give hundredths of the metric's unit"):
        Config(max_drop=float("inf"), metric="a.py:f")
    with pytest.raises(UserError, match=r"a Config holds FILE.py:NAME; give the function itself to fxconv.convert"):
        Config(metric=landmarks)  # type: ignore[arg-type]


def test_a_file_alone_runs_no_metric(tmp_path, by_landmarks):
    path = tmp_path / "config.json"
    path.write_text(text(Config(metric="my own.py:f")))
    with pytest.raises(UserError, match=r"names code that would run, which a file alone must not decide; look at "
                                        r"it, and give --metric 'my own.py:f' beside --config"):  # fmt: skip
        read(path, {})
    assert read(path, {"metric": "other.py:f"}).metric == "other.py:f"
    again = reproducing(by_landmarks.config, by_landmarks.recipe.steps)
    assert (again.metric, again.max_drop, again.keep_float) == (None, None, (OF_POINTS,))


def test_the_report_names_the_metric(by_landmarks):
    report, found = json.loads(by_landmarks.report.json_text())["judgement"], by_landmarks.judgement
    assert report["measure"] == "landmarks"
    assert report["metric"]["spec"] == "fxconv_heads:landmarks"
    assert len(report["metric"]["sha256"]) == 64
    assert (report["score"], report["float_metric"], report["drop"]) == (found.score, found.float_metric, found.drop)
    page = io.StringIO()
    by_landmarks.report.print(Console(file=page, width=200, highlight=False))
    words = page.getvalue()
    assert (
        f"landmarks {found.score:.6g}; float's {found.float_metric:.6g}, a drop of {found.drop:.3g}, at least "
        f"{found.allowed:.6g} asked for (40 images not used for calibration)" in words
    )
    assert f"without {found.before.metric:.6g}" in words
    assert f"--max-drop 5 asks for landmarks of at least {found.allowed:.6g}" in words
    assert f"fxconv_heads:landmarks: a drop of {found.drop:.3g}, in hundredths of its unit; higher is better" in words
    html = by_landmarks.report.html_text("")
    assert f"{found.float_metric:.6g}" in html
    assert "top-1 agreement with float" not in words + html


def judgement(value: float, allowed: float, at: float = 1.0) -> Judgement:
    score = Score(None, None, value)
    return Judgement("", 100, None, score, score, 1.0, allowed, metric=MetricName("m", "m.py:m"), float_metric=at)


def test_values_are_compared_with_room_for_rounding():
    assert judgement(0.99, 1.0 - 1 / 100).allows(Score(None, None, 0.99))
    assert judgement(0, -50_000 - 1 / 3).allows(Score(None, None, -50_000.33333334))
    assert not judgement(0, 0.99).allows(Score(None, None, 0.9899))
    assert judgement(0.5, 0.9).chance(Score(None, None, 0.5)) == 0.05
    assert replace(judgement(0.5, 0.9), float_metric=3.25).within(50).allowed == 2.75


@pytest.fixture
def folder(tmp_path, command) -> Path:
    """Where a command runs, with a metric and images with landmarks in it."""
    write_files(tmp_path / "cwd")
    return tmp_path / "cwd"


def run(command: Any, verb: str, *words: str) -> Run:
    own = {"convert": ("--min-sqnr", "-30", "--calib-count", "8"), "study": (), "sensitivity": ("--calib-count", "8")}
    return command(verb, *NETWORK, *own[verb], *words)


def test_the_command_line_takes_a_file_and_arrays(command, folder):
    done = run(command, "convert", "--metric", "error.py:landmarks", "--eval", "faces.npz",
               "--max-drop", "5", "--save-config", "c.json")  # fmt: skip
    assert done.status == 0, done.stderr
    found = done.report["judgement"]
    assert (found["measure"], found["metric"]["spec"], found["images"]) == ("landmarks", "error.py:landmarks", 72)
    assert found["source"] == "72 of 72 preprocessed arrays in faces.npz:images, seed 0"
    assert [kept["where"] for kept in found["kept"]] == [OF_POINTS]
    assert "judged         landmarks -" in done.stdout
    saved = json.loads((folder / "c.json").read_text())
    assert (saved["metric"], saved["max_drop"], saved["keep_float"]) == (None, None, [OF_POINTS])


def test_class_folders_give_class_indices_and_none_gives_no_target(command, folder):
    for index, name in enumerate(("0_cat", "1_dog", "2_fox", "3_owl")):
        (folder / "photographs" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.random.default_rng(2 * index + number).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photographs" / name / f"{number}.png")
    done = run(command, "convert", "--metric", "error.py:accuracy", "--eval", "photographs")
    assert done.status == 0, done.stderr
    assert done.report["judgement"]["images"] == 8
    assert 0 <= done.report["judgement"]["score"] <= 1
    done = run(command, "convert", "--metric", "error.py:without_targets", "--held-out", "10")
    assert done.status == 0, done.stderr
    assert done.report["judgement"]["score"] > 1


@pytest.mark.parametrize(
    ("verb", "words", "message"),
    [
        ("convert", ("--metric", "gone.py:f"), "gone.py: no such file"),
        ("convert", ("--metric", "error.py:landmark"), "error.py has no 'landmark'; did you mean landmarks?"),
        ("convert", ("--eval", "faces.npz"), "--eval faces.npz: arrays go with --metric FILE.py:NAME"),
        ("convert", ("--metric", "error.py:landmarks", "--mode", "dynamic"), "--metric goes with --mode static or qat"),
        (
            "convert",
            ("--metric", "error.py:landmarks", "--eval", "faces.npz", "--json", "error.py"),
            "is the same file",
        ),
        ("study", ("--eval", "faces.npz"), "--eval faces.npz: goes with --metric FILE.py:NAME here"),
        ("sensitivity", ("--labels", "l.csv"), "--labels l.csv: goes with --metric FILE.py:NAME here"),
        ("sensitivity", ("--metric", "error.py:accuracy", "--eval", "faces.npz"), "failed with "),
    ],
)
def test_mistakes_are_told_in_one_line(command, folder, verb, words, message):
    assert_user_error(run(command, verb, *words), message)
