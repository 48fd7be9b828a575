"""Names that say what a layer is, in place of numbers and `block`."""

import copy

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, conv, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.passes import FusableNames

RULE = FusableNames()


def inverted_residual() -> nn.Module:
    expand = nn.Sequential(conv(8, 16), nn.BatchNorm2d(16), nn.ReLU())
    depthwise = nn.Sequential(conv(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.ReLU())
    project = nn.Sequential(conv(16, 8), nn.BatchNorm2d(8))
    block = model(lambda self, x: x + self.block(x), block=nn.Sequential(expand, depthwise, project))
    return model(lambda self, x: self.features(x), features=nn.Sequential(conv(), block, conv()))


def renames(checked) -> dict[str, str]:
    return {edit.before: edit.after for edit in checked.result.edits}


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"conv1": conv(), "act": nn.ReLU()}, id="names that speak"),
        pytest.param({"conv1": conv(), "act": nn.ReLU6()}, id="a number at the end of a word is no number"),
    ],
)
def test_left_as_it_is(parts):
    assert check(RULE, model(lambda self, x: self.act(self.conv1(x)), **parts)).result.edits == ()


def test_a_class_called_block_is_no_name_that_speaks():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            return self.conv(x).sigmoid()

    stages = nn.Sequential(nn.Sequential(Block(), nn.ReLU()), nn.Sequential(Block(), conv()))
    assert renames(check(RULE, nn.Sequential(Block(), nn.ReLU()))) == {"0.conv": "block_0.conv", "1": "relu"}
    assert renames(check(RULE, model(lambda self, x: self.stages(x), stages=stages))) == {
        "stages.0.0.conv": "stages.part_0.conv",
        "stages.0.1": "stages.part.relu",
        "stages.1.0.conv": "stages.conv_0.conv",
        "stages.1.1": "stages.conv.project",
    }


def test_numbers_and_blocks():
    checked = check(RULE, inverted_residual())
    assert renames(checked) == {
        "features.0": "features_0",
        "features.1.block.0.0": "features_1.expand.conv",
        "features.1.block.0.1": "features_1.expand.bn",
        "features.1.block.0.2": "features_1.expand.relu",
        "features.1.block.1.0": "features_1.depthwise.conv",
        "features.1.block.1.1": "features_1.depthwise.bn",
        "features.1.block.1.2": "features_1.depthwise.relu",
        "features.1.block.2.0": "features_1.project.conv",
        "features.1.block.2.1": "features_1.project.bn",
        "features.2": "features_2",
    }


def test_the_diff_is_the_table_of_names():
    checked = check(RULE, model(lambda self, x: self.head(x), head=nn.Sequential(conv(), nn.ReLU())))
    assert checked.changes == text("""
        -head.0
        -head.1
        +head.conv
        +head.relu
    """)


def test_a_root_of_numbers_only():
    checked = check(RULE, nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU(), nn.Sequential(conv(), nn.ReLU())))
    assert not any(part.isdigit() for new in renames(checked).values() for part in new.split("."))
    assert len(set(renames(checked).values())) == 5


def test_equal_roles_keep_their_numbers():
    checked = check(RULE, model(lambda self, x: self.layers(x), layers=nn.Sequential(nn.ReLU(), conv(), nn.ReLU())))
    assert renames(checked) == {"layers.0": "layers_0", "layers.1": "layers_1", "layers.2": "layers_2"}


def test_a_name_that_is_taken():
    parts = {"head": nn.Sequential(conv()), "head_0": conv(), "block": nn.Sequential(conv())}
    checked = check(RULE, model(lambda self, x: self.block(self.head_0(self.head(x))), **parts))
    new = list(renames(checked).values())
    assert "head_0" not in new and len(set(new)) == 2


def test_a_new_name_that_is_a_container_of_modules_to_be_renamed_later():
    # block.0 would become `conv`, where conv.0 and conv.1 still are.
    original = model(
        lambda self, x: self.conv(self.block(x)),
        block=nn.Sequential(conv()), conv=nn.Sequential(conv(), nn.BatchNorm2d(8)),
    )  # fmt: skip
    assert renames(check(RULE, original)) == {"block.0": "conv_1", "conv.0": "conv.conv", "conv.1": "conv.bn"}


def test_a_new_name_inside_a_layer():
    # features.0.0 would become `features_0.conv`, and features_0 is a convolution.
    unit = lambda: nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU())  # noqa: E731
    original = model(
        lambda self, x: self.features_0(self.features(x)), features_0=conv(), features=nn.Sequential(unit(), unit())
    )
    assert renames(check(RULE, original))["features.0.0"] == "features_0_conv"


def test_parameters_and_buffers_read_by_name():
    parts = nn.ParameterList([nn.Parameter(torch.rand(8, 1, 1)), nn.Parameter(torch.rand(8, 1, 1))])
    checked = check(RULE, model(lambda self, x: x * self.scales[0] + self.scales[1], scales=parts))
    assert renames(checked) == {"scales.0": "scales_0", "scales.1": "scales_1"}


def test_a_layer_that_is_called_and_read():
    original = model(
        lambda self, x: F.conv2d(self.layers[0](x), self.layers[0].weight), layers=nn.Sequential(conv(), conv())
    )
    checked = check(RULE, original)
    assert renames(checked) == {"layers.0": "layers.conv"}
    assert any(line.endswith("= self.layers.conv.weight") for line in checked.lines)


def test_one_module_under_two_numbered_names_keeps_one_weight():
    shared = conv()
    original = model(
        lambda self, x: self.first(self.second(x)), first=nn.Sequential(shared), second=nn.Sequential(shared)
    )
    checked = check(RULE, original)
    weights = {id(p) for p in checked.whole.graph_module.parameters()}
    assert len(weights) == 2  # one weight and one bias


def test_two_calls_of_one_layer_are_both_renamed():
    checked = check(RULE, model(lambda self, x: self.layers[0](self.layers[0](x)), layers=nn.Sequential(conv())))
    assert sum("self.layers" in line for line in checked.lines) == 2
    assert not any("self.layers.0" in line for line in checked.lines)


def test_checkpoints_follow_the_names():
    original = inverted_residual()
    key_map = rewrite(original).key_map
    assert key_map["features.1.block.1.0.weight"] == "features_1.depthwise.conv.weight"
    other = copy.deepcopy(original)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    rewritten = rewrite(original)
    rewritten.load_state_dict(other.state_dict())
    (image,) = images()
    with torch.no_grad():
        assert torch.equal(rewritten.graph_module(image), other(image))
