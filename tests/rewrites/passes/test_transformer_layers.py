"""torch's own transformer layers become the attentions, linear layers and norms they are made of."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, images, model
from torch import nn

from rewrites.passes import TransformerLayers

RULE = TransformerLayers()
TOKENS = images(shape=(2, 5, 16))


def encoder_layer(**settings: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(16, 2, 32, **{"batch_first": True, **settings})


def decoder_layer(**settings: object) -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(16, 2, 32, **{"batch_first": True, **settings})


def calls(lines) -> list[str]:
    return [line.split(" = ")[1].split("(")[0].removeprefix("self.") for line in lines if "= self." in line]


@pytest.mark.parametrize("activation", [F.relu, F.gelu, "gelu", nn.ReLU()], ids=["relu", "gelu", "by name", "ReLU"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_encoder_layer(activation, batch_first):
    layer = encoder_layer(activation=activation, batch_first=batch_first)
    checked = check(RULE, model(lambda self, x: self.layer(x), layer=layer), *TOKENS)
    called = [name for name in calls(checked.lines) if not name.endswith("activation")]
    assert called == ["layer.self_attn", "layer.norm1", "layer.linear1", "layer.linear2", "layer.norm2"]
    assert set(checked.whole.key_map) == set(layer_keys(layer))


def layer_keys(layer: nn.Module) -> list[str]:
    return [f"layer.{key}" for key in layer.state_dict()]


def test_norms_first():
    checked = check(RULE, model(lambda self, x: self.layer(x), layer=encoder_layer(norm_first=True)), *TOKENS)
    assert calls(checked.lines) == [
        "layer.norm1", "layer.self_attn", "layer.norm2", "layer.linear1", "layer.linear2",
    ]  # fmt: skip


def test_everything_in_it_is_int8_but_the_core_and_the_norms():
    checked = check(RULE, model(lambda self, x: self.layer(x), layer=encoder_layer()), *TOKENS)
    in_float = [name.rpartition("_")[2] for island in checked.whole.islands for name in island.nodes]
    assert "linear" not in " ".join(in_float)
    assert {"softmax", "norm1", "norm2"} <= set(in_float)


@pytest.mark.parametrize("norm", [None, nn.LayerNorm(16)], ids=["no norm", "a norm at the end"])
def test_encoder(norm):
    stack = nn.TransformerEncoder(encoder_layer(), 2, norm, enable_nested_tensor=False)
    checked = check(RULE, model(lambda self, x: self.stack(x), stack=stack), *TOKENS)
    assert sum(name.endswith("self_attn") for name in calls(checked.lines)) == 2
    assert checked.skips == {}


@pytest.mark.parametrize("norm_first", [True, False])
def test_decoder(norm_first):
    stack = nn.TransformerDecoder(decoder_layer(norm_first=norm_first), 2, nn.LayerNorm(16))
    original = model(lambda self, x, y: self.stack(x, y), stack=stack)
    checked = check(RULE, original, *images(shape=(2, 5, 16), count=2))
    assert sum(name.endswith("multihead_attn") for name in calls(checked.lines)) == 2


def test_a_constant_mask():
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    original = model(lambda self, x: self.layer(x, self.mask), layer=encoder_layer(), mask=mask)
    assert check(RULE, original, *TOKENS).skips == {}


class Own(nn.TransformerEncoderLayer):
    """A layer of somebody else's."""


@pytest.mark.parametrize(
    ("forward", "layer", "reason"),
    [
        (
            lambda self, x: self.layer(x, src_key_padding_mask=x.sum(2) > 0), encoder_layer(),
            "its src_key_padding_mask depends on the input; what it masks is not known before the model runs",
        ),
        (
            lambda self, x: self.layer(x, torch.ones(5, 5).log().triu(1), is_causal=True), encoder_layer(),
            "is_causal says something of the mask that the mask need not bear out",
        ),
        (
            lambda self, x: self.layer(x), encoder_layer(activation=lambda x: x * 2),
            "its activation <lambda> is a function that is not torch's own",
        ),
        (
            lambda self, x: self.layer(x),
            nn.TransformerEncoder(Own(16, 2, 32, batch_first=True), 1, enable_nested_tensor=False),
            "it stacks layers of a class that is not torch's own, Own",
        ),
    ],
)  # fmt: skip
def test_refuses(forward, layer, reason):
    checked = check(RULE, model(forward, layer=layer), *TOKENS)
    assert checked.result.edits == () and checked.skips == {"layer": reason}
