"""Answers on a terminal of 80 columns and as JSON: a block for each image, nothing cut, names as they are printable."""

from __future__ import annotations

import io
import json

import torch

from fxconv.analysis.predicted_outputs import told
from fxconv.analysis.prediction import PredictedImage, Prediction
from fxconv.models.photograph_places import Places
from fxconv.models.preprocessing import Origin, Preprocessing
from fxconv.report.prediction import prediction_text, print_prediction
from fxconv.report.screen import Screen

HOW = Preprocessing(32, 32, (0.0,) * 3, (1.0,) * 3, source="transforms of some weights", origin=Origin.weights)
WHERE = Places(10.0, 0.0, 2.0, 2.0)
LONG = "a very long name of a class, as those of ImageNet are, with each of its many synonyms and then some more"
LABELS = [LONG, "dog\x1b[2J[red]"]


def of(*outputs, has_peaks=False, where=WHERE, top=5):
    image = PredictedImage("dog.jpg", 480, 640, told(list(outputs), has_peaks, LABELS, where, top))
    return Prediction("x.ptl", "tiny", (3, 32, 32), HOW, "x.ptl", (image,), (("bad.jpg", "it is empty"),), ("a note",))


def printed(found, width=80):
    screen = Screen(file=io.StringIO(), width=width, force_terminal=False)
    print_prediction(found, screen)
    return screen.file.getvalue()


SCORES = ("output", torch.tensor([[2.0, 1.0]]))
BOXES = (
    ("0.boxes", torch.tensor([[1.0, 2.0, 3.0, 4.0], [1000.0, 2000.0, 3000.0, 4000.0]])),
    ("0.labels", torch.tensor([1, 0])),
    ("0.scores", torch.tensor([0.5, 0.25])),
)


def test_scores_with_names_of_any_length():
    text = printed(of(SCORES))
    assert text.splitlines() == [
        "x.ptl: tiny, takes 3x32x32",
        "each image resized to cover 37x37, cropped to 32x32, bilinear, from 0 to 1 (the",
        "  weights' own transforms: transforms of some weights)",
        "",
        "dog.jpg (640x480)",
        "  output: scores of 2 classes, percent by softmax",
        "   73.11 %  2  a very long name of a class, as those of ImageNet are, with each",
        "               of its many synonyms and then some more (0)",
        r"   26.89 %  1  dog\x1b[2J[red] (1)",
    ]


def test_probabilities_shares_values_and_nothing():
    text = printed(of(("output", torch.tensor([[0.25, 0.75]]))))
    assert "  output: probabilities of 2 classes\n" in text and r"   75.00 %  dog\x1b[2J[red] (1)" in text
    text = printed(of(("out", torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])), ("depth", torch.ones(1, 1, 2, 2))))
    assert "  out: share of places by class, of 2 classes\n" in text and "   50.00 %  a very long name" in text
    assert "  depth: values [1, 1, 2, 2], from 1 to 1, mean 1\n" in text
    text = printed(of(("out", torch.tensor([float("nan")]))))
    assert "  out: values [1], 1 value not finite\n" in text
    assert printed(of()).endswith("dog.jpg (640x480)\n  the file returns nothing\n")


def test_detections_where_they_are():
    lines = printed(of(*BOXES)).splitlines()
    start = lines.index("  0: 2 objects, as left, top, right, bottom")
    assert " ".join(lines[start + 1].split()) == "score in the photograph in the input class"
    assert " ".join(lines[start + 2].split()) == r"0.500 12, 4, 16, 8 1, 2, 3, 4 dog\x1b[2J[red] (1)"
    assert lines[start + 3].startswith("   0.250  2010, 4000, 6010, 8000  1000, 2000, 3000, 4000  a very long name")
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(" ".join(lines[start + 3 :]).split()).endswith("many synonyms and then some more (0)")
    assert "  0: 2 objects, the best 1, as left, top, right, bottom\n" in printed(of(*BOXES, top=1))
    unknown = printed(of(*BOXES, where=None))
    assert "right, bottom; a function preprocesses, and says not where in the photograph" in " ".join(unknown.split())
    peaks = ("output", torch.tensor([[[4.0, 8.0, 0.5, 1.0, 1.0]]]))
    assert "0.500 18.0, 16.0 4.0, 8.0 dog" in " ".join(printed(of(peaks, has_peaks=True)).split())


def test_a_pipe_gets_each_class_on_one_line():
    assert f"2  {LONG} (0)\n" in printed(of(SCORES), width=10_000)


def test_json_has_every_number():
    report = json.loads(prediction_text(of(SCORES, *BOXES, ("odd", torch.tensor([float("inf")])))))
    assert {key: report[key] for key in ("schema", "file", "model", "input", "labels", "notes")} == {
        "schema": 1,
        "file": "x.ptl",
        "model": "tiny",
        "input": [3, 32, 32],
        "labels": "x.ptl",
        "notes": ["a note"],
    }
    assert report["preprocessing"]["origin"] == "weights"
    assert report["unreadable"] == [{"image": "bad.jpg", "reason": "it is empty"}]
    (image,) = report["images"]
    assert (image["image"], image["height"], image["width"]) == ("dog.jpg", 480, 640)
    boxes, *others = image["outputs"]
    assert boxes["kind"] == "boxes" and boxes["count"] == 2
    assert boxes["top"][0] == {
        "index": 1,
        "label": LABELS[1],
        "score": 0.5,
        "input": [1.0, 2.0, 3.0, 4.0],
        "photograph": [12.0, 4.0, 16.0, 8.0],
    }
    assert [one["kind"] for one in others] == ["values", "values"]
    assert (others[1]["min"], others[1]["not_finite"]) == (None, 1)
