"""Sizes are numbers to a forward: what people work out from them traces whole, and is right on other sizes too."""

# ruff: noqa: RUF005 -- forwards as people write them

import functools
import math
import operator
from collections import namedtuple
from dataclasses import dataclass
from math import ceil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sizecheck import decided, said_lines
from torch import nn

Sizes = namedtuple("Sizes", ["h", "w"])


@dataclass
class Box:
    h: int
    w: int


@functools.lru_cache
def half_of(size):
    return size // 2


# Nothing is fixed here: each is worked out anew for every size.
WORKED_OUT = {
    "floor": lambda self, x: x[:, :, : math.floor(x.shape[2] / 2)],
    "ceil": lambda self, x: x[:, :, : ceil(x.shape[2] / 3)],
    "round": lambda self, x: x[:, :, : round(x.shape[2] * 0.3)],
    "round_dig": lambda self, x: x * round(x.shape[2] / 3, 1),
    "isqrt": lambda self, x: x[:, :, : math.isqrt(x.shape[2])],
    "msqrt": lambda self, x: x / math.sqrt(x.shape[2]),
    "mlog2": lambda self, x: x / math.log2(x.shape[2]),
    "mlog": lambda self, x: x / math.log(x.shape[2], 2),
    "gcd": lambda self, x: x * math.gcd(x.shape[2], x.shape[3]),
    "mprod": lambda self, x: x * math.prod(x.shape[2:]),
    "mprod_all": lambda self, x: x / math.prod(x.shape),
    "mexp": lambda self, x: x * math.exp(-x.shape[2]),
    "mhypot": lambda self, x: x / math.hypot(x.shape[2], x.shape[3]),
    "mpow": lambda self, x: x / math.pow(x.shape[2], 2),
    "fabs": lambda self, x: x * math.fabs(-x.shape[2]),
    "trunc": lambda self, x: x[:, :, : math.trunc(x.shape[2] / 3)],
    "fmod": lambda self, x: x * math.fmod(x.shape[2], 3),
    "sum": lambda self, x: x * sum(x.shape),
    "abs": lambda self, x: x * abs(x.shape[2] - 20),
    "pow": lambda self, x: x * pow(x.shape[2], 2),
    "half": lambda self, x: x[:, :, : x.shape[2] // 2],
    "minus": lambda self, x: x[:, :, -(x.shape[2] // 2) :],
    "neg": lambda self, x: x * -x.shape[2],
    "pos": lambda self, x: x * +x.shape[2],
    "shift": lambda self, x: x[:, :, : x.shape[2] >> 1],
    "shiftl": lambda self, x: x * (x.shape[2] << 1),
    "band": lambda self, x: x * (x.shape[2] & 7),
    "bor": lambda self, x: x * (x.shape[2] | 1),
    "bxor": lambda self, x: x * (x.shape[2] ^ 1),
    "rfloordiv": lambda self, x: x * (100 // x.shape[2]),
    "rmod": lambda self, x: x * (100 % x.shape[2]),
    "unflatten": lambda self, x: x.unflatten(2, (x.shape[2] // 2, 2)),
    "unflatten2": lambda self, x: x.flatten(2).unflatten(2, x.shape[2:]),
    "interp": lambda self, x: F.interpolate(x, size=(x.shape[2] * 2, x.shape[3] // 2)),
    "interp_shape": lambda self, x: F.interpolate(x[:, :, ::2], size=x.shape[2:], mode="bilinear"),
    "interp_size": lambda self, x: F.interpolate(x[:, :, ::2], size=x.size()[2:]),
    "interp_int": lambda self, x: F.interpolate(x, size=x.shape[2] * 2),
    "pad": lambda self, x: F.pad(x, (0, 7 - x.shape[3] % 7, 0, 3 - x.shape[2] % 3)),
    "pad_neg": lambda self, x: F.pad(x, [0, -x.shape[3] % 7, 0, (-x.shape[2]) % 3]),
    "full": lambda self, x: x + torch.full((x.shape[2], x.shape[3]), 2.0),
    "full_size": lambda self, x: x + torch.full(x.shape[2:], 2.0),
    "zeros_shape": lambda self, x: x + torch.zeros(x.shape),
    "zeros_starred": lambda self, x: x + torch.zeros(*x.shape),
    "ones_list": lambda self, x: x + torch.ones([x.shape[0], 1, 1, x.shape[3]]),
    "zeros_like": lambda self, x: x + torch.zeros_like(x),
    "new_zeros1": lambda self, x: x + x.new_zeros(x.shape[0], 1, x.shape[2], 1),
    "expand_repeat": lambda self, x: x.flatten(1)[:, :4] + torch.arange(4.0).repeat(x.shape[0], 1),
    "numel": lambda self, x: x / x.shape.numel(),
    "numel2": lambda self, x: x / x[0].numel(),
    "starred": lambda self, x: x.permute(0, 2, 3, 1).reshape(*x.shape),
    "tuple": lambda self, x: x.permute(0, 2, 3, 1).reshape(tuple(x.shape)),
    "list": lambda self, x: x.permute(0, 2, 3, 1).reshape(list(x.size())),
    "addtuples": lambda self, x: x.reshape(x.shape[:2] + (x.shape[2] * x.shape[3],)),
    "addtuples2": lambda self, x: x.reshape((x.shape[0], -1) + x.shape[3:]),
    "multuple": lambda self, x: x.new_zeros((1,) * len(x.shape)) + x,
    "ntuple_make": lambda self, x: F.interpolate(x, Sizes._make(x.shape[2:])),
    "isinst": lambda self, x: x * 2 if isinstance(x.shape, torch.Size) else x,
    "isinst_tuple": lambda self, x: x * 2 if isinstance(x.shape, tuple) else x,
    "isinst_size": lambda self, x: x * 2 if isinstance(x.size(), torch.Size) else x,
    "isinst_int": lambda self, x: x * 2 if isinstance(x.shape[2], int) else x,
    "isinst_float": lambda self, x: x * 2 if isinstance(x.shape[2] / 2, float) else x,
    "typeis": lambda self, x: x * 2 if type(x.shape[2]) is int else x,
    "typein": lambda self, x: x * 2 if type(x.shape[2]) in (int, float) else x,
    "typeshape": lambda self, x: x * 2 if type(x.shape) is torch.Size else x,
    "lru_half": lambda self, x: x[:, :, : half_of(x.shape[2])],
    "opmul": lambda self, x: x * operator.mul(x.shape[2], x.shape[3]),
    "reduce2": lambda self, x: x * functools.reduce(lambda a, b: a * b, x.shape[1:], 1),
    "npmul": lambda self, x: x * (np.float32(2) * x.shape[2]),
    "npmul2": lambda self, x: x * (x.shape[2] * np.float32(2)),
    "ttensor": lambda self, x: x / torch.tensor(x.shape[3]),
    "ttensor_dtype": lambda self, x: x / torch.tensor(x.shape[3], dtype=x.dtype),
    "ttensor_sqrt": lambda self, x: x / torch.sqrt(torch.tensor(x.shape[3])),
    "revshape": lambda self, x: F.interpolate(x, x.shape[:1:-1]),
    "revlist": lambda self, x: F.interpolate(x, list(reversed(x.shape[2:]))),
    "len": lambda self, x: x / len(x),
    "len_view": lambda self, x: x.view(len(x), -1),
    "len_shape": lambda self, x: x * len(x.shape),
    "finfo": lambda self, x: x.clamp(min=torch.finfo(x.dtype).tiny),
    "devtype": lambda self, x: x * 2 if x.device.type == "cpu" else x,
    "wshape": lambda self, x: x / self.conv.weight.shape[0] + self.conv.weight.numel(),
    "todtype": lambda self, x: x.to(self.conv.weight.dtype),
    "masks": lambda self, x: x * (x > 0).to(x.dtype),
    "floatdiv": lambda self, x: x * (x.shape[2] / x.shape[3]),
    "stride": lambda self, x: x * x.stride(2),
    "strides": lambda self, x: x * x.stride()[2],
    "view_batch": lambda self, x: x.view(x.size(0) * 2, -1),
    "roll": lambda self, x: x.roll(x.shape[3] // 2, 3),
    "narrow": lambda self, x: x.narrow(2, 0, x.shape[2] // 2),
    "select": lambda self, x: x.select(2, x.shape[2] - 1),
    "lastrow": lambda self, x: x[:, :, x.shape[2] - 1],
    "adaptive": lambda self, x: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2)),
    "avgpool_all": lambda self, x: F.avg_pool2d(x, x.shape[2:]),
    "avgpool_size": lambda self, x: F.avg_pool2d(x, kernel_size=x.size()[2:]),
    "avgpool_int": lambda self, x: F.avg_pool2d(x, x.shape[2]),
    "layer_norm": lambda self, x: F.layer_norm(x, x.shape[3:]),
    "scalesqrt": lambda self, x: x @ x.transpose(2, 3) * x.shape[-1] ** -0.5,
    "sdpa": lambda self, x: F.softmax(x @ x.transpose(2, 3) / math.sqrt(x.size(-1)), -1),
    "catbatch": lambda self, x: x.repeat(1, x.shape[0], 1, 1),
    "lenin": lambda self, x: x * (10 / len(x)),
    "slice_obj": lambda self, x: x[:, :, slice(0, x.shape[2], 2)],
    "slices_tuple": lambda self, x: x[tuple(slice(0, s // 2) for s in x.shape)],
    "up3": lambda self, x: F.interpolate(x, size=[round(s * 1.5) for s in x.shape[2:]]),
    "up4": lambda self, x: F.interpolate(x, size=tuple(s * 2 for s in x.shape[2:])),
    "up6": lambda self, x: F.interpolate(x, size=(math.floor(x.shape[2] * 1.5), math.floor(x.shape[3] * 1.5))),
    "avg_k": lambda self, x: F.avg_pool2d(x, (x.shape[2], 1)),
    "avg_k2": lambda self, x: F.avg_pool2d(x, (x.size(2), x.size(3))).flatten(1),
    "unfold": lambda self, x: F.fold(F.unfold(x, 2, stride=2), x.shape[2:], 2, stride=2),
    "normdim": lambda self, x: F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],)),
    "topk2": lambda self, x: x.flatten(2).topk(x.shape[3] // 2, -1)[0],
    "split_last": lambda self, x: x.split(4, 2)[-1],
    "where_size": lambda self, x: torch.where(x > x.shape[2] / 20, x, 0.0),
    "clampsize": lambda self, x: x.clamp(max=x.shape[2] / 20),
    "linspace": lambda self, x: x * torch.linspace(0, 1, x.shape[3]),
    "arange": lambda self, x: x * torch.arange(x.shape[3], dtype=x.dtype, device=x.device),
    "eye": lambda self, x: x @ torch.eye(x.shape[3]),
    "ttensor_list": lambda self, x: x / torch.tensor([x.shape[2], x.shape[3]]).sum(),
    "ttensor_shape": lambda self, x: x / torch.tensor(x.shape[2:]).sum(),
    "onehot": lambda self, x: x + F.one_hot(torch.arange(x.shape[3]), x.shape[3]),
    "astensor": lambda self, x: x * torch.as_tensor(x.shape[2:])[0],
    "meshgrid": lambda self, x: sum(torch.meshgrid(*map(torch.arange, x.shape[-2:]), indexing="ij"), x),
    "titem": lambda self, x: x * torch.tensor(x.shape[2]).item(),
    "boolmul": lambda self, x: x * (x.shape[2] > 12),
    "boolmul2": lambda self, x: x + 2 * (x.shape[2] > 12) + (x.shape[3] == 16),
    "batch_idx": lambda self, x: x * torch.arange(1.0, 40)[x.shape[0]],
    "batch_mod": lambda self, x: x * (x.shape[0] % 2 + 1),
    "batch_arange": lambda self, x: x * torch.arange(1, x.shape[0] + 1).view(-1, 1, 1, 1),
    "batch_linspace": lambda self, x: x * torch.linspace(0, 1, x.shape[0]).view(-1, 1, 1, 1),
    "batch_eye": lambda self, x: torch.eye(x.shape[0]) @ x.flatten(1),
    "batch_half": lambda self, x: x[: x.shape[0] // 2 + 1],
    "view_of_h": lambda self, x: x.reshape(-1, x.shape[3])[: x.shape[2]],
    "size_dim": lambda self, x: x.reshape(x.size(dim=0), -1),
    "T": lambda self, x: x.mT + x.transpose(2, 3),
    "shape_concat": lambda self, x: x.reshape((*x.shape[:-1], x.shape[-1] // 2, 2)),
    "shape_bool": lambda self, x: x * 2 if x.shape else x,
    "pick": lambda self, x: x * operator.itemgetter(2)(x.shape),
    "bmm": lambda self, x: torch.bmm(torch.ones(x.shape[0], 2, 4), x.flatten(2)),
    "zeros_k": lambda self, x: x + torch.zeros(size=(x.shape[0], 1, 1, 1)),
    "zeros_dt": lambda self, x: x + torch.zeros(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device),
    "tensor_batch": lambda self, x: x / torch.tensor(x.shape[0]),
    "idx_arange": lambda self, x: x[torch.arange(x.shape[0]), 1],
    "ratio1": lambda self, x: F.interpolate(x, scale_factor=24 / x.shape[2]),
    "chunk2": lambda self, x: torch.stack([p.mean(1) for p in x.chunk(2, 1)]),
    "shape_sub": lambda self, x: x * (x.shape[-1] - x.shape[-2] + 1),
}


@pytest.mark.parametrize("forward", WORKED_OUT.values(), ids=WORKED_OUT)
def test_what_is_worked_out_from_sizes_fixes_nothing(forward):
    assert decided(forward, passes=False) == []


def divmod_of_a_size(self, x):
    rows, rest = divmod(x.shape[2], 3)
    return x * (rows + rest)


def divmod_by_a_size(self, x):
    times, rest = divmod(50, x.shape[2])
    return x * (times + rest)


def enumerated(self, x):
    for place, size in enumerate(x.shape):
        x = x / (size + place)
    return x


def zipped(self, x):
    for size, weight in zip(x.shape, (1, 2, 3, 4), strict=True):
        x = x / (size * weight)
    return x


def by_name(self, x):
    sizes = dict(zip("nchw", x.shape, strict=True))
    return x.reshape(sizes["n"], sizes["c"], sizes["h"] * sizes["w"])


def unpacked(self, x):
    *_, h, w = x.shape
    n, *rest = x.shape
    return x.reshape(-1, h * w).reshape(n, -1) * len(rest)


def changed_list(self, x):
    sizes = list(x.shape)
    sizes[1] = sizes[1] // 2
    sizes[2] *= 2
    sizes.insert(1, 1)
    return x.reshape(sizes)


def a_namedtuple(self, x):
    sizes = Sizes(*x.shape[2:])
    return x[:, :, : sizes.h // 2, : sizes.w // 2]


def a_dataclass(self, x):
    box = Box(*x.shape[2:])
    return x[:, :, : box.h // 2, : box.w // 2]


def matched(self, x):
    match x.shape:
        case (n, c, h, w):
            return x.reshape(n, c * h, w)
        case _:
            return x


def zeros(self, x):
    n, c, h, w = x.shape
    return x + torch.zeros(n, c, h, w)


def expanded(self, x):
    n, made = x.shape[0], torch.arange(4.0)
    return x.flatten(1)[:, :4] + made.unsqueeze(0).expand(n, -1) + made[None].expand(x.shape[0], 4)


def split_in_a_ratio(self, x):
    first = x.shape[2] // 2
    upper, lower = x.split([first, x.shape[2] - first], 2)
    return upper.mean(2) - lower.mean(2)


def queries_keys_values(self, x):
    n, c, h, w = x.shape
    tokens = x.flatten(2).transpose(1, 2)
    three = torch.cat([tokens, tokens, tokens], 2).reshape(n, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
    q, k, v = three.unbind(0)
    first, second, third = three
    attention = (q @ k.transpose(-2, -1)) * (c // 2) ** -0.5 + first.mean() + second.mean() * third.mean()
    return (attention.softmax(-1) @ v).transpose(1, 2).reshape(n, h * w, c)


def windows(self, x):
    n, c, h, w = x.shape
    parts = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).contiguous().view(-1, 2, 2, c)
    return parts.view(n, h // 2, w // 2, 2, 2, -1)


def a_part_cut_to_size(self, x):
    y = F.max_pool2d(x, 3)
    high, wide = x.size(2) - y.size(2), x.size(3) - y.size(3)
    return F.pad(y, [wide // 2, wide - wide // 2, high // 2, high - high // 2]) + x


def on_the_inputs_device(self, x):
    with torch.device(x.device):
        return x + torch.arange(4.0)[:, None, None]


def asserted(self, x):
    assert x.ndim == 4, f"got {x.shape}"
    torch._assert(x.ndim == 4, f"rank {x.ndim} of {x.shape}")
    torch._assert(x.shape[1] == 4, f"channels {x.shape[1]}")
    return x


def checked(self, x):
    torch._check(x.shape[2] > 3)
    torch._check(x.shape[3] > 3, lambda: f"too narrow: {x.shape[3]}")
    return x


def a_method_that_remembers(self, x):
    return x[:, :, : self.half(x.shape[2])]


def kept_for_later(self, x):
    self.last = x.shape[2]
    return x[:, :, : self.last // 2]


@pytest.mark.parametrize(
    "forward",
    [divmod_of_a_size, divmod_by_a_size, enumerated, zipped, by_name, unpacked, changed_list, a_namedtuple, a_dataclass,
     matched, zeros, expanded, split_in_a_ratio, queries_keys_values, windows, a_part_cut_to_size, on_the_inputs_device,
     asserted, checked, kept_for_later],
    ids=lambda forward: forward.__name__,
)  # fmt: skip
def test_statements_about_sizes_fix_nothing(forward):
    assert decided(forward) == []


def test_a_method_that_remembers_sizes_fixes_nothing():
    assert decided(a_method_that_remembers, half=functools.lru_cache(lambda size: size // 2)) == []

    class Halving(nn.Module):
        @functools.lru_cache  # noqa: B019
        def half(self, size):
            return size // 2

        def forward(self, x):
            return x[:, :, : self.half(x.shape[2])]

    assert decided(lambda self, x: self.inner(x), inner=Halving()) == []
    assert type(Halving.half) is type(half_of)  # put back


def test_learned_and_kept_tensors_are_cut_and_resized_to_the_image():
    assert (
        decided(lambda self, x: x + self.at[..., : x.shape[2], : x.shape[3]], at=lambda: torch.ones(1, 1, 40, 40)) == []
    )
    assert decided(lambda self, x: x + F.interpolate(self.at, x.shape[2:]), at=lambda: torch.ones(1, 4, 8, 8)) == []
    assert decided(lambda self, x: x + self.at[x.shape[2]], at=lambda: torch.arange(40.0)) == []

    def with_a_class_token(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat((self.token.expand(x.shape[0], -1, -1), tokens, self.token.repeat(tokens.size(0), 1, 1)), 1)

    assert decided(with_a_class_token, token=lambda: nn.Parameter(torch.ones(1, 1, 4))) == []


def test_a_function_of_a_closure_that_remembers_sizes_is_told():
    remembered = functools.cache(lambda h, w: (h // 2, w // 2))

    def forward(self, x):
        return F.interpolate(x, remembered(*x.shape[2:]))  # decides

    assert decided(forward) == said_lines(forward, "decides")


def test_no_size_is_left_in_what_a_function_remembers():
    half_of.cache_clear()
    assert decided(lambda self, x: x[:, :, : half_of(x.shape[2])]) == []
    assert [type(half_of(size)) for size in (16, 24, 20, 18)] == [int] * 4
    assert half_of(16) == 8


def remembered(self, x):
    key = (x.shape[2], x.shape[3])
    if key not in self.grids:  # decides
        self.grids[key] = torch.arange(key[0] * key[1]).reshape(key).float()  # decides
    return x + self.grids[key]  # decides


def padded_to_the_stride(self, x):
    h, w = x.shape[-2:]
    if h % 8 or w % 8:  # decides
        x = F.pad(x, (0, -w % 8, 0, -h % 8))
    return x


def padded_as_tensorflow_does(self, x):
    h, w = x.shape[-2:]
    high = max((math.ceil(h / 3) - 1) * 3 + 3 - h, 0)  # decides
    wide = max((math.ceil(w / 3) - 1) * 3 + 3 - w, 0)  # decides
    return F.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2])


def positions_of_another_size(self, x):
    positions = self.positions
    if x.shape[2] * x.shape[3] != positions.shape[1]:  # decides
        side = int(positions.shape[1] ** 0.5)
        square = positions.reshape(1, side, side, 4).permute(0, 3, 1, 2)
        positions = F.interpolate(square, size=x.shape[2:], mode="bilinear").flatten(2).transpose(1, 2)
    return x.flatten(2).transpose(1, 2) + positions


def grouped_statistics(self, x):
    groups = min(2, x.shape[0])  # decides
    parts = x.reshape(groups, -1, *x.shape[1:])
    return x + parts.std(0, unbiased=False).mean()


@pytest.mark.parametrize(
    ("forward", "parts"),
    [
        (remembered, {"grids": dict}),
        (padded_to_the_stride, {}),
        (padded_as_tensorflow_does, {}),
        (positions_of_another_size, {"positions": lambda: nn.Parameter(torch.ones(1, 256, 4))}),
        (grouped_statistics, {}),
    ],
)
def test_what_is_fixed_for_the_size_is_told_with_its_line(forward, parts):
    assert decided(forward, **parts) == said_lines(forward, "decides")
