"""The rules of lowering on all graphs of a module, and whether its batch may be of any size then."""

from __future__ import annotations

import importlib.metadata
import operator
from typing import Any

import torch
from torch import fx, nn

from fxconv.errors import InternalError
from fxconv.models.checkpoints import some
from fxconv.targets.executorch.quiet import quiet
from fxconv.targets.executorch.refusals import refusal
from fxconv.targets.executorch.rules import RULES
from fxconv.targets.qdq.dynamic import CHOOSE
from fxconv.targets.qdq.rules.qdq_nodes import SOURCE
from fxconv.targets.qdq.ruling import apply_to_graphs, has_one_batch
from rewrites.parts import graphs_in

# Operations that the delegate takes for known sizes alone; a batch of any size would put them outside.
_OF_KNOWN_SIZES = frozenset({torch.narrow, torch.roll, torch.nn.functional.interpolate, operator.getitem})


def with_rules(
    module: nn.Module,
    example: tuple[Any, ...],
    dynamic_sizes: tuple[int, int] | None,
    may_be_free: bool,
    release: str | None,
) -> tuple[nn.Module, str]:
    """The module after the rules, and why its batch is that of the example; "" where it may be of any size."""
    fixed = "no other was asked for"
    if not has_one_batch(example):
        fixed = "its inputs have no batch in common"
    elif may_be_free:
        try:
            with quiet():
                ruled = apply_to_graphs(module, example, RULES, True, dynamic_sizes)
            fixed = _fixed_by(ruled, release)
            if not fixed:
                return ruled, ""
        except InternalError:
            raise
        except Exception as error:  # the module's own code may refuse another batch in any way
            fixed = f"the model refuses another ({refusal(error)})"
    with quiet():
        return apply_to_graphs(module, example, RULES, False, dynamic_sizes), fixed


def _fixed_by(ruled: nn.Module, release: str | None) -> str:
    """Why a batch of any size would take operations out of the delegate, or a runtime would not stand it."""
    called = [node for graph in graphs_in(ruled).values() for node in graph.graph.nodes]
    left = [node for node in called if node.target in _OF_KNOWN_SIZES and not _is_range(node)]
    if left:
        names = dict.fromkeys(str(node.meta.get(SOURCE, node.name)) for node in left)
        return f"with another, XNNPACK would not run {some(list(names))}"
    if any(node.target is torch.mean for node in called) and not _grows_means(release):
        return "ExecuTorch 1.3 writes past its memory when an average over the image is given more images than before"
    return ""


def _is_range(node: fx.Node) -> bool:
    """Whether a node is the scale or the zero point that a tensor is given at every call."""
    return node.target is operator.getitem and getattr(node.args[0], "target", None) is CHOOSE


def _grows_means(release: str | None) -> bool:
    """Whether the delegate, here and in `release`, has the memory when an int8 mean is given more images than before.

    ExecuTorch 1.3 writes past it, and ends the process some time later; 1.5 does not.
    """
    releases = [importlib.metadata.version("executorch"), *([release] if release is not None else [])]
    return min([int(part) for part in one.split(".")[:2]] for one in releases) >= [1, 4]
