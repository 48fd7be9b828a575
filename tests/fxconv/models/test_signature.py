"""How a model takes its images, read from its forward's signature; and models that take more than one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional  # noqa: UP035

import numpy as np
import pytest
import torch
from fxconv_commands import assert_user_error
from torch import Tensor, nn
from torchvision import models as zoo

import fxconv
from fxconv.errors import UserError
from fxconv.models import loading
from fxconv.models.signature import InputSignature, in_words, sizes

if TYPE_CHECKING:
    from nowhere import Unknown


def net(forward: Any) -> nn.Module:
    return type("Net", (nn.Module,), {"forward": forward})()


def plain(self, x): ...


def pair(self, left: Tensor, right: Tensor, steps: int = 3, mask: Optional[Tensor] = None): ...  # noqa: UP045


def optional_only(self, x=None, y=None): ...


def any_number(self, *inputs): ...


def maybe_tensor(self, x: Optional[Tensor], y: "Tensor | None"): ...  # noqa: UP037, UP045


def of_unknown_type(self, samples: Unknown): ...


def listed(self, images: list[Tensor], targets=None): ...


def listed_of_old(self, images: List[torch.Tensor], targets=None): ...  # noqa: UP006


def listed_by_sequence(self, images: Sequence[torch.Tensor], scale: Tensor): ...


def listed_beside_unknown(self, images: list[Tensor], targets: Unknown = None): ...


def listed_in_a_comment(self, images, targets=None):
    # type: (list[Tensor], Optional[list[dict[str, Tensor]]]) -> list[Tensor]
    ...


@pytest.mark.parametrize(
    ("forward", "form"),
    [
        (plain, InputSignature(("x",))),
        (pair, InputSignature(("left", "right"))),
        (optional_only, InputSignature(("x",))),
        (any_number, InputSignature(("inputs",))),
        (maybe_tensor, InputSignature(("x", "y"))),
        (of_unknown_type, InputSignature(("samples",))),
        (listed, InputSignature(("images",), True)),
        (listed_of_old, InputSignature(("images",), True)),
        (listed_by_sequence, InputSignature(("images", "scale"), True)),
        (listed_beside_unknown, InputSignature(("images",), True)),
        (listed_in_a_comment, InputSignature(("images",), True)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_signature_says_how_images_are_taken(forward, form):
    assert InputSignature.of(net(forward)) == form


def needs_a_number(self, x, steps: int): ...


def needs_a_choice(self, x, mode: "Optional[str]"): ...  # noqa: UP037, UP045


def needs_targets(self, images: list[Tensor], targets: list[dict[str, int]]): ...


def needs_a_keyword(self, x, *, scale): ...


def takes_nothing(self): ...


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (needs_a_number, r"^net needs steps \(int\), which is no tensor; give it a default$"),
        (needs_a_choice, r"^net needs mode \(Optional\[str\]\), which is no tensor; give it a default$"),
        (needs_targets, r"^net needs targets \(list\[dict\[str, int\]\]\), which is no tensor; give it a default$"),
        (needs_a_keyword, r"^net needs scale by keyword; give it a default, or a place in order$"),
        (takes_nothing, r"^net takes no inputs; its forward must take one tensor at least$"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_tensors_cannot_fill_is_refused(forward, message):
    with pytest.raises(UserError, match=message):
        InputSignature.of(net(forward), "net")


def test_arguments_of_one_call():
    a, b = torch.zeros(2, 3, 4, 4), torch.ones(2, 5)
    assert InputSignature(("x",)).arguments(a) == (a,)
    assert InputSignature(("x", "y")).arguments((a, b)) == (a, b)
    images, other = InputSignature(("images", "y"), True).arguments([a, b])
    assert [image.shape for image in images] == [(3, 4, 4), (3, 4, 4)]
    assert other is b
    assert sizes((a, b)) == [(3, 4, 4), (5,)]
    assert in_words((images, b)) == "3x4x4 and 5"
    with pytest.raises(UserError, match=r"^1 tensor in a batch for a model that takes 2 \(x, y\)$"):
        InputSignature(("x", "y")).arguments(a)


def on_meta(name: str) -> nn.Module:
    """A torchvision network without values: the regnets compute theirs from tensors, so a small one is built."""
    builder = zoo.get_model_builder(name)
    options = {"weights_backbone": None} if "weights_backbone" in inspect.signature(builder).parameters else {}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    if name.startswith("regnet"):
        return zoo.regnet_x_400mf()
    with torch.device("meta"):
        return builder(weights=None, **options)


LISTS = ("rcnn", "retinanet", "fcos", "ssd")
CLIPS = {"r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"}
SIDES = {"vit_h_14": 518, "inception_v3": 299, "swin_v2_b": 256, "r3d_18": 112, "fcn_resnet50": 520, "raft_small": 224}


@pytest.mark.parametrize("name", loading.names())
def test_every_torchvision_network_has_a_form_and_a_preprocessing(name, monkeypatch):
    module = on_meta(name)
    monkeypatch.setattr(loading, "_built", lambda *_: module)
    for check in ("redraw_silent", "check_values"):
        monkeypatch.setattr(loading, check, lambda *_: ())
    loaded = loading.load(name, "random")
    preprocessing = loaded.preprocessing
    assert loaded.signature.as_list == any(word in name for word in LISTS)
    assert loaded.signature.count == preprocessing.images == (2 if name.startswith("raft") else 1)
    assert preprocessing.frames == (16 if name in CLIPS else None)
    assert preprocessing.source.startswith("transforms of ")
    assert preprocessing.shape[0] == 3
    meta = zoo.get_model_weights(name).DEFAULT.meta
    assert preprocessing.height >= meta["min_size"][0]
    assert preprocessing.height == preprocessing.width == SIDES.get(name, preprocessing.height)
    if loaded.signature.as_list:
        assert (preprocessing.mean, preprocessing.std, preprocessing.height) == ((0.0,) * 3, (1.0,) * 3, 480)
    if name.startswith("raft"):
        assert (preprocessing.mean, preprocessing.std) == ((0.5,) * 3, (0.5,) * 3)


NETS = """
import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.embed, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(5, 8), nn.Linear(8, 4)

    def seen(self, image):
        return torch.relu(self.conv(image)).mean((2, 3))


class Pair(Net):
    def forward(self, left: Tensor, right: Tensor, scale: float = 2.0, mask: Tensor | None = None):
        both = (self.seen(left) + self.seen(right)) * scale
        return both if mask is None else both * mask


class Mixed(Net):
    def forward(self, image, state):
        return {"deep": [(self.head(self.seen(image) + self.embed(state)),)]}


class Listed(Net):
    def forward(self, images: list[Tensor], targets=None):
        return [{"scores": self.head(self.seen(torch.stack(images)))}]


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv3d(3, 8, (1, 3, 3)), nn.Linear(8, 4)

    def forward(self, clip):
        return self.head(torch.relu(self.conv(clip)).mean((2, 3, 4)))


class Stepped(Net):
    def forward(self, x, steps: int):
        return self.head(self.seen(x)) * steps


class Wordy(Net):
    def forward(self, x):
        return self.head(self.seen(x)), "done"
"""
FEW = ("--input-size", "32", "--calib-count", "6")


@pytest.fixture
def nets(command):
    """The command line in a folder with networks of many kinds of input."""
    Path("nets.py").write_text(NETS)
    rng = np.random.default_rng(0)
    image, state = rng.normal(size=(6, 3, 32, 32)).astype(np.float32), rng.normal(size=(6, 5))
    np.savez("mixed.npz", state=state, image=image)
    np.savez("ordered.npz", image, state)
    np.savez("row.npz", image=image[0], state=state[0])
    np.savez("pair.npz", left=image[:2], right=image[2:4])
    return command


@pytest.mark.parametrize("name", ["Pair", "Listed", "Clip"])
def test_images_fill_several_inputs_lists_and_clips(name, nets):
    run = nets("convert", f"nets.py:{name}", *FEW, "--json", "report.json")
    assert run.status == 0
    assert "6 generated images" in run.stdout
    assert run.report["model"]["input_size"] == ([3, 16, 32, 32] if name == "Clip" else [3, 32, 32])


@pytest.mark.parametrize("file", ["mixed.npz", "ordered.npz"])
def test_an_example_of_all_inputs_calibrates_when_images_cannot(file, nets):
    run = nets("convert", "nets.py:Mixed", *FEW, "--example", file, "--json", "report.json")
    assert (run.status, run.stderr) == (0, "")
    members = "image, state" if file == "mixed.npz" else "arr_0, arr_1"
    said = f"first 6 of 6 rows of {members} in {file} (--example), for images cannot fill all inputs"
    assert run.report["calibration"]["source"] == said
    assert nets("diff", "nets.py:Mixed", "--input-size", "32", "--example", file).status == 0
    assert nets("convert", "nets.py:Mixed", *FEW, "--example", file, "--dry-run").status == 0


def test_all_inputs_calibrate_from_a_file_of_their_own(nets):
    run = nets("convert", "nets.py:Mixed", *FEW, "--calib", "mixed.npz", "--example", "row.npz")
    assert (run.status, run.stderr) == (0, "")
    assert "calibrated on  6 of 6 rows of image, state in mixed.npz, seed 0\n" in run.stdout


def test_images_calibrate_where_they_can_whatever_the_example(nets):
    run = nets("convert", "nets.py:Pair", *FEW, "--example", "pair.npz")
    assert run.status == 0
    assert "6 generated images" in run.stdout


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["nets.py:Mixed"], ["cannot take an input of 3x32x32 and 3x32x32", "--example FILE.npz with image and state"]),
        (["nets.py:Stepped"], ["Stepped needs steps (int), which is no tensor; give it a default"]),
        (["nets.py:Wordy"], ["returns str beside or instead of tensors; return tensors only"]),
        (["nets.py:Pair", "--example", "mixed.npz"], ["nets.py:Pair cannot take an input of 5 and 3x32x32"]),
        (
            ["nets.py:Mixed", "--example", "partly.npz"],
            ["holds image, other and", "np.savez('partly.npz', image=..., "],
        ),
        (["nets.py:Pair", "--example", "many.npz"], ["holds a, b, c and the model takes 2 inputs (left, right)"]),
        (["nets.py:Mixed", "--example", "one.npy"], ["--example one.npy: is one array and the model takes 2 inputs"]),
        (["nets.py:Mixed", "--example", "mixed.npz:image"], ["is one array and the model takes 2 inputs"]),
        (
            ["nets.py:Mixed", "--example", "uneven.npz"],
            ["the same number of rows, [N, ...]: image (6, 3, 32, 32), state"],
        ),
        (
            ["nets.py:Mixed", "--example", "pixels.npz"],
            ["pixels.npz:image: holds uint8; give each of several inputs as"],
        ),
        (["nets.py:Mixed", "--example", "nan.npz"], ["nan.npz:state: row 0 holds values that are not finite"]),
        (["nets.py:Mixed", "--calib", "one.npy"], ["--calib one.npy: is one array and the model takes 2 inputs"]),
        (["nets.py:Mixed", "--example", "row.npz", "--calib", "."], ["photographs cannot fill the input state (5,)"]),
        (["nets.py:Clip", "--calib", "clips.npy"], ["clips of 4 frames, the network's input has 16; set --input-size"]),
        (["nets.py:Clip", "--calib", "one.npy"], ["is not [N, 3, T, H, W] (float, preprocessed)"]),
    ],
    ids=lambda value: " ".join(value) if len(value) > 1 and isinstance(value[0], str) else "",
)
def test_inputs_that_do_not_fit_are_told_in_one_line(words, fragments, nets):
    image, state = np.zeros((6, 3, 32, 32), np.float32), np.zeros((6, 5))
    np.save("one.npy", image)
    np.save("clips.npy", np.zeros((2, 3, 4, 32, 32)))
    np.savez("many.npz", a=image, b=image, c=image)
    np.savez("partly.npz", image=image, other=state)
    np.savez("uneven.npz", image=image, state=state[:5])
    np.savez("pixels.npz", image=image.astype(np.uint8), state=state)
    np.savez("nan.npz", image=image, state=state * np.nan)
    assert_user_error(nets("convert", words[0], *FEW, *words[1:]), *fragments)


def test_a_network_that_takes_one_size_only_says_so(command):
    run = command("convert", "vit_b_32", "--weights", "random", "--input-size", "64")
    assert_user_error(run, "vit_b_32 cannot take an input of 3x64x64 (Wrong image height! Expected 224 but got 64!)")


class Flow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, first: Tensor, second: Tensor, updates: int = 2) -> list[Tensor]:
        flow = self.conv(first) - self.conv(second)
        return [flow * step for step in range(1, updates + 1)]


def test_several_inputs_from_python_come_in_tuples():
    model = Flow().eval()
    pairs = [(torch.randn(4, 3, 16, 16), torch.randn(4, 3, 16, 16)) for _ in range(2)]
    conversion = fxconv.convert(model, calibration=pairs, recipe=("none",))
    assert conversion.verified
    assert conversion.model.input_size == (3, 16, 16)
    assert conversion.calibration.images == 8
    with pytest.raises(UserError, match=r"1 tensor in a batch for a model that takes 2 \(first, second\)"):
        fxconv.convert(model, calibration=[pairs[0][0]], recipe=("none",))
