"""What quantizing one layer alone costs, against the same worked out by hand."""

from __future__ import annotations

import math

import fxconv_networks as networks
import pytest
import torch
import torch.nn.functional as F
from fxconv_outliers import HUGE, LOUD, outliers
from torch import Tensor, nn

from fxconv.config import Config, Recipe, WeightScheme
from fxconv.data.calibration import Batches
from fxconv.measures.layer_cost import LayerCost, damage
from fxconv.measures.model_similarity import similarity_of
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.quantization.engine import engine
from fxconv.quantization.layer_costs import costs
from fxconv.quantization.passes import selected
from fxconv.quantization.quantize import quantize
from fxconv.quantization.task import QuantizationTask


def quantized(model: nn.Module, batches: list[Tensor], **options):
    config = Config(**{"recipe": (Recipe.none,), **options})
    clock = Clock(lambda step, done, total: None)
    signature, data = InputSignature.of(model), Batches(batches)
    with engine("qnnpack"):
        image = signature.arguments(data.examples(1)[0])
        return quantize(QuantizationTask(model, selected(config), signature, data, image, config, clock))


def probed(model: nn.Module, batches: list[Tensor], images: Tensor, outputs: bool = False, **options):
    done = quantized(model, batches, **options)
    single = [(image[None],) for image in images]
    with engine("qnnpack"):
        return done, costs(done.floating(), done.int8, done.ranges, single, outputs=outputs)


class Two(nn.Module):
    """Two layers without batch norms, which fusing leaves as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture
def two() -> nn.Module:
    torch.manual_seed(3)
    return Two().eval()


@pytest.mark.parametrize("scheme", list(WeightScheme))
def test_one_layer_alone_is_what_torch_fake_quantizes(two, batches, scheme):
    done, layers = probed(two, batches, batches[0][:4], weight_scheme=scheme, recipe=(Recipe.none,))
    (cost,) = [layer for layer in layers if layer.where == "head"]
    expected, weight = done.ranges[""]["head"], two.head.weight.detach()
    if scheme is WeightScheme.per_channel:
        scales, zeros = weight.abs().amax(1) / 127, torch.zeros(5, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -127, 127)
    else:
        weight = torch.fake_quantize_per_tensor_affine(weight, float(weight.abs().max() / 127), 0, -127, 127)
    signal = noise = 0.0
    same = 0
    with torch.no_grad():
        for image in batches[0][:4]:
            pooled = F.relu(two.conv(image[None])).mean((2, 3))
            rounded = F.linear(pooled, weight, two.head.bias)
            rounded = torch.fake_quantize_per_tensor_affine(rounded, expected.scale, expected.zero_point, 0, 255)
            wanted = two(image[None])
            signal += float(wanted.double().square().sum())
            noise += float((wanted.double() - rounded.double()).square().sum())
            same += int(wanted.argmax(1) == rounded.argmax(1))
    assert cost.sqnr_db == pytest.approx(10 * math.log10(signal / noise), abs=1e-3)
    assert cost.top1_agreement == same / 4


def test_macs_and_bytes_are_those_of_the_layer(two, batches):
    _, layers = probed(two, batches, batches[0][:1])
    by_path = {layer.where: layer for layer in layers}
    conv, head = by_path["conv"], by_path["head"]
    assert (conv.macs, head.macs) == (30 * 30 * 4 * 27, 20)
    assert conv.macs_share == pytest.approx(conv.macs / (conv.macs + head.macs))
    assert (conv.weight_bytes, conv.float_extra_bytes, head.weight_bytes) == (4 * 27, 3 * 4 * 27, 20)
    assert (conv.kind, head.kind, by_path["quant_x"].kind) == ("Conv2d + ReLU", "Linear", "QuantStub")
    assert by_path["quant_x"].macs == by_path["quant_x"].weight_bytes == 0


def test_every_int8_operation_has_a_row_and_the_worst_is_first(small_model, batches):
    _, layers = probed(small_model, batches, batches[0][:2])
    assert {layer.where for layer in layers} == {
        "quant_x", "stem.conv", "conv", "squeeze", "excite", "mul", "add", "head"
    }  # fmt: skip
    sqnr = [layer.sqnr_db for layer in layers]
    assert sqnr == sorted(sqnr)


def test_the_layer_with_a_huge_weight_is_the_worst_of_per_tensor_weights():
    model, (calibration, images) = outliers("weight")
    _, layers = probed(model, [calibration], images[:8], outputs=True, weight_scheme=WeightScheme.per_tensor)
    assert layers[0].where == HUGE
    assert layers[0].sqnr_db < layers[1].sqnr_db - 10
    assert layers[0].output_sqnr_db > layers[0].sqnr_db + 10  # the weights are to blame
    _, by_channel = probed(model, [calibration], images[:8], weight_scheme=WeightScheme.per_channel)
    (huge,) = [layer for layer in by_channel if layer.where == HUGE]
    assert huge.sqnr_db > layers[0].sqnr_db + 6  # one channel pays for it instead of eight


def test_the_layer_with_a_loud_channel_is_the_worst_and_its_output_is_to_blame():
    model, (calibration, images) = outliers("activation")
    _, layers = probed(model, [calibration], images[:8], outputs=True)
    assert layers[0].where == LOUD
    assert layers[0].output_sqnr_db == pytest.approx(layers[0].sqnr_db, abs=1)


def test_readers_are_what_reads_the_output_in_int8(small_model, batches):
    _, layers = probed(small_model, batches, batches[0][:1])
    readers = {layer.where: set(layer.readers) for layer in layers}
    assert readers["quant_x"] == {"stem.conv"}
    assert readers["stem.conv"] == {"conv", "add"}
    assert readers["conv"] == {"squeeze", "mul"}  # through a pool
    assert readers["head"] == set()


def test_what_writes_into_its_input_is_run_from_the_start(batches):
    class Untraceable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0:
                x += 1
            return x

    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.change, self.second = nn.Conv2d(3, 4, 1), Untraceable(), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.change(self.first(x)))

    torch.manual_seed(0)
    model = Writes().eval()
    with torch.no_grad():
        model.first.bias.fill_(2.0)
    _, layers = probed(model, batches[:1], batches[0][:3])
    assert all(layer.sqnr_db > 30 for layer in layers)


def test_models_of_several_graphs_are_compared_with_the_same_decisions(batches):
    torch.manual_seed(0)
    model = networks.detector().eval()
    _, layers = probed(model, batches[:1], batches[0][:2])
    paths = {layer.where for layer in layers}
    assert {"backbone.stem.conv", "heads.tower.conv", "heads.logits", "heads.boxes"} <= paths
    assert all(layer.top1_agreement is None and layer.sqnr_db > 20 for layer in layers)
    assert sum(layer.macs_share for layer in layers) == pytest.approx(1)


def test_all_together_is_the_int8_module_itself(small_model, batches):
    done, _ = probed(small_model, batches, batches[0][:1])
    images = [(image[None],) for image in batches[0][:4]]
    with engine("qnnpack"):
        tally = similarity_of(done.floating(), done.int8, images)
        again = similarity_of(done.floating(), done.floating(), images)
    assert 20 < tally.sqnr_db < 60
    assert (again.sqnr_db, again.agreement) == (math.inf, 1.0)


def test_probing_leaves_the_model_as_it_was(small_model, batches):
    state = {key: value.clone() for key, value in small_model.state_dict().items()}
    probed(small_model, batches, batches[0][:1])
    assert all(torch.equal(value, state[key]) for key, value in small_model.state_dict().items())
    assert not any(module._forward_hooks for module in small_model.modules())


def test_damage_is_noise_over_signal():
    def cost(sqnr: float) -> LayerCost:
        return LayerCost("x", "Conv2d", sqnr, None, 1, 1.0, 1)

    assert damage(cost(20.0)) == pytest.approx(0.01)
    assert damage(cost(math.inf)) < 1e-20
    assert damage(cost(-math.inf)) > 1e20
