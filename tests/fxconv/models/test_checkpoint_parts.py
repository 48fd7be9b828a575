"""The state_dicts in what a checkpoint holds, and which is meant where nobody says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fxconv.models.checkpoint_parts import parts_in, preferred

A, B = {"w": torch.ones(1), "b": torch.ones(1)}, {"w": torch.zeros(1), "b": torch.zeros(1)}
MEAN = {"mean": torch.ones(3)}


@pytest.mark.parametrize(
    ("content", "paths", "meant"),
    [
        (A, [""], ""),
        (
            {"state_dict": A, "hyper_parameters": {"lr": 1}, "pytorch-lightning_version": "2"},
            ["state_dict"],
            "state_dict",
        ),
        ({"state_dict": A, "meta": {"CLASSES": ["a"]}}, ["state_dict"], "state_dict"),
        ({"ema_state_dict": B, "state_dict": A}, ["ema_state_dict", "state_dict"], "state_dict"),
        ({"model_ema": B, "model": A}, ["model_ema", "model"], "model"),
        ({"state_dict_ema": B, "state_dict": A}, ["state_dict_ema", "state_dict"], "state_dict"),
        ({"ema": {"model": B, "decay": 0.9}, "model": A}, ["ema.model", "model"], "model"),
        ({"params_ema": B}, ["params_ema"], "params_ema"),
        ({"params_ema": B, "params": A}, ["params_ema", "params"], "params"),
        ({"student": A, "teacher": B}, ["student", "teacher"], None),
        ({"student": A}, ["student"], "student"),
        ({"generator": A | {"c": torch.ones(1)}, "pixels": MEAN}, ["generator", "pixels"], "generator"),
        ({"model": A, "optimizer": {"state": {0: {"m": torch.ones(1)}}}, "optim_ema": B}, ["model"], "model"),
        ({"model": A, "lr_scheduler": {"x": torch.ones(1)}, "scaler": {"x": torch.ones(1)}}, ["model"], "model"),
        ({"epoch": 3}, [], None),
        ([A], [], None),
        ({0: A}, [], None),
    ],
)
def test_the_state_dicts_and_the_one_that_is_meant(content, paths, meant):
    parts = parts_in(content)
    assert list(parts) == paths
    assert preferred(parts) == meant


def test_a_module_gives_its_state_dict():
    assert list(parts_in({"ema": nn.Conv2d(1, 1, 1)})["ema"]) == ["weight", "bias"]
