"""What is told of each layer: how far it is from float, and where its range lies."""

import math

import pytest
import torch
from fxconv_archives import records
from fxconv_networks import Islanded
from torch import Tensor, nn

import fxconv
from fxconv.measures.layer_survey import SURVEYED, Range
from fxconv.measures.side_by_side import BINS


@pytest.fixture(scope="module")
def conversion(batches):
    torch.manual_seed(0)
    return fxconv.convert(Islanded().eval(), calibration=batches, recipe=("none",), layers=True)


def test_nothing_is_surveyed_unless_asked(small_conversion):
    assert small_conversion.layers == ()
    assert small_conversion.report.json()["layers"] == []


def test_every_operation_has_its_domain_and_what_it_reads(conversion):
    shown = [(layer.name, layer.operator, layer.domain, layer.inputs) for layer in conversion.layers]
    assert shown == [
        ("x", "input", "input", ()),
        ("quant_x", "Quantize", "boundary", ("x",)),
        ("first", "ConvReLU2d", "int8", ("quant_x",)),
        ("dequant_relu", "DeQuantize", "boundary", ("first",)),
        ("roll", "torch.roll", "float", ("dequant_relu",)),
        ("quant_roll", "Quantize", "boundary", ("roll",)),
        ("second", "Conv2d", "int8", ("quant_roll",)),
        ("dequant_second", "DeQuantize", "boundary", ("second",)),
        ("output", "output", "output", ("dequant_second",)),
    ]


def test_a_float_layer_says_why_and_where_it_was_written(conversion):
    layer = next(layer for layer in conversion.layers if layer.domain == "float")
    assert layer.reason == "torch.roll: the engine has no quantized kernel for it"
    assert "tests/fxconv/fxconv_networks.py:" in layer.source
    assert layer.range is None


def test_the_last_layer_is_as_far_from_float_as_the_model(conversion, batches):
    torch.manual_seed(0)
    model, images = Islanded().eval(), batches[0][:SURVEYED]
    torch.backends.quantized.engine = "qnnpack"
    with torch.no_grad():
        wanted = torch.cat([model(image[None]) for image in images]).double()
        found = torch.cat([conversion.int8(image[None]) for image in images]).double()
    expected = 10 * math.log10(wanted.square().sum() / (wanted - found).square().sum())
    assert conversion.layers[-2].sqnr_db == pytest.approx(expected, abs=1e-6)


def test_a_range_is_that_of_the_int8_layer_and_holds_all_values_in_its_bins(conversion):
    layer = next(layer for layer in conversion.layers if layer.name == "second")
    module, found = conversion.int8.get_submodule("second"), layer.range
    assert (found.scale, found.zero_point) == (module.scale, module.zero_point)
    assert found.low == pytest.approx(-module.zero_point * module.scale)
    assert found.high == pytest.approx((255 - module.zero_point) * module.scale)
    assert len(found.bins) == BINS and sum(found.bins) == SURVEYED * 4 * 30 * 30
    assert found.least < 0 < found.most


def test_it_is_in_the_json_report(conversion):
    layers = conversion.report.json()["layers"]
    assert [layer["name"] for layer in layers] == [layer.name for layer in conversion.layers]
    assert layers[2]["range"]["scale"] == conversion.layers[2].range.scale


def test_what_a_range_cuts_off_is_what_lies_in_the_bins_beside_it():
    bins = (1, *[0] * 7, *[0] * 16, 7, *[0] * 15, *[0] * 7, 2)
    assert len(bins) == BINS
    assert Range(0.0, 2.55, 0.01, 0, -1.0, 9.0, bins).beyond == pytest.approx(0.3)


def test_a_layer_says_what_it_was_and_which_passes_changed_it_and_what_was_fused_into_it(batches):
    class Capped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6())

        def forward(self, x: Tensor) -> Tensor:
            return x + self.stage(x).mean(1, keepdim=True)

    torch.manual_seed(0)
    layers = fxconv.convert(Capped().eval(), calibration=batches, recipe=("none",), layers=True).layers
    conv, add = (next(layer for layer in layers if layer.operator == kind) for kind in ("ConvReLU2d", "Add"))
    assert (conv.path, conv.original) == ("stage.conv", "stage.0")
    assert conv.changes == (("fold-relu6", "the range is capped at 6; no int8 clamp runs"),)
    known = {layer.name: layer.sqnr_db for layer in layers}
    assert len(add.inputs) == 2 and add.before_db == min(known[name] for name in add.inputs)
    assert (add.original, add.changes) == (
        "",
        (("arithmetic-to-functional", "the plain operator has no quantized kernel"),),
    )


def test_noise_grows_from_that_of_the_noisiest_layer_that_is_read(conversion):
    known = {layer.name: layer for layer in conversion.layers}
    assert known["quant_x"].before_db == math.inf
    assert known["second"].before_db == known["quant_roll"].sqnr_db
    first, before = known["first"].sqnr_db, known["quant_x"].sqnr_db
    assert known["first"].added == pytest.approx(10 ** (-first / 10) - 10 ** (-before / 10))
    assert known["x"].before_db is None and known["x"].added is None


def test_each_graph_of_a_model_in_parts_is_surveyed(batches):
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.two = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            for _ in x:
                pass
            return self.two(x)

    torch.manual_seed(0)
    layers = fxconv.convert(Untraceable().eval(), calibration=batches, recipe=("none",), layers=True).layers
    assert [layer.part for layer in layers if layer.operator == "ConvReLU2d"] == ["one", "two"]
    first = next(layer for layer in layers if layer.part == "two" and layer.operator == "Quantize")
    assert first.before_db is None  # its input has come through an int8 graph and code of the model's own


def test_asking_changes_no_byte(conversion, batches):
    torch.manual_seed(0)
    plain = fxconv.convert(Islanded().eval(), calibration=batches, recipe=("none",))
    assert [row.sqnr_db for row in plain.ledger] == [row.sqnr_db for row in conversion.ledger]
    held = records(plain.artifact.data)
    assert held == records(conversion.artifact.data) and any(name.endswith("bytecode.pkl") for name in held)


def test_dynamic_quantization_has_no_ranges(batches):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    found = fxconv.convert(model, calibration=batches, mode="dynamic", layers=True).layers
    assert [layer.domain for layer in found] == ["input", "float", "int8", "int8", "output"]
    assert [layer.operator for layer in found[2:4]] == ["LinearReLU", "Linear"]
    assert all(layer.sqnr_db > 20 and layer.range is None for layer in found[2:4])
