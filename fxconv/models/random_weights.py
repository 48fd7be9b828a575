"""Random weights that say something: what an initialization leaves silent or faint would make every comparison idle.

Trained weights never come here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.models.batch_norms import BATCH_NORMS, reestimate_batch_norms
from fxconv.models.checkpoints import some
from fxconv.models.forward import cloned, tensors
from fxconv.models.signature import InputSignature
from rewrites.surroundings import unchanged

# Weights that are one constant below this silence what they multiply: heads that begin at 0, layer scales at 1e-6.
_SILENT = 1e-3
# Enough for stable statistics: a batch norm averages over every pixel of every image.
ENOUGH_IMAGES = 40
# What shows whether the outputs say something, and how faint a layer is.
_SETTLED_ON = 4
# A softmax over many classes needs more than 1 to lift one of them above a threshold.
_DEVIATIONS = (1, 2, 4, 8)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def redraw_silent(module: nn.Module, seed: int) -> list[str]:
    """Draw anew, from the seed, each parameter but the biases that is one constant near 0; their names.

    Matrices and filters get normal values of deviation 1 / sqrt(fan-in), scales a channel values from 0.1 to 1.
    """
    generator = torch.Generator().manual_seed(seed)
    names = []
    with torch.no_grad():
        for name, values in module.named_parameters():
            is_bias = name.endswith("bias")  # in_proj_bias too
            if is_bias or values.numel() < 2 or values.abs().max() > _SILENT or values.min() != values.max():
                continue
            fan_in = values.numel() // values.shape[0]
            if fan_in > 1:
                values.normal_(0, fan_in**-0.5, generator=generator)
            else:
                values.uniform_(0.1, 1, generator=generator)
            names.append(name)
    return names


def prepare_random_weights(
    module: nn.Module, batches: Callable[[int], Iterator[tuple[Tensor, ...]]], images: int = ENOUGH_IMAGES
) -> tuple[str, ...]:
    """Give a network of random weights statistics, and outputs, of its own inputs; what else was done, in words.

    `batches` gives so many images, in batches.

    Batch norms are re-estimated on the first `images`. When an output is empty then, as of detectors none of whose
    scores reach their threshold, or all are constant, faint layers are strengthened until the outputs say something.
    """
    arguments = InputSignature.of(module).arguments(next(batches(_SETTLED_ON)))
    reestimate_batch_norms(module, batches(images))
    notes: tuple[str, ...] = ()
    layers: list[nn.Module] = []
    for deviation in _DEVIATIONS:
        if not _says_nothing(module, arguments):
            break
        layers += unnormalized(module, arguments)  # once there are detections, heads with batch norms run on them
        strengthened = strengthen(module, arguments, layers, deviation)
        reestimate_batch_norms(module, batches(images))
        notes = (
            "with random weights an output was empty, or all were constant, so layers of faint output were scaled to a "
            f"deviation of {deviation}: {some(strengthened)}",
        )
    return notes


def strengthen(
    module: nn.Module, arguments: tuple[Any, ...], layers: Iterable[nn.Module], deviation: float = 1.0
) -> list[str]:
    """Scale the weights of each of the layers whose output deviates by less than `deviation` up to it; their names.

    Layer-sequential unit variance (Mishkin and Matas 2015), in one forward pass; biases stay.
    """
    names = {layer: name for name, layer in module.named_modules()}
    strengthened: list[str] = []

    def scale(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        shape = (-1,) if isinstance(layer, nn.Linear) else (-1, *[1] * len(layer.kernel_size))
        bias = torch.zeros(()) if layer.bias is None else layer.bias.view(shape)
        alone = output - bias
        present = alone.std().item() if alone.numel() > 1 else 0.0
        if names[layer] in strengthened or not 0 < present < deviation:
            return None
        strengthened.append(names[layer])
        layer.weight.mul_(deviation / present)
        return alone * (deviation / present) + bias

    _run(module, arguments, [layer.register_forward_hook(scale) for layer in dict.fromkeys(layers)])
    return strengthened


def unnormalized(module: nn.Module, arguments: tuple[Any, ...]) -> list[nn.Module]:
    """The layers that run after the last batch norm, which has made up for whatever was faint before it."""
    found: list[nn.Module] = []

    def forget(norm: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if output.numel():  # a head without detections runs on nothing
            found.clear()

    hooks = [
        layer.register_forward_hook(lambda layer, _, __: found.append(layer))
        for layer in module.modules()
        if isinstance(layer, _LAYERS)
    ]
    norms = (layer for layer in module.modules() if isinstance(layer, BATCH_NORMS))
    hooks += [norm.register_forward_hook(forget) for norm in norms]
    _run(module, arguments, hooks)
    return list(dict.fromkeys(found))


def _says_nothing(module: nn.Module, arguments: tuple[Any, ...]) -> bool:
    outputs = [leaf for leaf in tensors(_run(module, arguments, [])) if leaf.is_floating_point()]
    empty = any(not leaf.numel() for leaf in outputs)
    return empty or all(bool((leaf == leaf.flatten()[0]).all()) for leaf in outputs)


def _run(module: nn.Module, arguments: tuple[Any, ...], hooks: list[Any]) -> Any:
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), unchanged(module):
            return module(*cloned(arguments))
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
