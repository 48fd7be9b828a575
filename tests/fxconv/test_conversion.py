"""fxconv.convert and what it returns, from Python."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import fxconv_networks as networks
import pytest
import torch
from fxconv_changed import with_ledger
from rich.console import Console
from torch import nn

import fxconv
from fxconv import conversion as pipeline
from fxconv.config import Arithmetic, Config, Engine, Method, Recipe, WeightScheme
from fxconv.data.staged_file import StagedFile
from fxconv.errors import ConversionError, UserError
from fxconv.models import forward
from fxconv.quantization import static
from fxconv.targets.mobile.lite_file import load_lite, load_lite_bytes
from fxconv.targets.mobile.target import MOBILE, read_back
from fxconv.targets.target import Context
from rewrites.passes import FoldReLU6

STAGES = ["rewritten", "fused", "int8", "scripted", "optimized", "reloaded"]


def test_a_conversion_is_verified_stage_by_stage(small_conversion):
    assert small_conversion.verified
    assert small_conversion.converted
    assert small_conversion.verdict == "converted and verified"
    assert [row.stage for row in small_conversion.ledger] == STAGES
    assert [row.against for row in small_conversion.ledger] == [
        "original",
        "original",
        "original",
        "int8",
        "int8",
        "int8",
    ]
    rows = {row.stage: row for row in small_conversion.ledger}
    assert rows["rewritten"].max_abs_diff == 0
    assert rows["int8"].sqnr_db > 20
    assert [rows[stage].max_abs_diff for stage in STAGES[3:]] == [0, 0, 0]


def test_nothing_is_written_before_save(small_conversion):
    assert small_conversion.artifact.path is None


def test_what_was_converted_in_words(small_conversion, small_model):
    model = small_conversion.model
    assert (model.name, model.weights, model.input_size) == ("Tiny", "given from Python", (3, 32, 32))
    assert model.parameters == sum(p.numel() for p in small_model.parameters())
    assert small_conversion.calibration.source == "24 tensors given from Python"
    assert small_conversion.calibration.images == 24


def test_a_model_in_train_mode_is_converted_as_it_evaluates_and_left_as_it_was(batches):
    torch.manual_seed(0)
    model = networks.tiny().train()
    model.block[1].eval()  # a frozen batch norm in a model that trains
    modes = {name: module.training for name, module in model.named_modules()}
    kinds = {name: type(module) for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    x = batches[0][:1]

    conversion = fxconv.convert(model, calibration=[batches[0]], example_inputs=(x,), recipe=("none",))

    assert conversion.verified
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: type(module) for name, module in model.named_modules()} == kinds
    assert not any(hasattr(module, "qconfig") for module in model.modules())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        reference = model.eval()(x)
    assert torch.equal(conversion.rewritten.graph_module(x), reference)


def test_modes_are_put_back_after_an_error(batches, monkeypatch):
    def broken(*_):
        raise RuntimeError("observers are broken")

    monkeypatch.setattr(static, "observe", broken)
    model, engine = networks.tiny().train(), torch.backends.quantized.engine
    with pytest.raises(RuntimeError, match="observers are broken"):
        fxconv.convert(model, calibration=batches)
    assert all(module.training for module in model.modules())
    assert torch.backends.quantized.engine == engine


def test_the_engine_is_put_back(small_model, batches):
    others = [engine for engine in torch.backends.quantized.supported_engines if engine not in ("none", "qnnpack")]
    torch.backends.quantized.engine = before = others[0] if others else "qnnpack"
    assert fxconv.convert(small_model, calibration=batches[:1], recipe=("none",)).verified
    assert torch.backends.quantized.engine == before


def test_batches_may_come_from_a_generator(small_model, batches, small_conversion):
    conversion = fxconv.convert(small_model, calibration=(batch for batch in batches))
    assert conversion.ledger[2].sqnr_db == small_conversion.ledger[2].sqnr_db


def test_a_conversion_is_reproducible(small_model, batches, small_conversion):
    again = fxconv.convert(small_model, calibration=batches)
    torch.backends.quantized.engine = "qnnpack"
    assert torch.equal(again.int8(batches[0]), small_conversion.int8(batches[0]))
    # torch numbers the classes it compiles: names may be longer, in entries padded to 64 bytes
    assert again.artifact.size == pytest.approx(small_conversion.artifact.size, abs=192)


def test_save_writes_the_verified_bytes(small_conversion, tmp_path, batches):
    path = tmp_path / "model.ptl"
    saved = small_conversion.save(str(path))
    assert saved.artifact.path == path
    assert path.read_bytes() == small_conversion.artifact.data
    assert [p.name for p in tmp_path.iterdir()] == ["model.ptl"]
    torch.backends.quantized.engine = "qnnpack"
    assert torch.equal(load_lite(path)(batches[0][:1]), small_conversion.int8(batches[0][:1]))


@pytest.mark.parametrize("name", ["model.onnx", "model", "model.pt"])
def test_save_takes_no_other_kind_of_name(small_conversion, tmp_path, name, batches, small_model):
    with pytest.raises(
        UserError, match=r"^\S+: (fxconv writes .ptl or .pte only, no|has no suffix, as the files).*model.ptl$"
    ):
        small_conversion.save(tmp_path / name)
    with pytest.raises(UserError, match=r"write \S+model.ptl$"):  # before any work is done
        fxconv.convert(small_model, calibration=batches, output=tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_two_names_hold_the_same_bytes(small_conversion, tmp_path):
    for name in ("a.ptl", "b.ptl"):
        small_conversion.save(tmp_path / name)
    assert (tmp_path / "a.ptl").read_bytes() == (tmp_path / "b.ptl").read_bytes()


def test_save_replaces_what_stood_there(small_conversion, tmp_path):
    path = tmp_path / "model.ptl"
    path.write_bytes(b"the artifact of last week")
    small_conversion.save(path)
    assert path.read_bytes() == small_conversion.artifact.data


def test_save_notices_bytes_that_changed_on_their_way_to_the_disk(small_conversion, tmp_path, monkeypatch):
    class BadDisk(StagedFile):
        def __init__(self, target: Path | None, data: bytes, option: str = "") -> None:
            super().__init__(target, data[:-1] + b"?")

    monkeypatch.setattr(pipeline, "StagedFile", BadDisk)
    with pytest.raises(ConversionError, match=r"model.ptl: the bytes on disk are not the bytes that were verified"):
        small_conversion.save(tmp_path / "model.ptl")
    assert list(tmp_path.iterdir()) == []


def test_save_into_a_missing_folder_is_the_users_mistake(small_conversion, tmp_path):
    with pytest.raises(UserError, match=r"gone/model.ptl: there is no folder .*gone; make it, or write elsewhere"):
        small_conversion.save(tmp_path / "gone" / "model.ptl")


def test_a_failed_conversion_is_returned_and_cannot_be_saved(small_model, batches, tmp_path):
    output = tmp_path / "now.ptl"
    failed = fxconv.convert(small_model, calibration=batches, min_sqnr=90.0, output=output, recipe=("none",))
    assert not failed.verified
    assert failed.verdict.startswith("FAILED: int8 against original: SQNR ")
    assert failed.verdict.endswith("required: at least 90 dB")
    with pytest.raises(ConversionError, match="FAILED: int8 against original"):
        failed.save(tmp_path / "later.ptl")
    assert list(tmp_path.iterdir()) == []


def test_output_receives_a_verified_artifact(small_model, batches, tmp_path):
    conversion = fxconv.convert(small_model, calibration=batches[:1], output=tmp_path / "now.ptl", recipe=("none",))
    assert conversion.artifact.path == tmp_path / "now.ptl"
    assert (tmp_path / "now.ptl").read_bytes() == conversion.artifact.data


def test_a_file_that_runs_but_is_another_one_is_refused(small_conversion, tmp_path, batches):
    torch.backends.quantized.engine = "qnnpack"
    images = [(batches[0][:1],)]
    int8 = small_conversion.int8
    reference = forward.outputs(int8, images)
    path = tmp_path / "model.ptl"
    path.write_bytes(small_conversion.artifact.data)
    context = Context(int8, lambda: int8, images, reference, reference, 10.0, has_islands=False)
    assert read_back(MOBILE, path, small_conversion.artifact.data, context).passed
    row = read_back(MOBILE, path, small_conversion.artifact.data + b"?", context)
    assert not row.passed
    assert row.problem == "the bytes on disk are not the bytes that were written"


def test_the_report_prints_and_is_json(small_conversion):
    page = io.StringIO()
    small_conversion.report.print(Console(file=page, width=200))
    assert "Parity ledger" in page.getvalue()
    assert page.getvalue().startswith("✓ Tiny: converted and verified\n")
    report = small_conversion.report.json()
    assert report["parity"][2]["sqnr_db"] == small_conversion.ledger[2].sqnr_db
    assert json.loads(small_conversion.report.json_text()) == json.loads(json.dumps(report))


def test_progress_is_told_step_by_step(small_model, batches):
    told: list[tuple[str, int, int]] = []
    none = (Recipe.none,)
    fxconv.convert(small_model, calibration=batches, progress=lambda *step: told.append(step), recipe=none)
    steps = list(dict.fromkeys(step for step, _, _ in told))
    assert steps.index("rewriting") < steps.index("calibration") < steps.index("lowering") < steps.index("latency")
    done = [(done, total) for step, done, total in told if step == "calibration"]
    assert done[1:] == [(images, 24) for images in range(4, 25, 4)]


def test_timings_have_a_line_a_step_and_their_total(small_conversion):
    timings = small_conversion.timings
    assert {"rewriting", "calibration", "conversion", "lowering", "verification", "total"} <= set(timings)
    assert sum(seconds for step, seconds in timings.items() if step != "total") <= timings["total"]


def test_options_are_the_fields_of_the_config(small_model, batches):
    conversion = fxconv.convert(
        small_model, calibration=batches[:1], config=Config(min_sqnr=5.0), weight_scheme=WeightScheme.per_tensor
    )
    assert (conversion.config.min_sqnr, conversion.config.weight_scheme) == (5.0, WeightScheme.per_tensor)
    with pytest.raises(TypeError, match="speed"):
        fxconv.convert(small_model, calibration=batches[:1], speed=11)


def test_a_model_that_is_quantized_already_is_refused(small_conversion, batches):
    with pytest.raises(fxconv.UserError, match="ConvReLU2d is quantized already; give the float model"):
        fxconv.convert(small_conversion.int8, calibration=batches)


def test_a_model_none_of_whose_layers_can_be_traced_is_the_users_to_change(batches):
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))

        def forward(self, x):
            return nn.functional.conv2d(x if x.sum() > 0 else -x, self.weight)

    words = r"does not trace: .*if x.sum\(\) > 0.*move what it cannot follow into a module"
    with pytest.raises(UserError, match=words):
        fxconv.convert(Functional(), calibration=batches, recipe=("none",))


def test_what_traces_of_a_model_that_does_not_is_int8(batches):
    """A branch by value stays one in the artifact; the convolution on both sides of it is int8."""
    model = networks.Branching().eval()
    conversion = fxconv.convert(model, calibration=[*batches, -batches[0]], recipe=("none",))
    assert conversion.verdict == "converted and verified"
    assert list(conversion.rewritten.graphs) == ["conv"]
    (leaf,) = conversion.rewritten.leaves
    assert leaf.path == "" and "if x.sum() > 0:" in leaf.reason
    torch.backends.quantized.engine = "qnnpack"  # the others overflow on processors without VNNI
    artifact = load_lite_bytes(conversion.artifact.data)
    for sign in (1, -1):
        image = sign * batches[0][:1].abs()
        with torch.no_grad():
            wanted, got = model(image), artifact(image)
        assert 10 * torch.log10(wanted.square().sum() / (wanted - got).square().sum()) > 20


def test_wrapped_arithmetic_is_verified_and_converts_more_often(small_model, batches, small_conversion):
    wrapped = fxconv.convert(small_model, calibration=batches, arithmetic=Arithmetic.wrap, recipe=("none",))
    assert wrapped.verified

    def conversions(conversion: fxconv.Conversion) -> tuple[int, int]:
        calls = conversion.artifact.calls
        return calls["aten::quantize_per_tensor"], calls["aten::dequantize"]

    # one multiplication and one addition: each reads two values and gives one
    assert conversions(small_conversion) == (1, 1)
    assert conversions(wrapped) == (3, 5)
    assert "quantized::mul" in small_conversion.artifact.calls
    assert "quantized::mul" not in wrapped.artifact.calls


def test_per_tensor_weights_are_verified(small_model, batches, small_conversion):
    conversion = fxconv.convert(small_model, calibration=batches, weight_scheme=WeightScheme.per_tensor)
    assert conversion.verified
    assert conversion.ledger[2].sqnr_db != small_conversion.ledger[2].sqnr_db


@pytest.mark.skipif("x86" not in torch.backends.quantized.supported_engines, reason="this torch has no x86 engine")
def test_the_desktop_engine_works_with_a_warning(small_model, batches):
    conversion = fxconv.convert(small_model, calibration=batches, engine=Engine.x86, recipe=("none",))
    assert conversion.verified
    assert conversion.environment.engine == "x86"
    (warning,) = conversion.warnings
    assert warning.startswith("the x86 engine serves comparison only: phones do not have it")


def test_a_trace_of_the_example_is_verified(small_model, batches):
    conversion = fxconv.convert(
        small_model, calibration=batches, example_inputs=(batches[0][:1],), method=Method.trace, recipe=("none",)
    )
    assert conversion.verified
    assert [row.max_abs_diff for row in conversion.ledger[3:]] == [0, 0, 0]


def test_postponed_annotations_can_be_scripted(batches):
    # the file of this network begins with `from __future__ import annotations`
    assert isinstance(networks.Tiny.forward.__annotations__["x"], str)
    assert fxconv.convert(networks.tiny(), calibration=batches[:1], method=Method.script, recipe=("none",)).verified


def test_float_by_engine_is_counted_apart(batches):
    conversion = fxconv.convert(
        networks.one_float_convolution(),
        calibration=[batches[0][:, :, :16, :16]],
        skip=networks.PAD_INSIDE,
        recipe=("none",),
    )
    assert conversion.verified
    assert not conversion.converted
    assert conversion.verdict == "float by engine, verified"
    (island,) = conversion.rewritten.islands
    assert island.nodes == ("second",)
    assert "quantized convolutions pad with zeros only, not 'circular'" in island.reason


def test_the_mobile_kernels_are_settled_before_the_first_runs(small_model, batches, monkeypatch):
    order: list[str] = []
    observe = static.observe
    monkeypatch.setattr("fxconv.job.set_mobile_threads", lambda: order.append("settled"))
    monkeypatch.setattr(static, "observe", lambda *args: (order.append("observed"), observe(*args))[1])
    fxconv.convert(small_model, calibration=batches[:1], recipe=(Recipe.none,))
    assert order == ["settled", "observed"]


def test_relu6_is_folded_by_default(small_conversion):
    (fold,) = [result for result in small_conversion.rewritten.results if result.name == FoldReLU6.name]
    assert len(fold.edits) == 1


def test_several_outputs_are_verified(batches):
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = torch.relu(self.stem(x))
            return self.a(y), self.b(y)

    conversion = fxconv.convert(TwoHeads(), calibration=batches[:1], recipe=("none",))
    assert conversion.verified
    assert conversion.ledger[2].top1_agreement is None
    torch.backends.quantized.engine = "qnnpack"
    assert [tuple(out.shape) for out in conversion.int8(batches[0])] == [(8, 4, 15, 15), (8, 2, 13, 13)]


def test_running_the_model_leaves_its_buffers_alone(batches):
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return self.conv(x)

    model = Counting()
    fxconv.convert(model, batches, min_sqnr=0.0, recipe=("none",))
    assert model.calls.item() == 0
    assert model.training


def test_inputs_the_model_cannot_take_are_told_in_one_line(small_model):
    with pytest.raises(UserError, match=r"the model cannot take an input of 4x32x32 \(RuntimeError: Given groups=1"):
        fxconv.convert(small_model, calibration=torch.randn(2, 4, 32, 32))


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("rewritten", "the model is not at fault"),
        ("fused", "the model is not at fault"),
        ("int8", "calib_count"),
        ("optimized", "try method='trace', or block"),
        (None, ""),
    ],
)
def test_what_to_do_about_a_failure(stage, words, small_conversion):
    rows = tuple(replace(row, passed=row.stage != stage) for row in small_conversion.ledger)
    cure = with_ledger(small_conversion, rows).cure
    assert words in cure
    assert bool(cure) == bool(words)


def test_a_pass_of_the_users_own_is_suspected_first(small_conversion):
    rows = tuple(replace(row, passed=row.stage != "rewritten") for row in small_conversion.ledger)
    config = replace(small_conversion.config, passes=("mine.py:Mine",))
    cure = replace(with_ledger(small_conversion, rows), config=config).cure
    assert cure == "if it goes well without passes='mine.py:Mine', mend that pass"


# -- one image at a time, where a batch would decide otherwise -------------------------------------------------


class Windowed(nn.Module):
    """A convolution, and behind it something of the test's own."""

    def __init__(self, behind) -> None:
        super().__init__()
        self.conv, self.behind = nn.Conv2d(3, 4, 3, padding=1), behind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.behind(self.conv(x))


def turned(y: torch.Tensor) -> torch.Tensor:
    return y if bool(y.sum() > -1e9) else -y


@pytest.mark.parametrize(
    ("behind", "single"),
    [
        pytest.param(lambda y: y * 2, False, id="nothing is decided"),
        pytest.param(lambda y: y * 2 if y.shape[2] > 4 else y, False, id="a decision by the height"),
        pytest.param(lambda y: y * 2 if y.shape[0] == 1 else y, True, id="a decision by the batch"),
        pytest.param(lambda y: y + y.new_ones(y.shape[0], 1, 1, 1), False, id="one row for all images broadcasts"),
        pytest.param(lambda y: y.reshape(int(y.shape[0]), -1), True, id="a shape for one image"),
        pytest.param(turned, True, id="a forward that does not trace"),
    ],
)
def test_images_are_calibrated_with_one_at_a_time_where_a_batch_would_decide_otherwise(behind, single, monkeypatch):
    sizes, hooks = [], []
    observe, convert_observed = static.observe, static.convert_observed

    def noting(*args: object) -> nn.Module:
        observed = observe(*args)
        hooks.append(observed.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0]))))
        return observed

    def converting(*args: object) -> nn.Module:
        hooks[0].remove()
        return convert_observed(*args)

    monkeypatch.setattr(static, "observe", noting)
    monkeypatch.setattr(static, "convert_observed", converting)
    torch.manual_seed(0)
    converted = fxconv.convert(Windowed(behind).eval(), [torch.randn(3, 3, 16, 16)], recipe=(Recipe.none,))
    assert converted.verified
    assert converted.calibration.images == 3
    assert sizes == ([1, 1, 1] if single else [3])


def test_a_single_image_is_one_batch():
    torch.manual_seed(0)
    converted = fxconv.convert(
        Windowed(lambda y: y * len(y.shape[0:1])).eval(), [torch.randn(1, 3, 16, 16)], recipe=("none",)
    )
    assert converted.verified and converted.calibration.images == 1
