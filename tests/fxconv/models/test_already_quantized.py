"""Models that are quantized, or no float32 on the CPU, and what is said of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fxconv.models.already_quantized import problem

FLOAT = "give the float model that it was made of"
TRAINED = f"rounds as prepare_qat has it; {FLOAT}, and fxconv trains it itself with --mode qat"


def net(train: bool = False) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)).train(train)
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("qnnpack")
    return model


def of_package(home: str) -> nn.Module:
    kind = type("Linear4bit", (nn.Linear,), {"__module__": home})
    return nn.Sequential(kind(2, 2))


class Elsewhere(nn.Parameter):
    """A parameter that says that it lies on a GPU."""

    device = property(lambda self: torch.device("cuda", 0))  # type: ignore[assignment]


def on_a_gpu() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight = Elsewhere(torch.ones(2, 2))
    return layer


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (net, ""),
        (lambda: nn.Sequential(torch.ao.nn.quantized.FloatFunctional()), ""),
        (
            lambda: torch.ao.quantization.prepare_qat(net(True)),
            f"0: Conv2d {TRAINED}",
        ),
        (
            lambda: torch.ao.quantization.prepare(net()),
            f"0.activation_post_process: FusedMovingAvgObsFakeQuantize {TRAINED}",
        ),
        (
            lambda: nn.Sequential(torch.ao.quantization.MinMaxObserver()),
            "0: MinMaxObserver observes ranges, as prepare has it; give the float model that it was made of, "
            "from before prepare",
        ),
        (
            lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(2, 2))),
            "0: Linear is quantized already; give the float model that it was made of, from before "
            "torch.ao.quantization.convert",
        ),
        (
            lambda: of_package("bitsandbytes.nn.modules"),
            "0: Linear4bit is a layer of bitsandbytes, quantized already; give the float model that it was made of",
        ),
        (lambda: nn.Linear(2, 2).half(), "weight is float16, and float32 is needed; call .float() on the model"),
        (lambda: nn.Linear(2, 2).bfloat16(), "weight is bfloat16, and float32 is needed; call .float() on the model"),
        (lambda: nn.Linear(2, 2).double(), "weight is float64, and float32 is needed; call .float() on the model"),
        (on_a_gpu, "weight is on cuda:0, and the CPU is needed; call .cpu() on the model"),
    ],
)
def test_what_is_said(make, words):
    assert problem(make()) == words
