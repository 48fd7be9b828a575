"""What becomes int8, with which weights, and that nothing is left in float by accident."""

from __future__ import annotations

import fxconv_networks as networks
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fxconv
from fxconv.config import Config, Engine, WeightScheme
from fxconv.quantization import engine, fusion, static
from fxconv.quantization.passes import selected
from fxconv.quantization.static import QuantizationError
from rewrites import rewrite


@pytest.fixture
def observed(small_model, batches):
    """The small network with observers that have seen a batch."""
    with engine.engine("qnnpack"), torch.no_grad():
        module = static.observe(rewrite(small_model, selected(Config())).graph_module, Config())
        module(batches[0])
        yield module


def test_every_layer_that_should_be_int8_is(small_conversion):
    int8 = small_conversion.int8
    called = {
        str(node.target): type(int8.get_submodule(node.target)) for node in int8.graph.nodes if node.op == "call_module"
    }
    weighted = {path: kind for path, kind in called.items() if "onv" in kind.__name__ or "inear" in kind.__name__}
    assert len(weighted) == 5
    assert all(".quantized." in kind.__module__ for kind in weighted.values())
    assert not [path for path, kind in called.items() if kind in (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU6)]
    assert [path for path, kind in called.items() if kind.__name__ == "Quantize"] == ["quant_x"]
    operators = {type(module).__name__ for module in int8.modules()}
    assert "QFunctional" in operators
    assert "FloatFunctional" not in operators


def test_nothing_runs_in_float_between_the_boundaries(small_conversion):
    assert small_conversion.artifact.float_calls == {}
    assert small_conversion.artifact.int8_calls["quantized::conv2d_relu"] == 3
    assert small_conversion.artifact.int8_calls["quantized::conv2d"] == 1
    assert small_conversion.artifact.int8_calls["quantized::linear"] == 1


def test_a_model_that_lost_all_its_qconfigs_is_refused(observed):
    # what a GraphModule's deepcopy does: nothing is observed, and the "int8" model is float with 129 dB
    for module in observed.modules():
        module.qconfig = None
    with pytest.raises(QuantizationError, match=r"these layers should be int8 and are not: .*head"):
        static.convert_observed(observed)


def test_one_lost_qconfig_is_noticed(observed):
    observed.get_submodule("head").qconfig = None
    with pytest.raises(QuantizationError, match=r"these layers should be int8 and are not: head$"):
        static.convert_observed(observed)


def test_a_network_the_engine_keeps_in_float_whole_is_converted_to_itself():
    circular = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.Mish()).eval()
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    conversion = fxconv.convert(circular, [image], skip=networks.PAD_INSIDE, recipe=("none",))
    assert conversion.verdict == "float by engine, verified"
    with torch.no_grad():
        assert torch.equal(conversion.int8(image), circular(image))


def test_a_layer_that_is_not_swapped_is_named(observed, monkeypatch):
    mapping = {kind: int8 for kind, int8 in static.CONVERT_MAPPING.items() if kind is not nn.Linear}

    def convert_without_linear(module, **kwargs):
        kwargs["mapping"] = mapping
        return torch.ao.quantization.convert(module, **kwargs)

    monkeypatch.setattr(static, "convert", convert_without_linear)
    with pytest.raises(QuantizationError, match=r"these layers should be int8 and are not: head$"):
        static.convert_observed(observed)


def test_a_layer_without_its_observer_is_never_converted(observed):
    del observed.get_submodule("head").activation_post_process
    with pytest.raises((QuantizationError, AttributeError), match=r"head|activation_post_process"):
        static.convert_observed(observed)


def test_observers_leave_the_float_function_alone(observed, small_model, batches):
    # fused batch norms round differently; a clamp or a range that leaked into the forward would not be this close
    assert torch.allclose(observed(batches[1]), small_model(batches[1]), atol=1e-5)


@pytest.mark.parametrize(
    ("scheme", "convolution"),
    [(WeightScheme.per_channel, torch.per_channel_affine), (WeightScheme.per_tensor, torch.per_tensor_affine)],
)
def test_the_scheme_of_the_packed_weights(scheme, convolution, small_model, batches):
    conversion = fxconv.convert(small_model, calibration=batches[:1], weight_scheme=scheme, recipe=("none",))
    assert conversion.verified
    packed = [
        module.weight() for module in conversion.int8.modules() if hasattr(module, "weight") and callable(module.weight)
    ]
    assert len(packed) == 5
    assert {weight.qscheme() for weight in packed} == {convolution}
    assert all(weight.dtype == torch.qint8 for weight in packed)
    if scheme is WeightScheme.per_channel:
        assert [weight.q_per_channel_scales().numel() for weight in packed] == [w.shape[0] for w in packed]


def test_transposed_convolutions_have_one_scale_whatever_the_scheme(batches):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 4, 2, 1))
    conversion = fxconv.convert(model, calibration=batches[:1], recipe=("none",))
    assert conversion.verified
    (transposed,) = [m for m in conversion.int8.modules() if "ConvTranspose" in type(m).__name__]
    assert transposed.weight().qscheme() == torch.per_tensor_affine


@pytest.fixture(scope="module")
def hot(batches):
    torch.manual_seed(0)
    model = networks.HotReLU6().eval()
    return model, fxconv.convert(model, calibration=batches, recipe=("none",))


def test_a_folded_relu6_saturates_at_6(hot, batches):
    model, conversion = hot
    torch.backends.quantized.engine = "qnnpack"
    x = torch.cat(batches)
    with torch.no_grad():
        assert model.conv(x).max() > 30
        out = conversion.int8(x)
        conv = conversion.int8.get_submodule("conv")
        seen = conversion.int8.get_submodule("quant_x")(x).dequantize()
        exact = F.relu6(F.conv2d(seen, conv.weight().dequantize()))
    assert out.min() == 0
    assert 6 - conv.scale <= out.max() <= 6 + conv.scale / 2
    assert (out - exact).abs().max() <= 1.01 * conv.scale


def test_a_folded_relu6_costs_no_clamp(hot):
    _, conversion = hot
    assert conversion.verified
    assert conversion.converted
    assert conversion.artifact.calls == {
        "aten::quantize_per_tensor": 1,
        "quantized::conv2d_relu": 1,
        "aten::dequantize": 1,
    }


def test_no_clamp_of_the_engines_ever_runs_in_int8(small_conversion, hot, batches):
    unfolded = fxconv.convert(networks.UnfoldableReLU6(), calibration=batches[:1], recipe=("none",))
    for conversion in (small_conversion, hot[1], unfolded):
        clamps = [op for op in conversion.artifact.int8_calls if "hardtanh" in op or "clamp" in op or "relu6" in op]
        assert clamps == []


def test_a_relu6_that_cannot_be_folded_goes_another_correct_way(batches):
    torch.manual_seed(0)
    model = networks.UnfoldableReLU6()
    with torch.no_grad():
        assert (8 * model.first(batches[0])).max() > 6  # the clamp has something to do
    conversion = fxconv.convert(model, calibration=batches, recipe=("none",))
    assert conversion.verified
    assert conversion.ledger[2].sqnr_db > 30
    assert conversion.artifact.float_calls == {"aten::clamp": 1}  # between int8 operations it is computed in float
    (fold,) = [result for result in conversion.rewritten.results if result.name == "fold-relu6"]
    (skip,) = fold.skips
    assert (
        skip.reason
        == "it does not follow a convolution, batch norm, linear layer or addition whose range could be capped"
    )


def test_the_engine_is_put_back_after_an_error():
    before = torch.backends.quantized.engine
    with pytest.raises(KeyError), engine.engine("qnnpack"):
        assert torch.backends.quantized.engine == "qnnpack"
        raise KeyError
    assert torch.backends.quantized.engine == before


def test_only_desktop_engines_without_vnni_reduce_the_range(monkeypatch):
    for vnni in (False, True):
        monkeypatch.setattr(engine, "has_vnni", lambda vnni=vnni: vnni)
        assert engine.reduces_range(Config(engine=Engine.qnnpack)) is False
        assert engine.reduces_range(Config(engine=Engine.x86)) is not vnni


def test_fusing_leaves_the_given_module_alone(small_model, batches):
    graph_module = rewrite(small_model, selected(Config())).graph_module
    before = graph_module.code
    fused = fusion.fuse(graph_module)
    assert graph_module.code == before
    assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        assert torch.allclose(fused(batches[0]), small_model(batches[0]), atol=1e-5)
