"""What is read from the written artifact itself."""

from __future__ import annotations

import hashlib

import fxconv_networks as networks
import pytest
import torch
from fxconv_torch import CONV2D
from torch import nn

import fxconv
from fxconv.environment import has_xnnpack
from fxconv.targets import artifact
from fxconv.targets.mobile import lite_file, lowering
from fxconv.targets.mobile.lite_file import describe, load_lite, load_lite_bytes, unreadable


def test_the_file_says_what_it_is(small_conversion, tmp_path, batches):
    torch.backends.quantized.engine = "qnnpack"
    path = tmp_path / "x.ptl"
    small_conversion.save(path)
    data = path.read_bytes()
    found = describe(path, data, (batches[0][:1],), 1000)
    assert found.sha256 == hashlib.sha256(data).hexdigest() == small_conversion.artifact.sha256
    assert (found.size, found.float_bytes) == (len(data), 1000)
    assert found.bytecode_version == 8
    assert {"quantized::conv2d_relu.new", "quantized::linear", "aten::dequantize.self"} & set(found.operators)
    assert found.calls == small_conversion.artifact.calls


def test_a_fully_int8_network_has_all_its_work_in_int8(small_conversion):
    share = small_conversion.artifact.int8_macs_share
    assert share == 1.0
    # 16x16 pixels after the stride: stem 16*3*9, block 16*16*9; squeeze and excite 16*4 each, once; head 16*10
    assert small_conversion.artifact.macs == {
        "quantized::conv2d_relu": 256 * 16 * 27 + 256 * 16 * 144 + 64,
        "quantized::conv2d": 64,
        "quantized::linear": 160,
    }


def test_the_share_of_int8_work_by_hand():
    conversion = fxconv.convert(
        networks.one_float_convolution(),
        calibration=[torch.randn(2, 3, 16, 16)],
        skip=networks.PAD_INSIDE,
        recipe=("none",),
    )
    assert conversion.artifact.macs == {"quantized::conv2d_relu": 55_296, CONV2D: 73_728}
    assert conversion.artifact.int8_macs_share == pytest.approx(networks.OneFloatConvolution.INT8_SHARE)
    java = fxconv.convert(
        networks.one_float_convolution(),
        calibration=[torch.randn(2, 3, 16, 16)],
        skip=networks.PAD_INSIDE,
        java=True,
        recipe=("none",),
    )
    assert sum(java.artifact.macs.values()) == 55_296 + 73_728
    assert java.artifact.int8_macs_share == pytest.approx(networks.OneFloatConvolution.INT8_SHARE)


class Layers(nn.Module):
    """Grouped, strided, transposed and one-dimensional convolutions and a linear layer over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)  # 8*8 pixels * 8 * (2*9) = 9,216
        self.strided = nn.Conv2d(8, 4, 1, stride=2)  # 4*4 pixels * 4 * 8 = 512
        self.transposed = nn.ConvTranspose2d(4, 2, 2, 2)  # 4*4 inputs * 4 * (2*4) = 512
        self.line = nn.Conv1d(2, 3, 3)  # 62 places * 3 * (2*3) = 1,116
        self.linear = nn.Linear(62, 5)  # 3 rows * 62 * 5 = 930

    def forward(self, x):
        x = self.transposed(self.strided(self.grouped(x)))
        return self.linear(self.line(x.flatten(2)))


LAYERS_MACS = 9_216 + 512 + 512 + 1_116 + 930


def test_multiply_accumulates_of_every_kind_of_layer_by_hand():
    conversion = fxconv.convert(Layers(), calibration=[torch.randn(1, 8, 8, 8)], recipe=("none",))
    assert conversion.verified
    assert sum(conversion.artifact.macs.values()) == LAYERS_MACS


def test_multiply_accumulates_of_float_layers_by_hand(tmp_path):
    path = tmp_path / "float.ptl"
    path.write_bytes(torch.jit.script(Layers().eval())._save_to_buffer_for_lite_interpreter())
    found = describe(path, path.read_bytes(), (torch.randn(1, 8, 8, 8),), 1)
    assert sum(found.macs.values()) == LAYERS_MACS
    assert found.int8_macs_share == 0.0
    assert found.int8_calls == {}


def test_multiply_accumulates_of_a_prepacked_transposed_convolution():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.kernel = nn.Conv2d(3, 4, 1), nn.Parameter(torch.randn(4, 2, 2, 2))

        def forward(self, x):
            return nn.functional.conv_transpose2d(self.conv(x), self.kernel, stride=2)

    # functional-convolution would make a layer of the call, and that int8
    conversion = fxconv.convert(
        Functional(), calibration=[torch.randn(2, 3, 8, 8)], skip=("functional-convolution",), recipe=("none",)
    )
    assert conversion.artifact.macs == {
        "quantized::conv2d": 64 * 4 * 3,
        "prepacked::conv2d_transpose_clamp_run" if has_xnnpack() else "aten::convolution": 64 * 4 * (2 * 4),
    }


def test_a_network_without_layers_has_no_share(tmp_path):
    path = tmp_path / "x.ptl"
    path.write_bytes(torch.jit.script(nn.ReLU())._save_to_buffer_for_lite_interpreter())
    assert describe(path, path.read_bytes(), (torch.ones(1),), 1).int8_macs_share == 0.0


def test_conversions_between_the_domains_are_no_float_work():
    found = unreadable(b"x", 1)
    assert (found.size, found.operators, found.int8_macs_share) == (1, (), 0.0)
    counted = artifact.Artifact(
        None, b"", "", 8, (), {"aten::quantize_per_tensor": 1, "aten::dequantize": 2, "aten::add": 3, "aten::mean": 2},
        {"aten::quantize_per_tensor": 1, "aten::mean": 2}, {}, 1,
    )  # fmt: skip
    assert counted.float_calls == {"aten::add": 3}


def test_garbage_does_not_load(tmp_path):
    path = tmp_path / "x.ptl"
    path.write_bytes(b"garbage")
    with pytest.raises(RuntimeError):
        load_lite(path)


def test_what_never_needs_a_name_loads_from_memory():
    data = torch.jit.script(nn.ReLU())._save_to_buffer_for_lite_interpreter()
    assert load_lite_bytes(data)(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


@pytest.mark.parametrize("name", ["attention", "encoder"])
def test_multiply_accumulates_of_several_linear_layers_in_one_operator(name, tmp_path):
    # 7 tokens; queries, keys and values 3 * 16 * 16 and the output 16 * 16; the encoder's own layers 2 * 16 * 24
    layers = {
        "attention": (nn.MultiheadAttention(16, 2, batch_first=True), 7 * 4 * 16 * 16),
        "encoder": (nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), 7 * (4 * 16 * 16 + 2 * 16 * 24)),
    }
    layer, expected = layers[name]
    x = torch.randn(1, 7, 16)
    example = (x, x, x) if name == "attention" else (x,)
    with torch.no_grad():
        path = tmp_path / "x.ptl"
        path.write_bytes(lowering.to_bytes(torch.jit.script(layer.eval())))
    found = describe(path, path.read_bytes(), example, 0)
    assert [op for op in found.calls if op in lite_file._FUSED_LINEAR]
    assert sum(found.macs.values()) == expected
