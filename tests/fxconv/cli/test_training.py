"""`fxconv convert --mode qat`: its options, its report, and the mistakes one can make."""

from __future__ import annotations

from pathlib import Path

import pytest
from fxconv_commands import SMALL, assert_user_error
from PIL import Image

from fxconv.data.synthetic import natural_images


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
