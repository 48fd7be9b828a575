"""Networks that write into tensors, from the model to a verified file."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxconv
from fxconv.environment import has_xnnpack


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    layers = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    return nn.Sequential(*layers)


class Writing(nn.Module):
    """Every form that ends in int8, and the boxes of a detector, which are decoded in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = block(3, 16, 2), block(16, 16), block(16, 16)
        self.narrow, self.head = block(16, 8), nn.Conv2d(16, 6, 1)
        self.register_buffer("anchors", torch.tensor([1.5, 2.5]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x[:, 0] = x[:, 0] * 0.9 - 0.1
        y = self.stem(x)
        y[:, 0:4] = torch.sigmoid(y[:, 0:4])
        y[:, :, 0, :] = 0
        y[y > 2] = 2
        y = self.a(y)
        y[:, 4:8] += y[:, :4]
        left, _ = y.chunk(2, 1)
        left.mul_(0.5)
        canvas = torch.zeros_like(y)
        for at in range(2):
            canvas[:, at * 8 : at * 8 + 8] = self.narrow(y * (at + 1))
        logits = self.head(self.b(canvas))
        boxes = logits.permute(0, 2, 3, 1).sigmoid()
        boxes[..., 0:2] = (boxes[..., 0:2] * 2 - 0.5) * 4
        boxes[..., 2:4] = (boxes[..., 2:4] * 2) ** 2 * self.anchors
        return logits, boxes


def images(number: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.randn(number, 3, 6, 6, generator=generator), (32, 32), mode="bilinear")


def quality(wanted: Tensor, got: Tensor) -> float:
    return float(10 * torch.log10(wanted.square().sum() / (wanted - got).square().sum()))


def test_what_is_written_in_place_is_int8_and_the_decoder_float():
    torch.manual_seed(0)
    model = Writing().eval()
    conversion = fxconv.convert(model, [images(8, 1)], recipe="none")
    assert conversion.verdict == "converted and verified"
    masked, decoded = conversion.rewritten.islands
    assert masked.reason.endswith(".masked_fill(): a value outside of the range is cut off")
    assert decoded.reason.endswith("**: the engine has no quantized kernel for it") and "permute" in decoded.nodes
    assert conversion.artifact.int8_macs_share == 1 and conversion.warnings == ()
    given = images(2, 2)
    with torch.no_grad():
        wanted, got = model(given.clone()), conversion.int8(given.clone())
    assert min(map(quality, wanted, got)) > 20


class Left(nn.Module):
    """A write into a diagonal, which no pass puts back, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.last = block(3, 8, 2), block(8, 64), nn.Conv2d(64, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(self.stem(x)) + 1
        y.diagonal(0, 2, 3).mul_(-5.0)
        return self.last(y)


def test_a_write_that_is_left_keeps_the_prepacking_out_and_is_named():
    torch.manual_seed(0)
    model = Left().eval()
    conversion = fxconv.convert(model, [images(8, 1)], recipe="none", keep_float=("last",))
    assert conversion.verdict == "converted and verified"
    told = [warning for warning in conversion.warnings if "insert-fold-prepack-ops" in warning]
    assert len(told) == has_xnnpack()
    assert all(line.startswith("the program writes in place: aten::mul_ (`") for line in told)
    assert not any(name.startswith("prepacked::") for name in conversion.artifact.operators)
    given = images(2, 2)
    with torch.no_grad():
        assert quality(model(given.clone()), conversion.int8(given.clone())) > 20


def test_a_convolution_behind_a_write_that_is_left_reads_in_int8_what_was_written():
    torch.manual_seed(0)
    model = Left().eval()
    conversion = fxconv.convert(model, [images(8, 1)], recipe="none")
    assert conversion.verdict == "converted and verified"
    assert conversion.artifact.int8_macs_share == 1
    given = images(2, 2)
    with torch.no_grad():
        assert quality(model(given.clone()), conversion.int8(given.clone())) > 20
