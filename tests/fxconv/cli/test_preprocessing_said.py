"""What was done with pixels, and who says so, is in summary, reports and artifact, and is asked for again."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from fxconv_commands import PLAIN, SMALL, assert_user_error
from PIL import Image

from fxconv.targets.proof import metadata

MODEL = SMALL[0]
OWN = """
import numpy
import torch


def transform(image):
    small = numpy.asarray(image.resize((32, 32)), numpy.float32) - 128
    return torch.from_numpy(small).permute(2, 0, 1) / 64
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs, and a function that preprocesses them."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    (folder / "photographs").mkdir()
    for index in range(12):
        pixels = rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photographs" / f"{index}.png")
    (folder / "own.py").write_text(OWN)
    return folder


def test_assumed_is_a_warning_and_said_everywhere(command, folder, tmp_path):
    run = command(
        *("convert", *PLAIN, "--calib", f"{folder}/photographs", "--json", "report.json", "--html", "r.html"),
        *("-o", "a.ptl"),
    )
    assert run.status == 0
    assert "warning: preprocessing is assumed, for nothing says how tiny was trained to see images: " in run.stderr
    assert "give --preprocess (torchvision, timm, unit, raw or FILE.py:FUNCTION), or --mean and --std" in run.stderr
    told = run.report["preprocessing"]
    assert (told["origin"], told["source"]) == ("assumed", "ImageNet mean and deviation")
    assert metadata.metadata_in(run.folder / "a.ptl")["preprocessing"]["origin"] == "assumed"
    assert "(assumed: ImageNet mean and deviation)" in " ".join(run.stdout.split())
    assert "(assumed: ImageNet mean and deviation)" in (run.folder / "r.html").read_text()


@pytest.mark.parametrize(
    ("words", "mean", "std", "size"),
    [
        (("--preprocess", "unit", "--crop", "none"), [0.0] * 3, [1.0] * 3, {"resize_to": [32, 32]}),
        (("--mean", "0.5", "--std", "0.25"), [0.5] * 3, [0.25] * 3, {"resize_to_cover": [37, 37]}),
        (("--preprocess", "raw", "--resize", "40"), [0.0] * 3, [1 / 255] * 3, {"resize_to_cover": [40, 40]}),
    ],
)
def test_asked_for_is_no_warning_and_in_the_artifact(words, mean, std, size, command, folder):
    run = command("convert", *PLAIN, *words, "--calib", f"{folder}/photographs", "--json", "report.json", "-o", "a.ptl")
    assert (run.status, run.stderr) == (0, "")
    told = metadata.metadata_in(run.folder / "a.ptl")["preprocessing"]
    assert (told["origin"], told["mean"], told["std"]) == ("user", pytest.approx(mean), pytest.approx(std))
    assert {key: told[key] for key in size} == size
    assert run.report["preprocessing"] == {**told, "words": run.report["preprocessing"]["words"]}
    assert words[0].removeprefix("--") in told["source"]
    assert "(as asked for: " in " ".join(run.stdout.split())


def test_it_decides_the_ranges(command, folder):
    ranges = []
    for words in ((), ("--preprocess", "raw")):
        run = command("convert", *PLAIN, *words, "--calib", f"{folder}/photographs", "-o", "a.ptl")
        assert run.status == 0
        ranges.append(metadata.metadata_in(run.folder / "a.ptl")["digest"]["qparams"])
    assert ranges[0] != ranges[1]


def test_a_function_is_held_by_name_and_digest_and_asked_for_again(command, folder):
    given = f"{folder}/own.py:transform"
    digest = hashlib.sha256((folder / "own.py").read_bytes()).hexdigest()
    model = (MODEL, "--calib-count", "8", "--recipe", "none", "--calib", f"{folder}/photographs")
    run = command("convert", *model, "--preprocess", given, "--json", "report.json", "-o", "a.ptl")
    assert (run.status, run.stderr) == (0, "")
    told = metadata.metadata_in(run.folder / "a.ptl")["preprocessing"]
    assert told["function"] == {"name": "own.py:transform", "sha256": digest}
    assert told["crop"] == [32, 32] and run.report["model"]["input_size"] == [3, 32, 32]
    assert f"own.py:transform (SHA-256 {digest[:12]})" in " ".join(run.stdout.split())

    against = ("verify", "a.ptl", "--against", MODEL, "--photographs", f"{folder}/photographs")
    line = "a.ptl: its images were preprocessed by a function, own.py:transform; give --preprocess own.py:transform"
    again = command(*against)
    assert (again.status, again.stderr) == (2, f"fxconv: error: {line}\n")
    verified = command(*against, "--preprocess", given)
    assert verified.status == 0, verified.stderr
    (run.folder / "own.py").write_text(OWN + "\n\ndef other(image):\n    return transform(image)\n")
    (folder / "own.py").write_text(OWN + "\n\ndef other(image):\n    return transform(image)\n")
    another = command(*against, "--preprocess", f"{folder}/own.py:other")
    assert another.status == 2 and "is not what a.ptl was made with (own.py:transform, SHA-256 " in another.stderr
    (folder / "own.py").write_text(OWN)
    (run.folder / "own.py").write_text(OWN.replace("128", "127"))
    other = command(*against, "--preprocess", "own.py:transform")
    assert other.status == 2
    assert "is not what a.ptl was made with (own.py:transform, SHA-256 " in other.stderr


def test_mistakes(command, folder):
    calib = ("--calib", f"{folder}/photographs")
    for words, line in (
        (("--mean", "0.5,0.5"), "--mean 0.5,0.5: 2 numbers, and the model takes 3 channels; give as many"),
        (("--preprocess", "imagenet"), "--preprocess imagenet: is none of torchvision, timm, unit, raw, or"),
        (("--preprocess", "own.py"), "--preprocess own.py: say which function of it, own.py:FUNCTION"),
        (("--preprocess", "gone.py:f"), "gone.py: no such file; expected FILE.py:NAME"),
        (("--preprocess", f"{folder}/own.py:trans"), "has no 'trans'; did you mean transform?"),
        (
            ("--preprocess", f"{folder}/own.py:transform", "--normalize-in-graph"),
            "--normalize-in-graph: own.py:transform preprocesses, and does not say how it normalizes; name --mean",
        ),
        (("--crop", "24"), "--crop 24: is the size of the input, and --input-size says 32x32; leave one of them out"),
    ):
        assert_user_error(command("convert", *PLAIN, *calib, *words), line)
    assert_user_error(command("verify", "a.ptl", "--mean", "0.5"), "--mean goes with --against MODEL; name the model")


def test_a_drawn_example_is_preprocessed_so(command, folder):
    run = command("example", f"{folder}/photographs", "-n", "2", "--preprocess", "unit", "--input-size", "16")
    assert run.status == 0
    drawn = np.load(run.folder / "example.npy")
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert run.stdout.endswith("cropped to 16x16, bilinear, from 0 to 1 (as asked for: preprocess unit)\n")
