"""Dynamic quantization: linear and recurrent layers in int8, ranged at run time; the rest in float."""

from __future__ import annotations

import fxconv_networks as networks
import pytest
import torch
from fxconv_commands import SMALL, assert_user_error
from fxconv_torch import CONV2D
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, Method, Mode, WeightScheme
from fxconv.conversion import Conversion
from fxconv.errors import UserError
from fxconv.quantization import dynamic, engine
from fxconv.quantization.torch_notices import quiet
from fxconv.verification import dynamic_audit

SCALES = list(WeightScheme)


class Sequences(nn.Module):
    """An image's rows as a sequence: LSTM, GRU, cells, and linear layers with and without a ReLU behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)
        self.lstm = nn.LSTM(4 * 14, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(24, 8, batch_first=True)
        self.hidden, self.cell, self.out = nn.Linear(8, 16), nn.GRUCell(16, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.features(x).permute(0, 2, 1, 3).flatten(2)
        rows, _ = self.lstm(rows)
        rows, _ = self.gru(rows)
        return self.out(self.cell(torch.relu(self.hidden(rows[:, -1]))))


def sequences() -> nn.Module:
    return Sequences()


def converted(model: nn.Module, size: int = 16, **options: object) -> Conversion:
    torch.manual_seed(1)
    # outputs of such networks hardly vary from one image of noise to the next
    options = {"min_sqnr": -100.0, **options}
    return fxconv.convert(model.eval(), [torch.rand(8, 3, size, size)], mode=Mode.dynamic, **options)


@pytest.mark.parametrize("method", [Method.script, Method.trace])
@pytest.mark.parametrize("scheme", SCALES)
def test_every_linear_and_recurrent_layer(method, scheme):
    done = converted(sequences(), method=method, weight_scheme=scheme)
    assert done.verdict == "converted and verified"
    assert [op.where.split("_")[0] for op in done.audit.operations] == ["lstm", "gru", "hidden", "cell", "out"]
    assert done.audit.problem == ""
    rows = {row.stage: row for row in done.ledger}
    assert list(rows) == ["rewritten", "fused", "int8", "scripted", "optimized", "reloaded"]
    assert rows["int8"].sqnr_db > 25


def test_the_share_of_the_multiply_accumulates_is_that_of_the_layers():
    macs = converted(sequences()).artifact.macs
    steps, width = 14, 4 * 14
    layers = {
        CONV2D: 4 * 14 * 14 * 27,
        "aten::quantized_lstm": steps * 2 * 4 * 12 * ((width + 12) + (24 + 12)),
        "aten::quantized_gru": steps * 3 * 8 * (24 + 8),
        "quantized::linear_relu_dynamic": 16 * 8,
        "quantized::quantized_gru_cell_dynamic": 3 * 8 * (16 + 8),
        "quantized::linear_dynamic": 5 * 8,
    }
    assert macs == layers
    share = 1 - layers[CONV2D] / sum(layers.values())
    assert converted(sequences()).artifact.int8_macs_share == pytest.approx(share)


def test_the_attention_of_a_transformer_is_linear_layers_by_then():
    layer = nn.TransformerEncoderLayer(12, 3, 24, batch_first=True)
    model = nn.Sequential(nn.Flatten(2), layer, nn.Flatten(1), nn.Linear(36, 4))
    torch.manual_seed(0)
    done = fxconv.convert(model.eval(), [torch.rand(8, 3, 3, 4)], mode=Mode.dynamic)
    assert done.verified
    assert len(done.audit.operations) >= 5


def test_nothing_is_calibrated_and_the_report_says_so(capsys):
    done = converted(networks.tiny(), 32)
    done.report.print()
    printed = " ".join(capsys.readouterr().out.split())
    assert done.calibration.images == 0
    assert "dynamic quantization" in printed
    assert "1 linear or recurrent layer with int8 weights, ranged at run time; all else stays in float" in printed
    assert "nothing: activations are ranged at run time" in printed
    assert not any("calibrated" in warning for warning in done.warnings)
    assert 0 < done.artifact.int8_macs_share < 0.01


class FirstRow(nn.Module):
    """A layer that is given the first image of a batch, flat: no batch is left."""

    def __init__(self, layer: nn.Module, is_sequence: bool) -> None:
        super().__init__()
        self.layer, self.is_sequence, self.out = layer, is_sequence, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        row = x[0, :, :, 0] if self.is_sequence else x[0, 0, 0]
        returned = self.layer(row)
        first = returned[0] if isinstance(returned, tuple) else returned
        return self.out(first.unsqueeze(0))


@pytest.mark.parametrize("layer", [nn.Linear(8, 6), nn.LSTMCell(8, 6), nn.GRUCell(8, 6), nn.RNNCell(8, 6)])
def test_a_layer_that_gets_no_batch_stays_in_float(layer):
    done = converted(FirstRow(layer, False), 8)
    assert done.verified
    assert [op.where for op in done.audit.operations] == ["out"]


@pytest.mark.parametrize("layer", [nn.LSTM(8, 6), nn.GRU(8, 6)])
def test_a_sequence_without_a_batch_stays_in_float(layer):
    done = converted(FirstRow(layer, True), 8)
    assert done.verified
    assert [op.where for op in done.audit.operations] == ["out"]


def test_a_model_without_such_layers():
    with pytest.raises(UserError, match="and HotReLU6 has none that the engine takes"):
        converted(networks.HotReLU6(), 32)


def tampered(change: str) -> str:
    """What the audit says of a layer that was tampered with."""
    with engine.engine("qnnpack"), quiet():
        floating = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)).eval()
        choices = {path: dynamic._choice(part, Config()) for path, part in dynamic.layers(floating, ())}
        int8 = torch.ao.quantization.quantize_dynamic(floating, choices)
        if change == "weights":
            weight = int8[0].weight()
            int8[0].set_weight_bias(_moved(weight), int8[0].bias())
        elif change == "bias":
            int8[1].set_weight_bias(int8[1].weight(), int8[1].bias() + 1)
        elif change == "float":
            int8[1] = floating[1]
        return dynamic_audit.audit(int8, floating, [(torch.rand(3, 8),)]).problem


def _moved(weight: Tensor) -> Tensor:
    """A quantized tensor one step off."""
    steps = (weight.int_repr().int() + 1).clamp(-127, 127).to(torch.int8)
    scales, zeros, axis = weight.q_per_channel_scales(), weight.q_per_channel_zero_points(), weight.q_per_channel_axis()
    return torch._make_per_channel_quantized_tensor(steps, scales, zeros, axis)


def test_the_audit_finds_what_was_tampered_with():
    assert tampered("") == ""
    assert tampered("weights").startswith("0 (Linear (dynamic)): its weight is up to 1.")
    assert "dB from what they should be; at least 40 dB are required" in tampered("bias")
    assert tampered("float") == "1 (): is a layer for int8 and is in float"


@pytest.mark.parametrize(("added", "problem"), [(0.0, ""), (3.0, "at least 10 dB are required")])
def test_a_recurrent_layer_is_compared_with_its_float_form(added, problem):
    with engine.engine("qnnpack"), quiet():
        floating = nn.Sequential(nn.LSTM(8, 6, batch_first=True)).eval()
        choices = {path: dynamic._choice(part, Config()) for path, part in dynamic.layers(floating, ())}
        int8 = torch.ao.quantization.quantize_dynamic(floating, choices)
        with torch.no_grad():
            floating[0].bias_ih_l0 += added
        found = dynamic_audit.audit(int8, floating, [(torch.rand(2, 5, 8),)])
    assert [op.where for op in found.operations] == ["0"]
    assert found.problem.endswith(problem) and bool(found.problem) == bool(problem)


def test_a_layer_that_never_runs_is_told():
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with engine.engine("qnnpack"), quiet():
        floating = Idle().eval()
        choices = {path: dynamic._choice(part, Config()) for path, part in dynamic.layers(floating, ())}
        int8 = torch.ao.quantization.quantize_dynamic(floating, choices)
        assert dynamic_audit.audit(int8, floating, [(torch.rand(1, 8),)]).problem.startswith(
            "idle (Linear (dynamic)): never"
        )


@pytest.mark.parametrize("engine", ["x86", "onednn"])
def test_the_desktop_engines_range_to_seven_bits(engine):
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    done = fxconv.convert(nn.Sequential(*layers).eval(), [torch.rand(8, 3, 4, 4)], mode="dynamic", engine=engine)
    assert done.verified


class Unusual(nn.Module):
    """An LSTM by keyword, one without biases, one with a projection, and a linear layer that is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.LSTM(6, 4, batch_first=True)
        self.bare, self.projected = nn.LSTM(4, 4, bias=False), nn.LSTM(4, 4, proj_size=2)
        self.out = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.full((1, x.shape[0], 4), 0.5)
        rows, _ = self.plain(x.flatten(2), hx=(state, state))
        rows, _ = self.projected(self.bare(rows)[0])
        return self.out(self.out(rows[:, -1]))


def test_what_the_engine_does_not_take_stays_in_float():
    torch.manual_seed(0)
    done = fxconv.convert(Unusual().eval(), [torch.randn(8, 3, 3, 2)], mode="dynamic", min_sqnr=-100.0)
    assert done.verdict == "converted and verified"
    assert [op.where for op in done.audit.operations] == ["plain", "out"] or len(done.audit.operations) == 3


def test_by_hand(command):
    words = ("--mode", "dynamic", "-o", "tiny.ptl", "--json", "report.json", "--quiet")
    run = command("convert", *SMALL, *words)
    assert run.status == 0
    assert run.files == ["report.json", "tiny.ptl"]
    assert run.report["quantization"]["mode"] == "dynamic"
    assert run.report["quantization"]["int8_ops"] == {"quantized::linear_dynamic": 1}
    assert run.report["artifact"]["int8_macs_share"] > 0


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (("--max-drop", "1"), ("--max-drop goes with --mode static, not with dynamic",)),
        (("--keep-float", "head"), ("--keep-float goes with --mode static or qat, not with dynamic",)),
        (("--recipe", "adaround"), ("--recipe goes with --mode static or qat, not with dynamic",)),
        (("--arithmetic", "wrap"), ("--arithmetic wrap goes with --mode static or qat",)),
        (("--eval", "."), ("--eval and --labels go with --mode static or qat",)),
        (("--epochs", "2"), ("--epochs goes with --mode qat",)),
    ],
)
def test_mistakes(command, words, fragments):
    assert_user_error(command("convert", *SMALL, "--mode", "dynamic", *words), *fragments)
