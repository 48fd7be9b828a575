"""Whole networks in Q/DQ form: held against their int8 modules, near them end to end, exported with a free batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as zoo
from qdq_rows import quantized
from torch import Tensor, nn
from torch.ao.nn.quantized import FloatFunctional
from torchvision.models.resnet import BasicBlock
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.video.resnet import BasicBlock as VideoBlock
from torchvision.models.video.resnet import BasicStem, Conv3DSimple

from fxconv.config import Mode
from fxconv.errors import ConversionError
from fxconv.models import forward
from fxconv.models.detectors import detector
from fxconv.quantization.engine import engine
from fxconv.quantization.static import is_int8
from fxconv.targets.qdq.form import qdq_form
from fxconv.targets.qdq.held import held
from fxconv.targets.wrapping.normalization import InGraphNormalization
from rewrites.parts import graphs_in


@pytest.fixture(autouse=True)
def qnnpack():
    with engine("qnnpack"):
        yield


class Segmenting(nn.Module):
    """A backbone, a head on what it gives, and the classes as large as the image, in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6())
        self.classifier = FCNHead(16, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.classifier(self.backbone(x))
        return {"out": F.interpolate(found, size=x.shape[-2:], mode="bilinear", align_corners=False)}


class Attention(nn.Module):
    """Patches, a class token, a block of torch's encoder, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 1, 32))
        self.block = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.head(self.block(x)[:, 0])


class Twice(nn.Module):
    """One layer on two values of other ranges: one set of weights, a bias for each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.shared(self.stem(x))
        return self.shared(torch.cat([y[:, :4] * 3, y[:, 4:]], 1)).mean((2, 3))


class InParts(nn.Module):
    """The sign of one pixel decides which block is called: no single graph."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.block(y) if x[0, 0, 0, 0] > 0 else self.block(-y)


NETWORKS = {
    "mobilenet_v2": lambda: zoo.MobileNetV2(10, 0.25),
    "mobilenet_v3_small": lambda: zoo.mobilenet_v3_small(num_classes=10, width_mult=0.5),
    "resnet": lambda: zoo.ResNet(BasicBlock, [1, 1, 1, 1], 10),
    "shufflenet_v2": lambda: zoo.ShuffleNetV2([2, 2, 2], [8, 16, 32, 64, 128], 10),
    "densenet": lambda: zoo.DenseNet(8, (2, 2), 16, num_classes=10),
    "swin": lambda: SwinTransformer([4, 4], 16, [2, 1], [2, 2], [4, 4], num_classes=10),
    "attention": Attention,
    "segmentation": Segmenting,
    "detector": lambda: detector("mobilenet_v3_small"),
    "one layer called twice": Twice,
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return model


def images(seed: int = 0, size: int = 32) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed))


def sqnr(int8: nn.Module, form: nn.Module, given: list[tuple[Tensor, ...]]) -> float:
    """The lowest of any output of the form, held against the int8 module's."""
    pairs = zip(forward.outputs(int8, given), forward.outputs(form, given), strict=True)
    both = [(one, other) for a, b in pairs for one, other in zip(a, b, strict=True)]
    found = [20 * float(torch.log10(one.norm() / (one - other).norm().clamp_min(1e-12))) for one, other in both]
    return min(found)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network(name):
    given = [(image[None],) for image in images()]
    int8 = quantized(made(name), [images(), images(1)]).int8
    form = qdq_form(int8, given[0])
    found = held(form, int8, given)
    assert found.problem == "" and found.worst <= 1
    assert not any(is_int8(part) and not isinstance(part, FloatFunctional) for part in form.modules())
    # steps of one, added up
    assert sqnr(int8, form, given) > 20
    # an example of one image would settle that there is one
    exported = torch.export.export(form, (images()[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    whole = images()
    for one, other in zip(forward.tensors(exported.module()(whole)), forward.tensors(form(whole)), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_video():
    torch.manual_seed(0)
    model = zoo.video.VideoResNet(VideoBlock, [Conv3DSimple] * 4, [1, 1, 1, 1], BasicStem, 10).eval()
    videos = torch.randn(2, 3, 4, 16, 16)
    int8 = quantized(model, [videos]).int8
    given = [(video[None],) for video in videos]
    form = qdq_form(int8, given[0])
    found = held(form, int8, given)
    assert found.problem == "" and found.worst <= 1
    assert sqnr(int8, form, given) > 20


def test_one_set_of_weights_and_a_bias_for_each_call():
    int8 = quantized(made("one layer called twice"), [images()]).int8
    form = qdq_form(int8, (images()[:1],))
    names = [name for name, _ in form.named_buffers() if name.startswith("shared.")]
    assert names.count("shared.weight") == 1 and "shared.weight_1" not in names
    first, second = form.get_buffer("shared.bias"), form.get_buffer("shared.bias_1")
    assert first.dtype == second.dtype == torch.int32 and not torch.equal(first, second)
    # as numbers they are the same, to a step of each
    one, other = (form.get_buffer(f"shared.bias_scales{end}") for end in ("", "_1"))
    assert ((first * one - second * other).abs() <= (one + other) / 2).all()


def test_a_model_in_parts():
    torch.manual_seed(0)
    positive, negative = images(), images()
    positive[:, 0, 0, 0], negative[:, 0, 0, 0] = 1, -1
    int8 = quantized(InParts().eval(), [positive]).int8
    assert set(graphs_in(int8)) == {"stem", "block"}
    form = qdq_form(int8, (positive[:1],))
    given = [(image[None],) for image in (*positive[:2], *negative[:2])]
    found = held(form, int8, given)
    assert found.problem == "" and found.worst <= 1
    assert {row.where.partition(".")[0] for row in found.operations} == {"stem", "block"}
    assert sqnr(int8, form, given) > 30
    # the module itself stays what it was
    assert any(is_int8(part) for part in int8.modules())


def test_a_fault_in_a_part_is_told_with_its_path():
    torch.manual_seed(0)
    x = images()
    x[:, 0, 0, 0] = 1
    int8 = quantized(InParts().eval(), [x]).int8
    form = qdq_form(int8, (x[:1],))
    (name,) = [name for name, value in form.named_buffers() if name.startswith("block.") and value.dtype == torch.int32]
    form.get_buffer(name)[2] += 1
    (failed,) = held(form, int8, [(x[:1],)]).failed
    assert failed.where == name.removesuffix(".bias") and "1 of 8 integers of its bias differ" in failed.problem


def test_a_part_that_is_not_run_has_no_ranges():
    class Idle(InParts):
        def forward(self, x: Tensor) -> Tensor:
            y = self.stem(x)
            return self.block(y) if x[0, 0, 0, 0] > 0 else y

    torch.manual_seed(0)
    x = images()
    x[:, 0, 0, 0] = 1
    int8 = quantized(Idle().eval(), [x]).int8
    with pytest.raises(ConversionError, match=r"^block: this part of the model was not run"):
        qdq_form(int8, (-x[:1],))


def test_normalization_around_a_network():
    int8 = quantized(made("mobilenet_v2"), [images()]).int8
    inside = InGraphNormalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    whole = inside.module(int8, 1)
    pixels = [(torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8),) for _ in range(2)]
    form = qdq_form(whole, pixels[0])
    found = held(form, whole, pixels)
    assert found.problem == "" and found.operations[0].where.startswith("network.")
    assert sqnr(whole, form, pixels) > 20


class Layers(nn.Module):
    """Linear layers, one with its ReLU, and one without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 7, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def test_dynamic_mode():
    torch.manual_seed(0)
    int8 = quantized(Layers().eval(), [torch.randn(8, 12)], mode=Mode.dynamic).int8
    given = [(torch.randn(3, 12),), (10 * torch.randn(5, 12),)]
    form = qdq_form(int8, given[0])
    assert form.get_buffer("first.weight").dtype == torch.int8
    found = held(form, int8, given)
    assert found.problem == "" and [row.where for row in found.operations] == ["first", "second"]
    assert [row.values for row in found.operations] == [8 * 16, 8 * 7]
    exported = torch.export.export(form, given[0], dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(exported.module()(*given[1]), form(*given[1]))
    weight = form.get_buffer("second.weight")
    weight[0, 0] += 40 if weight[0, 0] < 0 else -40
    (failed,) = held(form, int8, given).failed
    assert failed.where == "second" and failed.problem.startswith("1 of 112 integers of its weight differ")


def test_a_recurrent_layer_is_refused_with_the_reason():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(12, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0])

    torch.manual_seed(0)
    int8 = quantized(Recurrent().eval(), [torch.randn(4, 5, 12)], mode=Mode.dynamic).int8
    with pytest.raises(ConversionError, match=r"^rnn \(GRU\): a recurrent layer, which ranges its state at every step"):
        qdq_form(int8, (torch.randn(4, 5, 12),))
