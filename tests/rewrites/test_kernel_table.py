"""Every row of the kernel table, run on the real engine against the dequantized reference of the same operation.

A value is off when it is more than two steps from the reference; a row is untrue when more than one in a thousand is.
"""

import io
import warnings

import pytest
import torch
import torch.nn.functional as F
from eager_int8 import convert_operation, quantize_like, sqnr
from torch import Tensor, nn

from rewrites import modules as m
from rewrites import rewrite
from rewrites.fusion import CONVERT_MAPPING
from rewrites.kernel_examples import Call
from rewrites.kernels import KERNELS, MULTIPLY_ACCUMULATE, Kernel, Verdict, verdict

STEPS, SHARE = 2, 0.001
LAYOUTS = ("contiguous", "channels_last", "slice of channels_last", "permuted")
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def values(shape: tuple[int, ...], layout: str, seed: int) -> Tensor:
    """Random values in one of the layouts a tensor can have; every input has a range of its own."""

    def draw(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=torch.Generator().manual_seed(seed)) * (3 + 4 * seed) + 0.3

    if layout == "channels_last":
        return draw(*shape).contiguous(memory_format=CHANNELS_LAST[len(shape)])
    if layout == "slice of channels_last":
        wide = draw(shape[0], 2 * shape[1], *shape[2:]).contiguous(memory_format=CHANNELS_LAST[len(shape)])
        return wide[:, shape[1] :]
    if layout == "permuted":
        return draw(shape[-1], *shape[1:-1], shape[0]).transpose(0, -1)
    return draw(*shape)


def layouts(shape: tuple[int, ...]) -> tuple[str, ...]:
    if len(shape) == 3:
        return ("contiguous", "flattened channels_last")
    return LAYOUTS if len(shape) in CHANNELS_LAST else LAYOUTS[:1]


def example(row: Kernel) -> nn.Module:
    """The row's module, with statistics and weights that are not those of a fresh one."""
    torch.manual_seed(0)
    module = row.example().eval()
    for part in module.modules():
        if getattr(part, "running_mean", None) is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm) and part.weight is not None:
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module


def parts(value: object) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def off(got: Tensor, reference: Tensor) -> float:
    """The share of values more than two steps from the reference, requantized to the result's own range."""
    wanted = torch.quantize_per_tensor(reference, got.q_scale(), got.q_zero_point(), got.dtype)
    distance = (got.int_repr().int() - wanted.int_repr().int()).abs()
    return float((distance > STEPS).float().mean())


def worst(module: nn.Module, quantized: nn.Module, inputs: list[Tensor]) -> float:
    """The largest share of values that are off, over all results."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = parts(module(*(tensor.dequantize() for tensor in inputs)))
        got = parts(quantized(*inputs))
    assert len(reference) == len(got)
    assert all(tensor.is_quantized for tensor in got)
    return max(off(one, other) for one, other in zip(got, reference, strict=True))


def quantized_inputs(row: Kernel, layout: str) -> list[Tensor]:
    if layout == "flattened channels_last":
        return [flattened(row.shape, seed) for seed in range(row.inputs)]
    return [quantize_like(values(row.shape, layout, seed)) for seed in range(row.inputs)]


def flattened(shape: tuple[int, ...], seed: int) -> Tensor:
    """What a sequence `[N, C, L]` looks like that was an image before; a float one would be quantized into NCL."""
    images = values((*shape[:2], 2, shape[2] // 2), "channels_last", seed)
    return quantize_like(images).flatten(2)


def rows(*verdicts: Verdict) -> list:
    return [
        pytest.param(row, layout, id=f"{row.name}-{layout}")
        for row in KERNELS.values()
        if row.verdict in verdicts
        for layout in layouts(row.shape)
    ]


@pytest.mark.parametrize(("row", "layout"), rows(Verdict.INT8))
def test_int8(row, layout):
    module, inputs = example(row), quantized_inputs(row, layout)
    quantized = convert_operation(module, [tensor.dequantize() for tensor in inputs])
    assert worst(module, quantized, inputs) <= SHARE
    operation = getattr(module, "inner", module)
    if type(operation) in CONVERT_MAPPING:
        swapped = getattr(quantized, "inner", quantized)
        assert ".quantized" in type(swapped).__module__, f"{row.name} stayed {type(swapped).__name__}"


@pytest.mark.parametrize(("row", "layout"), rows(Verdict.FOLLOWS))
def test_follows(row, layout):
    module, inputs = example(row), quantized_inputs(row, layout)
    assert worst(module, module, inputs) <= SHARE
    with torch.no_grad():
        for result in parts(module(*inputs)):
            assert result.q_scale() == pytest.approx(inputs[0].q_scale(), rel=1e-6)
            assert result.q_zero_point() == inputs[0].q_zero_point()
        # It works on float tensors alike.
        assert all(result.dtype == torch.float32 for result in parts(module(*(q.dequantize() for q in inputs))))


SHOWN_ALONE = (nn.Conv3d, nn.ConvTranspose3d, nn.ZeroPad3d)


@pytest.mark.parametrize(("row", "layout"), [p for p in rows(Verdict.FLOAT) if p.values[0].key not in SHOWN_ALONE])
def test_float(row, layout):
    module, inputs = example(row), quantized_inputs(row, layout)
    assert row.reason
    with torch.no_grad(), pytest.raises(RuntimeError):
        module(*inputs)
    # Nor does eager quantization put a quantized module in its place.
    with torch.no_grad(), pytest.raises(RuntimeError):
        convert_operation(module, [tensor.dequantize() for tensor in inputs])(*inputs)


@pytest.mark.parametrize("kind", [nn.Conv3d, nn.ConvTranspose3d])
def test_a_3d_convolution_runs_but_cannot_be_saved(kind):
    row = KERNELS[kind]
    module, inputs = example(row), quantized_inputs(row, "contiguous")
    quantized = convert_operation(module, [tensor.dequantize() for tensor in inputs])
    assert row.verdict is Verdict.FLOAT
    with pytest.raises(RuntimeError, match="unpack"):
        torch.jit.save(torch.jit.script(quantized), io.BytesIO())


def test_a_video_is_padded_in_one_layout_only():
    row = KERNELS[nn.ZeroPad3d]
    module = example(row)
    assert row.verdict is Verdict.FLOAT
    assert worst(module, module, quantized_inputs(row, "contiguous")) <= SHARE
    with pytest.raises(RuntimeError, match="Quantized copy only works with contiguous and NHWC Tensors"):
        module(*quantized_inputs(row, "channels_last"))


@pytest.mark.parametrize(
    "row", [row for row in KERNELS.values() if row.verdict is Verdict.WRONG], ids=lambda row: row.name
)
def test_wrong(row):
    module, inputs = example(row), quantized_inputs(row, "channels_last")
    quantized = convert_operation(module, [q.dequantize() for q in inputs]) if type(module) is nn.PReLU else module
    assert row.reason
    with torch.no_grad():
        wanted, got = module(*(tensor.dequantize() for tensor in inputs)), quantized(*inputs).dequantize()
    step = (wanted.max() - wanted.min()) / 255  # what the best range for this result would give
    assert ((got - wanted).abs() > STEPS * step).float().mean() > SHARE, (
        f"{row.name} is right in channels_last now: upstream has mended it, and its row in rewrites/kernels.py "
        "can say int8 or follows"
    )


@pytest.mark.parametrize(
    "row", [row for row in KERNELS.values() if row.verdict is Verdict.COARSE], ids=lambda row: row.name
)
def test_coarse(row):
    """A token a hundred times quieter than the loudest: the kernel is right, but next to nothing of it is left."""
    module, tokens = example(row), values(row.shape, "contiguous", 0)
    tokens[:, 0] /= 100
    inputs = [quantize_like(tokens)]
    quantized = convert_operation(module, [tokens])
    assert row.reason and worst(module, quantized, inputs) <= SHARE
    with torch.no_grad():
        wanted, got = module(tokens), quantized(*inputs).dequantize()
    assert sqnr(wanted[:, 1:], got[:, 1:]) > 30
    assert sqnr(wanted[:, 0], got[:, 0]) < 10


def test_the_kernel_that_computes_in_float_itself():
    """The reason for `emulated`: bit for bit what dequantizing, computing in float and quantizing gives."""
    assert [row.key for row in KERNELS.values() if row.emulated] == [m.MatMul, m.Emulated]
    x, y = (quantize_like(values((2, 3, 12, 12), "contiguous", seed)) for seed in range(2))
    quantized = convert_operation(m.MatMul(), [x.dequantize(), y.dequantize()])
    got = quantized(x, y)
    in_float = x.dequantize() @ y.dequantize()
    wanted = torch.quantize_per_tensor(in_float, got.q_scale(), got.q_zero_point(), torch.quint8)
    assert torch.equal(got.int_repr(), wanted.int_repr())


def test_negating_costs_nothing():
    """The reason why a difference is a sum with -1 times the other: the integers turn round, the steps stay."""
    x = quantize_like(values((2, 3, 12, 12), "channels_last", 0))
    got = convert_operation(m.MulScalar(-1), [x.dequantize()])(x)
    assert torch.equal(got.dequantize(), -x.dequantize()) and got.q_scale() == x.q_scale()
    assert torch.equal(got.int_repr(), 255 - x.int_repr())


def test_why_a_softmax_is_float():
    """Of 1000 equal weights none reaches half of the step that torch's quantized softmax has, 1/256."""
    quantized = torch.ops.quantized.softmax(quantize_like(torch.linspace(-1e-3, 1e-3, 1000)), 0, 1 / 256, 0)
    assert quantized.dequantize().abs().sum() == 0


@pytest.mark.parametrize(
    "clamp",
    [F.relu6, nn.ReLU6(), lambda q: F.hardtanh(q, 0.0, 6.0), lambda q: q.clamp(0.0, 6.0)],
    ids=["F.relu6", "nn.ReLU6", "F.hardtanh", "Tensor.clamp"],
)
def test_the_clamp_that_ignores_channels_last(clamp):
    """The reason for fold-relu6: right in NCHW, off by the whole range in the layout convolutions hand on."""
    contiguous = torch.quantize_per_tensor(torch.randn(2, 8, 12, 12) * 3, 0.05, 100, torch.quint8)
    wanted = F.relu6(contiguous.dequantize())
    assert torch.equal(clamp(contiguous).dequantize(), wanted)
    scrambled = clamp(contiguous.contiguous(memory_format=torch.channels_last))
    assert scrambled.shape == wanted.shape and scrambled.dequantize().max() <= 6
    assert (scrambled.dequantize() - wanted).abs().max() >= 5.5


SETTINGS = {
    "depthwise": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8),
    "depthwise with a multiplier": lambda: nn.Conv2d(8, 16, 3, groups=8),
    "depthwise 5x5, stride 2": lambda: nn.Conv2d(8, 8, 5, 2, 2, groups=8),
    "grouped": lambda: nn.Conv2d(8, 6, 3, groups=2),
    "dilated": lambda: nn.Conv2d(8, 6, 3, padding=2, dilation=2),
    "pointwise without bias": lambda: nn.Conv2d(8, 6, 1, bias=False),
    "transposed, grouped": lambda: nn.ConvTranspose2d(8, 6, 3, 2, 1, groups=2),
    "transposed with output padding": lambda: nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1),
    "group norm over all channels": lambda: nn.GroupNorm(1, 8),
    "instance norm with weights": lambda: nn.InstanceNorm2d(8, affine=True),
    "transposed, depthwise": lambda: nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8),
    "transposed, depthwise with a multiplier": lambda: nn.ConvTranspose2d(8, 16, 3, 2, groups=8),
    "transposed, dilated": lambda: nn.ConvTranspose2d(8, 6, 3, 2, 1, dilation=2),
    "transposed, all at once": lambda: nn.ConvTranspose2d(8, 6, (3, 2), 3, 1, (2, 1), groups=2, dilation=3),
    "transposed, pointwise without bias": lambda: nn.ConvTranspose2d(8, 6, 1, bias=False),
    "a kernel wider than the image": lambda: nn.Conv2d(8, 4, (1, 300), padding=(0, 150)),
    "grouped, oblong, dilated": lambda: nn.Conv2d(8, 12, (3, 2), (2, 1), (1, 0), (2, 1), groups=4),
    "depthwise, oblong": lambda: nn.Conv2d(8, 8, (1, 9), padding=(0, 4), groups=8),
    "depthwise 7x7": lambda: nn.Conv2d(8, 8, 7, padding=3, groups=8),
    "depthwise 5x5, dilated": lambda: nn.Conv2d(8, 8, 5, 2, 4, 2, groups=8),
    "a stride beyond the kernel": lambda: nn.Conv2d(8, 6, 2, 5),
    "pointwise, padded": lambda: nn.Conv2d(8, 6, 1, padding=1),
    "one output": lambda: nn.Linear(12, 1),
    "leaky relu without a slope": lambda: nn.LeakyReLU(0.0),
    "leaky relu, steep": lambda: nn.LeakyReLU(1.5),
    "leaky relu that turns round": lambda: nn.LeakyReLU(-0.2),
    "elu below -1": lambda: nn.ELU(2.0),
    "adding nothing": lambda: m.AddScalar(0.0),
    "adding more than the range": lambda: m.AddScalar(100.0),
    "subtracting more than the range": lambda: m.AddScalar(-100.0),
    "times zero": lambda: m.MulScalar(0.0),
    "times minus one": lambda: m.MulScalar(-1.0),
    "times a thousandth": lambda: m.MulScalar(0.001),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_in_int8(name, layout):
    torch.manual_seed(0)
    module = SETTINGS[name]().eval()
    assert verdict(type(module), module)[0] is Verdict.INT8
    inputs = [quantize_like(values((2, 8, 12, 12), layout, 0))]
    quantized = convert_operation(module, [tensor.dequantize() for tensor in inputs])
    assert worst(module, quantized, inputs) <= SHARE


FOLLOWING = {
    "max pool, rounded up": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "max pool, oblong": lambda: nn.MaxPool2d((2, 3), (1, 2)),
    "average pool, padded": lambda: nn.AvgPool2d(3, 2, 1),
    "average pool, rounded up": lambda: nn.AvgPool2d(5, 2, ceil_mode=True),
    "adaptive pool to 5x7": lambda: nn.AdaptiveAvgPool2d((5, 7)),
    "adaptive pool of one side": lambda: nn.AdaptiveAvgPool2d((None, 1)),
    "mean of the channels": lambda: Call(torch.mean, 1),
    "mean of everything": lambda: Call(torch.mean),
    "nearest to a size": lambda: Call(F.interpolate, size=(5, 7), mode="nearest"),
    "nearest, exact": lambda: Call(F.interpolate, scale_factor=2, mode="nearest-exact"),
    "bilinear to a size": lambda: Call(F.interpolate, size=(5, 7), mode="bilinear"),
    "bilinear, corners aligned": lambda: Call(F.interpolate, scale_factor=2, mode="bilinear", align_corners=True),
    "area": lambda: Call(F.interpolate, size=(5, 7), mode="area"),
    "reflected border": lambda: Call(F.pad, (1, 2, 1, 0), "reflect"),
    "gelu, tanh form": lambda: nn.GELU("tanh"),
    "every second value": lambda: Call(lambda x: x[..., ::2, 1::2]),
    "a new axis": lambda: Call(lambda x: x[:, None]),
    "one channel": lambda: Call(lambda x: x[:, -1]),
    "adaptive pool to its own size": lambda: nn.AdaptiveAvgPool2d(12),
    "adaptive pool to more": lambda: nn.AdaptiveAvgPool2d((24, 5)),
    "average pool of one side": lambda: nn.AvgPool2d((1, 2)),
    "cropped": lambda: Call(F.pad, (-1, 1, 2, -3)),
    "padded in channels": lambda: Call(F.pad, (0, 0, 0, 0, 0, 3)),
    "nearest by a fraction": lambda: Call(F.interpolate, scale_factor=1.5, mode="nearest"),
    "bilinear by a fraction": lambda: Call(F.interpolate, scale_factor=1.7, mode="bilinear"),
    "bilinear down": lambda: Call(F.interpolate, scale_factor=0.4, mode="bilinear", recompute_scale_factor=True),
    "upsampled by two factors": lambda: nn.Upsample(scale_factor=(2, 3)),
    "a view of merged axes": lambda: Call(Tensor.reshape, 2, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FOLLOWING)
def test_settings_that_follow(name, layout):
    module = FOLLOWING[name]().eval()
    assert worst(module, module, [quantize_like(values((2, 8, 12, 12), layout, 0))]) <= SHARE


WRONG_SEQUENCES = {
    "max pool, rounded up": lambda: nn.MaxPool1d(3, 2, 1, ceil_mode=True),
    "average pool, rounded up": lambda: nn.AvgPool1d(2, ceil_mode=True),
}


@pytest.mark.parametrize("name", WRONG_SEQUENCES)
def test_pools_of_flattened_images_the_engine_gets_wrong_are_refused(name):
    module = WRONG_SEQUENCES[name]().eval()
    ruling, reason = verdict(type(module), module)
    assert ruling is Verdict.FLOAT and reason.startswith("its kernel computes a ceil_mode wrong")
    assert worst(module, module, [flattened((1, 8, 256), 0)]) > SHARE, f"{name} is right now: drop the limit"


WRONG_SETTINGS = {
    "dilated max pool": lambda: nn.MaxPool2d(3, 1, 1, dilation=2),
    "average without the padding": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "average with a divisor": lambda: nn.AvgPool2d(3, 2, 1, divisor_override=5),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_settings_the_engine_gets_wrong_are_refused(name):
    module = WRONG_SETTINGS[name]().eval()
    ruling, reason = verdict(type(module), module)
    assert ruling is Verdict.FLOAT and reason.startswith("its kernel")
    inputs = [quantize_like(values((2, 8, 12, 12), "contiguous", 0))]
    assert worst(module, module, inputs) > SHARE, f"{name} is right now: upstream has mended it, drop the limit"


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear"])
@pytest.mark.parametrize("batch", [1, 2])
def test_an_image_made_of_tokens_is_scrambled_when_it_is_one(mode, batch):
    tokens = torch.quantize_per_tensor(values((batch, 4, 32), "contiguous", 0), 0.1, 128, torch.quint8)
    image = tokens.transpose(1, 2).reshape(batch, 32, 2, 2)
    found = F.interpolate(image, size=(8, 8), mode=mode).dequantize()
    right = F.interpolate(image.dequantize(), size=(8, 8), mode=mode)
    assert (float((found - right).abs().max()) > 2 * 0.1) == (batch == 1)


@pytest.mark.parametrize("enlarged", [nn.Upsample(scale_factor=2), nn.UpsamplingBilinear2d(scale_factor=2), None])
@pytest.mark.parametrize(
    ("between", "runs_in_int8"),
    [(lambda x: x, False), (lambda x: x.permute(0, 1, 3, 2), False), (lambda x: x.contiguous(), True)],
    ids=["at once", "permuted", "behind a copy"],
)
def test_an_image_made_of_tokens_is_enlarged_in_float(enlarged, between, runs_in_int8):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.out, self.enlarged = nn.Linear(4, 8), nn.Conv2d(8, 4, 1), enlarged

        def forward(self, x: Tensor) -> Tensor:
            image = between(self.tokens(x).transpose(1, 2).reshape(x.shape[0], 8, 2, 2))
            return self.out(F.interpolate(image, size=(8, 8)) if self.enlarged is None else self.enlarged(image))

    islands = rewrite(Net().eval(), example=(torch.randn(1, 4, 4),)).islands
    assert any("made of tokens by reshape" in island.reason for island in islands) != runs_in_int8


def test_values_that_may_lie_outside_are_refused():
    for module in (nn.Threshold(0.0, 20.0), nn.ConstantPad2d(1, 1.0)):
        assert verdict(type(module), module) == (Verdict.FLOAT, "a value other than 0 may lie outside of the range")


def test_instance_norm_with_statistics_is_refused():
    torch.manual_seed(0)
    module = nn.InstanceNorm2d(8, track_running_stats=True).eval()
    module.running_mean.normal_()
    assert verdict(nn.InstanceNorm2d, module) == (Verdict.FLOAT, "its kernel ignores running statistics")
    inputs = [quantize_like(values((2, 8, 12, 12), "contiguous", 0))]
    quantized = convert_operation(module, [tensor.dequantize() for tensor in inputs])
    assert worst(module, quantized, inputs) > SHARE, "instance norm with statistics is right now, drop the limit"


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(lambda: nn.Conv2d(8, 6, 3, padding="same"), id="padding in words"),
        pytest.param(lambda: nn.BatchNorm2d(8, track_running_stats=False), id="batch norm without statistics"),
        pytest.param(lambda: nn.Upsample(scale_factor=2, mode="bicubic"), id="bicubic"),
        pytest.param(lambda: nn.AvgPool2d(1, 2), id="an average of single values"),
        pytest.param(lambda: nn.MaxPool2d(1, 2), id="a maximum of single values"),
    ],
)
def test_settings_that_stop_the_engine_are_refused(module):
    module = module().eval()
    assert verdict(type(module), module)[0] is Verdict.FLOAT
    inputs = [quantize_like(values((2, 8, 12, 12), "contiguous", 0))]
    with torch.no_grad(), pytest.raises((RuntimeError, TypeError)):
        convert_operation(module, [tensor.dequantize() for tensor in inputs])(*inputs)


def test_a_flat_view_of_channels_last_does_not_exist():
    # The reason for view-to-reshape: it exists in float, where convolutions hand on NCHW.
    quantized = quantize_like(values((2, 8, 12, 12), "channels_last", 0))
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        quantized.view(2, -1)
    assert torch.equal(quantized.reshape(2, -1).dequantize(), quantized.dequantize().flatten(1))


@pytest.mark.parametrize("shape", [(2, 8, 1, 1), (1, 8, 1, 1), (8, 1, 1), (12,), ()], ids=str)
@pytest.mark.parametrize("kind", [m.Add, m.Mul, m.AddReLU])
def test_arithmetic_broadcasts(kind, shape):
    module = kind()
    for layout in LAYOUTS:
        inputs = [
            quantize_like(values((2, 8, 12, 12), layout, 0)),
            quantize_like(torch.randn(shape, generator=torch.Generator().manual_seed(3))),
        ]
        quantized = convert_operation(module, [tensor.dequantize() for tensor in inputs])
        assert worst(module, quantized, inputs) <= SHARE


@pytest.mark.parametrize("kind", [m.Add, m.Mul])
def test_arithmetic_on_two_layouts(kind):
    module = kind()
    inputs = [quantize_like(values((2, 8, 12, 12), layout, n)) for n, layout in enumerate(LAYOUTS[:2])]
    quantized = convert_operation(module, [tensor.dequantize() for tensor in inputs])
    assert worst(module, quantized, inputs) <= SHARE


def test_what_is_not_in_the_table_runs_in_float():
    assert verdict(torch.fft.rfft2) == (Verdict.FLOAT, "the kernel table has no row for it")
    assert verdict(None) == (Verdict.FLOAT, "the kernel table has no row for it")


def test_every_refusal_has_a_reason_and_every_name_is_one_of_a_kind():
    assert all(row.reason for row in KERNELS.values() if row.verdict in (Verdict.FLOAT, Verdict.WRONG, Verdict.COARSE))
    names = [row.name for row in KERNELS.values()]
    assert len(set(names)) == len(names)
    assert set(KERNELS) > MULTIPLY_ACCUMULATE
    assert KERNELS[nn.Conv2d].name == "nn.Conv2d" and KERNELS[Tensor.view].name == "Tensor.view"
    assert KERNELS[F.interpolate].name == "F.interpolate" and KERNELS[m.Cat].name == "Cat"
