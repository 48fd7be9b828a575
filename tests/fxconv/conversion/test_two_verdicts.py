"""Proven, and how faithful: what fails a conversion although its bytes are right, and what is told beside."""

from __future__ import annotations

import re

import fxconv_networks as networks
import pytest
import torch
from torch import Tensor, nn

import fxconv
from fxconv.config import Mode
from fxconv.conversion import Conversion
from fxconv.data.calibration_generated import Generated
from fxconv.errors import ConversionError, UserError
from fxconv.models.preprocessing import Preprocessing
from fxconv.report.accuracy import fidelity_words
from fxconv.verification.parity import AMPLIFYING

IMAGES = [torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))]
GENERATED = Generated(Preprocessing(32, 32, resize=1.0), 8, 4, 0)


class Heads(nn.Module):
    """One convolution with a loud channel and quiet ones, which no range of a whole tensor holds."""

    def __init__(self, loud: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.head.weight[0] *= loud
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)))


def converted(model: nn.Module, calibration: object = IMAGES, **options: object) -> Conversion:
    return fxconv.convert(model.eval(), calibration, **{"recipe": ("none",), **options})  # type: ignore[arg-type]


def int8_row(conversion: Conversion):
    (row,) = (row for row in conversion.ledger if row.stage == "int8")
    return row


def test_a_loud_channel_hides_none_of_the_others():
    found = converted(Heads(3000.0))
    row = int8_row(found)
    assert not found.verified and found.proven and row.sqnr_db > 20
    assert found.verdict.startswith("FAILED: int8 against original: channel ")
    assert "of output 0 (made by head) is constant in int8, and not in float (and 2 more)" in found.verdict
    assert re.fullmatch(
        r"keep what makes it in float \(keep_float='head'\), or accept it \(min_sqnr=-\d+\)", found.cure
    )
    with pytest.raises(ConversionError, match="made by head"):
        found.save("never-written.ptl")


LAYOUTS = {
    "channels last": lambda y: y.permute(0, 2, 3, 1),
    "anchors of a head": lambda y: y.unflatten(1, (2, 2)).permute(0, 1, 3, 4, 2),
    "rows of boxes": lambda y: y.permute(0, 2, 3, 1).reshape(y.shape[0], -1, 4),
    "without a batch": lambda y: y[0],
    "shuffled": lambda y: nn.functional.pixel_shuffle(y, 2),
    "scores": lambda y: y.sigmoid().permute(0, 2, 3, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_loud_channel_however_the_output_lies(layout):
    class Laid(Heads):
        def forward(self, x: Tensor) -> Tensor:
            return LAYOUTS[layout](super().forward(x))

    found = converted(Laid(3000.0))
    assert not found.verified and "channel " in found.verdict and "(made by head)" in found.verdict
    assert "keep_float='head'" in found.cure


def test_places_that_see_nothing_are_no_lost_channels():
    class Anchors(Heads):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4).sigmoid()

    images = IMAGES[0].clone()
    images[:, :, 8:] = 0.5  # half of every image is empty
    assert converted(Anchors(1.0), [images]).verified


def test_what_the_message_names_is_what_helps():
    found = converted(Heads(3000.0), keep_float=("head",))
    assert found.verified and int8_row(found).faint == () and found.verdict == "float by choice, verified"
    accepted = converted(Heads(3000.0), min_sqnr=-100.0)
    assert accepted.verified and any("is constant in int8" in warning for warning in accepted.warnings)


def test_a_channel_of_which_a_third_is_noise_is_warned_of():
    found = converted(Heads(80.0))
    row = int8_row(found)
    assert found.verified and 0 < row.faint[0].sqnr_db < 5
    assert any("int8 tells little of a part of what the model returns: channel" in one for one in found.warnings)


def test_channels_that_are_alike_say_nothing():
    found = converted(Heads(1.0))
    assert found.verified and int8_row(found).faint == () and int8_row(found).worst.sqnr_db > 20
    assert not any("tells little" in warning for warning in found.warnings)


class Guarded(nn.Module):
    """A difference of nearly equal layers, behind a guard that never fires."""

    def __init__(self, apart: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        with torch.no_grad():
            self.b.weight.copy_(self.a.weight * (1 + apart))
            self.b.bias.copy_(self.a.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.amax() > 1e6:
            return x[:, :1].repeat(1, 4, 1, 1)
        return (self.a(x) - self.b(x)) * 100


def test_a_guard_that_never_fires_hides_nothing():
    found = converted(Guarded(0.01))
    assert not found.verified and found.verdict.startswith("FAILED: int8 against original: output 0: SQNR ")
    assert converted(Guarded(3.0)).verified


class Complex(Guarded):
    """The imaginary part is what is left of two nearly equal numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.complex(10 * self.a(x), self.a(x) - self.b(x))


def test_both_parts_of_a_complex_output_count():
    found = converted(Complex(0.003))
    assert not found.verified and "imaginary part of output 0" in found.verdict and int8_row(found).sqnr_db > 20
    assert converted(Complex(3.0)).verified


def test_fidelity_is_counted_on_images_used_for_nothing_else():
    found = converted(networks.tiny(), GENERATED)
    told = found.fidelity
    assert (told.images, told.asked, told.measure) == (16, 16, "same top-1") and 0 <= told.same <= 16
    assert told.grade in ("good", "fair", "poor") and "seed 1" in told.source
    report = found.report.json()
    assert report["proven"] is True and report["fidelity"]["agreement"] == told.same / 16
    assert report["parity"][-4]["worst"]["output"] == 0
    assert f"{told.same} of 16 same top-1" in fidelity_words(told, False)
    assert "16 images used for nothing else; random weights" in fidelity_words(told, True)


def test_images_that_chose_the_recipe_are_not_among_them():
    found = fxconv.convert(networks.tiny(), GENERATED, recipe=("auto",))
    assert found.recipe.images == 16 and found.recipe.is_unseen
    assert found.fidelity.images == 16 and found.fidelity.source.startswith("the last 16 of ")


def test_tensors_that_are_all_used_leave_none():
    told = converted(Heads(1.0)).fidelity
    assert told.grade == "" and told.same is None
    assert told.problem == "no image is left that nothing was chosen by; give more, or lower calib_count"


def test_images_that_are_given_for_it_serve():
    found = converted(networks.tiny(), held_out=[torch.randn(20, 3, 32, 32)])
    assert found.fidelity.images == 20


def test_of_a_training_of_ones_own_nobody_knows_the_images():
    module = fxconv.prepare_qat(networks.tiny(), GENERATED, recipe=("none",))
    assert fxconv.finish(module).fidelity.problem == "which images the training used is not known"


def test_without_int8_ranges_it_is_told_all_the_same():
    found = fxconv.convert(networks.tiny(), GENERATED, mode=Mode.dynamic)
    assert found.fidelity.images == 16 and found.verified


UNDECIDED = """
import torch
from torch import nn

def undecided():
    # ten classes that hardly differ
    torch.manual_seed(0)
    head = nn.Linear(16, 10)
    with torch.no_grad():
        head.weight.copy_(head.weight[:1] + 1e-3 * head.weight)
        head.bias.zero_()
    body = nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*body, head)
"""


def test_least_agreement_that_is_not_reached(command, tmp_path):
    (tmp_path / "net.py").write_text(UNDECIDED)
    words = (f"{tmp_path}/net.py:undecided", "--input-size", "3x32x32", "--calib-count", "8", "--recipe", "none")
    run = command("convert", *words, "--min-agreement", "100", "--json", "report.json", "-o", "x.ptl")
    told = run.report["fidelity"]
    assert told["same"] < told["asked"] == 16
    assert run.status == 1 and "x.ptl" not in run.files
    assert f"FAILED: fidelity: {told['same']} of 16 same top-1; required: 100 % (--min-agreement)" in run.stderr
    assert run.report["proven"] is True
    run = command("convert", *words, "--min-agreement", "0", "-o", "x.ptl")
    assert run.status == 0 and "x.ptl" in run.files


def test_least_agreement_of_what_was_not_measured():
    found = converted(Heads(1.0), min_agreement=50.0)
    assert found.proven and not found.verified
    assert found.verdict.startswith("FAILED: fidelity: not measured: no image is left")


@pytest.mark.parametrize("least", [-1.0, 101.0])
def test_least_agreement_that_cannot_be_meant(least):
    with pytest.raises(UserError, match="give a percentage from 0 to 100"):
        fxconv.Config(min_agreement=least)


CHAOTIC = """
import torch
from torch import nn

class Deep(nn.Module):
    # a chaotic map: each layer doubles what differs, and tanh folds it back
    def __init__(self, gain):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(16, 16, 1, bias=False) for _ in range(24))
        self.first = nn.Conv2d(3, 16, 3, 4, 1)
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=gain / 4)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x

def chaotic():
    return Deep(4.0)

def calm():
    return Deep(1.0)
"""


def test_random_weights_that_amplify_any_noise(command, tmp_path):
    (tmp_path / "deep.py").write_text(CHAOTIC)
    words = ("--weights", "random", "--input-size", "3x32x32", "--calib-count", "8", "--recipe", "none", "--json")
    run = command("convert", f"{tmp_path}/deep.py:chaotic", *words, "report.json", "-o", "x.ptl")
    assert run.status == 0 and run.report["proven"] is True and run.report["verdict"] == "converted and verified"
    assert run.report["fidelity"]["problem"] == AMPLIFYING and run.report["fidelity"]["grade"] == ""
    assert f"not measured: {AMPLIFYING}" in run.stdout
    run = command("convert", f"{tmp_path}/deep.py:calm", *words, "report.json", "-o", "x.ptl")
    assert run.status == 0 and run.report["fidelity"]["grade"] and not run.report["fidelity"]["problem"]
    assert "unseen images; random weights\n" in run.stdout
