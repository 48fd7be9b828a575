"""Functions of the user's that make a model, and what they give that is none."""

from __future__ import annotations

import pytest

from fxconv.errors import UserError
from fxconv.models.factories import made_by

NET = """
from torch import nn

state = nn.Linear(2, 2).state_dict()


def lists():
    return [nn.Linear(2, 2), 3]


def weights():
    return {"net": state}["net"]


def number():
    return 3


def kind():
    return int
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lists", "lists() gave a list (Linear, int), not an nn.Module; return the module alone"),
        (
            "weights",
            "weights() gave a state_dict, weights without a model; load them into the model and return that, or save "
            "them and give --weights FILE",
        ),
        ("number", "number() gave an int, not an nn.Module; return the model"),
        ("kind", "kind() gave a type, not an nn.Module; return the model"),
        (
            "state",
            "state is neither a module nor a function that makes one; it is a state_dict, weights without a model",
        ),
    ],
)
def test_what_is_no_module(name, words, tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        made_by(f"net.py:{name}", 0, {})
    assert str(error.value) == f"net.py:{words}"
