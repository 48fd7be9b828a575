"""Operators find their layers by the text that lies in the file."""

from __future__ import annotations

import ast

import pytest
import torch
from torch import nn

import fxconv
from fxconv.config import Method, Recipe
from fxconv.targets.mobile.op_layers import Program, layers_by_operator, layers_of, program_of


class Named(nn.Module):
    """Layers whose names are hard to tell from numbered ones, an operation of the graph's own, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv10 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv10(self.conv1(x))
        x = self.block(x) + x
        return self.fc(x.mean((2, 3)))


def converted(path, **choices):
    batches = [torch.randn(4, 3, 8, 8) for _ in range(2)]
    fxconv.convert(Named(), batches, recipe=(Recipe.none,), min_sqnr=-1000.0, **choices).save(path)
    return path


# What runs, in order; quantized convolutions look at the shape of their input first, which is no layer's.
LOOKS = [("aten::size", None), ("aten::len", None), ("aten::ne", None)]
RUN = [
    ("aten::quantize_per_tensor", "quant_x"),
    *LOOKS,
    ("quantized::conv2d", "conv1"),
    *LOOKS,
    ("quantized::conv2d", "conv10"),
    *LOOKS,
    ("quantized::conv2d_relu", "conv"),
    ("quantized::add", "add"),
    ("aten::mean", "mean"),
    ("quantized::linear", "fc"),
    ("aten::dequantize", "dequant_fc"),
]
NAMES, LAYERS = [name for name, _ in RUN], [layer for _, layer in RUN]


def test_layers_of_a_scripted_artifact(tmp_path):
    program = program_of(converted(tmp_path / "x.ptl"))
    assert layers_of(program, NAMES) == LAYERS


def test_what_the_text_does_not_have_is_passed_over(tmp_path):
    program = program_of(converted(tmp_path / "x.ptl"))
    assert layers_of(program, ["prim::load", *NAMES, "prim::unload"]) == [None, *LAYERS, None]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(NAMES[::-1], id="another order"),
        pytest.param(NAMES[:-1] + NAMES[-2:], id="one more"),
        pytest.param(NAMES[:8] + NAMES[9:], id="one less"),
        pytest.param(NAMES[:-3], id="cut off"),
    ],
)
def test_where_something_else_ran_no_layer_is_known(names, tmp_path):
    program = program_of(converted(tmp_path / "x.ptl"))
    if names == NAMES[:-3]:  # what the end has is not in both any more
        assert layers_of(program, names) == LAYERS[:-3]
    else:
        assert set(layers_of(program, names)) == {None}


def test_paths_of_nested_layers(small_conversion, tmp_path):
    path = tmp_path / "x.ptl"
    small_conversion.save(path)
    program = program_of(path)
    paths = {name for name, module in small_conversion.int8.named_modules() if not list(module.children())}
    layers = {layer for layer in program.layers.values() if "." in layer}
    assert layers
    assert layers <= {name for name, _ in small_conversion.int8.named_modules()} | paths


def test_a_traced_artifact_names_nothing(tmp_path):
    program = program_of(converted(tmp_path / "x.ptl", method=Method.trace))
    assert program.layers == {}
    assert layers_of(program, NAMES) == [None] * len(NAMES)


def test_a_file_without_text_names_nothing(tmp_path):
    (tmp_path / "x.ptl").write_bytes(b"no archive")
    assert program_of(tmp_path / "x.ptl") == Program()
    torch.jit.script(nn.ReLU())._save_for_lite_interpreter(str(tmp_path / "y.ptl"))
    assert program_of(tmp_path / "y.ptl").layers == {}


def program(text: str, returned: tuple[str, ...] = (), **layers: str) -> Program:
    roots = frozenset(name for name, layer in layers.items() if layer == name)
    return Program(ast.parse(text).body, layers, returned, roots)


BRANCHES = """
a = torch.relu(x)
if torch.gt(torch.len(x), 2):
    b = torch.exp(a)
else:
    b = torch.log(a)
c = ops.quantized.mul(b, torch.neg(b))
return (torch.sigmoid(c), d)
"""


@pytest.mark.parametrize("branch", ["exp", "log"])
def test_the_branch_that_ran_is_followed(branch):
    found = layers_of(
        program(BRANCHES, ("s", "d"), a="one.a", b="one.b", c="one.c", s="one.s"),
        ["aten::relu", "aten::len", "aten::gt", f"aten::{branch}", "aten::neg", "quantized::mul", "aten::sigmoid"],
    )
    assert found == ["one.a", None, None, "one.b", None, "one.c", "one.s"]


def test_a_loop_is_followed_as_often_as_it_ran():
    text = "for _0 in range(n):\n  a = torch.relu(x)\nb = torch.exp(a)"
    assert layers_of(program(text, a="m.a", b="m.b"), ["aten::relu"] * 3 + ["aten::exp"]) == ["m.a"] * 3 + ["m.b"]
    assert layers_of(program(text, a="m.a", b="m.b"), ["aten::exp"]) == ["m.b"]


def test_a_branch_that_raises_did_not_run():
    text = "if torch.ne(n, 4):\n  ops.prim.RaiseException(torch.str(n))\nelse:\n  pass\na = torch.str(x)"
    assert layers_of(program(text, a="m.a"), ["aten::ne", "aten::str"]) == [None, "m.a"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("conv10", "conv1"),
        ("conv100", "conv10"),
        ("pow_1", "pow_1"),
        ("block_1_conv", "block.1.conv"),
        ("block_1_conv2", None),
        ("_3", None),
        ("fc", "fc"),
    ],
)
def test_a_number_behind_the_name_of_a_layer_of_the_root_is_not_its_own(name, layer):
    known = {"conv1": "conv1", "conv10": "conv10", "pow_1": "pow_1", "block_1_conv": "block.1.conv", "fc": "fc"}
    parsed = Program(ast.parse(f"{name} = torch.relu(x)").body, known, roots=frozenset({"conv1", "conv10", "fc"}))
    assert layers_of(parsed, ["aten::relu"]) == [layer]


def test_layers_by_operator(tmp_path):
    """The layers of each operator, without running anything; nothing of a program that is longer than asked for."""
    torch.manual_seed(0)
    path = tmp_path / "net.ptl"
    fxconv.convert(Named().eval(), [torch.randn(4, 3, 8, 8)], recipe="none", min_sqnr=-1000.0, output=path)
    found = layers_by_operator(program_of(path))
    assert found["quantized::conv2d"] == ("conv1", "conv10")
    assert found["quantized::linear"] == ("fc",)
    assert layers_by_operator(program_of(path, 10)) == {}
