"""Whole networks as ExecuTorch programs: one delegate, all in int8, near the Q/DQ form."""

import pytest
import torch
import torchvision
from torch import nn

import fxconv
from fxconv.targets.executorch.lowering import lower
from fxconv.targets.executorch.runtime import load
from fxconv.targets.qdq.form import qdq_form

pytest.importorskip("executorch")

# Names, and what is outside of the delegate: layer norms, around float attention.
NETWORKS = {
    "mobilenet_v2": set(),
    "mobilenet_v3_small": set(),
    "resnet18": set(),
    "efficientnet_b0": set(),
    "shufflenet_v2_x1_0": set(),
    "swin_t": {"native_layer_norm"},
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return model


@pytest.mark.zoo
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_outside_that_need_not_be(name: str) -> None:
    model = network(name)
    images = [torch.randn(2, 3, 64, 64) for _ in range(3)]
    int8 = fxconv.convert(model, calibration=images, recipe="none").int8
    form = qdq_form(int8, (images[0][:1],))
    lowered = lower(form, (images[0][:1],))
    portable = {one.operation for one in lowered.placement.portable()}
    assert portable == NETWORKS[name]
    assert not any(one.is_int8_node for one in lowered.placement.outside_int8())
    assert lowered.placement.delegates == 1 or portable
    given = images[1][:1]
    with torch.no_grad():
        reference = form(given)
    error = load(lowered.content)(given) - reference
    noise = float(10 * torch.log10(reference.square().sum() / error.square().sum().clamp_min(1e-30)))
    assert noise > 20
