"""Functional activations and pools become the modules that compute the same."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, conv, model, text
from torch import nn

from rewrites.passes import FunctionalToModule

RULE = FunctionalToModule()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.act(self.conv(x)), id="modules already"),
        pytest.param(lambda self, x: F.normalize(self.conv(x)), id="a function that no module stands for"),
        pytest.param(lambda self, x: self.conv(x).mean((2, 3)), id="a reduction"),
    ],
)
def test_left_as_it_is(forward):
    checked = check(RULE, model(forward, conv=conv(), act=nn.ReLU()))
    assert checked.result.edits == () and checked.skips == {}


@pytest.mark.parametrize(
    ("forward", "label"),
    [
        (lambda self, x: F.relu(x), "relu(x)  # ReLU()"),
        (lambda self, x: torch.relu(x), "relu(x)  # ReLU()"),
        (lambda self, x: x.relu(), "relu(x)  # ReLU()"),
        (lambda self, x: x.clamp(0), "clamp(x)  # ReLU()"),
        (lambda self, x: x.clamp(min=0), "clamp(x)  # ReLU()"),
        (lambda self, x: torch.clamp(x, min=0.0), "clamp(x)  # ReLU()"),
        (lambda self, x: F.relu6(x), "relu6(x)  # ReLU6()"),
        (lambda self, x: F.hardtanh(x, 0, 6), "hardtanh(x)  # ReLU6()"),
        (lambda self, x: x.clamp(0, 6), "clamp(x)  # ReLU6()"),
        (lambda self, x: torch.clip(x, 0.0, max=6.0), "clip(x)  # ReLU6()"),
        (lambda self, x: F.hardtanh(x), "hardtanh(x)  # Hardtanh(min_val=-1.0, max_val=1.0)"),
        (lambda self, x: x.clamp(0, 4), "clamp(x)  # Hardtanh(min_val=0.0, max_val=4.0)"),
        (lambda self, x: F.hardswish(x), "hardswish(x)  # Hardswish()"),
        (lambda self, x: F.hardsigmoid(x), "hardsigmoid(x)  # Hardsigmoid()"),
        (lambda self, x: F.silu(x), "silu(x)  # SiLU()"),
        (lambda self, x: torch.sigmoid(x), "sigmoid(x)  # Sigmoid()"),
        (lambda self, x: x.tanh(), "tanh(x)  # Tanh()"),
        (lambda self, x: F.leaky_relu(x, 0.2), "leaky_relu(x)  # LeakyReLU(negative_slope=0.2)"),
        (lambda self, x: F.elu(x, alpha=0.5), "elu(x)  # ELU(alpha=0.5)"),
        (lambda self, x: F.gelu(x, approximate="tanh"), "gelu(x)  # GELU(approximate='tanh')"),
        (lambda self, x: F.softmax(x, 1), "softmax(x)  # Softmax(dim=1)"),
        (lambda self, x: x.softmax(dim=-1), "softmax(x)  # Softmax(dim=-1)"),
        (lambda self, x: F.adaptive_avg_pool2d(x, 1), "adaptive_avg_pool2d(x)  # AdaptiveAvgPool2d(output_size=1)"),
        (
            lambda self, x: F.adaptive_avg_pool2d(x, (2, None)),
            "adaptive_avg_pool2d(x)  # AdaptiveAvgPool2d(output_size=(2, None))",
        ),
        (lambda self, x: F.max_pool2d(x, 3, 2, 1), "max_pool2d(x)  # MaxPool2d"),
        (lambda self, x: F.max_pool2d(x, 2, ceil_mode=True), "max_pool2d(x)  # MaxPool2d"),
        (
            lambda self, x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
            "avg_pool2d(x)  # AvgPool2d",
        ),
        (lambda self, x: F.avg_pool2d(x, 2), "avg_pool2d(x)  # AvgPool2d"),
    ],
)
def test_becomes_a_module(forward, label):
    checked = check(RULE, model(forward))
    assert len(checked.result.edits) == 1
    assert checked.lines[1].split(" = self.")[1] == label


def test_diff():
    original = model(lambda self, x: F.adaptive_avg_pool2d(F.relu(self.conv(x)), 1).flatten(1), conv=conv())
    assert check(RULE, original).changes == text("""
        -relu = F.relu(conv, inplace=False)
        -adaptive_avg_pool2d = F.adaptive_avg_pool2d(relu, 1)
        +relu = self.relu(conv)  # ReLU()
        +adaptive_avg_pool2d = self.adaptive_avg_pool2d(relu)  # AdaptiveAvgPool2d(output_size=1)
    """)


def test_the_module_is_named_where_the_call_was_written():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            return F.relu(self.conv(x))

    original = model(lambda self, x: self.second(self.first(x)), first=Block(), second=Block())
    checked = check(RULE, original)
    assert "relu = self.first.relu(first_conv)  # ReLU()" in checked.lines
    assert "relu_1 = self.second.relu(second_conv)  # ReLU()" in checked.lines


@pytest.mark.parametrize(
    ("forward", "node", "reason"),
    [
        (
            lambda self, x: x.clamp(max=1),
            "clamp",
            "a clamp becomes a module only between two constant bounds, or with min=0 alone",
        ),
        (
            lambda self, x: x.clamp(0.5),
            "clamp",
            "a clamp becomes a module only between two constant bounds, or with min=0 alone",
        ),
        (
            lambda self, x: torch.clamp(x, x.mean()),
            "clamp",
            "its settings are computed when the model runs; a module's are fixed",
        ),
        (lambda self, x: F.hardtanh(x, 1.0, 1.0), "hardtanh", "a hardtanh whose bounds leave no range has no module"),
        (
            lambda self, x: F.softmax(x, 1, dtype=torch.float64),
            "softmax",
            "a softmax becomes a module only with a given dim and no dtype",
        ),
        (
            lambda self, x: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, 1)),
            "adaptive_avg_pool2d",
            "its settings are computed when the model runs; a module's are fixed",
        ),
        (
            lambda self, x: F.relu(x.view(2, -1), inplace=True) + x.flatten(1),
            "relu",
            "it changes its input in place; the module would not",
        ),
    ],
)
def test_refuses(forward, node, reason):
    assert check(RULE, model(forward)).skips[node] == reason
