"""Channels whose weights are nothing and whose bias is not: the kernels' 32-bit bias must hold it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fxconv
from fxconv.config import Config, WeightScheme
from fxconv.quantization import bias_overflow, engine, static
from fxconv.quantization.passes import selected
from rewrites import rewrite


def without(layer: nn.Module, bias: float, weight: float = 0.0) -> nn.Module:
    """`layer` with all weights of its output channel 1 set to `weight`."""
    with torch.no_grad():
        layer.weight.select(1 if isinstance(layer, nn.ConvTranspose2d) else 0, 1).fill_(weight)
        layer.bias[1] = bias
    return layer


def pruned(layer: nn.Module, bias: float) -> nn.Module:
    """`layer` with no weights at all."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(bias)
        layer.bias[0] = 0.1
    return layer


def zero_gamma(channels: int, bias: float) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.weight[2], norm.bias[2] = 0, bias
    return norm


IMAGE = (8, 3, 8, 8)
NETWORKS = {
    "batch norm and relu": lambda b: [
        nn.Conv2d(3, 8, 3, bias=False), zero_gamma(8, abs(b)), nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False),
        zero_gamma(4, b),
    ],
    "behind operations that follow": lambda b: [
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(2), nn.Unflatten(2, (3, 3)),
        without(nn.Conv2d(8, 4, 1), b),
    ],
    "a whole convolution": lambda b: [nn.Conv2d(3, 8, 3), nn.ReLU(), pruned(nn.Conv2d(8, 4, 1), b)],
    "depthwise": lambda b: [nn.Conv2d(3, 8, 3), nn.ReLU(), without(nn.Conv2d(8, 8, 3, groups=8), b)],
    "tiny weights": lambda b: [nn.Conv2d(3, 8, 3), nn.ReLU(), without(nn.Conv2d(8, 4, 1), b, 1e-12)],
    "linear": lambda b: [
        nn.Flatten(), without(nn.Linear(192, 8), abs(b)), nn.ReLU(), without(nn.Linear(8, 4), b, 1e-9),
    ],
    "in one dimension": lambda b: [
        nn.Flatten(2), without(nn.Conv1d(3, 8, 3), abs(b)), nn.ReLU(), without(nn.Conv1d(8, 4, 1), b),
    ],
    "transposed": lambda b: [nn.Conv2d(3, 8, 3), nn.ReLU(), pruned(nn.ConvTranspose2d(8, 4, 2, 2), b)],
}  # fmt: skip


def network(name: str, bias: float) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*NETWORKS[name](bias)).eval()


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [part.weight() for part in module.modules() if callable(getattr(part, "weight", None))]


@pytest.mark.parametrize("magnitude", [1.0, 1e-3], ids=lambda m: f"inputs of {m:g}")
@pytest.mark.parametrize("bias", [2.0, -3.7, 50.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_channel_of_nothing_but_a_bias(name, bias, magnitude):
    model = network(name, bias)
    # the other channels vary by less than a step of this one's bias, and are told of as lost
    conversion = fxconv.convert(model, [torch.randn(IMAGE) * magnitude], recipe=("none",), min_sqnr=-100.0)
    assert conversion.verdict == "converted and verified"
    (row,) = [row for row in conversion.ledger if row.stage == "int8"]
    assert row.sqnr_db > 35


@pytest.mark.parametrize("name", ["batch norm and relu", "linear", "a whole convolution"])
def test_with_one_scale_a_layer(name):
    options = {"weight_scheme": WeightScheme.per_tensor, "min_sqnr": -100.0}
    conversion = fxconv.convert(network(name, -50.0), [torch.randn(IMAGE) * 1e-3], **options)
    assert conversion.verdict == "converted and verified"


def observed_on(model: nn.Module, x: torch.Tensor):
    with engine.engine("qnnpack"), torch.no_grad():
        observed = static.observe(rewrite(model, selected(Config())).graph_module, Config())
        observed(x)
    return observed


def converted(observed, monkeypatch, with_room: bool):
    if not with_room:
        monkeypatch.setattr(static, "make_room_for_biases", lambda module: None)
    with engine.engine("qnnpack"):
        return weights(static.convert_observed(observed))


def test_ordinary_layers_are_quantized_as_before(small_model, batches, monkeypatch):
    found = [converted(observed_on(small_model, batches[0]), monkeypatch, with_room) for with_room in (True, False)]
    assert len(found[0]) == len(found[1]) == 5
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.q_per_channel_scales(), other.q_per_channel_scales())
        assert torch.equal(one.int_repr(), other.int_repr())


def test_only_the_channel_that_needs_it_gets_another_scale(monkeypatch):
    # inputs up to 1: a scale of 1/127 or so, whatever the cut
    model, x = nn.Sequential(without(nn.Conv2d(3, 4, 1), 50.0)).eval(), torch.rand(IMAGE) * 2 - 1
    observed = observed_on(model, x)
    scale = observed.get_submodule("quant_input_1").activation_post_process.calculate_qparams()[0].item()
    (raised,) = converted(observed, monkeypatch, True)
    (plain,) = converted(observed_on(model, x), monkeypatch, False)
    changed = raised.q_per_channel_scales() != plain.q_per_channel_scales()
    assert changed.tolist() == [False, True, False, False]
    assert raised.q_per_channel_scales()[1].item() == pytest.approx(50 / (scale * 2**30), rel=1e-6)
    assert plain.q_per_channel_scales()[1].item() == pytest.approx(torch.finfo(torch.float32).eps)


class Twice(nn.Module):
    """One layer on two inputs, of magnitudes 1 and 1000; between them operators with constants."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = nn.Conv2d(3, 4, 1), without(nn.Conv2d(4, 4, 1), 20.0)

    def forward(self, x):
        y = self.stem(x)
        return self.shared(y * 1000.0) + self.shared(y + 0.5)


def test_a_layer_called_twice_has_room_at_its_finer_input():
    torch.manual_seed(0)
    observed = observed_on(Twice().eval(), torch.randn(IMAGE))
    scale = observed.get_submodule("stem").activation_post_process.calculate_qparams()[0].item()
    first, second = [node for node in observed.graph.nodes if node.target == "shared"]
    assert bias_overflow._input_scale(observed, first) == pytest.approx(1000 * scale)
    assert bias_overflow._input_scale(observed, second) == pytest.approx(scale)
    bias_overflow.make_room_for_biases(observed)
    smallest = observed.get_submodule("shared").qconfig.weight().eps
    assert smallest[1].item() == pytest.approx(20 / (scale * 2**30))
    assert smallest[0].item() == pytest.approx(torch.finfo(torch.float32).eps)
