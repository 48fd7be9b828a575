"""Which of torchvision's models a file's weights are of, by the names and shapes of its tensors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import nn
from torchvision import models as zoo

Shapes = Mapping[str, tuple[int, ...]]
# How many numbers a file may hold beside those that are published: its head may be smaller, or larger.
_FEWEST, _MOST = 0.5, 1.3
# With an average of the weights and two moments of an optimizer there are four for each.
_WITH_OPTIMIZER = 5.0
_LISTED = 3
# Weights and biases of the last layers of two heads.
_HEADS = 4


def published_names(shapes: Shapes, is_whole: bool = True) -> list[str]:
    """The torchvision models whose state_dict has these names, under a prefix or not, and these shapes but for a head.

    `is_whole` says that nothing but weights is in the file. At most three names. Models are made without memory, and
    only those that have about as many parameters: a second at most.
    """
    held = sum(_values(shape) for shape in shapes.values())
    found: list[str] = []
    for name in zoo.list_models(module=zoo):
        counts = [one.meta["num_params"] for one in zoo.get_model_weights(name)]
        most = _MOST if is_whole else _WITH_OPTIMIZER
        if any(_FEWEST * count <= held <= most * count for count in counts):
            model = _made(name)
            if model is not None and _has(shapes, {key: tuple(one.shape) for key, one in model.state_dict().items()}):
                found.append(name)
    return found[:_LISTED]


def _values(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _made(name: str) -> nn.Module | None:
    """A model of torchvision's without values; None of those whose code asks for them."""
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # of how two of them will be drawn in times to come
            model: nn.Module = zoo.get_model_builder(name)(weights=None)
            return model
    except (NotImplementedError, RuntimeError):
        return None


def _has(shapes: Shapes, own: Shapes) -> bool:
    wanted = {key: shape for key, shape in own.items() if "num_batches_tracked" not in key and "aux" not in key.lower()}
    first = next(iter(wanted))
    prefixes = [key.removesuffix(first) for key in shapes if key.endswith(first)]
    return any(_fits({key.removeprefix(one): shape for key, shape in shapes.items()}, wanted) for one in prefixes)


def _fits(shapes: Shapes, own: Shapes) -> bool:
    """Whether all of a model's own are there, the shape of a last layer or two but for its number of outputs."""
    if not own.keys() <= shapes.keys():
        return False
    others = [key for key, shape in own.items() if shapes[key] != shape]
    return len(others) <= _HEADS and all(shapes[key][1:] == own[key][1:] for key in others)
