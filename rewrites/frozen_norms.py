"""Batch norms written out with buffers, as detectors have them: known by what they compute, whatever their name."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

_BUFFERS = ("weight", "bias", "running_mean", "running_var")
_DRAWS = 3

_SUMS: tuple[Callable[..., Any], ...] = (operator.add, operator.sub, torch.add, torch.sub, Tensor.add, Tensor.sub)
_PRODUCTS: tuple[Callable[..., Any], ...] = (operator.mul, torch.mul, Tensor.mul)
_QUOTIENTS: tuple[Callable[..., Any], ...] = (operator.truediv, torch.div, Tensor.div)

_known: weakref.WeakKeyDictionary[nn.Module, float | None] = weakref.WeakKeyDictionary()


class _Alone(fx.Tracer):
    proxy_buffer_attributes = True


def frozen_batch_norm(module: nn.Module) -> float | None:
    """The eps of a batch norm [N, C, H, W] whose weight, bias, mean and variance are buffers; None for anything else.

    It is one when its forward is linear in its input and gives, for buffers drawn at random, what a batch norm gives:
    a clamp or a product more in it, and it is looked into. Not to be asked while tracing.
    """
    if module not in _known:
        _known[module] = _eps(module)
    return _known[module]


def _eps(module: nn.Module) -> float | None:
    extra = set(module._buffers) - {*_BUFFERS, "num_batches_tracked"}
    own = [module._buffers.get(name) for name in _BUFFERS]
    if extra or module._parameters or module._modules or type(module).__module__.startswith("torch.nn."):
        return None
    if module._forward_hooks or module._forward_pre_hooks:
        return None
    if len({tuple(value.shape) if value is not None else None for value in own}) != 1 or own[0] is None:
        return None
    if own[0].ndim != 1:
        return None
    try:
        graph = _Alone().trace(module)
        if not _is_linear(graph):
            return None
        named = getattr(module, "eps", None)
        literals = [value for node in graph.nodes for value in (*node.args, *node.kwargs.values())]
        for eps in dict.fromkeys(value for value in (named, *literals) if isinstance(value, float)):
            if all(_agrees(fx.GraphModule(module, graph), eps, seed) for seed in range(_DRAWS)):
                return eps
    except Exception:  # a forward that does not trace, or takes no image
        return None
    return None


def _is_linear(graph: fx.Graph) -> bool:
    """Whether the output is the input times and plus what does not depend on it."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    linear = set(inputs)
    for node in graph.nodes:
        reads = linear.intersection(node.all_input_nodes)
        if node.op == "output":
            return len(inputs) == 1 and node.args[0] in linear - set(inputs)
        if not reads:
            continue
        function = getattr(Tensor, str(node.target), None) if node.op == "call_method" else node.target
        once = len(reads) == 1 and sum(value in reads for value in node.args) == 1
        is_first = bool(node.args) and node.args[0] in reads
        in_sum_or_product = function in _SUMS or function in _PRODUCTS or (function in _QUOTIENTS and is_first)
        as_norm = function is F.batch_norm and is_first and _is_in_eval_mode(node)
        if not ((once and (as_norm or (in_sum_or_product and not node.kwargs))) or (function is operator.neg)):
            return False
        linear.add(node)
    return False


def _is_in_eval_mode(node: fx.Node) -> bool:
    training = node.args[5] if len(node.args) > 5 else node.kwargs.get("training", False)
    return training is False


def _agrees(module: fx.GraphModule, eps: float, seed: int) -> bool:
    """Whether it gives what a batch norm gives, with buffers of other numbers."""
    channels = len(module.get_buffer("weight"))
    draw = torch.Generator().manual_seed(seed)
    state = {name: torch.rand(channels, generator=draw, dtype=torch.float64) + 0.5 for name in _BUFFERS}
    # Neither height nor width is the number of channels, lest buffers laid along those agree too.
    height, width = [side for side in (3, 4, 5) if side != channels][:2]
    x = torch.randn(2, channels, height, width, generator=draw, dtype=torch.float64)
    for name, _ in list(module.named_buffers()):
        if name in state:
            module._buffers[name] = state[name]
    with torch.no_grad():
        given = module(x)
        norm = F.batch_norm(x, state["running_mean"], state["running_var"], state["weight"], state["bias"], eps=eps)
    return bool(given.shape == norm.shape and torch.allclose(given, norm, rtol=1e-9, atol=1e-9))
