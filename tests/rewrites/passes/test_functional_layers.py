"""Functional linear layers and norms on the model's own parameters become modules that hold these parameters."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, check, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.diff import graph_lines
from rewrites.passes import FunctionalLayers

RULE = FunctionalLayers()
TOKENS = images(shape=(2, 5, 8))


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3)))


def test_the_models_own_layer_is_called():
    original = model(lambda self, x: F.linear(x, self.qkv.weight, self.qkv.bias), qkv=nn.Linear(8, 12))
    checked = check(RULE, original, *TOKENS)
    assert checked.changes == text("""
        -qkv_weight = self.qkv.weight
        -qkv_bias = self.qkv.bias
        -linear = F.linear(x, qkv_weight, qkv_bias)
        +linear = self.qkv(x)  # Linear
    """)
    assert checked.whole.key_map == {"qkv.weight": "qkv.weight", "qkv.bias": "qkv.bias"}


def test_a_layer_that_is_called_as_well():
    original = model(
        lambda self, x: F.linear(x, self.layer.weight, self.layer.bias) + self.layer(x), layer=nn.Linear(8, 12)
    )
    checked = check(RULE, original, *TOKENS)
    assert sum("self.layer(x)" in line for line in checked.lines) == 2
    assert not any("layer_weight" in line for line in checked.lines)


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_of_their_own(bias):
    original = model(
        lambda self, x: F.linear(x, self.qkv_weight, bias=self.qkv_bias if bias else None),
        qkv_weight=parameter(12, 8), qkv_bias=parameter(12),
    )  # fmt: skip
    checked = check(RULE, original, *TOKENS)
    assert "linear = self.qkv(x)  # Linear" in checked.lines
    assert checked.whole.key_map["qkv_weight"] == "qkv.weight"


def test_a_weight_that_is_a_buffer():
    checked = check(RULE, model(lambda self, x: F.linear(x, self.weight), weight=parameter(12, 8).detach()), *TOKENS)
    assert checked.lines[1] == "linear = self.linear(x)  # Linear"


def test_a_bias_worked_out_of_parameters():
    original = model(lambda self, x: F.linear(x, self.layer.weight, self.layer.bias.abs()), layer=nn.Linear(8, 12))
    checked = check(RULE, original, *TOKENS)
    assert checked.skips == {"linear": "its bias is computed when the model runs; a module's is a parameter"}
    # as fold-constants has made a constant of it before
    assert checked.whole.islands == ()


@pytest.mark.parametrize(
    ("forward", "label"),
    [
        (lambda self, x: F.layer_norm(x, (8,), self.w, self.b, 1e-3), "layer_norm(x)  # LayerNorm"),
        (lambda self, x: F.layer_norm(x, [8], weight=self.w), "layer_norm(x)  # LayerNorm"),
        (lambda self, x: F.layer_norm(x, (8,)), "layer_norm(x)  # LayerNorm"),
        (
            lambda self, x: F.group_norm(x.transpose(1, 2), 2, self.w, self.b),
            "group_norm(transpose)  # GroupNorm",
        ),
    ],
)
def test_norms(forward, label):
    checked = check(RULE, model(forward, w=parameter(8), b=parameter(8)), *TOKENS)
    line = next(line for line in checked.lines if "_norm = self." in line)
    assert line.split("(")[1] == label.split("(")[1] and "Norm" in line


@pytest.mark.parametrize(
    ("forward", "node", "reason"),
    [
        (
            lambda self, x: F.linear(x, x[0]), "linear",
            "its weight is computed from the input",
        ),
        (
            lambda self, x: F.layer_norm(x, (x.shape[-1],)), "layer_norm",
            "its settings are computed when the model runs; a module's are fixed",
        ),
        (
            lambda self, x: F.layer_norm(x, (8,), None, self.b), "layer_norm",
            "a layer norm with a bias and no weight has no module",
        ),
        (
            lambda self, x: F.group_norm(x, 5), "group_norm",
            "a group norm without weight and bias does not say how many channels its module has",
        ),
    ],
)  # fmt: skip
def test_refuses(forward, node, reason):
    checked = check(RULE, model(forward, b=parameter(8)), *TOKENS)
    assert checked.result.edits == () and checked.skips == {node: reason}


@pytest.mark.parametrize(("rank", "kind"), [(2, "BatchNorm1d"), (4, "BatchNorm2d"), (5, "BatchNorm2d")])
def test_a_batch_norm_on_its_own_statistics(rank, kind):
    class Normed(nn.BatchNorm2d):  # as packages write a batch norm with an activation
        def forward(self, x):
            x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps)
            return F.relu(x)

    original = model(lambda self, x: self.norm(x), norm=Normed(8)).eval()
    with torch.no_grad():
        original.norm.running_mean.uniform_(-1, 1)
        original.norm.running_var.uniform_(0.5, 2)
    (batch,) = images(shape=(3, 8, 4, 6, 5)[:rank])
    rewritten = rewrite(original, example=(batch,))
    assert f"# {kind}" in "\n".join(graph_lines(rewritten.graph_module))
    # factor-conv3d has made a 2-D one of the batch norm of a video
    assert_same_results(original, rewritten.graph_module, [(batch,)], rewritten.tolerance)
    other = {key: value + 1 for key, value in original.state_dict().items()}
    rewritten.load_state_dict(other)
    original.load_state_dict(other)
    assert_same_results(original, rewritten.graph_module, [(batch,)], rewritten.tolerance)


def test_a_batch_norm_on_the_statistics_of_its_input():
    original = model(lambda self, x: F.batch_norm(x, None, None, training=True))
    rewritten = rewrite(original, example=images())
    (skip,) = [skip for result in rewritten.results if result.name == RULE.name for skip in result.skips]
    assert (
        skip.reason == "a batch norm that takes its statistics from its input is not what its module does in eval mode"
    )


def test_calls_with_one_weight_call_one_layer():
    def forward(self, x):
        return F.linear(F.linear(x, self.tied).relu(), self.tied)

    checked = check(RULE, model(forward, tied=parameter(8, 8)), *TOKENS)
    assert sum("self.linear(" in line for line in checked.lines) == 2
    assert dict(checked.whole.key_map) == {"tied": "linear.weight"}


def test_a_weight_that_the_forward_changes():
    def forward(self, x):
        self.tied.mul_(0.5)
        return F.linear(x, self.tied)

    rewritten = rewrite(model(forward, tied=parameter(8, 8).detach()), example=TOKENS)
    (skip,) = [skip for result in rewritten.results if result.name == RULE.name for skip in result.skips]
    assert skip.reason == "its weight is made of tied, which the forward changes"
