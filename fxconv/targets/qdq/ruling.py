"""The rules of a target on all graphs of a Q/DQ module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from fxconv.errors import ConversionError, InternalError, UserError
from fxconv.models.graph_calls import inputs_of
from fxconv.targets.qdq.exporting import batch_of, grown
from fxconv.targets.qdq.rules.placed import placed
from fxconv.targets.qdq.rules.sizes import lacks_sizes, record_sizes
from rewrites.parts import graphs_in

Rule = Callable[[fx.GraphModule], fx.GraphModule]


def apply_rules(
    graph_module: fx.GraphModule, inputs: Sequence[tuple[Any, ...]], rules: Sequence[Rule]
) -> fx.GraphModule:
    """The graph after the rules. `inputs` are the arguments of calls that differ in each size that is to be free."""
    graph_module = placed(graph_module)
    for rule in rules:
        if lacks_sizes(graph_module):
            record_sizes(graph_module, inputs)
        try:
            graph_module = rule(graph_module)
        except (ConversionError, UserError):
            raise
        except Exception as error:  # no code of the model's runs here
            raise InternalError(f"the rule {getattr(rule, '__name__', rule)} of a target", error) from error
    return graph_module


def apply_to_graphs(
    module: nn.Module,
    example: tuple[Any, ...],
    rules: Sequence[Rule],
    is_free: bool,
    dynamic_sizes: tuple[int, int] | None = None,
) -> nn.Module:
    """A copy of a Q/DQ module with the rules applied to its graphs.

    `is_free` says that the batch is to be of any size, `dynamic_sizes` the least and the most height and width.
    """
    ruled = copy.deepcopy(module)
    others = [example, *_other_calls(example, is_free, dynamic_sizes)]
    calls = [inputs_of(ruled, [call], 1) for call in others]
    for path, graph in graphs_in(ruled).items():
        inputs = [call[path][0] for call in calls if call.get(path)]
        if inputs:
            _drop_unused(apply_rules(graph, inputs, rules))
    return ruled.eval()


def _drop_unused(graph: fx.GraphModule) -> None:
    """Take away the buffers that rules left unread: export keeps all there are, and they would lie in the file."""
    read = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in graph.named_buffers(recurse=False) if name not in read]:
        delattr(graph, name)


def has_one_batch(example: tuple[Any, ...]) -> bool:
    """Whether all tensors of a call have the same number of rows."""
    tensors = [value for value in tree_leaves(example) if isinstance(value, Tensor)]
    return all(value.ndim for value in tensors) and len({value.shape[0] for value in tensors}) == 1


def _other_calls(example: tuple[Any, ...], is_free: bool, sizes: tuple[int, int] | None) -> Sequence[tuple[Any, ...]]:
    """Another call that differs from the example in every size that is to be free."""
    if not is_free and sizes is None:
        return []
    image = next((value for value in tree_leaves(example) if isinstance(value, Tensor) and value.ndim == 4), None)
    other = None
    if sizes is not None and image is not None:
        other = sizes[1] if image.shape[2] != sizes[1] else sizes[0]
    batch = batch_of(example) + (1 if is_free else 0)
    return [tree_map(lambda value: grown(value, batch, other), example)]
