"""The ten networks: whole in int8, verified, and at most 0.29 of float's bytes. Small inputs; full ones with -m zoo.

At small inputs recipes are searched for in one network only; which one is taken, the tests of recipes are about.
"""

from __future__ import annotations

import pytest
import torch
from torchvision.models import DenseNet, EfficientNet
from torchvision.models.efficientnet import MBConvConfig

import fxconv
from fxconv.config import RANDOM_MIN_SQNR, Recipe
from fxconv.conversion import Conversion
from fxconv.data.calibration_generated import Generated
from fxconv.models import loading
from fxconv.models.batch_norms import reestimate_batch_norms

TEN = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
    "mnasnet1_0",
    "squeezenet1_1",
    "densenet121",
)
# One of each family; the others differ in size only.
REPRESENTATIVES = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
    "mnasnet1_0",
    "squeezenet1_1",
    "densenet121",
)
# x * sigmoid(x) re-associates SiLU, within the tolerance its pass declares; all others are equal.
WITHIN_TOLERANCE = {"efficientnet_b0"}
# At 32x32 its last layers see one pixel, and little of it: float32 does not hold the tolerance.
SIZES = {"efficientnet_b0": 64}
# Of efficientnet_b0 each stage once, 7 blocks instead of 16: how much wider, its kernel, stride and channels.
STAGES = (
    *((1, 3, 1, 32, 16), (6, 3, 2, 16, 24), (6, 5, 2, 24, 40), (6, 3, 2, 40, 80)),
    *((6, 5, 1, 80, 112), (6, 5, 2, 112, 192), (6, 3, 1, 192, 320)),
)
# 22 dense layers instead of 58.
SMALLER = {
    "densenet121": lambda: DenseNet(32, (6, 6, 6, 4), 64),
    "efficientnet_b0": lambda: EfficientNet([MBConvConfig(*stage, 1) for stage in STAGES], 0.2),
}


def converted(name: str, size: int, images: int, recipe: Recipe = Recipe.auto, is_smaller: bool = False) -> Conversion:
    """The network with seeded weights and the batch-norm statistics of generated images."""
    loaded = loading.load(name, "random", str(size))
    module = loaded.module
    if is_smaller and name in SMALLER:
        torch.manual_seed(0)
        module = SMALLER[name]().eval()
    data = Generated(loaded.preprocessing, images, 4, 0)
    reestimate_batch_norms(module, data.batches())
    return fxconv.convert(module, data, min_sqnr=RANDOM_MIN_SQNR, recipe=(recipe,))


def assert_wholly_right(conversion: Conversion, name: str) -> None:
    assert conversion.verdict == "converted and verified"
    rewritten = conversion.ledger[0]
    if name in WITHIN_TOLERANCE:
        assert rewritten.rule == "within 1e-05 of the largest output"
    else:
        assert rewritten.max_abs_diff == 0
    lowered = [row for row in conversion.ledger if row.stage in ("scripted", "optimized", "reloaded")]
    assert [row.max_abs_diff for row in lowered] == [0, 0, 0]
    artifact = conversion.artifact
    assert artifact.int8_macs_share == 1.0
    assert conversion.rewritten.islands == ()
    assert artifact.float_calls == {}
    assert artifact.calls["aten::quantize_per_tensor"] == artifact.calls["aten::dequantize"] == 1
    assert conversion.audit.failed == ()
    assert conversion.audit.worst <= 1
    assert artifact.size <= 0.29 * artifact.float_bytes


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_wholly_right(name):
    recipe = Recipe.auto if name == "mobilenet_v2" else Recipe.none
    assert_wholly_right(converted(name, SIZES.get(name, 32), 8, recipe, is_smaller=True), name)


@pytest.mark.zoo
@pytest.mark.parametrize("name", TEN)
def test_wholly_right_at_full_size(name):
    torch.set_num_threads(2)
    assert_wholly_right(converted(name, 224, 40), name)
