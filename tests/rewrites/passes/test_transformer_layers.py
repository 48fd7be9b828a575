"""torch's own transformer layers become the attentions, linear layers and norms they are made of."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, images, model
from torch import nn

from rewrites import rewrite
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


# Padding at the end of each row, all of a row; in front; none.
AT_THE_END = torch.tensor([[0, 0, 0, 0, 1], [0, 0, 1, 1, 1]]).bool()
ALL_OF_A_ROW = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]]).bool()
IN_FRONT = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]).bool()
PADDINGS = {"at the end": AT_THE_END, "all of a row": ALL_OF_A_ROW, "in front": IN_FRONT, "none": IN_FRONT & AT_THE_END}


def padded(layer: nn.Module) -> nn.Module:
    forward = {
        nn.TransformerEncoder: lambda self, x, mask: self.layer(x, src_key_padding_mask=mask),
        nn.TransformerEncoderLayer: lambda self, x, mask: self.layer(x, src_key_padding_mask=mask),
        nn.TransformerDecoder: lambda self, x, mask: self.layer(x, x + 1, memory_key_padding_mask=mask),
        nn.TransformerDecoderLayer: lambda self, x, mask: self.layer(x, x + 1, tgt_key_padding_mask=mask),
    }[type(layer)]
    return model(forward, layer=layer).eval()


def encoder(norm: nn.Module | None = None, **settings: object) -> nn.TransformerEncoder:
    if norm is not None:
        nn.init.normal_(norm.bias)  # what it makes of a row of zeros
    return nn.TransformerEncoder(encoder_layer(**settings), 2, norm)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:enable_nested_tensor is True")
@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(encoder_layer, id="layer"),
        pytest.param(encoder, id="encoder, which makes zeros of padding at the end"),
        pytest.param(lambda: encoder(nn.LayerNorm(16)), id="encoder, whose norm has the zeros"),
        pytest.param(lambda: encoder(norm_first=True), id="encoder that computes padding"),
        pytest.param(decoder_layer, id="decoder layer"),
        pytest.param(lambda: nn.TransformerDecoder(decoder_layer(), 2), id="decoder"),
    ],
)
@torch.no_grad()
def test_a_padding_mask(layer):
    """Whatever the mask of the example was: where padding is decides what torch's encoder computes."""
    torch.manual_seed(0)
    original = padded(layer())
    whole = rewrite(original, example=(*TOKENS, AT_THE_END))
    assert next(result for result in whole.results if result.name == RULE.name).skips == ()
    assert not any("Transformer" in type(part).__name__ for part in whole.module.modules())
    for name, mask in PADDINGS.items():
        wanted, found = original(*TOKENS, mask), whole.module(*TOKENS, mask)
        assert not found.isnan().any(), name
        off = (wanted - found).abs()[~wanted.isnan()]  # torch's fast path gives NaN where all of a row is hidden
        assert off.numel() and off.max() <= 1e-5 * wanted.nan_to_num().abs().max(), name


@torch.no_grad()
def test_a_padding_mask_without_a_batch():
    torch.manual_seed(0)
    original = padded(encoder())
    x, mask = TOKENS[0][0], AT_THE_END[0]
    whole = rewrite(original, example=(x, mask))
    assert torch.allclose(original(x, mask), whole.module(x, mask), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "mask", "reason"),
    [
        (encoder_layer, AT_THE_END.float(), "its src_key_padding_mask depends on the input; what it masks is not"),
        (
            lambda: nn.TransformerEncoder(encoder_layer(), 1, mask_check=False), AT_THE_END,
            "mask_check=False takes padding to be at the end, which the mask need not bear out",
        ),
    ],
)  # fmt: skip
def test_refuses_a_padding_mask(make, mask, reason):
    whole = rewrite(padded(make()), example=(*TOKENS, mask))
    (skip,) = next(result for result in whole.results if result.name == RULE.name).skips
    assert skip.reason.startswith(reason)


def test_refuses_two_masks():
    both = model(
        lambda self, x, mask: self.layer(x, self.first, mask), layer=encoder_layer(), first=torch.zeros(5, 5).bool()
    )
    whole = rewrite(both, example=(*TOKENS, AT_THE_END))
    (skip,) = next(result for result in whole.results if result.name == RULE.name).skips
    assert skip.reason == "its src_key_padding_mask stands beside another mask"
