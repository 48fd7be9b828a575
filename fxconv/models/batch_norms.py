"""Batch norms of networks with random weights: statistics of their own inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fxconv.models.forward import cloned
from fxconv.models.signature import InputSignature
from rewrites.surroundings import unchanged

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def reestimate_batch_norms(module: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]) -> int:
    """Set every batch norm's running statistics to those of the batches; returns how many there are.

    A freshly initialised network's outputs fade towards zero through its depth, and a comparison against
    zeros says nothing; with statistics of its own inputs each layer passes its signal on. A layer that sees one value
    a channel, of which there is no variance, gets mean 0 and variance 1. The training flag and the momentum of each
    layer are left as they were.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, BATCH_NORMS) and layer.track_running_stats]
    if not norms:
        return 0
    before = [(layer.training, layer.momentum) for layer in norms]
    hooks = [layer.register_forward_pre_hook(_train_on_several_values) for layer in norms]
    signature, was_training = InputSignature.of(module), module.training
    module.eval()
    try:
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # cumulative average over all batches
        with torch.inference_mode(), unchanged(module):
            for batch in batches:
                module(*cloned(signature.arguments(batch)))  # it may write into its input
            statistics = [dict(layer._buffers) for layer in norms]
        for layer, made in zip(norms, statistics, strict=True):
            layer._buffers.update(made)  # a class of its own may not write them in place
    finally:
        for hook in hooks:
            hook.remove()
        module.train(was_training)
        for layer, (training, momentum) in zip(norms, before, strict=True):
            layer.momentum = momentum
            layer.train(training)
    return len(norms)


@contextmanager
def statistics_of_the_batch(module: nn.Module) -> Iterator[None]:
    """Inside, every batch norm normalizes by the statistics of what it is given, and keeps its own."""
    norms = [layer for layer in module.modules() if isinstance(layer, BATCH_NORMS) and layer.track_running_stats]
    before = [(layer.training, layer.momentum) for layer in norms]
    hooks = [layer.register_forward_pre_hook(_train_on_several_values) for layer in norms]
    try:
        for layer in norms:
            layer.momentum = 0.0
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, (training, momentum) in zip(norms, before, strict=True):
            layer.momentum = momentum
            layer.train(training)


def _train_on_several_values(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    layer.train(inputs[0].numel() > inputs[0].size(1))
