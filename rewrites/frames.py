"""The two ways in which a video [N, C, T, H, W] is a batch of images, and the ways back.

As *frames* [N*T, C, H, W] what a layer does within each frame is two-dimensional; as *columns* [N, C, T, H*W] what it
does along time is. In the memory layout int8 convolutions hand on, channels last, all four are views of the same bytes
unless a frame is joined with others.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ToFrames(nn.Module):
    """[N, C, T, H, W] to [N*T', C*taps, H, W]: every `step`-th frame, with the frames behind it as more channels.

    These are `taps` frames in all, `spread` frames apart, of a video with `padding` black frames at either end. Channel
    c of tap t is channel `c * taps + t`, so a kernel [O, I, taps, kh, kw] becomes one for images, of shape
    [O, I*taps, kh, kw], by a view. T' is the number of times that the frames fit.
    """

    def __init__(
        self,
        taps: int = 1,
        step: int = 1,
        padding: int = 0,
        spread: int = 1,
    ) -> None:
        super().__init__()
        self.taps, self.step, self.padding, self.spread = taps, step, padding, spread

    def forward(self, x: Tensor) -> Tensor:
        if self.padding > 0:  # as columns, for the engine pads no quantized video
            padded = F.pad(x.flatten(3), [0, 0, self.padding, self.padding])
            x = padded.unflatten(3, [-1, x.size(4)])
        if self.taps == 1 and self.step == 1:
            return x.transpose(1, 2).flatten(0, 1)
        # [N, C, T', H, W, frames]
        windows = x.unfold(2, (self.taps - 1) * self.spread + 1, self.step)
        windows = windows[..., :: self.spread]
        # Copied with the channels last, as the convolution behind it wants them.
        frames = windows.permute(0, 2, 3, 4, 1, 5).flatten(4, 5).flatten(0, 1)
        return frames.permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        usual = {"taps": 1, "step": 1, "padding": 0, "spread": 1}
        own = {name: getattr(self, name) for name in usual}
        return ", ".join(f"{n}={v}" for n, v in own.items() if v != usual[n])


class FromFrames(nn.Module):
    """[N*T, C, H, W] to [N, C, T, H, W], given N."""

    def forward(self, x: Tensor, batch: int) -> Tensor:
        return x.unflatten(0, [batch, -1]).transpose(1, 2)


class ToColumns(nn.Module):
    """[N, C, T, H, W] to [N, C, T, H*W]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(3)


class FromColumns(nn.Module):
    """[N, C, T, H*W] to [N, C, T, H, W], given W."""

    def forward(self, x: Tensor, width: int) -> Tensor:
        return x.unflatten(3, [-1, width])
