"""One network of every family of torchvision's, at a small input: verified, and converted. `pytest -m zoo`."""

from __future__ import annotations

import pytest
import torch

import fxconv
from benchmarks.networks import seeded

# The smallest input each takes that leaves something to pool; None is its own.
FAMILIES = {
    "alexnet": "96",
    "convnext_tiny": "64",
    "deeplabv3_mobilenet_v3_large": "96",
    "densenet121": "64",
    "efficientnet_b0": "64",
    "efficientnet_v2_s": "64",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "160",
    "fcn_resnet50": "64",
    "fcos_resnet50_fpn": "128",
    "googlenet": "64",
    "inception_v3": "128",
    "keypointrcnn_resnet50_fpn": "128",
    "lraspp_mobilenet_v3_large": "96",
    "maskrcnn_resnet50_fpn": "128",
    "maxvit_t": None,
    "mc3_18": "3x8x32x32",
    "mnasnet0_5": "64",
    "mobilenet_v2": "64",
    "mobilenet_v3_small": "64",
    "mvit_v2_s": None,
    "r2plus1d_18": "3x8x64x64",
    "r3d_18": "3x8x32x32",
    "raft_small": "128",
    "regnet_y_400mf": "64",
    "resnet18": "64",
    "resnext50_32x4d": "64",
    "retinanet_resnet50_fpn": "128",
    "s3d": "3x14x224x224",
    "shufflenet_v2_x0_5": "64",
    "squeezenet1_1": "64",
    "ssd300_vgg16": None,
    "ssdlite320_mobilenet_v3_large": None,
    "swin3d_t": "3x8x64x64",
    "swin_t": "64",
    "swin_v2_t": "64",
    "vgg11_bn": "64",
    "vit_b_32": None,
    "wide_resnet50_2": "64",
}


@pytest.mark.zoo
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_converted_and_verified(name):
    torch.set_num_threads(2)
    loaded, batches = seeded(name, 4, FAMILIES[name], 2, is_trained_like=True)
    conversion = fxconv.convert(loaded.module, batches, min_sqnr=10.0)
    assert conversion.verdict == "converted and verified"
    assert conversion.audit.failed == ()
