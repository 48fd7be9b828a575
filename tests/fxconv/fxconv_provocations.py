"""Small programs that make torch raise, each named after the row of the table that its exception belongs to."""

from __future__ import annotations

import copy
import io
import warnings
import zipfile
from collections.abc import Callable
from unittest import mock

import torch
import torch.ao.nn.quantized as nnq
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao import quantization
from torch.jit.mobile import _load_for_lite_interpreter
from torch.utils.mobile_optimizer import optimize_for_mobile

from fxconv.environment import has_xnnpack

PROVOKED: dict[str, list[Callable[[], object]]] = {}


def provokes(name: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def add(program: Callable[[], object]) -> Callable[[], object]:
        PROVOKED.setdefault(name, []).append(program)
        return program

    return add


def int8(*shape: int, scale: float = 0.1) -> Tensor:
    return torch.quantize_per_tensor(torch.randn(shape or (1, 3, 4, 4)), scale, 10, torch.quint8)


def lite(module: nn.Module) -> bytes:
    return torch.jit.script(module.eval())._save_to_buffer_for_lite_interpreter()


def load_lite(content: bytes) -> object:
    return _load_for_lite_interpreter(io.BytesIO(content))


def saved(thing: object) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    buffer.seek(0)
    return buffer


def rewritten(content: bytes, old: bytes, new: bytes, only: str = "") -> bytes:
    """The same archive with other bytes in its records."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, "w") as target:
        for entry in source.infolist():
            record = source.read(entry)
            target.writestr(entry.filename, record.replace(old, new) if only in entry.filename else record)
    return made.getvalue()


def scripted(module: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module), buffer)
    return buffer.getvalue()


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Loops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return sum(row for row in x)


class Counts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for step in range(x.shape[0]):
            x = x + step
        return x


class Measures(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * len(x)


class Varies(nn.Module):
    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return x


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy())


class Annotated(nn.Module):
    def forward(self, x: Foo) -> Tensor:  # noqa: F821
        return x


class AllowedChanges(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = None
        if bool(x.sum() > 0):
            y = x
        return y


class Returns(nn.Module):
    def forward(self, x: Tensor):  # type: ignore[no-untyped-def]
        if bool(x.sum() > 0):
            return x
        return [x]


class Dict(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"x": x}


class Quiet(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x + 1


@torch.jit.script
class Holder:
    def __init__(self, x: Tensor) -> None:
        self.x = x


class Holds(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Holder(x).x


class Reshapes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, int(x.shape[1]) * 4)


provokes("quantized-twice")(lambda: torch.quantize_per_tensor(int8(), 0.1, 0, torch.quint8))
provokes("no-quantized-kernel")(lambda: int8() + int8())
provokes("no-quantized-kernel")(lambda: F.silu(int8()))
provokes("weights-not-quantized")(lambda: torch.ops.quantized.linear_prepack(torch.randn(2, 2)))
provokes("int8-layer-given-float")(lambda: nnq.Conv2d(3, 4, 1)(torch.randn(1, 3, 4, 4)))
provokes("int8-layer-given-float")(lambda: nnq.Linear(4, 4)(torch.randn(1, 4)))
provokes("mixed-with-float")(lambda: torch.cat([int8(), torch.randn(1, 3, 4, 4)]))
provokes("float-layer-given-int8")(lambda: nn.Conv2d(3, 4, 1)(int8()))
provokes("qnnpack-scale-ratio")(lambda: torch.ops.quantized.add(int8(scale=1e-9), int8(scale=1e-9), 10.0, 0))
provokes("qnnpack-pool-of-one")(lambda: F.avg_pool2d(int8(), 1))
provokes("qnnpack-pool-of-one")(lambda: F.max_pool2d(int8(), 1))
provokes("qnnpack-refuses")(lambda: torch.ops.quantized.hardswish(int8(), 0.0, 0))
provokes("per-channel-values")(lambda: quantization.MinMaxObserver(qscheme=torch.per_channel_affine))
provokes("fp16-dynamic")(
    lambda: quantization.quantize_dynamic(nn.Sequential(nn.Linear(2, 2)), {nn.Linear}, dtype=torch.float16)
)
provokes("conv3d-unpack")(lambda: nnq.Conv3d(3, 4, 1).weight())
provokes("conv3d-unpack")(lambda: scripted(nnq.Conv3d(3, 4, 1)))
provokes("max-pool3d")(lambda: F.max_pool3d(int8(1, 3, 4, 4, 4), 2))
provokes("quantize-wants-float")(lambda: torch.quantize_per_tensor(torch.zeros(2).double(), 0.1, 0, torch.quint8))
provokes("numpy-of-int8")(lambda: int8().numpy())
provokes("fuse-unknown-chain")(
    lambda: quantization.fuse_modules(nn.Sequential(nn.Conv2d(3, 3, 1), nn.SiLU()).eval(), ["0", "1"])
)
provokes("fuse-in-train-mode")(
    lambda: quantization.fuse_modules(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), ["0", "1"])
)
provokes("control-flow")(lambda: torch.fx.symbolic_trace(Branches()))
provokes("proxy-iterated")(lambda: torch.fx.symbolic_trace(Loops()))
provokes("proxy-as-number")(lambda: torch.fx.symbolic_trace(Counts()))
provokes("proxy-as-number")(lambda: torch.fx.symbolic_trace(Measures()))
provokes("view-of-other-layout")(lambda: torch.zeros(1, 3, 4, 4).permute(0, 2, 3, 1).view(-1))
provokes("input-type")(lambda: nn.Conv2d(3, 4, 1)(torch.zeros(1, 3, 4, 4, dtype=torch.uint8)))
provokes("input-type")(lambda: nn.Conv2d(3, 4, 1)(torch.zeros(1, 3, 4, 4, dtype=torch.half)))
provokes("input-channels")(lambda: nn.Conv2d(3, 4, 1)(torch.zeros(1, 1, 4, 4)))
provokes("input-too-small")(lambda: nn.AvgPool2d(9)(torch.zeros(1, 3, 4, 4)))
provokes("linear-size")(lambda: nn.Linear(3, 4)(torch.zeros(1, 5)))
provokes("out-of-memory")(lambda: torch.empty(10**15))
provokes("qat-in-eval-mode")(lambda: quantization.prepare_qat(nn.Sequential(nn.Linear(2, 2)).eval()))
provokes("batch-of-one")(lambda: nn.BatchNorm1d(3)(torch.zeros(1, 3)))
provokes("variable-arguments")(lambda: torch.jit.script(Varies()))
provokes("no-attribute-in-script")(lambda: torch.jit.script(Numpy()))
provokes("unknown-type")(lambda: torch.jit.script(Annotated()))
provokes("type-changes")(lambda: torch.jit.script(AllowedChanges()))
provokes("type-changes")(lambda: torch.jit.script(Returns()))
provokes("dict-traced")(lambda: torch.jit.trace(Dict(), torch.zeros(2)))
# Where torch cannot pack float layers it says so before it looks at one.
provokes("padding-in-words" if has_xnnpack() else "xnnpack-not-built")(
    lambda: optimize_for_mobile(torch.jit.script(nn.Conv2d(3, 3, 3, padding="same").eval()))
)
provokes("not-a-script-module")(lambda: optimize_for_mobile(nn.ReLU()))
provokes("with-block-on-phone")(lambda: lite(Quiet()))
provokes("python-class-on-phone")(lambda: lite(Holds()))
provokes("size-fixed-by-trace")(lambda: torch.jit.trace(Reshapes(), torch.zeros(2, 3, 2, 2))(torch.zeros(2, 5, 3, 2)))
provokes("class-not-registered")(lambda: torch.classes.quantized.Conv2dPackedParamsBasf)
provokes("class-not-registered")(
    lambda: torch.jit.load(
        io.BytesIO(rewritten(scripted(nnq.Conv2d(3, 4, 1)), b"Conv2dPackedParamsBase", b"Conv2dPackedParamsBasf"))
    )
)
provokes("bytecode-version")(lambda: load_lite(rewritten(lite(nn.ReLU()), b"K\x08", b"K\x63", "bytecode.pkl")))
provokes("file-version")(
    lambda: torch.load(io.BytesIO(rewritten(saved(torch.zeros(1)).getvalue(), b"3\n", b"99\n", "/version")))
)
provokes("no-bytecode")(lambda: load_lite(scripted(nn.ReLU())))
provokes("no-program")(lambda: torch.jit.load(saved(nn.Linear(2, 2).state_dict())))
provokes("not-an-archive")(lambda: load_lite(lite(nn.ReLU())[:600]))
provokes("not-an-archive")(lambda: torch.jit.load(io.BytesIO(b"<html>not found</html>" * 50)))
provokes("not-a-pickle")(lambda: torch.load(io.BytesIO(b"version https://git-lfs.github.com/spec/v1")))
provokes("weights-only")(lambda: torch.load(saved(nn.Linear(2, 2))))
provokes("torchscript-as-checkpoint")(lambda: torch.load(io.BytesIO(lite(nn.ReLU()))))
provokes("checkpoint-keys")(lambda: nn.Linear(2, 2).load_state_dict({"weigth": torch.zeros(2, 2)}))
provokes("checkpoint-keys")(
    lambda: nn.Linear(2, 2, bias=False).load_state_dict({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)})
)
provokes("checkpoint-sizes")(lambda: nn.Linear(2, 2, bias=False).load_state_dict({"weight": torch.zeros(3, 2)}))
provokes("torchvision-operators-missing")(
    lambda: load_lite(rewritten(lite(nn.ReLU()), b"X\n\x00\x00\x00aten::relu", b"X\x10\x00\x00\x00torchvision::nmz"))
)
provokes("prepacked-missing")(
    lambda: load_lite(
        rewritten(lite(nn.ReLU()), b"X\n\x00\x00\x00aten::relu", b"X\x1b\x00\x00\x00prepacked::conv2d_clamp_rum")
    )
)
provokes("operators-missing")(lambda: load_lite(rewritten(lite(nn.ReLU()), b"aten::relu", b"aten::rely")))
provokes("operators-missing")(
    lambda: torch.jit.load(io.BytesIO(rewritten(scripted(nn.ReLU()), b"torch.relu", b"torch.rely")))
)
provokes("forward-arguments")(lambda: torch.jit.script(nn.Conv2d(3, 3, 1))())
provokes("forward-arguments")(lambda: torch.jit.script(nn.Conv2d(3, 3, 1))([torch.zeros(1, 3, 2, 2)]))


@provokes("no-engine")
def without_an_engine() -> None:
    torch.backends.quantized.engine = "none"
    nnq.Conv2d(3, 4, 1)


@provokes("unknown-engine")
def an_unknown_engine() -> None:
    torch.backends.quantized.engine = "fbgemm2"


@provokes("requantization-scale")
def an_output_without_a_scale() -> None:
    layer = nnq.Conv2d(3, 4, 1)
    layer.scale = 0.0
    layer(int8())


@provokes("transposed-per-channel")
def a_transposed_convolution_per_channel() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(3, 4, 2)).eval()
    net.qconfig = quantization.get_default_qconfig("x86")
    quantization.prepare(net)


@provokes("fuse-mixed-modes")
def a_layer_of_another_mode() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    net[0].eval()
    quantization.fuse_modules(net, ["0", "1"])


@provokes("never-calibrated")
def an_observer_that_saw_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantization.MinMaxObserver().calculate_qparams()


@provokes("per-channel-values")
def values_with_a_scale_per_channel() -> None:
    values = torch.quantize_per_channel(torch.randn(4, 3), torch.ones(4), torch.zeros(4), 0, torch.qint8)
    torch.ops.quantized.add(values, values, 1.0, 0)


@provokes("deepcopy-of-result")
def a_kept_result() -> None:
    layer = nn.Linear(2, 2)
    layer.kept = layer(torch.zeros(1, 2))
    copy.deepcopy(layer)


@provokes("inference-tensor")
def an_inference_tensor_in_training() -> None:
    with torch.inference_mode():
        x = torch.randn(1, 2)
    nn.Linear(2, 2)(x).sum().backward()


@provokes("cuda-checkpoint")
def a_checkpoint_of_a_gpu() -> None:
    with mock.patch("torch.serialization.location_tag", lambda storage: "cuda:0"):
        content = saved(torch.zeros(2))
    with mock.patch("torch.cuda.is_available", lambda: False):
        torch.load(content)
