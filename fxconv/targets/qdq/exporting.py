"""A Q/DQ module as torch's exported program, each of whose nodes says for which node of the module it stands."""

from __future__ import annotations

import copy
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from fxconv.models.graph_calls import positional
from fxconv.targets.qdq.rules.qdq_nodes import SOURCE, VALUE
from fxconv.targets.quiet import quiet
from rewrites.parts import graphs_in, prefixed

# The key under which each node of the program says for which node of the model it stands.
NODE = "fxconv_node"
_ENDS = ("lower", "upper")


def exported(
    module: nn.Module, example: tuple[Any, ...], batch: int | None, sizes: tuple[int, int] | None, step: int
) -> Any:
    """The exported program, each of whose nodes says for which node of the module it stands."""
    dims: dict[int, Any] = {}
    if batch is not None:
        dims[0] = torch.export.Dim("batch", min=1, max=batch)
    if sizes is not None:
        least, most = -(-sizes[0] // step), sizes[1] // step
        for dim, name in ((2, "height"), (3, "width")):
            whole = torch.export.Dim(name, min=least, max=most)
            dims[dim] = whole if step == 1 else step * torch.export.Dim(f"{name}_steps", min=least, max=most)
    # a call of any signature is one of *inputs
    shapes = (tuple(tree_map(lambda value: _dims_of(value, dims), example)),) if dims else None
    # What ExecuTorch asks of sizes on the way is answered, and then bound to, as the example has it: the largest.
    most_of = None if sizes is None else sizes[1] // step * step
    given = tree_map(lambda value: grown(value, batch, most_of), example)
    with quiet(), torch.no_grad(), fx.traceback.preserve_node_meta():
        return torch.export.export(_Called(_annotated(module)), given, dynamic_shapes=shapes, strict=False)


def _dims_of(value: Any, dims: Mapping[int, Any]) -> Any:
    """The free dimensions of one input: height and width of images alone."""
    if not isinstance(value, Tensor):
        return None
    return {dim: free for dim, free in dims.items() if dim == 0 or value.ndim == 4} if value.ndim else None


def grown(value: Any, batch: int | None, size: int | None) -> Any:
    """An input, contiguous, of so many rows, and of this height and width where it is an image; as it is for None."""
    if not isinstance(value, Tensor):
        return value
    if batch is not None and value.ndim:
        value = value[torch.arange(batch) % value.shape[0]]
    if size is not None and value.ndim == 4:
        across = [torch.arange(size) % value.shape[dim] for dim in (2, 3)]
        value = value[:, :, across[0]][:, :, :, across[1]]
    return value.contiguous()


def stepped(sizes: tuple[int, int], step: int) -> tuple[int, int]:
    """The least and the most of these sizes that `step` divides."""
    return -(-sizes[0] // step) * step, sizes[1] // step * step


def batch_of(example: tuple[Any, ...]) -> int:
    return next((int(value.shape[0]) for value in tree_leaves(example) if isinstance(value, Tensor) and value.ndim), 1)


def taken_sizes(exported_program: Any) -> list[list[list[int]]]:
    """The least and the most of each size of each input, and what divides it where that is not 1.

    A file itself knows the most alone, and old runtimes ask for none.
    """
    bounds = {str(symbol): limits for symbol, limits in exported_program.range_constraints.items()}
    found = []
    for node in exported_program.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if node.name not in exported_program.graph_signature.user_inputs or not isinstance(value, Tensor):
            continue
        found.append([_limits(size, bounds) for size in value.shape])
    return found


def _limits(size: Any, bounds: Mapping[str, Any]) -> list[int]:
    if isinstance(size, int):
        return [size, size]
    expression = size.node.expr
    ends = [{symbol: getattr(bounds[str(symbol)], end) for symbol in expression.free_symbols} for end in _ENDS]
    least, most = (int(expression.subs(values)) for values in ends)
    step = int(expression.subs({symbol: value + 1 for symbol, value in ends[0].items()})) - least
    return [least, most, *([step] if step > 1 else [])]


class _Called(nn.Module):
    """A module, called with the tensors of one call."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Any) -> Any:
        """What the module gives."""
        return self.inner(*inputs)


def _annotated(module: nn.Module) -> nn.Module:
    """The module with graphs whose nodes tell export for which node each operation stands."""
    told = copy.deepcopy(module)
    for held in (*told.parameters(), *told.buffers()):
        held.data = held.data.contiguous()  # of one in channels_last the delegate would have two, and refuses that
    for path, graph in graphs_in(told).items():
        for node in graph.graph.nodes:
            value = node.meta.get(VALUE, (None,))[0]
            source = node.meta.get(SOURCE) or value
            node.meta["custom"] = {NODE: (prefixed(path, str(source or node.name)), source is not None)}
        graph.forward = types.MethodType(_interpreted, graph)
    return told


def _interpreted(self: fx.GraphModule, *args: Any, **kwargs: Any) -> Any:
    """A graph's forward, node by node: export then keeps what the meta of each says."""
    return fx.Interpreter(self).run(*positional(self, args, kwargs))
