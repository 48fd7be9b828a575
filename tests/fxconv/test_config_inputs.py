"""What was given by name moves with the file that holds it, and nothing in that file runs code by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from fxconv.config_inputs import NamedInputs, names_code, read_inputs
from fxconv.errors import UserError

GIVEN = NamedInputs(
    model="nets/net.py:make",
    weights="../w.pth",
    input_size="32",
    calib="photos",
    labels="l.txt",
    digests={"--weights": "ab"},
)


def test_paths_are_relative_to_the_file_and_found_from_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    beside = GIVEN.beside(Path("saved/c.json"))
    assert beside.as_json() == {
        "model": "../nets/net.py:make",
        "weights": "../../w.pth",
        "input_size": "32",
        "calib": "../photos",
        "labels": "../l.txt",
        "targets": ["mobile"],
        "digests": {"--weights": "ab"},
    }
    assert read_inputs(beside.as_json(), "x").found_from(Path("saved/c.json")) == GIVEN
    assert NamedInputs(model="resnet18").beside(Path("saved/c.json")) == NamedInputs(model="resnet18")


@pytest.mark.parametrize(
    ("model", "is_code"),
    [
        ("resnet18", False),
        ("timm:resnet18", False),
        ("transformers:ViTModel", False),
        ("detector:mobilenet_v2", False),
        ("net.py:make", True),
        ("package.models:Net", True),
    ],
)
def test_code_is_known_by_the_name(model, is_code):
    assert names_code(model) is is_code
    assert NamedInputs(model=model).code_of() == ({model: "model"} if is_code else {})


def test_unpickling_is_code_too():
    given = NamedInputs(model="resnet18", unsafe_load=True)
    assert given.code_of(["my file.py:P"], {"preprocess": "own.py:f", "metric": None}) == {
        "--unsafe-load": "unsafe_load",
        "--pass 'my file.py:P'": "passes",
        "--preprocess own.py:f": "preprocess",
    }


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ([], "x is no JSON object"),
        ({"modle": "a"}, "x: unknown key 'modle'; known are model, weights,"),
        ({"model": 3}, "x: 'model' is of another type"),
        ({"train_count": True}, "x: 'train_count' is of another type"),
        ({"digests": {"a": 1}}, "x: 'digests' is of another type"),
        ({"targets": "mobile"}, "x: 'targets' is of another type"),
    ],
)
def test_mistakes_in_one_line(told, line):
    with pytest.raises(UserError) as error:
        read_inputs(told, "x")
    assert str(error.value).startswith(line)
