"""fxconv as Python has it: what is public, nothing but a model, a conversion that is called and shown, mistakes."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from html.parser import HTMLParser

import fxconv_networks as networks
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

import fxconv
from fxconv import conversion as pipeline
from rewrites import DEFAULT_PASSES

NONE = {"recipe": "none", "calib_count": 8}
PUBLIC = [
    *("Config", "Conversion", "ConversionError", "InternalError", "UserError"),
    *("convert", "detectors", "finish", "labels", "prepare_qat"),
]


@pytest.fixture(scope="module")
def example() -> Tensor:
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def generated_conversion(example) -> fxconv.Conversion:
    torch.manual_seed(0)
    return fxconv.convert(networks.tiny(), example_inputs=example, **NONE)


# -- names --------------------------------------------------------------------------------------------


def test_the_public_names_are_few():
    assert fxconv.__all__ == PUBLIC
    assert dir(fxconv) == sorted([*PUBLIC, "__version__"])
    assert all(getattr(fxconv, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="module 'fxconv' has no attribute 'konvert'"):
        _ = fxconv.konvert


def test_errors_and_choices_are_there_without_torch():
    code = (
        "import sys, fxconv; fxconv.UserError, fxconv.ConversionError, fxconv.InternalError, fxconv.Config(seed=3); "
        "dir(fxconv); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("name", ["convert", "prepare_qat", "finish"])
def test_help_has_its_sections(name):
    words = inspect.getdoc(getattr(fxconv, name))
    sections = [line for line in words.splitlines() if line in ("Parameters", "Returns", "Raises", "Example")]
    assert sections == ["Parameters", "Returns", "Raises", "Example"]
    assert all(f"\n{section}\n{'-' * len(section)}\n" in words for section in sections)


def test_the_help_of_convert_has_every_keyword_and_fits_a_screen_and_a_half():
    words = inspect.getdoc(fxconv.convert)
    for keyword in inspect.signature(fxconv.convert).parameters:
        assert f"\n{keyword} : " in words, keyword
    for field in ("mode", "calib_count", "keep_float", "max_drop", "min_sqnr", "recipe", "engine", "runtime"):
        assert f"{field} (" in words
    assert len(words.splitlines()) <= 65
    assert max(map(len, words.splitlines())) <= 120


# -- nothing but a model ------------------------------------------------------------------------------


def test_generated_images_serve_where_nothing_is_given(generated_conversion):
    assert generated_conversion.verified
    assert generated_conversion.calibration.source.startswith("8 generated images")
    assert generated_conversion.model.input_size == (3, 32, 32)
    assert generated_conversion.warnings[0] == (
        "calibrated on generated images; photographs (calibration=DIR) give better ranges"
    )


def test_without_an_example_they_are_of_the_first_convolutions_channels():
    conversion = fxconv.convert(nn.Sequential(nn.Conv2d(1, 4, 3, 16), nn.ReLU()), recipe="none", calib_count=2)
    assert conversion.model.input_size == (1, 224, 224)


def test_a_model_of_another_size_says_what_to_give():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 2))
    with pytest.raises(
        fxconv.UserError, match="cannot take an input of 3x224x224, which a generated image gives"
    ) as error:
        fxconv.convert(model)
    cure = "give calibration, or example_inputs of the size it takes, such as torch.randn(1, 3, 32, 32)"
    assert str(error.value).endswith(cure)


def test_inputs_that_are_no_images_are_calibrated_on_the_example():
    class Indexed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(10, 8), nn.Linear(8, 4)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids).mean(1))

    conversion = fxconv.convert(Indexed(), example_inputs=torch.arange(6).view(2, 3), min_sqnr=-99, recipe="none")
    assert conversion.calibration.images == 2
    assert "calibrated on example_inputs alone" in conversion.warnings[0]


# -- what holds images --------------------------------------------------------------------------------


def test_a_loader_of_images_and_labels(small_model):
    images, labels = torch.randn(60, 3, 32, 32), torch.arange(60) % 10
    loader = DataLoader(TensorDataset(images, labels), batch_size=7, shuffle=True)
    conversion = fxconv.convert(small_model, loader, held_out=loader, max_drop=100, **NONE)
    assert conversion.verified
    assert conversion.calibration.images == 8
    assert conversion.judgement.images == 60
    assert 0 <= conversion.judgement.float_accuracy <= 1  # the labels were used


def test_a_dataset_of_pictures_in_the_examples_size(small_model, example):
    class Pictures(Dataset):
        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            pixels = np.random.default_rng(index).integers(0, 255, (40, 50, 3), dtype=np.uint8)
            return Image.fromarray(pixels), index % 10

    conversion = fxconv.convert(small_model, Pictures(), example, **NONE)
    assert conversion.verified
    assert conversion.model.input_size == (3, 32, 32)
    assert conversion.calibration.source == (
        "8 of 30 images of a Pictures, seed 0; pixels made inputs by ImageNet mean and deviation"
    )
    assert conversion.fidelity.images == 16  # of those that were not drawn


def test_training_on_a_loader_with_labels(small_model):
    loader = DataLoader(TensorDataset(torch.randn(20, 3, 32, 32), torch.arange(20) % 10), batch_size=10)
    conversion = fxconv.convert(
        small_model, loader, mode="qat", training=loader, learn_from="labels", epochs=1, **NONE, min_sqnr=-99
    )
    assert conversion.training.source == "20 of 20 images of a DataLoader, the first"
    assert conversion.training.images + conversion.training.validated == 20


def test_own_loop_takes_a_loader_and_a_lone_example(small_model, example):
    loader = DataLoader(TensorDataset(torch.randn(8, 3, 32, 32), torch.arange(8)), batch_size=4)
    module = fxconv.prepare_qat(small_model, loader, example, **NONE)
    assert module(example).shape == (1, 10)
    assert fxconv.finish(module).verified
    assert fxconv.prepare_qat(small_model, example_inputs=example, **NONE).job.data.count == 8


def test_what_is_said_of_pixels_is_done_with_them(small_model, example):
    pixels = np.full((9, 32, 32, 3), 51, np.uint8)
    conversion = fxconv.convert(small_model, pixels, example, preprocess="unit", **NONE)
    assert conversion.calibration.source == "9 images given from Python; pixels made inputs by preprocess unit"
    assert conversion.preprocessing.mean == (0.0,) * 3
    assert not any("assumed" in warning for warning in conversion.warnings)
    assumed = fxconv.convert(small_model, pixels, example, **NONE)
    assert any(warning.startswith("preprocessing is assumed") for warning in assumed.warnings)
    assert not any("--" in warning for warning in assumed.warnings)


def test_a_metric_is_handed_on_with_its_targets(small_model, batches):
    seen: list[object] = []

    def metric(model, given):
        answers = [model(batch) for batch, target in given if seen.append(target) is None]
        return float(torch.cat(answers).isfinite().all())

    held_out = [(batches[1], "first"), (batches[2], "second")]
    conversion = fxconv.convert(small_model, batches[:1], held_out=held_out, metric=metric, max_drop=150, **NONE)
    assert conversion.judgement is not None
    assert set(seen) == {"first", "second"}


# -- a conversion is called, and shown ----------------------------------------------------------------


def test_a_conversion_runs_int8(generated_conversion, example, small_model):
    other = next(name for name in torch.backends.quantized.supported_engines if name not in ("none", "qnnpack"))
    torch.backends.quantized.engine = other
    answer = generated_conversion(example.requires_grad_())
    assert torch.backends.quantized.engine == other
    assert not answer.requires_grad
    torch.backends.quantized.engine = "qnnpack"
    assert torch.equal(answer, generated_conversion.int8(example.detach()))
    assert torch.equal(generated_conversion(x=example), answer)
    assert generated_conversion(example.repeat(3, 1, 1, 1)).shape == (3, 10)


def test_a_detection_model_takes_a_list_and_returns_boxes():
    torch.manual_seed(0)
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
    images = [torch.rand(3, 320, 320)]
    conversion = fxconv.convert(model, images, recipe="none", min_sqnr=-99)
    (found,) = conversion(images)
    assert set(found) == {"boxes", "scores", "labels"}


def test_reprs_are_one_short_line(generated_conversion):
    shown = repr(generated_conversion)
    sqnr = next(row.sqnr_db for row in generated_conversion.ledger if row.stage == "int8")
    assert shown == f"<Conversion Tiny: converted and verified; 0.02 MB, {sqnr:.1f} dB>"
    assert repr(generated_conversion.report) == f"<Report of {shown}>"
    assert repr(generated_conversion.rewritten) == f"<Rewritten Tiny: 16 edits by 6 of {len(DEFAULT_PASSES)} passes>"
    assert repr(generated_conversion.audit) == "<Audit of 13 operations on 4 inputs: all passed>"
    assert repr(generated_conversion.artifact).startswith("<Artifact not saved: ")


def test_its_html_is_a_fragment_without_scripts(generated_conversion):
    kinds, words = [], []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: kinds.append(tag)
    parser.handle_data = words.append
    shown = generated_conversion._repr_html_()
    parser.feed(shown)
    assert set(kinds) == {"div", "p", "strong", "span", "table", "tbody", "tr", "th", "td", "ul", "li"}
    assert "".join(words).startswith("Tiny: converted and verified")
    assert generated_conversion.warnings[0] in words
    assert generated_conversion.report._repr_html_() == shown
    assert kinds.count("tr") <= 16 and len(shown) < 8000


# -- progress -----------------------------------------------------------------------------------------


def test_progress_is_silent_in_scripts_and_shown_on_request(small_model, batches, capsys):
    fxconv.convert(small_model, batches[:1], **NONE)
    assert capsys.readouterr() == ("", "")
    fxconv.convert(small_model, batches[:1], progress=True, **NONE)
    assert "calibration\n" in capsys.readouterr().err
    told: list[str] = []
    fxconv.convert(small_model, batches[:1], progress=lambda step, done, total: told.append(step), **NONE)
    assert "calibration" in told
    with pytest.raises(TypeError, match="progress: type int is not taken; give True, False, or a function"):
        fxconv.convert(small_model, batches[:1], progress=3)


# -- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: fxconv.convert(m, calibartion=1),
            r"fxconv.convert\(\) has no keyword 'calibartion'; did you mean calib",
        ),
        (lambda m: fxconv.convert(m, kalib_count=3), "has no keyword 'kalib_count'; did you mean calib_count"),
        (
            lambda m: fxconv.convert(m, zzz=3),
            "has no keyword 'zzz'; known are model, calibration, example_inputs, config,",
        ),
        (
            lambda m: fxconv.prepare_qat(m, epoch=3),
            r"fxconv.prepare_qat\(\) has no keyword 'epoch'; did you mean epochs",
        ),
        (lambda m: fxconv.Config(observr="mse"), r"Config\(\) has no keyword 'observr'; did you mean observer"),
        (lambda m: fxconv.convert(3), "the model is of type int, not an nn.Module; give the float model"),
        (lambda m: fxconv.convert(type(m)), r"and this is the class Tiny: give an instance, Tiny\(\)"),
        (lambda m: fxconv.convert(m.state_dict()), "a state_dict holds weights alone: make the model, load them"),
        (
            lambda m: fxconv.convert("resnet18"),
            "'resnet18' is a name: make the model, .* or type fxconv convert resnet18",
        ),
        (lambda m: fxconv.convert(m, config={"seed": 3}), "config: type dict is not taken; give a fxconv.Config"),
        (lambda m: fxconv.convert(m, 3), "calibration: type int is not taken; give a DataLoader or Dataset"),
        (
            lambda m: fxconv.convert(m, held_out=3, example_inputs=torch.zeros(1, 3, 32, 32)),
            "held_out: type int is not",
        ),
    ],
)
def test_a_wrong_keyword_or_type_is_a_user_error_and_a_type_error(call, message, small_model):
    with pytest.raises(fxconv.UserError, match=message) as error:
        call(small_model)
    assert isinstance(error.value, TypeError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": 150}, "^max_drop=150: give percentage points from 0 to 100, such as 1$"),
        (
            {"mode": "dynamic", "max_drop": 1},
            "^max_drop goes with mode='static', not with dynamic: leave one of them out$",
        ),
        ({"keep_float": "gone.*"}, r"^keep_float='gone\.\*': matches no layer of the rewritten model; "),
        ({"calibration": "gone"}, "^calibration='gone': no such file or folder"),
    ],
)
def test_mistakes_are_told_in_pythons_words(options, message, small_model, batches):
    with pytest.raises(fxconv.UserError, match=message):
        fxconv.convert(small_model, **{"calibration": batches[:1], **options})


def test_a_lone_word_is_one_of_several():
    config = fxconv.Config(keep_float="head", passes=["m:P"])
    assert (config.keep_float, config.passes) == (("head",), ("m:P",))
    assert pickle.loads(pickle.dumps(config)) == config


def test_what_the_pipeline_knows_is_handed_on(small_model, batches):
    assert fxconv.convert(small_model, batches[:1], warnings=("mine",), **NONE).warnings[0] == "mine"
    assert "info" in inspect.signature(pipeline.convert).parameters


# -- how pixels become inputs, and calibrations that were saved -----------------------------------------


def halved(image):
    """A transform of one's own."""
    pixels = np.asarray(image.resize((32, 32)), np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 128 - 1


def pictures(count=4):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)) for _ in range(count)]


def test_what_is_assumed_of_pixels_is_a_warning_and_what_is_said_is_none(example):
    torch.manual_seed(0)
    model = networks.tiny()
    assumed = fxconv.convert(model, pictures(), example, recipe="none")
    (warning,) = (words for words in assumed.warnings if "assumed" in words)
    assert "give preprocess (torchvision, timm, unit, raw or FILE.py:FUNCTION), or mean and std" in warning
    said = fxconv.convert(model, pictures(), example, recipe="none", preprocess="unit", crop="none")
    assert not [words for words in said.warnings if "assumed" in words]
    assert said.preprocessing.in_words == "resized to 32x32, bilinear, from 0 to 1"
    given = fxconv.convert(model, pictures(), example, recipe="none", preprocess=halved)
    assert given.preprocessing.name.endswith("test_api:halved") and len(given.preprocessing.digest) == 64
    tensors = fxconv.convert(model, torch.stack([halved(one) for one in pictures()]), example, recipe="none")
    assert torch.equal(given(example), tensors(example))
    assert tensors.preprocessing is None
    with pytest.raises(fxconv.UserError, match=r"^preprocess='imagenet': is none of torchvision, timm, unit, raw"):
        fxconv.convert(model, pictures(), example, preprocess="imagenet")


def test_a_model_of_timms_says_how_it_sees_images():
    torch.manual_seed(0)
    model = networks.tiny()
    model.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 1.0}
    conversion = fxconv.convert(model, pictures(), recipe="none")
    assert conversion.preprocessing.size == (32, 32) and conversion.preprocessing.mean == (0.5,) * 3
    assert not [words for words in conversion.warnings if "assumed" in words]


def test_a_calibration_that_was_saved_is_given_by_its_name(tmp_path, example, generated_conversion):
    generated_conversion.save_calibration(tmp_path / "tiny.calib")
    torch.manual_seed(0)
    model = networks.tiny()
    again = fxconv.convert(model, calibration=str(tmp_path / "tiny.calib"), java=True, output=tmp_path / "again.ptl")
    assert again.verified and (tmp_path / "again.ptl").is_file()
    assert torch.equal(again(example), generated_conversion(example))
    with pytest.raises(fxconv.UserError, match=r"^observer: is settled by the calibration that .* keeps"):
        fxconv.convert(model, calibration=tmp_path / "tiny.calib", observer="minmax")
    with pytest.raises(fxconv.UserError, match=r"^held_out: is settled by the calibration that"):
        fxconv.convert(model, calibration=tmp_path / "tiny.calib", held_out=example)
    with pytest.raises(fxconv.UserError, match="is of other weights than this model has"):
        fxconv.convert(networks.other_tiny(), calibration=tmp_path / "tiny.calib")


def test_a_model_of_another_size_names_one():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 3))
    with pytest.raises(fxconv.UserError, match=r"such as torch\.randn\(1, 1, 28, 28\)$"):
        fxconv.convert(model)


def test_what_is_said_twice_of_pixels_is_told(example):
    from fxconv.models.preprocessing import Preprocessing

    model = networks.tiny()
    for more in ({"preprocess": "raw"}, {"mean": 0.1}, {"preprocess": halved}):
        with pytest.raises(
            fxconv.UserError, match=r"^preprocessing: goes without (preprocess|mean), which says it too"
        ):
            fxconv.convert(model, pictures(), example, preprocessing=Preprocessing(32, 32), **more)
    by_hand = fxconv.convert(model, pictures(), example, preprocessing=Preprocessing(32, 32), recipe="none")
    assert not [words for words in by_hand.warnings if "assumed" in words]
    with pytest.raises(fxconv.UserError, match="the function makes 32x32 of an image, and example_inputs is 40x40"):
        fxconv.convert(model, pictures(), torch.randn(1, 3, 40, 40), preprocess=halved)


def test_what_is_said_of_tensors_has_their_size(tmp_path):
    torch.manual_seed(0)
    given = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    conversion = fxconv.convert(networks.tiny(), given, preprocess="unit", recipe="none")
    assert conversion.preprocessing.size == (32, 32)
