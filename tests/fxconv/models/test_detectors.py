"""The detectors: their form, their checkpoints, that they train, rewrite and convert, at other sizes too."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as zoo

import fxconv
from fxconv.cli.paths import default_output
from fxconv.config import Method, Postprocess, Recipe, Ties
from fxconv.errors import UserError
from fxconv.models import loading
from fxconv.models.detectors import BACKBONES, PRIOR, HeatmapPeaks, detector, heads_in
from fxconv.quantization import engine
from fxconv.targets.mobile.lite_file import load_lite, load_lite_bytes
from fxconv.targets.wrapping.heatmaps import Heatmaps, logit_step
from rewrites import rewrite


@pytest.mark.parametrize("backbone", BACKBONES)
def test_heatmaps_are_a_quarter_of_the_image(backbone: str) -> None:
    model = detector(backbone).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 16, 24)
    assert model.hm[-1].bias.tolist() == pytest.approx([PRIOR])
    kinds = [type(layer) for layer in model.deconv_layers]
    assert kinds == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU] * 3


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_backbone_of_torchvisions_checkpoint_loads(backbone: str) -> None:
    torch.manual_seed(0)
    whole, model = getattr(zoo, backbone)(weights=None).eval(), detector(backbone)
    state = whole.state_dict()
    model.load_backbone(state)
    own = model.state_dict()
    shared = [name for name in own if name in state]
    assert len(shared) == len([name for name in state if not name.startswith(("fc.", "classifier."))])
    assert all(torch.equal(own[name], state[name]) for name in shared)
    del state[shared[5]]
    with pytest.raises(RuntimeError, match=shared[5]):
        model.load_backbone(state)


def test_several_heads_come_by_name_and_are_known_from_a_checkpoint() -> None:
    heads = {"hm": 3, "wh": 2, "reg": 2}
    model = detector("resnet18", heads, hidden=32).eval()
    found = model(torch.zeros(1, 3, 32, 32))
    assert {name: value.shape[1] for name, value in found.items()} == heads
    assert heads_in(model.state_dict()) == (heads, 32)
    detector("resnet18", *heads_in(model.state_dict())).load_state_dict(model.state_dict())


@pytest.mark.parametrize("heads", [{}, {"hm": 0}, {"layer1": 1}, {"a b": 1}, {"forward": 1}])
def test_heads_that_cannot_be(heads: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="head"):
        detector("resnet18", heads)


def test_it_trains() -> None:
    torch.manual_seed(0)
    model = detector("mobilenet_v3_small").train()
    images, wanted = torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 16, 16)
    wanted[:, :, 4, 5] = 1
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        loss = nn.functional.binary_cross_entropy_with_logits(model(images), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


@functools.cache
def settled(backbone: str) -> nn.Module:
    """A detector with batch norms that fit its values, and heatmaps that say something; tests must not change it."""
    torch.manual_seed(1)
    model = detector(backbone).train()
    with torch.no_grad():
        for seed in range(4):
            model(images(4, seed))
        model.hm[-1].weight *= 30 / model.eval()(images(4, 9)).std()
    return model.eval()


def images(count: int, seed: int, size: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_is_rewritten_to_the_same_function(backbone: str) -> None:
    model = settled(backbone)
    rewritten = rewrite(model, example=(images(1, 9),))
    with torch.no_grad():
        assert torch.equal(rewritten.graph_module(images(2, 9, 96)), model(images(2, 9, 96)))


def test_it_is_converted_whole_and_holds_at_other_sizes(tmp_path: Path) -> None:
    done = fxconv.convert(settled("mobilenet_v3_small"), list(images(8, 5, 32).split(4)), recipe=(Recipe.none,))
    assert done.verified and done.converted, done.verdict
    assert not done.rewritten.islands
    assert "quantized::conv_transpose2d" in done.artifact.calls
    done.save(tmp_path / "detector.ptl")
    with engine.engine("qnnpack"):
        artifact = load_lite(tmp_path / "detector.ptl")
        for size in ((64, 64), (96, 64), (160, 224)):
            image = torch.randn(1, 3, *size)
            assert torch.equal(artifact(image), done.int8(image))


class Small(nn.Module):
    """The form of a detector: a backbone, a transposed convolution, heatmaps at a quarter of the image."""

    def __init__(self) -> None:
        super().__init__()
        channels = ((3, 16), (16, 16), (16, 32))
        self.backbone = nn.Sequential(*(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in channels))
        self.deconv_layers = nn.Sequential(nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU())
        self.hm = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.hm(self.deconv_layers(self.backbone(x)))


@functools.cache
def small() -> nn.Module:
    """Its heatmaps say something; tests must not change it."""
    torch.manual_seed(1)
    model = Small().eval()
    with torch.no_grad():
        model.hm.weight *= 30 / model(images(4, 9)).std()
        model.hm.bias -= model(images(4, 9)).mean()
    return model


@pytest.mark.parametrize("method", [Method.script, Method.trace])
@pytest.mark.parametrize("ties", Ties)
def test_peaks_in_the_artifact_are_those_of_its_heatmaps(method: Method, ties: Ties, tmp_path: Path) -> None:
    done = fxconv.convert(
        small(), list(images(4, 5).split(2)), recipe=(Recipe.none,), method=method,
        postprocess=Postprocess.peaks, peak_threshold=0.1, peak_count=50, ties=ties, seed=3,
    )  # fmt: skip
    assert done.verified, done.verdict
    done.save(tmp_path / "detector.ptl")
    with engine.engine("qnnpack"), torch.no_grad():
        artifact = load_lite(tmp_path / "detector.ptl")
        for size in (64, 96):
            image = images(1, 8, size)
            step = logit_step(done.int8, Heatmaps(None, 4), (images(1, 5),), ties)
            peaks = HeatmapPeaks(0.1, 50, ties.value, seed=3, step=step)
            found = artifact(image)
            assert torch.equal(found, peaks(done.int8(image)))
            assert found.shape == (1, 50, 5) and found[..., 4].any() and found[..., :2].max() < size


@functools.cache
def found_by(backbone: str, method: Method) -> list[Tensor]:
    """What an artifact with peaks finds in an image, and in one twice as high."""
    torch.manual_seed(0)
    model, images = detector(backbone).eval(), torch.randn(4, 3, 32, 32)
    options = {"recipe": (Recipe.none,), "min_sqnr": -100.0, "postprocess": Postprocess.peaks, "peak_threshold": 0.05}
    done = fxconv.convert(model, [images], method=method, **options)
    assert done.verified
    assert done.config.method is method
    with engine.engine("qnnpack"), torch.no_grad():
        artifact = load_lite_bytes(done.artifact.data)
        return [artifact(images[:1]), artifact(images[:1].repeat(1, 1, 2, 1))]


@pytest.mark.parametrize("method", [Method.script, Method.trace])
@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "resnet18"])
def test_scripted_and_traced_give_the_same_bits(backbone: str, method: Method) -> None:
    found, scripted = found_by(backbone, method), found_by(backbone, Method.script)
    assert bool(found[0][..., 4].any())
    assert all(torch.equal(one, other) for one, other in zip(found, scripted, strict=True))


def test_of_several_heads_the_heatmaps_become_peaks(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = detector("mobilenet_v3_small", {"wh": 2, "hm": 2}).eval()
    done = fxconv.convert(
        model, list(images(4, 5, 32).split(2)), recipe=(Recipe.none,), min_sqnr=-100.0, postprocess=Postprocess.peaks
    )
    assert done.verified, done.verdict
    done.save(tmp_path / "detector.ptl")
    with engine.engine("qnnpack"), torch.no_grad():
        found, heads = load_lite(tmp_path / "detector.ptl")(images(1, 8)), done.int8(images(1, 8))
    assert torch.equal(found["wh"], heads["wh"]) and torch.equal(found["peaks"], HeatmapPeaks()(heads["hm"]))
    assert set(found) == {"wh", "peaks"}


class Vector(nn.Module):
    """Gives no heatmaps."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_a_model_without_heatmaps_has_no_peaks() -> None:
    with pytest.raises(UserError, match=r"wants heatmaps .*returns a tensor \[1, 3\]"):
        fxconv.convert(Vector().eval(), [images(2, 0)], postprocess=Postprocess.peaks)


@pytest.mark.parametrize(
    ("text", "heads", "words"),
    [
        ("detector:resnet19", None, "did you mean detector:resnet18"),
        ("detector:resnet18", "hm", "expected NAME:CHANNELS"),
        ("detector:resnet18", "hm:1,hm:2", "stands there twice"),
        ("detector:resnet18", "layer1:2", "not taken"),
        ("resnet18", "hm:1", "only a detector has heads"),
    ],
)
def test_what_cannot_be_meant(text: str, heads: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        loading.load(text, "random", heads=heads)


def test_heads_of_a_checkpoint_are_found(tmp_path: Path) -> None:
    saved = detector("mobilenet_v3_small", {"hm": 4, "reg": 2}, hidden=16)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in saved.state_dict().items()}}, tmp_path / "d.pth"
    )
    loaded = loading.load("detector:mobilenet_v3_small", str(tmp_path / "d.pth"))
    assert loaded.module.heads == {"hm": 4, "reg": 2} and "heads hm:4, reg:2" in loaded.weights
    assert not loaded.is_random and loaded.preprocessing.shape == (3, 512, 512)
    assert all(torch.equal(value, saved.state_dict()[key]) for key, value in loaded.module.state_dict().items())


def test_the_artifact_is_not_named_as_the_classifiers() -> None:
    assert default_output("detector:MobileNet-V3-Small", ".ptl") == Path("detector_mobilenet_v3_small.ptl")
    assert default_output("resnet18", ".pte") == Path("resnet18.pte")
