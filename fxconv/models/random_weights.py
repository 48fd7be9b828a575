"""Random weights that say something: what an initialization leaves silent or faint would make every comparison idle.

Trained weights never come here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.models.batch_norms import BATCH_NORMS, reestimate_batch_norms, statistics_of_the_batch
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
# Int8 tells 256 values apart, and no observer gives a scale below the eps of float32: an output that varies by less
# than these steps, or by less than so many of the steps that float32 has at its largest value, is lost in either.
_STEPS = 255 * torch.finfo(torch.float32).eps
# A matrix that deviates by less than this share of 1 / sqrt(fan-in) passes on next to nothing of what comes.
_FAINT = 0.1
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
    scores reach their threshold, faint layers behind the last batch norm are strengthened until the outputs say
    something. When none varies with the image, or one by less than int8 or float32 can tell, as where every layer is
    drawn with a tiny deviation, faint layers are strengthened throughout.
    """
    arguments = InputSignature.of(module).arguments(next(batches(_SETTLED_ON)))
    reestimate_batch_norms(module, batches(images))
    notes: tuple[str, ...] = ()
    layers: list[nn.Module] = []
    lifted: list[str] = []
    for deviation in _DEVIATIONS:
        trouble, is_throughout = _trouble(module, arguments)
        if not trouble:
            break
        if is_throughout:
            layers = running(module, arguments)
            lifted += lift_parameters(module, layers)
        else:
            layers += unnormalized(module, arguments)  # once there are detections, heads with batch norms run on them
        with statistics_of_the_batch(module) if is_throughout else nullcontext():
            strengthened = strengthen(module, arguments, layers, deviation)
        reestimate_batch_norms(module, batches(images))
        notes = (
            f"with random weights {trouble}, so layers of faint output were scaled to a deviation of {deviation}: "
            f"{some([*lifted, *strengthened])}",
        )
    return notes


def lift_parameters(module: nn.Module, layers: Iterable[nn.Module]) -> list[str]:
    """Scale each faint parameter but biases and the layers' weights up to what initializations give; their names.

    They multiply inside modules of the user's and of attention, whose products no layer gives. Matrices get a deviation
    of 1 / sqrt(fan-in), scales a channel a largest value of 1. Constants are no matter of scale; see `redraw_silent`.
    """
    weights = {id(layer.weight) for layer in layers}
    names = []
    with torch.no_grad():
        for name, values in module.named_parameters():
            if name.endswith("bias") or id(values) in weights or values.numel() < 2 or values.min() == values.max():
                continue
            fan_in = values.numel() // values.shape[0]
            present = values.double().std().item() if fan_in > 1 else values.double().abs().max().item()
            wanted = fan_in**-0.5 if fan_in > 1 else 1.0
            if present < wanted * (_FAINT if fan_in > 1 else _SILENT):
                values.mul_(wanted / present)
                names.append(name)
    return names


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
        if alone.numel() and alone.abs().max() < _SILENT * bias.abs().max():  # rounding may be louder
            with _without_biases(layer):
                alone = layer.forward(*inputs)
        present = alone.std().item() if alone.numel() > 1 else 0.0
        if names[layer] in strengthened or not 0 < present < deviation:
            return None
        strengthened.append(names[layer])
        layer.weight.mul_(deviation / present)
        return alone * (deviation / present) + bias

    _run(module, arguments, [layer.register_forward_hook(scale) for layer in dict.fromkeys(layers)])
    return strengthened


def running(module: nn.Module, arguments: tuple[Any, ...]) -> list[nn.Module]:
    """The layers whose forward runs; attention reads the weights of its last and calls it never."""
    found: list[nn.Module] = []
    _run(module, arguments, _noting(module, found))
    return list(dict.fromkeys(found))


def unnormalized(module: nn.Module, arguments: tuple[Any, ...]) -> list[nn.Module]:
    """The layers that run after the last batch norm, which has made up for whatever was faint before it."""
    found: list[nn.Module] = []

    def forget(norm: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if output.numel():  # a head without detections runs on nothing
            found.clear()

    norms = (layer for layer in module.modules() if isinstance(layer, BATCH_NORMS))
    hooks = [*_noting(module, found), *(norm.register_forward_hook(forget) for norm in norms)]
    _run(module, arguments, hooks)
    return list(dict.fromkeys(found))


def _noting(module: nn.Module, found: list[nn.Module]) -> list[Any]:
    layers = (layer for layer in module.modules() if isinstance(layer, _LAYERS))
    return [layer.register_forward_hook(lambda layer, _, __: found.append(layer)) for layer in layers]


def _trouble(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[str, bool]:
    """Why the outputs say nothing, "" when they do, and whether layers before the last batch norm can be why."""
    outputs = tensors(_run(module, arguments, []))
    if any(not leaf.numel() for leaf in outputs if leaf.is_floating_point()):
        return "an output was empty", False
    images = arguments[0].shape[0] if isinstance(arguments[0], Tensor) else 0
    spreads = [_spread(leaf, images) for leaf in outputs]
    if not any(spreads):
        return "no output varied", True
    for spread, leaf in zip(spreads, outputs, strict=True):
        if 0 < spread <= _STEPS * max(1.0, leaf.abs().max().item()):
            return f"an output varied by no more than {spread:.1g}", True
    if 0 in spreads:  # anchors do not vary either, with or without biases
        with _without_biases(module):
            alone = tensors(_run(module, arguments, []))
        if any(not spread and _spread(leaf, images) for spread, leaf in zip(spreads, alone, strict=False)):
            return "an output was its biases alone", True
    return "", False


@contextmanager
def _without_biases(module: nn.Module) -> Iterator[None]:
    biases = [layer.bias for layer in module.modules() if isinstance(layer, _LAYERS) and layer.bias is not None]
    kept = [bias.detach().clone() for bias in biases]
    with torch.no_grad():
        try:
            for bias in biases:
                bias.zero_()
            yield
        finally:
            for bias, values in zip(biases, kept, strict=True):
                bias.copy_(values)


def _spread(values: Tensor, images: int) -> float:
    """The largest distance of a value from its mean over the images: biases give the same whatever is in an image.

    Without several images, as of lists of boxes, from the mean of its channel, or of all where a channel has one value.
    """
    exact = (torch.view_as_real(values) if values.is_complex() else values).double()
    if images > 1 and exact.ndim and len(exact) == images:
        exact = exact.reshape(images, -1).T
    elif exact.ndim > 1 and exact.numel() > exact.shape[1]:
        exact = exact.transpose(0, 1).flatten(1)
    else:
        exact = exact.flatten()[None]
    return float((exact - exact.mean(1, keepdim=True)).abs().max())


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
