"""Quantization-aware training: the rounded module, the loops around it, and what becomes of it."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import fxconv_networks as networks
import pytest
import torch
from fxconv_commands import NETWORKS, SMALL, assert_user_error
from PIL import Image
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, Mode, Recipe, Teacher, WeightScheme
from fxconv.conversion import Conversion, Trainable
from fxconv.data.calibration import Batches
from fxconv.data.labels import LabelledBatches
from fxconv.data.synthetic import natural_images
from fxconv.errors import UserError
from fxconv.models import forward
from fxconv.models.signature import InputSignature
from fxconv.quantization import engine
from fxconv.quantization.fine_tuned import FineTuned
from fxconv.quantization.training import training_set

TRAINED = ["rewritten", "fused", "trained", "int8", "scripted", "optimized", "reloaded"]
NONE = (Recipe.none,)


def images(count: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same_weights(a: Conversion, b: Conversion) -> bool:
    """Whether two trainings ended at the same weights, bit for bit."""
    ours, theirs = (done.recipe.changes[-1].weights for done in (a, b))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[path], theirs[path]) for path in ours)


class Uneven(nn.Module):
    """Channels of very different sizes: one scale for all weights of a layer leaves most of them with few steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.second.weight.mul_(torch.logspace(-2.5, 0, 16)[:, None, None, None])
            self.head.weight.div_(torch.logspace(-2.5, 0, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(torch.relu(self.first(x)))
        return self.head(torch.relu(x).mean((2, 3)))


def distilled(**options: Any) -> Conversion:
    torch.manual_seed(0)
    given: dict[str, Any] = {"mode": Mode.qat, "recipe": NONE, "epochs": 6, "learning_rate": 2e-3} | options
    return fxconv.convert(Uneven().eval(), [images(64)], weight_scheme=WeightScheme.per_tensor, **given)


@pytest.fixture(scope="module")
def trained() -> Conversion:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return distilled()
    finally:
        torch.set_num_threads(threads)


# -- the rounded module ------------------------------------------------------------------------------


def test_it_rounds_as_int8_does():
    # an average keeps the steps of what it averages in int8, and those of nothing here
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16), nn.ReLU(), nn.Conv2d(16, 4, 1)
    model, x = nn.Sequential(*layers).eval(), images(16)
    module = fxconv.prepare_qat(model, [x], recipe=NONE)
    with engine.engine("qnnpack"):
        int8 = forward.outputs(module.settled.int8, [(x,)])[0][0]
    rounded, plain = module(x).detach(), model(x).detach()
    off, all_of_it = (int8 - rounded).square().mean(), (int8 - plain).square().mean()
    assert off < all_of_it / 4


def test_every_weight_and_bias_is_trained_and_the_model_is_left_alone():
    model = networks.tiny().eval()
    before = weights(model)
    module = fxconv.prepare_qat(model, [images(8)])
    assert not {id(parameter) for parameter in module.parameters()} & {id(one) for one in model.parameters()}
    module(images(4)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_train_and_eval_compute_the_same():
    module, x = fxconv.prepare_qat(networks.tiny().eval(), [images(8)]), images(4)
    trained = module.train()(x)
    assert module.training
    assert torch.equal(trained, module.eval()(x))
    assert torch.equal(module.train()(x), trained)


def test_weights_that_are_shared_stay_so():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x)))

    module = fxconv.prepare_qat(Tied().eval(), [images(8)], recipe=NONE)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(images(4)).square().mean().backward()
    optimizer.step()
    found = {path: weight for path, weight in module.trained().weights.items() if path.endswith("weight")}
    first, second = found.values()
    assert torch.equal(first, second)
    assert fxconv.finish(module).verified


def test_the_users_own_training_is_not_in_the_time():
    module = fxconv.prepare_qat(networks.tiny().eval(), [images(8)], recipe=NONE)
    time.sleep(3)
    done = fxconv.finish(module)
    steps = sum(seconds for step, seconds in done.timings.items() if step != "total")
    assert done.timings["total"] < steps + 2
    assert fxconv.finish(module).timings["rewriting"] < 2 * done.timings["rewriting"]


def test_a_state_dict_carries_the_training():
    model, x = networks.tiny().eval(), images(8)
    module, other = (fxconv.prepare_qat(model, [x], recipe=NONE) for _ in range(2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.1)
    assert not torch.equal(module(x), other(x))
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(x), other(x))


# -- a loop of the user's own ------------------------------------------------------------------------


def looped() -> Trainable:
    module = fxconv.prepare_qat(networks.tiny().eval(), [images(16)], recipe=NONE)
    optimizer, x = torch.optim.Adam(module.parameters(), lr=3e-3), images(16)
    labels = torch.arange(16) % 10
    for _ in range(15):
        loss = nn.functional.cross_entropy(module(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module


def test_any_loop_and_then_a_verified_conversion(tmp_path):
    module, x = looped(), images(4)
    done = fxconv.finish(module).save(tmp_path / "x.ptl")
    assert done.verdict == "converted and verified"
    rows = {row.stage: row for row in done.ledger}
    assert list(rows) == TRAINED
    assert rows["trained"].rule == "finite: it was not trained to be like it"
    assert rows["int8"].against == "trained"
    assert rows["int8"].sqnr_db > 20 > rows["trained"].sqnr_db
    assert done.training is None
    with engine.engine("qnnpack"):
        got = forward.outputs(done.int8, [(x,)])[0][0]
    off = (got - module(x).detach()).square().mean()
    assert off < got.square().mean() / 300


def test_finish_takes_nothing_else():
    with pytest.raises(UserError, match="finish takes what prepare_qat gave, trained; this is a Tiny"):
        fxconv.finish(networks.tiny())


def test_weights_that_are_no_numbers():
    module = fxconv.prepare_qat(networks.tiny().eval(), [images(8)], recipe=NONE)
    with torch.no_grad():
        next(module.parameters())[0] = float("nan")
    with pytest.raises(UserError, match=r"the trained weights of .* are infinite or NaN"):
        fxconv.finish(module)


def test_a_model_converted_in_parts():
    with pytest.raises(UserError, match="--mode qat wants a model that traces whole"):
        fxconv.prepare_qat(networks.Branching().eval(), [images(8)], recipe=NONE)


# -- distillation ------------------------------------------------------------------------------------


def test_distillation_regains_what_one_scale_a_layer_loses(trained):
    done = trained.training
    assert trained.verdict == "converted and verified"
    assert [row.stage for row in trained.ledger] == TRAINED
    assert isinstance(done, FineTuned)
    assert (done.images, done.validated, done.is_unseen) == (56, 8, True)
    assert done.before is not None
    assert done.after is not None
    assert done.after.sqnr_db > done.before.sqnr_db + 2
    assert done.kept > 0
    assert trained.warnings == ()


def test_the_weights_kept_are_those_of_the_best_epoch(trained):
    done = trained.training
    best = min(done.epochs, key=lambda epoch: epoch.validation)
    assert done.kept == best.number
    assert best.validation < done.start


def test_float_answers_are_learnt_of_heatmaps_too():
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.hm = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"hm": self.hm(torch.relu(self.features(x)))}

    done = fxconv.convert(Dense().eval(), [images(24)], mode=Mode.qat, epochs=2, learning_rate=1e-4, recipe=NONE)
    assert done.verified
    assert done.training.after.agreement is None
    assert len(done.training.epochs) == 2


def test_half_of_the_images_are_seen_mirrored():
    model, x = networks.tiny().eval(), images(20)
    lesson = lesson_of(model, x)
    assert len(lesson.right) == 40
    assert torch.equal(lesson.batch([3, 23])[0], torch.stack([x[3], x[3].flip(-1)]))
    assert float(lesson.loss(model, [3, 23]).detach()) == pytest.approx(0, abs=1e-6)
    drawn = [row for rows in lesson.shuffled(8, torch.Generator().manual_seed(0)) for row in rows]
    assert sorted(row % 20 for row in drawn) == sorted(lesson.rows)
    assert 0 < sum(row >= 20 for row in drawn) < len(drawn)


def test_distance_has_no_unit():
    a, b = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    spread, wider = float(a.var(correction=0)), float((7 * a).var(correction=0))
    assert torch.allclose(
        training_set.distance([a], [b], [spread]), training_set.distance([7 * a], [7 * b], [wider]), rtol=1e-4
    )
    assert training_set.distance([a], [a], [spread]) == 0
    scores, others = torch.randn(4, 10), torch.randn(4, 10)
    squared = (scores - others).square().mean() / 2
    assert torch.allclose(training_set.distance([a, scores], [a, others], [spread, 2.0]), squared, rtol=1e-5)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1000.0, 0.0), (0.0, 3.0), (0.0, 0.0)])
def test_outputs_of_one_number_are_learnt_image_by_image(scale, offset):
    class Regression(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.features(x)).mean((2, 3))) * scale + offset

    lesson = lesson_of(Regression().eval(), images(20))
    assert all(0 < spread < float("inf") for spread in lesson.spreads)
    assert float(lesson.loss(lambda x: torch.full((1, 1), offset), [0])) < 1e6


def lesson_of(model: nn.Module, x: Tensor, **options: Any) -> training_set.TrainingSet:
    config = Config(mode=Mode.qat, **options)
    return training_set.read(model, InputSignature.of(model), Batches([x]), config, lambda *_: None)


class Returning(nn.Module):
    """Gives something that cannot be learnt from, beside a layer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Conv2d(3, 4, 3), kind
        self.register_buffer("anchors", torch.rand(7, 4))

    def forward(self, x: Tensor) -> Any:
        y = self.layer(x)
        if self.kind == "integers":
            return y.argmax(1)
        if self.kind == "a number":
            return y.mean()
        if self.kind == "anchors":
            return y, self.anchors
        return torch.cat([y[index : index + 1] * (index + 1) for index in range(x.shape[0])])


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("integers", "the model gives no floating-point outputs to learn from"),
        ("a number", "output 0, .* for one image, is not one row for each image"),
        ("anchors", "output 1, .*7, 4.* for one image, is not one row for each image"),
        ("a loop over the batch", "this model's graph holds for one image only"),
    ],
)
def test_what_cannot_be_learnt_from_in_batches(kind, problem):
    with pytest.raises(UserError, match=problem):
        fxconv.convert(Returning(kind).eval(), [images(20)], mode="qat", epochs=1, recipe=NONE)


def test_a_loop_over_the_batch_cannot_be_prepared():
    with pytest.raises(UserError, match="this model's graph holds for one image only"):
        fxconv.prepare_qat(Returning("a loop over the batch").eval(), [images(8)])


def test_images_of_two_sizes():
    batches = [images(4), torch.rand(4, 3, 48, 48)]
    with pytest.raises(UserError, match="images to train on must be of one size"):
        fxconv.convert(networks.tiny().eval(), batches, mode="qat", epochs=1, recipe=NONE)


def test_a_word_is_as_good_as_its_choice():
    assert Config(mode="qat", recipe=("none",)) == Config(mode=Mode.qat, recipe=NONE)
    with pytest.raises(UserError, match="mode 'quick': expected one of 'static', 'dynamic', 'qat'"):
        Config(mode="quick")


def test_training_images_without_training():
    with pytest.raises(UserError, match="training images and a checkpoint go with mode qat"):
        fxconv.convert(networks.tiny().eval(), [images(8)], training=[images(8)])


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_whatever_the_caller_runs_in(context):
    with context():
        done = distilled(epochs=1)
    assert done.training is not None
    assert len(done.training.epochs) == 1


def test_a_copy_is_trained_by_itself():
    module, x = fxconv.prepare_qat(networks.tiny().eval(), [images(40)]), images(4)
    before = module(x).detach()
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.05)
    assert torch.equal(module(x), before)
    assert not torch.equal(twin(x), before)
    assert fxconv.finish(twin).verified


def test_training_that_harms_is_not_kept():
    done, static = distilled(learning_rate=1.0, epochs=9), distilled(mode=Mode.static, epochs=20, learning_rate=3e-5)
    assert done.training.kept == 0
    assert done.training.stopped_early
    assert len(done.training.epochs) == 5
    assert done.verified
    assert any("training brought nothing" in warning for warning in done.warnings)
    x = images(4)
    with engine.engine("qnnpack"):
        assert torch.equal(forward.outputs(done.int8, [(x,)])[0][0], forward.outputs(static.int8, [(x,)])[0][0])


def test_the_same_seed_trains_the_same(trained):
    again = distilled()
    assert again.training.epochs[-1].loss == trained.training.epochs[-1].loss
    assert same_weights(again, trained)


# -- labels ------------------------------------------------------------------------------------------


def test_labels_are_learnt():
    x = images(64)
    labels = (x.mean((1, 2, 3)) > x.mean()).long().tolist()
    with torch.no_grad():
        model = networks.tiny().eval()
    done = fxconv.convert(
        model,
        [x],
        mode=Mode.qat,
        learn_from=Teacher.labels,
        training=LabelledBatches([x], labels),
        epochs=8,
        learning_rate=2e-3,
        recipe=NONE,
        min_sqnr=0.0,
    )
    training = done.training
    assert done.verified
    assert training.after.loss < training.before.loss
    assert training.after.accuracy is not None
    assert training.after.accuracy >= training.before.accuracy


@pytest.mark.parametrize(
    ("training", "problem"),
    [
        ([images(20)], "training on labels needs them"),
        (LabelledBatches([images(20)], [0] * 19 + [-1]), "class -1 of the training images is beyond"),
        (LabelledBatches([images(20)], [10] * 20), "class 10 of the training images is beyond the model's 10 classes"),
    ],
)
def test_labels_that_do_not_fit(training, problem):
    with pytest.raises(UserError, match=problem):
        fxconv.convert(networks.tiny().eval(), [images(8)], mode=Mode.qat, learn_from=Teacher.labels, training=training)


# -- the checkpoint ----------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(trained, tmp_path):
    path = tmp_path / "training.pt"

    def stop(step: str, done: int, total: int) -> None:
        if step.startswith("training, epoch 4"):
            raise Stopped

    with pytest.raises(Stopped):
        distilled(checkpoint=path, progress=stop)
    assert path.exists()
    done = distilled(checkpoint=path)
    assert done.training.resumed == 3
    assert [epoch.loss for epoch in done.training.epochs] == [epoch.loss for epoch in trained.training.epochs]
    assert same_weights(done, trained)


def test_a_checkpoint_of_other_choices(tmp_path):
    path = tmp_path / "training.pt"
    distilled(checkpoint=path, epochs=1)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"training.pt: is of a training of another model, on other images or with"):
        distilled(checkpoint=path, epochs=1, learning_rate=1e-3)
    assert path.read_bytes() == before


def test_what_the_file_is_like_may_be_decided_after_the_training(tmp_path):
    path = tmp_path / "training.pt"
    distilled(checkpoint=path, epochs=1)
    done = distilled(checkpoint=path, epochs=1, golden=False, runtime="pytorch_android_lite==2.1.0", java=True)
    assert (done.training.resumed, len(done.training.epochs)) == (1, 1)
    assert done.golden.cases == 0 and done.runtime is not None


def test_a_checkpoint_of_other_images(tmp_path):
    path = tmp_path / "training.pt"
    distilled(checkpoint=path, epochs=1)
    with pytest.raises(UserError, match="on other images"):
        distilled(checkpoint=path, epochs=1, training=[images(64, seed=5)])


@pytest.mark.parametrize("content", [b"", b"no checkpoint", nn.Linear(2, 2).state_dict(), torch.zeros(3)])
def test_a_file_that_is_no_checkpoint(content, tmp_path):
    path = tmp_path / "training.pt"
    if not isinstance(content, bytes):
        torch.save(content, path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"training.pt: is no checkpoint of a training by fxconv"):
        distilled(checkpoint=path)
    assert path.read_bytes() == before


def test_more_images_than_the_memory_should_hold(monkeypatch):
    monkeypatch.setattr(training_set, "_MOST_BYTES", 4 * 3 * 32 * 32 * 20)
    with pytest.raises(UserError, match=r"64 images takes .*, answers included; give at most 19 \(--train-count"):
        distilled()


# -- the command line --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in a folder for each of three classes."""
    folder = tmp_path_factory.mktemp("classes")
    for index, pixels in enumerate(natural_images(24, 32, 32)):
        home = folder / f"{index % 3}_kind"
        home.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(home / f"{index}.png")
    return folder


def test_from_a_folder_of_photographs(command, classes):
    words = ("--mode", "qat", "--train", str(classes), "--epochs", "2", "--checkpoint", "t.pt", "--recipe", "none")
    run = command("convert", *SMALL, *words, "-o", "tiny.ptl", "--report", "--json", "report.json", "--quiet")
    assert run.status == 0
    assert run.files == ["report.json", "t.pt", "tiny.ptl"]
    assert run.report["quantization"]["mode"] == "qat"
    training = run.report["training"]
    assert training["images"] == 21
    assert training["validated"] == 3
    assert len(training["epochs"]) == 2
    assert training["learn_from"] == "float"
    assert "quantization-aware training" in run.stdout
    assert "Fine-tuned while it was rounded" in run.stdout
    assert f"24 of 24 photographs in {classes}, seed 0; 2 epochs in" in run.stdout


def test_from_a_folder_for_each_class(command, classes):
    words = ("--mode", "qat", "--train", str(classes), "--learn-from", "labels", "--epochs", "1", "--recipe", "none")
    run = command("convert", *SMALL, *words, "-o", "tiny.ptl", "--json", "report.json", "--quiet")
    assert run.status == 0
    training = run.report["training"]
    assert training["learn_from"] == "labels"
    assert training["source"] == f"24 of 24 labelled photographs in {classes}, seed 0"
    assert 0 <= training["after"]["accuracy"] <= 1


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (("--epochs", "3"), ("--epochs goes with --mode qat",)),
        (("--learning-rate", "1"), ("--learning-rate goes with --mode qat",)),
        (("--mode", "qat", "--learning-rate", "0"), ("--learning-rate 0: give a number above 0",)),
        (("--mode", "qat", "--learning-rate", "1e38"), ("give a number above 0, such as 1e-5, at most 1",)),
        (("--mode", "qat", "--train-count", "5"), ("--train-count goes with --train",)),
        (("--mode", "qat", "--max-drop", "1"), ("--max-drop goes with --mode static, not with qat",)),
        (("--mode", "qat", "--recipe", "adaround"), ("--recipe adaround: training does that better",)),
        (("--mode", "qat", "--train", "nowhere"), ("--train nowhere: no such file or folder",)),
        (("--mode", "qat", "--train", "."), ("--train .: no photographs in it",)),
        (("--mode", "qat", "--learn-from", "labels"), ("training on labels needs them: give a folder",)),
        (("--mode", "qat", "--checkpoint", "tiny.ptl"), ("is the same file as",)),
    ],
)
def test_mistakes(command, words, fragments):
    assert_user_error(command("convert", *SMALL, "-o", "tiny.ptl", *words), *fragments)


def test_the_choices_of_a_training_are_saved_and_read_back(command):
    words = ("--mode", "qat", "--epochs", "1", "--learning-rate", "0.001", "--save-config", "c.json")
    assert command("convert", *SMALL, *words, "-o", "tiny.ptl", "--quiet").status == 0
    run = command("convert", *SMALL, "--config", "c.json", "-o", "again.ptl", "--json", "report.json", "--quiet")
    assert run.status == 0
    config = run.report["config"]
    assert (config["mode"], config["epochs"], config["learning_rate"]) == ("qat", 1, 0.001)
    assert len(run.report["training"]["epochs"]) == 1


def test_what_does_not_fit_one_another():
    assert Config(mode=Mode.qat, recipe=(Recipe.equalization,)).steps == (Recipe.equalization,)
    with pytest.raises(UserError, match="--epochs 0"):
        Config(mode=Mode.qat, epochs=0)
    assert NETWORKS.exists()
