"""Products with a constant matrix become linear functions, and by that layers."""

import pytest
import torch
from passcheck import assert_same_results, check, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.passes import MatmulToLinear

RULE = MatmulToLinear()
ROWS = images(shape=(5, 8))
TOKENS = images(shape=(2, 5, 8))


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3)))


def test_a_matrix_is_transposed():
    checked = check(RULE, model(lambda self, x: x @ self.m, m=parameter(8, 4)), *TOKENS)
    assert checked.changes == text("""
        -matmul = x @ m
        +m_t = m.t()
        +matmul = F.linear(x, m_t, None)
    """)
    assert checked.whole.islands == ()


def test_a_transposed_matrix_is_the_weight_itself():
    checked = check(RULE, model(lambda self, x: x @ self.layer.weight.t(), layer=nn.Linear(8, 4)), *TOKENS)
    assert "matmul = F.linear(x, layer_weight, None)" in checked.lines
    assert checked.whole.key_map["layer.weight"] == "layer.weight"
    assert checked.whole.islands == ()


PRODUCTS = {
    "mm": (lambda self, x: torch.mm(x, self.m), ROWS),
    "mm by name": (lambda self, x: torch.mm(input=x, mat2=self.m), ROWS),
    "method": (lambda self, x: x.mm(self.m), ROWS),
    "matmul": (lambda self, x: torch.matmul(x, self.m), TOKENS),
    "matmul method": (lambda self, x: x.matmul(self.m), TOKENS),
    "T": (lambda self, x: x @ self.w.T, TOKENS),
    "transpose": (lambda self, x: x @ self.w.transpose(0, 1), TOKENS),
    "addmm": (lambda self, x: torch.addmm(self.b, x, self.m), ROWS),
    "normalized": (lambda self, x: torch.mm(x, nn.functional.normalize(self.m, dim=0)), ROWS),
    "einsum over the last": (lambda self, x: torch.einsum("bnc,co->bno", x, self.m), TOKENS),
    "einsum, turned": (lambda self, x: torch.einsum("...c,oc->...o", x, self.w), TOKENS),
    "einsum, the matrix first": (lambda self, x: torch.einsum("oc,bnc->bno", self.w, x), TOKENS),
    "einsum over channels": (lambda self, x: torch.einsum("b c h w, o c -> b o h w", x, self.w), images()),
    "einsum over channels of rows": (lambda self, x: torch.einsum("bcn,co->bon", x, self.m), images(shape=(2, 8, 6))),
}


@pytest.mark.parametrize(("forward", "inputs"), PRODUCTS.values(), ids=PRODUCTS)
def test_products(forward, inputs):
    original = model(forward, m=parameter(8, 4), w=parameter(4, 8), b=parameter(4))
    rewritten = rewrite(original, example=inputs)
    assert rewritten.islands == ()
    (batch,) = inputs
    assert_same_results(original, rewritten.graph_module, [inputs, (batch[:1],)], RULE.tolerance)
    other = {key: value + 1 for key, value in original.state_dict().items()}
    rewritten.load_state_dict(other)
    original.load_state_dict(other)
    assert_same_results(original, rewritten.graph_module, [inputs], RULE.tolerance)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        pytest.param(
            lambda self, x: x @ self.m.expand(2, 8, 4),
            "its matrix does not have two dimensions, as the weight of a linear layer has",
            id="several matrices",
        ),
        pytest.param(
            lambda self, x: torch.addmm(x[0, :, :4], x[0], self.m),
            "what is added is not one constant a column, as the bias of a linear layer is",
            id="something else is added",
        ),
        pytest.param(
            lambda self, x: torch.einsum("xbnc,nm->xbmc", x[None], self.square),
            "it sums over a dimension that is neither the last nor the channels of an image",
            id="another dimension",
        ),
        pytest.param(
            lambda self, x: (x.double() @ self.m.double()).float(),
            "its matrix is not known to be float32, of which int8 layers are made",
            id="another type",
        ),
    ],
)
def test_refuses(forward, reason):
    original = model(forward, m=parameter(8, 4), square=parameter(5, 5))
    rewritten = rewrite(original, example=TOKENS)
    (result,) = [result for result in rewritten.results if result.name == RULE.name]
    assert result.edits == () and [skip.reason for skip in result.skips] == [reason]
    assert_same_results(original, rewritten.graph_module, [TOKENS])


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: x @ x.transpose(1, 2), id="two values"),
        pytest.param(lambda self, x: self.square @ x, id="a constant on the left"),
        pytest.param(lambda self, x: torch.einsum("bnc,bmc->bnm", x, x), id="an einsum of two values"),
        pytest.param(lambda self, x: torch.einsum("bnc,co->bo", x, self.m), id="an einsum over two dimensions"),
    ],
)
def test_other_products_are_left_alone(forward):
    original = model(forward, m=parameter(8, 4), square=parameter(5, 5))
    assert check(RULE, original, *TOKENS).result.edits == ()
