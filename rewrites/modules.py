"""The modules that rewriting puts into a graph: an operator as a module that an observer can watch.

Each wraps a `torch.ao.nn.quantized.FloatFunctional` named `op`, which `torch.ao.quantization.convert`
turns into its int8 counterpart; in float each computes exactly the operator it replaces.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.ao.nn.intrinsic.quantized as nniq
import torch.ao.nn.quantized as nnq
from torch import Tensor, nn
from torch.ao.nn.quantized import FloatFunctional, QFunctional
from torch.ao.quantization import DeQuantStub, QuantStub


class CappedReLU(nn.ReLU):
    """min(max(x, 0), cap): a ReLU6 whose int8 form is the upper end of its producer's range.

    In float, and while calibrating, it clamps. Fused behind a convolution it disappears at
    conversion: the observed range is [0, min(cap, max)] and saturation does the clamping.
    """

    def __init__(self, cap: float = 6.0) -> None:
        super().__init__()
        self.cap = float(cap)

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.hardtanh(input, 0.0, self.cap)

    def extra_repr(self) -> str:
        return f"cap={self.cap:g}"


class ChannelReLU(nn.ReLU):
    """min(max(x, floors), caps), each `[C]`: a ReLU or ReLU6 whose channels were scaled, or moved by a constant.

    Behind the channels x has so many dimensions as `behind` says. Only in float. The int8 form is that of a plain ReLU,
    whose range ends at `cap`, so that values in a channel below 0 or above `cap` must not come. No `cap` is none.
    """

    floors: Tensor
    caps: Tensor

    def __init__(self, floors: Tensor, caps: Tensor, cap: float | None, behind: int) -> None:
        super().__init__()
        self.cap, self.behind = cap, behind
        self.register_buffer("floors", floors)
        self.register_buffer("caps", caps)

    @classmethod
    def behind_layer(cls, relu: nn.Module, weight: Tensor) -> ChannelReLU:
        """One that does what `relu` does, behind a layer with this weight: a ReLU, a `CappedReLU` or one of these."""
        if isinstance(relu, cls):
            return relu
        cap, zeros = relu.cap if isinstance(relu, CappedReLU) else None, weight.new_zeros(len(weight))
        return cls(zeros, torch.full_like(zeros, torch.inf if cap is None else cap), cap, weight.ndim - 2)

    def bounded(self, floors: Tensor, caps: Tensor) -> ChannelReLU:
        """The same with other bounds."""
        return ChannelReLU(floors, caps, self.cap, self.behind)

    def forward(self, input: Tensor) -> Tensor:
        shape = (-1, *(1,) * self.behind)
        return torch.clamp(input, self.floors.view(shape), self.caps.view(shape))


class CappedFloatFunctional(FloatFunctional):
    """A FloatFunctional whose `add_relu` is capped before the observer sees the sum."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = float(cap)

    def add_relu(self, x: Tensor, y: Tensor) -> Tensor:
        total = nn.functional.hardtanh(torch.add(x, y), 0.0, self.cap)
        return self.activation_post_process(total)


class PlainQFunctional(QFunctional):
    """Maps a FloatFunctional with a float form of its own to a plain QFunctional.

    The range of a `CappedFloatFunctional` ends at the cap, so it saturates there.
    """

    @classmethod
    def from_float(
        cls,
        mod: FloatFunctional,
        use_precomputed_fake_quant: bool = False,
    ) -> QFunctional:
        plain = FloatFunctional()
        plain.activation_post_process = mod.activation_post_process
        quantized = QFunctional.from_float(plain, use_precomputed_fake_quant)
        return cast(QFunctional, quantized)


class ScriptableBatchNorm2d:
    """Maps `BatchNorm2d` to a plain quantized one whose scale and zero point are numbers, as TorchScript demands.

    torch keeps them as tensors of shape [1], on which a scripted model stops ("Cannot input a tensor of dimension
    other than 0 as a scalar argument").
    """

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False) -> nn.Module:
        return _with_scalar_qparams(nnq.BatchNorm2d.from_float(mod, use_precomputed_fake_quant))


class ScriptableBNReLU2d:
    """Maps a batch norm fused with its ReLU as `ScriptableBatchNorm2d` maps one alone."""

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False) -> nn.Module:
        return _with_scalar_qparams(nniq.BNReLU2d.from_float(mod, use_precomputed_fake_quant))


def _with_scalar_qparams(quantized: Any) -> nn.Module:
    if quantized.weight is None:  # the kernel wants one
        quantized.weight = nn.Parameter(torch.ones(quantized.num_features))
        quantized.bias = nn.Parameter(torch.zeros(quantized.num_features))
    for name in ("scale", "zero_point"):
        setattr(quantized, name, torch.as_tensor(getattr(quantized, name)).reshape(()))
    return cast(nn.Module, quantized)


class LinearRows(nn.Module):
    """Some output features of a linear layer: rows `start` to `stop` of a weight that several such layers share.

    The parameters are those of the whole layer, so that its checkpoints load; `cut_out` is the layer of these rows
    alone. A weight that has only `stop - start` rows, beside a bias that has them all, is taken whole.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, start: int, stop: int) -> None:
        super().__init__()
        bind(self, "weight", weight)
        bind(self, "bias", bias)
        self.start, self.stop = start, stop

    def _rows(self, values: Any) -> Tensor:
        return values if values.shape[0] == self.stop - self.start else values[self.start : self.stop]

    def forward(self, input: Tensor) -> Tensor:
        bias = self.bias
        return nn.functional.linear(input, self._rows(self.weight), None if bias is None else self._rows(bias))

    def cut_out(self) -> nn.Linear:
        """The layer of these rows alone, with parameters of its own."""
        weight = self._rows(self.weight).detach().clone()
        plain = nn.Linear(weight.shape[1], weight.shape[0], self.bias is not None, device="meta").train(self.training)
        plain.weight = nn.Parameter(weight)
        if self.bias is not None:
            plain.bias = nn.Parameter(self._rows(self.bias).detach().clone())
        return plain

    def extra_repr(self) -> str:
        return f"rows={self.start}:{self.stop}"


def bind(module: nn.Module, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
    """Let `module` hold this very tensor under `name`: a parameter as one, any other as a buffer."""
    module._parameters.pop(name, None)
    if tensor is None or isinstance(tensor, nn.Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor, persistent)


class Arithmetic(nn.Module):
    """Base of the operators made observable. Shapes broadcast as the plain operator's do."""

    def __init__(self) -> None:
        super().__init__()
        self.op = FloatFunctional()


class Add(Arithmetic):
    """x + y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.op.add(x, y)


class AddReLU(nn.Module):
    """relu(x + y), or min(relu(x + y), cap) when a cap is given."""

    def __init__(self, cap: float | None = None) -> None:
        super().__init__()
        self.op = FloatFunctional() if cap is None else CappedFloatFunctional(cap)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.op.add_relu(x, y)


class Mul(Arithmetic):
    """x * y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.op.mul(x, y)


class MatMul(Arithmetic):
    """x @ y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.op.matmul(x, y)


class Cat(Arithmetic):
    """torch.cat(tensors, dim)."""

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return self.op.cat(tensors, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Stack(Arithmetic):
    """torch.stack(tensors, dim), as the concatenation along a new axis that it is."""

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return self.op.cat([tensor.unsqueeze(self.dim) for tensor in tensors], self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class ScalarArithmetic(Arithmetic):
    """Base of the operators with a constant: their int8 form moves the range along, so nothing is observed."""

    def __init__(self, scalar: float) -> None:
        super().__init__()
        self.scalar = float(scalar)

    def extra_repr(self) -> str:
        return f"{self.scalar:g}"


class AddScalar(ScalarArithmetic):
    """x + scalar."""

    def forward(self, x: Tensor) -> Tensor:
        return self.op.add_scalar(x, self.scalar)


class MulScalar(ScalarArithmetic):
    """x * scalar."""

    def forward(self, x: Tensor) -> Tensor:
        return self.op.mul_scalar(x, self.scalar)


class DividingFloatFunctional(FloatFunctional):
    """A FloatFunctional whose `mul_scalar` divides: a quotient and the product with 1 / divisor differ in a last bit.

    Its int8 form is a plain QFunctional, which multiplies the steps.
    """

    def __init__(self, divisor: float) -> None:
        super().__init__()
        self.divisor = float(divisor)

    def mul_scalar(self, x: Tensor, y: float) -> Tensor:
        return self.activation_post_process(torch.div(x, self.divisor))


class DivScalar(MulScalar):
    """x / divisor; in int8 x * (1 / divisor), which is `scalar`."""

    def __init__(self, divisor: float) -> None:
        super().__init__(1 / divisor)
        self.divisor = float(divisor)
        self.op = DividingFloatFunctional(divisor)

    def extra_repr(self) -> str:
        return f"{self.divisor:g}"


class Wrapped(nn.Module):
    """dequantize, operate in float, quantize: the slow form of an operator, kept to show what it costs.

    `op` is one of the float modules above with its FloatFunctional never quantized.
    """

    def __init__(self, op: nn.Module) -> None:
        super().__init__()
        self.dequant = DeQuantStub()
        self.op = op
        self.quant = QuantStub()


class WrappedBinary(Wrapped):
    """A wrapped operator on two tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.quant(self.op(self.dequant(x), self.dequant(y)))


class WrappedUnary(Wrapped):
    """A wrapped operator on one tensor and a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return self.quant(self.op(self.dequant(x)))


class Emulated(WrappedUnary):
    """A function of one tensor that has no quantized kernel, where what is before and behind it is int8.

    dequantize, compute in float, quantize, as kernels of the engine do themselves (`quantized::matmul`): what an island
    would cost, and a range of its own. `op` is a module that takes one tensor and holds no parameters.
    """


class WrappedCat(Wrapped):
    """A wrapped concatenation."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return self.quant(self.op([self.dequant(tensor) for tensor in tensors]))
