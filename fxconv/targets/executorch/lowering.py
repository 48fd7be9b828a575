"""A Q/DQ module as the bytes of an ExecuTorch program, all that can be in int8 in the XNNPACK delegate."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import operator
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from fxconv.errors import ConversionError, UserError, message_line
from fxconv.models.checkpoints import some
from fxconv.models.graph_calls import inputs_of, positional
from fxconv.targets.executorch.lean import lean
from fxconv.targets.executorch.least_sizes import least_sizes
from fxconv.targets.executorch.partitioner import xnnpack_partitioner
from fxconv.targets.executorch.placement import NODE, Placement, placement
from fxconv.targets.executorch.quiet import quiet
from fxconv.targets.executorch.rules import apply_rules
from fxconv.targets.executorch.rules.qdq_nodes import SOURCE, VALUE
from fxconv.targets.executorch.runtime import SIZES_TEXT
from rewrites.location import short, where
from rewrites.parts import graphs_in, prefixed

# The most images of one call: memory for so many inputs and outputs is reserved when a program is loaded. It cannot be
# left to the caller: ExecuTorch 1.3 does not look at the sizes of inputs that it has no memory for, and computes
# something else. Nor can it be 16: export asks whether there are 16 at least, and binds itself to the answer.
LARGEST_BATCH = 8
# Operations that the delegate takes for known sizes alone; a batch of any size would put them outside.
_OF_KNOWN_SIZES = frozenset({torch.narrow, torch.roll, torch.nn.functional.interpolate, operator.getitem})
# Sizes that strides divide evenly, should a network refuse others.
_STEPS = (1, 32)


@dataclass(frozen=True)
class LoweredProgram:
    """A program: its bytes, the Q/DQ module after the rules, where its operations run, and the sizes it takes.

    `largest_batch` is the most images of one call, `fixed_batch` why no fewer are taken, "" where they are. `sizes` is the least and
    the most height and width, `step` what divides them; None where they are those of the example. `edge` is what
    ExecuTorch made of it, of which the bytes with other texts are made, `taken` the text of the sizes that it takes.
    """

    content: bytes
    module: nn.Module
    placement: Placement
    largest_batch: int
    fixed_batch: str
    sizes: tuple[int, int] | None = None
    step: int = 1
    edge: Any = field(default=None, repr=False, compare=False)
    taken: str = ""

    def with_texts(self, texts: Mapping[str, str]) -> bytes:
        """The bytes of the same program with these texts as constant methods, and with the one of its sizes."""
        return _bytes_of(self.edge, {**texts, SIZES_TEXT: self.taken})


@lean()
def lower(
    module: nn.Module,
    example: tuple[Any, ...],
    dynamic_sizes: tuple[int, int] | None = None,
    texts: Mapping[str, str] | None = None,
    largest_batch: int = LARGEST_BATCH,
    release: str | None = None,
) -> LoweredProgram:
    """The program of a Q/DQ module, which is left as it is.

    `example` are the tensors of one call, with the batch first. `texts` become constant methods of their names, each of
    which returns one text. Heights and widths of images are free from `dynamic_sizes[0]` to `dynamic_sizes[1]` where
    it is given. The batch is free up to `largest_batch`, unless some operation would leave the delegate for it: then
    it is that of the example. `release` is ExecuTorch's that must run the program too, 1.3.1 for one. Raises
    `ConversionError` with the reason where export or ExecuTorch refuses, and `UserError` where the network does not
    take such sizes.
    """
    _check_sizes(example, dynamic_sizes)
    steps = _STEPS if dynamic_sizes is not None else _STEPS[:1]
    for step in steps:
        sizes = None if dynamic_sizes is None else (dynamic_sizes[0], dynamic_sizes[1] // step * step)
        try:
            ruled, fixed = _ruled(module, example, sizes, largest_batch > 1, release)
            free = largest_batch > 1 and not fixed
            batch = largest_batch if free else _batch_of(example)
            exported_program = exported(ruled, example, batch if free else None, sizes, step)
            break
        except Exception as error:  # the module's own code, and torch's, may refuse in any way
            if step != steps[-1]:
                continue
            if dynamic_sizes is not None:
                raise UserError(
                    f"--dynamic-sizes {dynamic_sizes[0]}:{dynamic_sizes[1]}: the network does not take images of any "
                    f"such size ({message_line(error)}); leave it out"
                ) from error
            raise ConversionError(f"torch.export does not take the Q/DQ form: {_reason(error)}") from error
    taken = json.dumps(_taken(exported_program))
    edge, placed = _edge_of(exported_program, batch)
    content = _bytes_of(edge, {**(texts or {}), SIZES_TEXT: taken})
    return LoweredProgram(content, ruled, placed, batch, fixed, dynamic_sizes, step, edge, taken)


@lean()
def lower_alike(module: nn.Module, example: tuple[Any, ...]) -> bytes:
    """The bytes of a module for the example's sizes alone, no rule applied: a twin of what was lowered, or a float one.

    Sizes that are free change no value, and take twice the time to lower.
    """
    try:
        program = exported(module, example, None, None, 1)
    except Exception as error:  # the module's own code, and torch's, may refuse in any way
        raise ConversionError(f"torch.export does not take the module: {_reason(error)}") from error
    return written(program, {})[0]


def _reason(error: Exception) -> str:
    """Why export refuses a module, in one line."""
    line = message_line(error)
    if "data-dependent" not in line:
        return line
    place = where(error)
    own = place.startswith(short(str(Path(__file__).parent)))
    decides = f"{'its code' if own else place} decides by the numbers in a tensor"
    told = f" ({line})" if own else ""
    return f"{decides}, and a program has one way for all{told}; take the decision out of the model, or write a .ptl"


def apply_to_graphs(
    module: nn.Module, example: tuple[Any, ...], is_free: bool, dynamic_sizes: tuple[int, int] | None = None
) -> nn.Module:
    """A copy of a Q/DQ module with all rules applied to its graphs."""
    ruled = copy.deepcopy(module)
    others = [example, *_other_calls(example, is_free, dynamic_sizes)]
    calls = [inputs_of(ruled, [call], 1) for call in others]
    for path, graph in graphs_in(ruled).items():
        inputs = [call[path][0] for call in calls if call.get(path)]
        if inputs:
            _drop_unused(apply_rules(graph, inputs))
    return ruled.eval()


def _drop_unused(graph: fx.GraphModule) -> None:
    """Take away the buffers that rules left unread: export keeps all there are, and they would lie in the file."""
    read = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in graph.named_buffers(recurse=False) if name not in read]:
        delattr(graph, name)


def _ruled(
    module: nn.Module,
    example: tuple[Any, ...],
    dynamic_sizes: tuple[int, int] | None,
    may_be_free: bool,
    release: str | None,
) -> tuple[nn.Module, str]:
    """The module after the rules, and why its batch is that of the example; "" where it may be of any size."""
    fixed = "no other was asked for"
    if not _has_one_batch(example):
        fixed = "its inputs have no batch in common"
    elif may_be_free:
        try:
            ruled = apply_to_graphs(module, example, True, dynamic_sizes)
            fixed = _fixed_by(ruled, release)
            if not fixed:
                return ruled, ""
        except Exception as error:  # the module's own code may refuse another batch in any way
            fixed = f"the model refuses another ({message_line(error)})"
    return apply_to_graphs(module, example, False, dynamic_sizes), fixed


def _fixed_by(ruled: nn.Module, release: str | None) -> str:
    """Why a batch of any size would take operations out of the delegate, or a runtime would not stand it."""
    called = [node for graph in graphs_in(ruled).values() for node in graph.graph.nodes]
    left = [node for node in called if node.target in _OF_KNOWN_SIZES]
    if left:
        return f"with another, XNNPACK would not run {some([str(node.meta.get(SOURCE, node.name)) for node in left])}"
    if any(node.target is torch.mean for node in called) and not _grows_means(release):
        return "ExecuTorch 1.3 writes past its memory when an average over the image is given more images than before"
    return ""


def _taken(exported_program: Any) -> list[list[list[int]]]:
    """The least and the most of each size of each input: a file knows the most alone, and old runtimes ask for none."""
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
    ends = [
        expression.subs({symbol: getattr(bounds[str(symbol)], end) for symbol in expression.free_symbols})
        for end in ("lower", "upper")
    ]
    return [int(end) for end in ends]


def _grows_means(release: str | None) -> bool:
    """Whether the delegate, here and in `release`, has the memory when an int8 mean is given more images than before.

    ExecuTorch 1.3 writes past it, and ends the process some time later; 1.5 does not.
    """
    releases = [importlib.metadata.version("executorch"), *([release] if release is not None else [])]
    return min([int(part) for part in one.split(".")[:2]] for one in releases) >= [1, 4]


def written(exported_program: Any, texts: Mapping[str, str], batch: int = 1) -> tuple[bytes, Placement]:
    """The bytes of an exported program for the XNNPACK delegate, and where its operations run.

    It was exported with `batch` rows, of which one is what an operation's cost is told for.
    """
    edge, placed = _edge_of(exported_program, batch)
    return _bytes_of(edge, texts), placed


def _edge_of(exported_program: Any, batch: int) -> tuple[Any, Placement]:
    """ExecuTorch's form of a program, with what the delegate takes in it, and where its operations run."""
    with _refusals_told():
        from executorch.exir import to_edge_transform_and_lower

        with least_sizes():
            edge = to_edge_transform_and_lower(exported_program, partitioner=[xnnpack_partitioner()])
        return edge, placement(edge.exported_program(), batch)


def _bytes_of(edge: Any, texts: Mapping[str, str]) -> bytes:
    """The bytes of the program, with these texts as constant methods. What is given stays as it is."""
    with _refusals_told(), lean():
        own = copy.deepcopy(edge)  # planning writes into it
        own._config_methods = dict(texts) or None  # `constant_methods`, given after what takes long
        return bytes(own.to_executorch().buffer)


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Raises `ConversionError` with the reason where ExecuTorch refuses, whose own errors are of many types."""
    with quiet() as said:
        try:
            yield
        except Exception as error:
            reason = said.reason() or message_line(error) or type(error).__name__
            raise ConversionError(f"ExecuTorch does not lower the Q/DQ form: {reason}") from error


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
    given = tree_map(lambda value: _grown(value, batch, most_of), example)
    with quiet(), torch.no_grad(), fx.traceback.preserve_node_meta():
        return torch.export.export(_Called(_annotated(module)), given, dynamic_shapes=shapes, strict=False)


def _dims_of(value: Any, dims: Mapping[int, Any]) -> Any:
    """The free dimensions of one input: height and width of images alone."""
    if not isinstance(value, Tensor):
        return None
    return {dim: free for dim, free in dims.items() if dim == 0 or value.ndim == 4} if value.ndim else None


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


def _check_sizes(example: tuple[Any, ...], sizes: tuple[int, int] | None) -> None:
    if sizes is None:
        return
    images = [value for value in tree_leaves(example) if isinstance(value, Tensor) and value.ndim == 4]
    for image in images:
        if not all(sizes[0] <= size <= sizes[1] for size in image.shape[2:]):
            raise UserError(
                f"--dynamic-sizes {sizes[0]}:{sizes[1]}: the model's input of {image.shape[2]}x{image.shape[3]} is not "
                "among these sizes"
            )


def _batch_of(example: tuple[Any, ...]) -> int:
    return next((int(value.shape[0]) for value in tree_leaves(example) if isinstance(value, Tensor) and value.ndim), 1)


def _has_one_batch(example: tuple[Any, ...]) -> bool:
    """Whether all tensors of a call have the same number of rows."""
    tensors = [value for value in tree_leaves(example) if isinstance(value, Tensor)]
    return all(value.ndim for value in tensors) and len({value.shape[0] for value in tensors}) == 1


def _grown(value: Any, batch: int | None, size: int | None) -> Any:
    """An input, contiguous, of so many rows, and of this height and width where it is an image; as it is for None."""
    if not isinstance(value, Tensor):
        return value
    if batch is not None and value.ndim:
        value = value[torch.arange(batch) % value.shape[0]]
    if size is not None and value.ndim == 4:
        across = [torch.arange(size) % value.shape[dim] for dim in (2, 3)]
        value = value[:, :, across[0]][:, :, :, across[1]]
    return value.contiguous()


def _other_calls(example: tuple[Any, ...], is_free: bool, sizes: tuple[int, int] | None) -> Sequence[tuple[Any, ...]]:
    """Another call that differs from the example in every size that is to be free."""
    if not is_free and sizes is None:
        return []
    image = next((value for value in tree_leaves(example) if isinstance(value, Tensor) and value.ndim == 4), None)
    other = None
    if sizes is not None and image is not None:
        other = sizes[1] if image.shape[2] != sizes[1] else sizes[0]
    batch = _batch_of(example) + (1 if is_free else 0)
    return [tree_map(lambda value: _grown(value, batch, other), example)]
