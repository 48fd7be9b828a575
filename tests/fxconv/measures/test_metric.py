"""A metric of the user's: where it is, what it may return, and what is said of one that fails."""

from __future__ import annotations

import functools
import hashlib
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fxconv.config import Config
from fxconv.data.calibration import Batches
from fxconv.data.targets import TargetBatches
from fxconv.errors import UserError
from fxconv.measures.metric import Metric, with_metric
from fxconv.models.signature import InputSignature

IMAGES = torch.arange(6).reshape(3, 2).float()
DATA = TargetBatches([((IMAGES[:2],), "two"), ((IMAGES[2:],), "one")])


def value(function, data=DATA, module: nn.Module | None = None) -> float:
    module = module or nn.Identity()
    return Metric.of(function).measured(module, InputSignature.of(module), data, 100)[0]


def total(model, batches) -> Tensor:
    return sum(model(images).sum() for images, _ in batches)


def returning(answer: object):
    def metric(model, batches) -> object:
        model(next(batches)[0])
        return answer

    return metric


def test_it_is_called_with_a_model_and_an_iterator_of_batches_and_targets():
    seen = []

    def metric(model, batches) -> float:
        assert iter(batches) is batches
        seen.extend((model(images).tolist(), target) for images, target in batches)
        assert list(batches) == []
        return 0.5

    found = Metric.of(metric).measured(nn.Identity(), InputSignature(("x",)), DATA, 100)
    assert found == (0.5, 3)
    assert seen == [([[0.0, 1.0], [2.0, 3.0]], "two"), ([[4.0, 5.0]], "one")]


def test_without_targets_they_are_none():
    assert value(lambda model, batches: [model(x) is None or t for x, t in batches].count(None), Batches([IMAGES])) == 1


@pytest.mark.parametrize(
    "answer", [0.25, torch.tensor(0.25), torch.tensor([[0.25]]), np.float32(0.25), np.array([0.25])]
)
def test_any_one_number_is_a_value(answer):
    assert value(returning(answer)) == 0.25


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "returned None for the float model; return one number, higher for better"),
        (math.nan, "returned nan for the float model; return a finite number, higher for better"),
        (torch.tensor(math.nan), "returned nan for"),
        (-math.inf, "returned -inf for"),
        (torch.zeros(3), "returned an array of shape (3,) for the float model; return one number"),
        ({"map": 0.5, "map_50": 0.7}, "returned a dict of map, map_50 for"),
        ("0.5", "returned a str for"),
        (1j, "returned a complex for"),
        ([0.5], "returned a list for"),
    ],
)
def test_what_is_no_number_is_told(answer, words):
    with pytest.raises(UserError) as error:
        value(returning(answer))
    assert str(error.value).startswith(f"metric metric: {words}")


def test_a_metric_that_looks_at_nothing_is_told():
    with pytest.raises(UserError, match=r"^metric <lambda>: never looked at an image; let it go through the batches"):
        value(lambda model, batches: 1.0)
    with pytest.raises(UserError, match=r"never called the model it is given; let it compare what that returns"):
        value(lambda model, batches: len(list(batches)))


FILE = """
import torch

def mean_iou(model, batches):
    return sum(float(model(images).mean()) for images, _ in batches)

def helper(target):
    return target.shape

def failing(model, batches):
    for images, target in batches:
        helper(target)

def leaving(model, batches):
    raise SystemExit(3)

def feeding(model, batches):
    for images, target in batches:
        model(images[:, :1].int())

def training(model, batches):
    model.train()

def looking(model, batches):
    return next(iter(model.parameters())).sum()

def one(model):
    return 1.0

class Meter:
    pass

NUMBER = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "iou.py"
    path.write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return path


def test_it_is_named_by_file_and_digest(file):
    metric = Metric.at("iou.py:mean_iou")
    assert (metric.named.name, metric.named.spec) == ("mean_iou", "iou.py:mean_iou")
    assert metric.named.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert metric.measured(nn.Identity(), InputSignature(("x",)), DATA, 100) == (6.0, 3)


def test_a_function_is_named_as_python_does():
    named = Metric.of(total).named
    assert (named.name, named.spec) == ("total", f"{__name__}:total")
    assert len(named.sha256) == 64
    assert Metric.of(functools.partial(total)).named.name == "total"
    assert Metric.of(Metric.of(total)).named == named


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gone.py:f", "gone.py: no such file; expected FILE.py:NAME"),
        ("mean_iou", "--metric mean_iou: expected FILE.py:NAME or PACKAGE.MODULE:NAME"),
        ("iou.py:mean", "--metric iou.py:mean: iou.py has no 'mean'; did you mean mean_iou?"),
        (
            "iou.py:NUMBER",
            "--metric iou.py:NUMBER: is of type int, no function; a metric is called with a model and an",
        ),
        ("iou.py:Meter", "--metric iou.py:Meter: is a class, no function; a metric is called"),
        ("iou.py:one", "--metric iou.py:one: too many positional arguments; a metric is called with a model and an "),
    ],
)
def test_what_is_no_metric_is_told(file, spec, words):
    with pytest.raises(UserError) as error:
        Metric.at(spec)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "failing",
            "failed with AttributeError: 'str' object has no attribute 'shape' in iou.py, line 8 (return target.shape)"
            ", for the float model; mend it there",
        ),
        ("leaving", "failed with SystemExit: 3 in iou.py, line 15 (raise SystemExit(3)), for the float model;"),
        (
            "feeding",
            "the float model cannot take what it is called with in iou.py, line 19 (model(images[:, :1].int())): "
            "RuntimeError: ",
        ),
        ("training", "failed with RuntimeError: the model that a metric gets stays in eval mode in iou.py, line 22"),
        ("looking", "failed with AttributeError: a metric can call the model it gets, which has no 'parameters' in"),
    ],
)
def test_a_failure_names_the_line(file, name, words):
    metric = Metric.at(f"iou.py:{name}")
    with pytest.raises(UserError) as error:
        metric.measured(nn.Linear(2, 1), InputSignature(("input",)), DATA, 100)
    assert str(error.value).startswith(f"--metric iou.py:{name}: {words}")
    assert "\n" not in str(error.value)


def test_batches_that_cannot_be_read_are_not_the_metrics_fault():
    class Broken(Batches):
        def batches(self, limit=None, skip=0):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        value(total, Broken([IMAGES]))


def test_random_numbers_are_the_same_in_each_run():
    def drawing(model, batches) -> float:
        total(model, batches)
        return float(torch.rand(1)) + random.random() + float(np.random.rand())

    before = torch.get_rng_state(), random.getstate()
    assert value(drawing) == value(drawing)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_the_choices_hold_its_name():
    config, metric = with_metric(Config(), total, {"max_drop": 250.0})
    assert (config.metric, config.max_drop, metric.function) == (f"{__name__}:total", 250.0, total)
    assert with_metric(Config(seed=3), None, {}) == (Config(seed=3), None)
    config, metric = with_metric(Config(metric=f"{__name__}:total"), None, {})
    assert metric.named.name == "total"


def test_an_object_that_can_be_called_is_a_metric():
    class Meter:
        def __call__(self, model, batches) -> Tensor:
            return total(model, batches)

    assert value(Meter()) == 15.0
    assert Metric.of(Meter()).named.name == "Meter"
    with pytest.raises(UserError, match="metric SimpleNamespace: is of type SimpleNamespace, no function"):
        Metric.of(SimpleNamespace())
