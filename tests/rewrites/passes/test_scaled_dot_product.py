"""F.scaled_dot_product_attention becomes matmul, softmax and matmul."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, images, model, text

from rewrites import rewrite
from rewrites.passes import ScaledDotProduct

RULE = ScaledDotProduct()
HEADS = images(shape=(2, 3, 5, 8), count=3)


def attend(**settings: object):
    return lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, **settings)


def test_diff():
    assert check(RULE, model(attend(scale=0.5)), *HEADS).changes == text("""
        -scaled_dot_product_attention = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        +scaled_dot_product_attention_mul = q * 0.5
        +scaled_dot_product_attention_transpose = k.transpose(-2, -1)
        +scaled_dot_product_attention_matmul = scaled_dot_product_attention_mul @ scaled_dot_product_attention_transpose
        +scaled_dot_product_attention_softmax = self.softmax(scaled_dot_product_attention_matmul)  # Softmax(dim=-1)
        +scaled_dot_product_attention = scaled_dot_product_attention_softmax @ v
    """)


@pytest.mark.parametrize("settings", [{}, {"scale": 0.3}, {"is_causal": True}, {"dropout_p": 0.0}], ids=str)
def test_settings(settings):
    assert check(RULE, model(attend(**settings)), *HEADS).skips == {}


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(torch.linspace(-2, 2, 25).view(5, 5), id="added"),
        pytest.param(torch.ones(5, 5, dtype=torch.bool).tril(), id="of truth values"),
        pytest.param(torch.linspace(-2, 2, 75).view(3, 5, 5), id="one for each head"),
    ],
)
def test_a_constant_mask(mask):
    original = model(lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, self.mask), mask=mask)
    assert check(RULE, original, *HEADS).skips == {}


def test_a_mask_worked_out_of_parameters():
    original = model(
        lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, self.table[self.index].view(5, 5)),
        table=torch.nn.Parameter(torch.linspace(-2, 2, 9)), index=torch.arange(25) % 9,
    )  # fmt: skip
    assert check(RULE, original, *HEADS).skips == {}


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (
            attend(enable_gqa=True),
            "enable_gqa repeats the keys for groups of heads; only one key a head is written out",
        ),
        (
            lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, q @ k.mT),
            "its mask depends on the input: whether it is added or selects is not known before it runs",
        ),
    ],
)
def test_refuses(forward, reason):
    assert check(RULE, model(forward), *HEADS).skips["scaled_dot_product_attention"] == reason


def test_refuses_a_dropout():
    # not a case of `check`: its results are random
    from passcheck import traced

    from rewrites import run_pass

    result = run_pass(traced(model(attend(dropout_p=0.5))), RULE)
    assert [skip.reason for skip in result.skips] == ["its dropout is not 0, so that it draws random numbers"]


@torch.no_grad()
def test_a_mask_of_truth_values_that_depends_on_the_input():
    original = model(lambda self, x, mask: F.scaled_dot_product_attention(x, x, x, mask[:, None]))
    x, mask = torch.randn(2, 5, 8), torch.tensor([[True, False, True, True, False], [False] * 5])
    whole = rewrite(original, example=(x, mask | True))
    assert not any(node.target is F.scaled_dot_product_attention for node in whole.graph_module.graph.nodes)
    for given in (mask, ~mask, mask.flip(-1)):  # where nothing is left to attend to there are zeros
        assert torch.allclose(original(x, given), whole.module(x, given), atol=1e-5)
