"""Small models, and what every case of every pass is checked for (`rewrites.testing`)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rewrites.testing import Checked, assert_same_results, check, images, tensors, traced

__all__ = ["Checked", "alive", "assert_same_results", "check", "conv", "images", "model", "tensors", "text", "traced"]


def model(forward: Callable, **parts: object) -> nn.Module:
    """A module with this forward: modules and parameters are registered as such, plain tensors as buffers."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                    self.register_buffer(name, part)
                else:
                    setattr(self, name, part)

    Model.forward = forward
    return Model().eval()


def conv(channels_in: int = 8, channels_out: int = 8, kernel: int = 1, **settings: object) -> nn.Conv2d:
    """A convolution that fits the images of `images`."""
    return nn.Conv2d(channels_in, channels_out, kernel, **settings)


def text(block: str) -> list[str]:
    """The lines of a triple-quoted block, without the indentation of the test around it."""
    return [line.strip() for line in block.strip().splitlines()]


def alive(network: nn.Module, seed: int = 3) -> nn.Module:
    """With weights and statistics that a training could have left."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.3, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0.2, 0.4, generator=generator)
    return network
