"""A bias is added behind its layer, where no other layer is behind, and the parameter stays the one it is."""

import pytest
import torch
from passcheck import assert_same_results, check, conv, images, model, text
from torch import nn

from rewrites import DEFAULT_PASSES, rewrite
from rewrites.emit import emit
from rewrites.passes import BiasToAdd

RULE = BiasToAdd()


@pytest.mark.parametrize(
    ("parts", "forward"),
    [
        pytest.param({"conv": conv(bias=False)}, lambda self, x: self.conv(x), id="no bias"),
        pytest.param({"relu": nn.ReLU()}, lambda self, x: self.relu(x), id="no layer"),
    ],
)
def test_left_as_it_is(parts, forward):
    assert check(RULE, model(forward, **parts)).result.edits == ()


def read_by_name(self, x):
    return self.conv(x) + self.conv.bias.sum()


@pytest.mark.parametrize(
    ("parts", "forward", "reason"),
    [
        pytest.param(
            {"conv": conv()},
            lambda self, x: self.conv(self.conv(x).relu()),
            "it is called at another place, too, where a layer reads what it gives",
            id="called before the end as well",
        ),
        pytest.param({"conv": conv()}, read_by_name, "the weights of conv are also read by name", id="read by name"),
        pytest.param({"conv": conv(bias=False)}, lambda self, x: self.conv(x), "conv has no bias", id="no bias"),
    ],
)
def test_what_is_declined_and_why(parts, forward, reason):
    checked = check(RULE, model(forward, **parts))
    assert checked.result.edits == () and set(checked.skips.values()) == {reason}


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(conv(8, 6), id="convolution"),
        pytest.param(nn.Linear(8, 6), id="linear, its features last"),
        pytest.param(nn.ConvTranspose2d(8, 6, 2, 2), id="transposed convolution"),
    ],
)
def test_every_layer(layer):
    checked = check(RULE, model(lambda self, x: self.layer(x).flatten(1), layer=layer))
    assert [line.split(" = ")[0] for line in checked.lines[2:]][-2:-1] == ["flatten"]
    assert "layer_add = layer + layer_bias" in " ".join(checked.lines)
    assert checked.graph_module.get_submodule("layer").bias is None
    assert checked.graph_module.get_parameter("layer_bias").shape == (6,)


def test_the_bias_of_a_batch_norm_that_is_fused_with_the_layer_goes_behind_both():
    bn = nn.BatchNorm2d(8)
    nn.init.uniform_(bn.bias, 20.0, 30.0)
    checked = check(RULE, model(lambda self, x: self.bn(self.conv(x)), conv=conv(), bn=bn))
    assert checked.changes == text("""
        -return bn
        +bn_bias = self.bn_bias
        +bn_bias_view = bn_bias.view(-1, 1, 1)
        +bn_add = bn + bn_bias_view
        +return bn_add
    """)
    assert checked.graph_module.get_submodule("conv").bias is not None


def test_an_activation_that_was_fused_with_it_reads_the_sum():
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.ReLU()))
    assert checked.lines[-2:] == ("act = self.act(conv_add)  # ReLU()", "return act")


def test_a_layer_that_is_called_at_several_ends_has_one_bias_that_is_added_behind_each():
    checked = check(RULE, model(lambda self, x: self.conv(x) + self.conv(x + 1), conv=conv()))
    assert checked.graph_module.get_submodule("conv").bias is None
    added = [node for node in checked.graph_module.graph.nodes if node.meta.get("float_reason")]
    assert [node.name for node in added] == ["conv_add", "conv_1_add"]
    names = [name for name, _ in checked.graph_module.named_parameters() if name.endswith("bias")]
    assert names == ["conv_bias"]


def test_a_layer_that_another_is_behind_keeps_its_bias():
    original = model(
        lambda self, x: (self.second(self.first(x).relu()), self.side(x)), first=conv(), second=conv(), side=conv()
    )
    checked = check(RULE, original)
    parts = checked.graph_module
    assert [parts.get_submodule(name).bias is None for name in ("first", "second", "side")] == [False, True, True]


def test_only_those_that_are_named_and_why():
    original = model(lambda self, x: (self.one(x), self.two(x)), one=conv(), two=conv())
    checked = check(BiasToAdd({"two": "it is large"}), original)
    assert checked.graph_module.get_submodule("one").bias is not None
    assert {edit.reason for edit in checked.result.edits} == {"it is large"}
    assert [node.meta["float_reason"] for node in checked.graph_module.graph.nodes if node.name == "two_add"] == [
        "it is large"
    ]


def heads() -> nn.Module:
    head = nn.Sequential(conv(), nn.BatchNorm2d(8))
    return model(lambda self, x: (self.head(x), self.fc(x.flatten(1))), head=head, fc=nn.Linear(512, 4))


def test_in_front_of_the_boundaries_it_is_the_float_end_of_int8_and_loads_the_original_checkpoint():
    original = heads()
    rewritten = rewrite(original, [*DEFAULT_PASSES[:-1], RULE, DEFAULT_PASSES[-1]])
    assert rewritten.key_map["head.1.bias"] == "head.bn_bias" and rewritten.key_map["fc.bias"] == "fc_bias"
    assert [island.nodes[-1] for island in rewritten.islands] == ["head_bn_add", "fc_add"]
    other = {key: value + 1 for key, value in original.state_dict().items()}
    rewritten.load_state_dict(other)
    original.load_state_dict(other)
    assert_same_results(original, rewritten.module, [images()], rewritten.tolerance)


def test_it_can_be_written_down():
    original = heads()
    rewritten = rewrite(original, [*DEFAULT_PASSES[:-1], RULE, DEFAULT_PASSES[-1]])
    namespace: dict = {"__name__": "emitted"}
    exec(emit(rewritten, "Heads"), namespace)
    built = namespace["build"](original.state_dict())
    with torch.no_grad():
        for wanted, got in zip(original(*images()), built(*images()), strict=True):
            assert torch.allclose(wanted, got, atol=1e-4)
