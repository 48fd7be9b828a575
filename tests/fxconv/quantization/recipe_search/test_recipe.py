"""Recipes: which steps are taken, what is said of them, and that none means none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.ao.nn.quantized as nnq
from fxconv_commands import NETWORKS, Command
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, Recipe, WeightScheme
from fxconv.data.calibration import Batches
from fxconv.errors import UserError
from fxconv.measures.model_similarity import similarity_of
from fxconv.measures.output_comparison import Noise
from fxconv.measures.similarity import Similarity
from fxconv.quantization import engine
from fxconv.quantization.observers import weight_observer
from fxconv.quantization.recipe_search.recipe import STEPS, TRIED, tried


def like(noise: float, same: int = 100) -> Similarity:
    """A comparison with this noise power per signal power, and so many equal answers of 100."""
    found = Similarity()
    found.noises, found.same, found.asked = [Noise(signal=1.0, noise=noise)], same, 100
    return found


def test_steps_are_tried_on_top_of_those_taken() -> None:
    asked = list[tuple[Recipe, ...]]()

    def judged(steps: tuple[Recipe, ...]) -> Similarity:
        asked.append(steps)
        return like(0.1 + 0.05 * sum(step not in (Recipe.reader_ranges, Recipe.weight_ranges) for step in steps))

    steps, gains = tried(judged)
    assert steps == (Recipe.reader_ranges, Recipe.weight_ranges)
    assert [gain.step for gain in gains] == list(TRIED)
    assert [gain.is_applied for gain in gains] == [gain.step in steps for gain in gains]
    alone, first = [(Recipe.equalization,), (Recipe.bias_absorption,)], Recipe.reader_ranges
    assert asked == [(), *alone, (first,), (first, Recipe.bias_correction), (first, Recipe.weight_ranges)]


def test_a_step_that_costs_answers_is_left_out() -> None:
    assert tried(lambda steps: like(0.01, 80) if steps else like(0.1, 95))[0] == ()
    assert tried(lambda steps: like(0.01 / len(steps), 94) if steps else like(0.1, 95))[0] == TRIED


def test_answers_lost_little_by_little_are_not_lost_beyond_chance() -> None:
    # each step loses no more answers than chance may take, and comes nearer to float
    found = {0: 95, 1: 92, 2: 89, 3: 86, 4: 83, 5: 80}
    steps, gains = tried(lambda steps: like(0.1 / (1 + len(steps)), found[len(steps)]))
    assert len(steps) == 1  # 92 of 100 might be chance, 89 are not
    assert [gain.why_not for gain in gains][1:] == [
        "same top-1 falls from 95 to 89 of 100, more than chance explains"
    ] * 4
    assert not gains[0].why_not


def test_a_step_that_is_left_out_says_why() -> None:
    _, (gain, *_) = tried(lambda steps: like(0.2 if steps else 0.1))
    assert gain.why_not == "SQNR falls from 10.0 dB to 7.0" and not gain.is_applied


def test_a_loss_as_small_as_chance_is_none_but_such_losses_do_not_add_up() -> None:
    assert tried(lambda steps: like(0.11 if steps else 0.1))[0] == TRIED
    assert tried(lambda steps: like(0.13 if steps else 0.1))[0] == ()
    assert len(tried(lambda steps: like(0.1 * 1.2 ** len(steps)))[0]) == 1


def test_what_takes_long_is_not_tried() -> None:
    assert Recipe.adaround in STEPS and Recipe.adaround not in tried(lambda steps: like(0.1))[0]


def test_named_steps_are_taken_whatever_they_bring() -> None:
    steps, gains = tried(lambda steps: like(0.2 if steps else 0.1), (Recipe.bias_correction,), is_asked=True)
    assert steps == (Recipe.bias_correction,)
    (gain,) = gains
    assert gain.is_applied and gain.sqnr_after < gain.sqnr_before


def test_a_step_a_kernel_refuses_is_left_out() -> None:
    steps, gains = tried(lambda steps: None if Recipe.weight_ranges in steps else like(1 / (2 + len(steps))))
    assert Recipe.weight_ranges not in steps and Recipe.weight_ranges not in [gain.step for gain in gains]


@pytest.mark.parametrize("recipe", [(), (Recipe.auto, Recipe.none), (Recipe.none, Recipe.bias_correction)])
def test_what_cannot_be_meant(recipe: tuple[Recipe, ...]) -> None:
    with pytest.raises(UserError, match="give auto, none, or steps"):
        Config(recipe=recipe)


class Classifier(nn.Module):
    """Activations with a long tail, which percentile ranges are for."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.last(x.mean((2, 3)))


def images(count: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, 3, 12, 12, generator=generator).pow(3).split(10))


def test_auto_keeps_only_what_helps_and_reports_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxconv.quantization.recipe_search.search._LARGE", 3 * 12 * 12)
    torch.manual_seed(1)
    model = Classifier().eval()
    auto = fxconv.convert(model, images(40, 0))
    assert auto.verified, auto.verdict
    # nothing in it can be absorbed
    assert [gain.step for gain in auto.recipe.gains] == [step for step in TRIED if step is not Recipe.bias_absorption]
    assert auto.recipe.steps == tuple(gain.step for gain in auto.recipe.gains if gain.is_applied)
    assert auto.recipe.steps and auto.recipe.reason == ""
    for gain in auto.recipe.gains:
        assert gain.is_applied <= (gain.sqnr_after > gain.sqnr_before - 1.0)
    # tried on the first images, made of all
    assert (auto.recipe.trial_images, auto.calibration.images) == (16, 40)
    named = fxconv.convert(model, images(40, 0), recipe=auto.recipe.steps)
    image = images(1, 5)[0]
    assert named.recipe.steps == auto.recipe.steps
    assert torch.equal(named.int8(image), auto.int8(image))


def test_a_few_images_do_not_show_how_far_channels_reach() -> None:
    torch.manual_seed(1)
    few = fxconv.convert(Classifier().eval(), images(12, 0))
    assert not {Recipe.equalization, Recipe.bias_absorption} & {gain.step for gain in few.recipe.gains}
    assert few.recipe.reason == "bias-absorption, equalization want at least 32 images to calibrate on"


def test_none_changes_nothing() -> None:
    torch.manual_seed(1)
    plain = fxconv.convert(Classifier().eval(), images(12, 0), recipe=(Recipe.none,))
    assert plain.verified and plain.recipe.steps == () and plain.recipe.gains == ()
    bias = plain.int8.get_submodule("first").bias()
    torch.manual_seed(1)
    assert torch.equal(bias, Classifier().first.bias)


@pytest.mark.parametrize("scheme", WeightScheme)
def test_cut_weights_are_nearer(scheme: WeightScheme) -> None:
    weight = torch.randn(4, 512, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[:, 0, 0, 0] = 12.0  # among so many weights it is worth one step to cut it
    errors = []
    for cut in (False, True):
        observer = weight_observer(scheme, cut)()
        observer(weight)
        scale, _ = observer.calculate_qparams()
        scale = scale.reshape(-1, 1, 1, 1)
        errors.append(float((((weight / scale).round().clamp(-127, 127) * scale) - weight).square().sum()))
    assert errors[1] < 0.99 * errors[0]


@pytest.mark.parametrize("scheme", WeightScheme)
def test_a_network_with_cut_weights_is_verified(scheme: WeightScheme) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4608, 8)).eval()
    linear = cast(nn.Linear, model[1])
    with torch.no_grad():
        linear.weight.normal_(std=0.5 / 12)[:, 0] = 0.5
    inputs = [torch.randn(1, 512, 3, 3, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    found = fxconv.convert(model, inputs, recipe=(Recipe.weight_ranges,), weight_scheme=scheme)
    assert found.verified, found.verdict
    (weight,) = [part.weight().dequantize() for part in found.int8.modules() if isinstance(part, nnq.Linear)]
    assert float(weight.max()) < 0.499  # the largest were cut off


def test_weights_cut_off_for_nothing_fail_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxconv.quantization.observers._least_squares", lambda rows, widest, *_: widest * 0.5)
    torch.manual_seed(1)
    failed = fxconv.convert(Classifier().eval(), images(12, 0), recipe=(Recipe.weight_ranges,))
    assert not failed.verified and "steps from the float weights" in failed.verdict


def test_on_the_command_line(command: Command, tmp_path: Path) -> None:
    report, saved = tmp_path / "report.json", tmp_path / "saved.json"
    words = ("convert", f"{NETWORKS}:tiny", "--weights", "random", "--input-size", "32", "--calib-count", "6")
    written = ("--report", "--json", str(report), "--save-config", str(saved))
    done = command(*words, "--recipe", "bias-correction", *written)
    assert done.status == 0, done.stderr
    asked, row = [line for line in done.stdout.splitlines() if line.startswith("recipe")]
    assert asked.split() == ["recipe", "bias-correction"]
    assert "bias-correction: " in row and " dB to " in row and "not used for calibration" in row
    content = json.loads(report.read_text())
    assert content["recipe"]["steps"] == ["bias-correction"] == content["config"]["recipe"]
    assert content["recipe"]["gains"][0]["is_applied"] is True
    assert json.loads(saved.read_text())["recipe"] == ["bias-correction"]


def test_none_on_the_command_line(command: Command) -> None:
    words = ("convert", f"{NETWORKS}:tiny", "--weights", "random", "--input-size", "32", "--calib-count", "6")
    done = command(*words, "--recipe", "none", "--report")
    assert done.status == 0, done.stderr
    assert "nothing was asked for" in done.stdout
    wrong = command(*words, "--recipe", "none", "--recipe", "weight-ranges")
    assert wrong.status == 2 and "give auto, none, or steps" in wrong.stderr


def test_the_result_is_judged_as_it_is_written() -> None:
    torch.manual_seed(1)
    model, data = Classifier().eval(), Batches(images(40, 0))
    done = fxconv.convert(model, data)
    judged = [(image,) for (image,) in data.examples(16)]  # nothing is left over to judge by
    with engine.engine("qnnpack"):
        found = similarity_of(model, done.int8, judged)
    assert not done.recipe.is_unseen and done.recipe.images == 16
    assert (done.recipe.sqnr_db, done.recipe.agreement) == (pytest.approx(found.sqnr_db, abs=1e-3), found.agreement)
