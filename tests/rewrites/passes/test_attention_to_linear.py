"""nn.MultiheadAttention becomes linear layers around a scaled dot product, on its own parameters."""

import pytest
import torch
from passcheck import check, images, model, text
from torch import nn

from rewrites.passes import AttentionToLinear

RULE = AttentionToLinear()
TOKENS = images(shape=(2, 5, 16))


def attention(**settings: object) -> nn.MultiheadAttention:
    """An attention whose biases are not those of a fresh one, which are zero."""
    made = nn.MultiheadAttention(16, 2, **{"batch_first": True, **settings})
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return made


def itself(self, x):
    y, _ = self.attention(x, x, x, need_weights=False)
    return y


def test_no_attention_no_edit():
    assert check(RULE, model(lambda self, x: self.linear(x), linear=nn.Linear(16, 4)), *TOKENS).result.edits == ()


def test_diff():
    checked = check(RULE, model(itself, attention=attention()), *TOKENS)
    assert checked.changes == text("""
        -attention = self.attention(x, x, x, need_weights=False)  # MultiheadAttention()
        -getitem = attention[0]
        -return getitem
        +attention_in_proj = self.attention.in_proj(x)  # Linear
        +attention_unflatten = attention_in_proj.unflatten(-1, (3, 2, 8))
        +attention_movedim = attention_unflatten.movedim(-3, 0)
        +attention_transpose = attention_movedim.transpose(-3, -2)
        +attention_q = attention_transpose[0]
        +attention_k = attention_transpose[1]
        +attention_v = attention_transpose[2]
        +attention_attended = F.scaled_dot_product_attention(attention_q, attention_k, attention_v, scale=0.3535533905932738)
        +attention_transpose_1 = attention_attended.transpose(-3, -2)
        +attention_flatten = attention_transpose_1.flatten(-2)
        +attention_out_proj = self.attention.out_proj(attention_flatten)  # Linear
        +return attention_out_proj
    """)  # noqa: E501
    assert checked.whole.key_map == {
        "attention.in_proj_weight": "attention.in_proj.weight",
        "attention.in_proj_bias": "attention.in_proj.bias",
        "attention.out_proj.weight": "attention.out_proj.weight",
        "attention.out_proj.bias": "attention.out_proj.bias",
    }


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"batch_first": False}, id="the batch comes second"),
        pytest.param({"bias": False}, id="no bias"),
        pytest.param({"dropout": 0.5}, id="a dropout, which rests in eval mode"),
    ],
)
@pytest.mark.parametrize("shape", [(2, 5, 16), (5, 16)], ids=["with a batch", "without"])
def test_one_input(settings, shape):
    checked = check(RULE, model(itself, attention=attention(**settings)), *images(shape=shape))
    assert checked.skips == {}
    assert "in_proj" in checked.lines[1] + checked.lines[2]


@pytest.mark.parametrize("need_weights", [True, False])
def test_weights_nobody_reads(need_weights):
    original = model(lambda self, x: self.attention(x, x, x, need_weights=need_weights)[0], attention=attention())
    assert check(RULE, original, *TOKENS).skips == {}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(lambda x, y: (x, y, y), id="cross attention"),
        pytest.param(lambda x, y: (x, x, y), id="the value by itself"),
    ],
)
def test_several_inputs(inputs, batch_first):
    original = model(lambda self, x, y: self.attention(*inputs(x, y))[0], attention=attention(batch_first=batch_first))
    checked = check(RULE, original, *images(shape=(2, 5, 16), count=2))
    layers = [line.split("  # ")[1] for line in checked.lines if "_proj(" in line]
    assert layers == ["LinearRows(rows=0:16)", "LinearRows(rows=16:32)", "LinearRows(rows=32:48)", "Linear"]
    # all three rows are in the one weight of the checkpoint
    assert {new for old, new in checked.whole.key_map.items() if "in_proj" in old} == {
        "attention.q_proj.weight", "attention.q_proj.bias",
    }  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
def test_keys_and_values_of_other_widths(bias):
    original = model(lambda self, x, y, z: self.attention(x, y, z)[0], attention=attention(kdim=6, vdim=7, bias=bias))
    inputs = (images(shape=(2, 5, 16))[0], images(shape=(2, 4, 6))[0], images(shape=(2, 4, 7))[0])
    checked = check(RULE, original, *inputs)
    assert checked.skips == {} and len(checked.whole.key_map) == (6 if bias else 4)


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(torch.linspace(-1, 1, 25).view(5, 5), id="added"),
        pytest.param(torch.ones(5, 5, dtype=torch.bool).triu(1), id="of truth values"),
    ],
)
def test_a_constant_mask(mask):
    original = model(lambda self, x: self.attention(x, x, x, attn_mask=self.mask)[0], attention=attention(), mask=mask)
    assert check(RULE, original, *TOKENS).skips == {}


def test_an_attention_called_twice_keeps_one_set_of_weights():
    original = model(lambda self, x: self.attention(y := self.attention(x, x, x)[0], y, y)[0], attention=attention())
    checked = check(RULE, original, *TOKENS)
    assert sum("self.attention.in_proj(" in line for line in checked.lines) == 2
    assert len(checked.whole.module.state_dict()) == 4


@pytest.mark.parametrize(
    ("forward", "settings", "reason"),
    [
        (
            itself, {"add_bias_kv": True},
            "add_bias_kv appends a learned row to the keys and values, which no linear layer gives",
        ),
        (
            itself, {"add_zero_attn": True},
            "add_zero_attn appends a row of zeros to the keys and values, which no linear layer gives",
        ),
        (
            lambda self, x: self.attention(x, x, x)[1], {},
            "its attention weights, its second result, are read as well",
        ),
        (
            lambda self, x: self.attention(x, x, x), {},
            "both of its results are handed on at once, to output",
        ),
        (
            lambda self, x: self.attention(x, x, x, key_padding_mask=x.sum(2) > 0)[0], {},
            "a key_padding_mask depends on the input; what it masks is not known before the model runs",
        ),
        (
            lambda self, x: self.attention(x, x, x, attn_mask=(x[0] @ x[0].T))[0], {},
            "only a constant mask of one row a query and one column a key is taken apart",
        ),
        (
            lambda self, x: self.attention(x, x, x)[0] + self.attention.out_proj.bias, {},
            "its weights are also read by name",
        ),
    ],
)  # fmt: skip
def test_refuses(forward, settings, reason):
    checked = check(RULE, model(forward, attention=attention(**settings)), *TOKENS)
    assert checked.result.edits == () and checked.skips == {"attention": reason}
