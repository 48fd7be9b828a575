"""A loop of the user's own: what is prepared for it, and what becomes of what it trained."""

from __future__ import annotations

import copy
import time

import fxconv_networks as networks
import pytest
import torch
from fxconv_trainings import NONE, TRAINED, Returning, images
from torch import nn

import fxconv
from fxconv.errors import UserError
from fxconv.models import forward
from fxconv.quantization import engine
from fxconv.quantization.training.own_loop import Trainable


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


def test_the_users_own_training_is_not_in_the_time(monkeypatch):
    module = fxconv.prepare_qat(networks.tiny().eval(), [images(8)], recipe=NONE)
    now = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: now() + 1e6)  # as if days of training had passed
    done = fxconv.finish(module)
    steps = sum(seconds for step, seconds in done.timings.items() if step != "total")
    assert done.timings["total"] < steps + 1e5
    assert fxconv.finish(module).timings["rewriting"] < 2 * done.timings["rewriting"]


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
    with pytest.raises(UserError, match="mode='qat' wants a model that traces whole"):
        fxconv.prepare_qat(networks.Branching().eval(), [images(8)], recipe=NONE)


def test_a_loop_over_the_batch_cannot_be_prepared():
    with pytest.raises(UserError, match="this model's graph holds for one image only"):
        fxconv.prepare_qat(Returning("a loop over the batch").eval(), [images(8)])
