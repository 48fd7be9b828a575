"""What a metric is handed: it can be called as the float model is, and nothing that is done with it stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fxconv.data.targets import TargetBatches
from fxconv.errors import InternalError, OwnFormError
from fxconv.measures.metric_model import Feed, MetricModel, RefusedInput
from fxconv.models.signature import InputSignature

ONE, TWO = InputSignature(("x",)), InputSignature(("left", "right"))
IMAGES = torch.arange(4).reshape(2, 2).float()


def feed(signature: InputSignature = ONE, target: object = None) -> Feed:
    inputs = (IMAGES,) * signature.count
    return Feed(TargetBatches([(inputs, target)]), 100, signature)


def handed(module: nn.Module, signature: InputSignature = ONE, reference: nn.Module | None = None) -> MetricModel:
    given = feed(signature)
    next(given.batches())
    return MetricModel(module, signature, given, reference)


def test_it_returns_what_the_model_returns():
    class Named(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"twice": 2 * x}

    found = handed(Named())(IMAGES)
    assert torch.equal(found["twice"], 2 * IMAGES)
    assert not handed(nn.Linear(2, 2))(IMAGES).requires_grad


def test_it_stays_in_eval_mode():
    model = handed(nn.Dropout().eval())
    assert model.eval() is model
    assert model.train(False) is model
    assert model.training is False
    with pytest.raises(RuntimeError, match="the model that a metric gets stays in eval mode"):
        model.train()


def test_what_it_is_given_and_returns_is_not_the_models():
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept = nn.Parameter(torch.ones(2))
            self.calls: list[int] = []

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            self.calls.append(1)
            return x.mul_(2), self.kept

    module, images = Writing(), IMAGES.clone()
    _, kept = handed(module)(images)
    kept.zero_()
    assert torch.equal(images, IMAGES)
    assert torch.equal(module.kept, torch.ones(2))
    assert module.calls == []


def test_a_batch_of_several_inputs_is_taken_as_it_comes():
    class Sum(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left + right

    model, batch = handed(Sum(), TWO), next(feed(TWO).batches())[0]
    assert isinstance(batch, tuple)
    assert torch.equal(model(batch), 2 * IMAGES)
    assert torch.equal(model(*batch), 2 * IMAGES)


def test_a_model_that_takes_a_list_gets_one():
    class Counted(nn.Module):
        def forward(self, images: list[Tensor]) -> Tensor:
            assert isinstance(images, list)
            return torch.stack(images).sum(1)

    signature = InputSignature.of(Counted())
    model, batch = handed(Counted(), signature), next(feed(signature).batches())[0]
    assert isinstance(batch, list)
    assert model(batch).tolist() == model(IMAGES).tolist() == [1.0, 5.0]


def test_what_a_metric_writes_into_a_batch_is_gone_in_the_next_run():
    truth = {"masks": torch.ones(2), "names": ["a"]}
    given = feed(ONE, truth)
    images, target = next(given.batches())
    images.zero_()
    target["masks"].zero_()
    target["names"].append("b")
    images, target = next(given.batches())
    assert torch.equal(images, IMAGES)
    assert (target["masks"].tolist(), target["names"]) == ([1.0, 1.0], ["a"])


class Refusing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no such input")


def test_what_the_float_model_refuses_too_is_the_metrics_fault():
    for reference in (None, Refusing()):
        with pytest.raises(RefusedInput) as error:
            handed(Refusing(), reference=reference)(IMAGES)
        assert str(error.value.__cause__) == "no such input"


def test_what_int8_alone_refuses_is_fxconvs_fault_if_it_is_a_batch():
    words = r"fxconv's form of the model: the code in test_metric_model.py, line \d+ \(raise ValueError.*alone takes"
    with pytest.raises(OwnFormError, match=words):
        handed(Refusing(), reference=nn.Identity())(IMAGES)
    with pytest.raises(InternalError, match="INTERNAL ERROR in fxconv's form of the model, called by a metric: "):
        handed(nn.Linear(3, 1), reference=nn.Identity())(IMAGES)
    with pytest.raises(RefusedInput):  # of another size nothing was promised
        handed(Refusing(), reference=nn.Identity())(IMAGES[:, :1])
