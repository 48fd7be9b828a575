"""Random small forwards, put together from what people write about sizes, as Python functions."""

import bisect
import functools
import linecache
import math
import random
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# Statements on `x`, a batch of images of any size and number of channels. {n} is a small number, {d} a dimension, {s}
# one of an image's sides.
WORKED_OUT = (
    "x = x.softmax(-1) * x.shape[-1] ** 0.5",
    "x = x[:, :, : x.shape[2] // 2 + {n}]",
    "x = x * round(x.shape[{d}] / 3)",
    "x = x / math.sqrt(x.shape[1] * x.shape[{d}])",
    "n, c, h, w = x.shape; x = x.reshape(n, c * h, w).view(n, c, h, w)",
    "n, c, h, w = x.size(); x = x.permute(0, 2, 3, 1).reshape(n, h * w, c).transpose(1, 2).reshape(n, c, h, w)",
    "x = x.flatten(1).view(len(x), *x.shape[1:])",
    "x = F.interpolate(x, size=x.shape[:1:-1])",
    "x = F.interpolate(x, size=(x.shape[2] + {n}, math.ceil(x.shape[3] / 2)))",
    "x = F.pad(x, (0, -x.shape[3] % {n}, 0, {n} - x.shape[2] % {n}))",
    "x = x + torch.arange(x.shape[0]).view(-1, 1, 1, 1)",
    "x = x + torch.arange(x.shape[3], dtype=x.dtype, device=x.device)",
    "x = x + torch.linspace(0, 1, x.shape[2])[:, None]",
    "x = x @ torch.eye(x.shape[3])",
    "x = x + torch.ones(x.shape[0], 1, *x.shape[2:])",
    "x = torch.cat([x, x.new_zeros(x.shape[0], {n}, x.shape[2], x.shape[3])], 1)",
    "x = x / torch.tensor(x.shape[{d}])",
    "x = x + torch.zeros(x.shape[2:]).fill_({n})",
    "x = torch.cat(x.chunk(2, 2)[::-1], 2)",
    "a, b = x.split([1, x.shape[1] - 1], 1); x = torch.cat([b, a], 1)",
    "x = x * sum(size * place for place, size in enumerate(x.shape))",
    "x = x * functools.reduce(lambda a, b: a + b, x.shape[1:])",
    "q, r = divmod(x.shape[{d}], 3); x = x * (q + r + 1)",
    "x = F.adaptive_avg_pool2d(x, (x.shape[2] // 2 + 1, None))",
    "x = x + F.avg_pool2d(x, x.shape[2:])",
    "x = x + F.max_pool2d(x, (x.shape[2], 1))",
    "x = F.layer_norm(x, x.shape[-1:])",
    "x = x.roll(x.shape[3] // 2, 3)",
    "x = x - x.select({d}, x.shape[{d}] - 1).unsqueeze({d})",
    "s = list(x.shape); s[1] = -1; x = x.flatten(1, 2).reshape(s[0], -1, s[3]).view(s)",
    "assert x.ndim == 4, f'got {{x.shape}}'",
    "torch._check(x.shape[{d}] > 0, lambda: f'got {{x.shape}}')",
    "x = x * (1 if isinstance(x.shape, torch.Size) and isinstance(x.shape[{d}], int) else 5)",
    "x = x * (1 if type(x.shape[{d}]) is int else 5)",
    "x = x * x.numel() / x.shape.numel()",
    "x = x * (x.stride(1) // x.shape[3])",
    "x = x * (x.shape[{d}] & {n} | 1)",
    "m = torch.ones(x.shape[2], x.shape[3]).tril(); x = x * m",
    "x = torch.where(x > x.shape[{d}] / 50, x, x * 0.5)",
    "x = x + half(x.shape[{d}])",
    "x = x.expand(x.shape[0], -1, -1, -1) + torch.ones(1, 1, 1, 1).expand(x.shape[0], -1, x.shape[2], -1)",
)
# These take a decision by a size, or make a constant of it.
DECIDING = (
    "x = x[..., : int(x.shape[3] * 0.75) + 1]",
    "x = x + x.new_full((x.shape[3],), {n})",
    "x = x * (2 if x.shape[{d}] % {n} else 1)",
    "x = x * {{16: 0.5, 2: 3.0}}.get(x.shape[{d}], 1.0)",
    "x = x * (2 if x.shape[{d}] in {{8, 16, 2, 24}} else 1)",
    "x = x * (2 if x.shape[2:] in {{torch.Size((16, 16)), torch.Size((24, 16))}} else 1)",
    "x = x * (2 if f'k{{x.shape[{d}]}}' in ('k16', 'k1') else 1)",
    "x = x * (2 if hasattr(self, f'k{{x.shape[{d}]}}') else 1)",
    "x = x * len('%d' % x.shape[{d}])",
    "x = x * (bisect.bisect([4, 12, 17, 23], x.shape[{d}]) + 1)",
    "x = x * max(x.shape[2:]) / 16",
    "x = x * (x.shape[2] > x.shape[3] or {n})",
    "x = x / float(np.sqrt(x.shape[{d}]))",
    "x = x / float(np.prod(x.shape[2:]))",
    "x = x + sum(row.mean() for row in x.unbind({s}))",
    "x = x + torch.stack([part.mean() for part in x.split({n}, {s})]).sum()",
    "x = x + torch.stack([part.mean() for part in x.chunk({n} + 1, {s})]).sum()",
    "x = sum(x[:, :, at : at + 1] for at in range(0, x.shape[2], {n} + 2)) + x",
    "x = x * len([1] * x.shape[{d}])",
    "x = x * min([3, 14, 21], key=lambda size: abs(size - x.shape[{d}]))",
    "key = (x.shape[2], x.shape[3]); x = x * (3 if key == (16, 16) else 1)",
    "h = x.shape[{d}]; x = x * 2 if 8 < h <= 20 else x",
    "x = x * 2 if x.shape[0] > 1 else x",
)


@functools.lru_cache
def half(size):
    return size // 2


def random_forward(seed: int) -> tuple[str, Callable[..., Any], list[str]]:
    """Two to four statements around a layer or two: the text, the function and the places of its decisions."""
    choose, name = random.Random(seed), f"random_forward_{seed}.py"
    kinds = [DECIDING if choose.random() < 0.25 else WORKED_OUT for _ in range(choose.randint(2, 4))]
    lines = [
        (choose.choice(kind).format(n=choose.randint(2, 5), d=choose.randint(0, 3), s=choose.randint(2, 3)), kind)
        for kind in kinds
    ]
    lines.insert(choose.randrange(len(lines)), ("x = self.layer(x)", WORKED_OUT))
    if choose.random() < 0.5:
        lines.append(("x = self.act(x)", WORKED_OUT))
    body = "\n".join([line for line, _ in lines] + ["return x"])
    text = "def forward(self, x):\n" + textwrap.indent(body, "    ")
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    scope = {"torch": torch, "F": F, "np": np, "math": math, "bisect": bisect, "functools": functools, "half": half}
    made: dict[str, Any] = scope | {"__name__": "random_forwards"}
    exec(compile(text, name, "exec"), made)
    return text, made["forward"], [f"{name}:{at}" for at, (_, kind) in enumerate(lines, start=2) if kind is DECIDING]


class PointwiseLayer(nn.Module):
    """A layer for any number of channels and any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.conv(x.flatten(0, 1).unsqueeze(1)).view(x.shape)
