"""A Q/DQ module as the bytes of an ExecuTorch program, all that can be in int8 in the XNNPACK delegate."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.passes.infra.pass_base import PassResult
from torch.utils._pytree import tree_leaves

from fxconv.errors import ConversionError, InternalError, UserError, message_line
from fxconv.targets.executorch.edges import EDGE_RULES
from fxconv.targets.executorch.layouts import own_orders
from fxconv.targets.executorch.lean import lean
from fxconv.targets.executorch.least_sizes import least_sizes
from fxconv.targets.executorch.partitioner import xnnpack_partitioner
from fxconv.targets.executorch.placement import Placement, placement
from fxconv.targets.executorch.quiet import quiet
from fxconv.targets.executorch.refusals import cause, refusal
from fxconv.targets.executorch.ruling import with_rules
from fxconv.targets.executorch.runtime import SIZES_TEXT
from fxconv.targets.qdq.exporting import batch_of, exported, stepped, taken_sizes
from rewrites.location import short, where

# The most images of one call: memory for so many inputs and outputs is reserved when a program is loaded. It cannot be
# left to the caller: ExecuTorch 1.3 does not look at the sizes of inputs that it has no memory for, and computes
# something else. Nor can it be 16: export asks whether there are 16 at least, and binds itself to the answer.
LARGEST_BATCH = 8
# Sizes that strides divide evenly, should a network refuse others.
_STEPS = (1, 32)
# How many dimensions an image has.
_IMAGE = 4


@dataclass(frozen=True)
class LoweredProgram:
    """A program: its bytes, the Q/DQ module after the rules, where its operations run, and the sizes it takes.

    `largest_batch` is the most images of one call, `fixed_batch` why it takes no fewer, "" where it does. `sizes` is
    the least and the most height and width, `step` what divides them; None where they are those of the example. `edge`
    is what ExecuTorch made of it, of which the bytes with other texts are made, `taken` the text of the sizes that it
    takes.
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

    def takes(self, image: tuple[Any, ...], example: tuple[Any, ...]) -> bool:
        """Whether it is for tensors of such sizes; `example` are those of the call that it was lowered for."""
        if self.fixed_batch and batch_of(image) != batch_of(example):
            return False
        return batch_of(image) <= self.largest_batch and is_taken(image, example, self.sizes, self.step)

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
    check_sizes(example, [example], dynamic_sizes)
    largest_batch = max(largest_batch, batch_of(example)) if largest_batch > 1 else 1
    steps = _STEPS if dynamic_sizes is not None else _STEPS[:1]
    attempts = [(free, step) for free in ((True, False) if largest_batch > 1 else (False,)) for step in steps]
    refused = ""
    for free, step in attempts:
        try:
            asked = largest_batch if free else None
            return _lowered(module, example, dynamic_sizes, texts or {}, asked, step, release, refused)
        except Exception as error:  # the module's own code, torch's and ExecuTorch's may refuse in any way
            if (free, step) != attempts[-1] and not _decides(error) and not isinstance(error, InternalError):
                refused = refusal(error) if free else refused
                continue
            if isinstance(error, (ConversionError, UserError, InternalError)):
                raise
            if dynamic_sizes is not None and not _decides(error):
                raise UserError(
                    f"--dynamic-sizes {dynamic_sizes[0]}:{dynamic_sizes[1]}: the network does not take images of any "
                    f"such size ({refusal(error)}); leave it out"
                ) from error
            raise ConversionError(f"torch.export does not take the Q/DQ form: {_reason(error)}") from error
    raise AssertionError("the last attempt returns or raises")


def _lowered(
    module: nn.Module,
    example: tuple[Any, ...],
    dynamic_sizes: tuple[int, int] | None,
    texts: Mapping[str, str],
    largest_batch: int | None,
    step: int,
    release: str | None,
    refused: str,
) -> LoweredProgram:
    """The program with a batch of any size up to `largest_batch`, if that may be; None asks for the example's.

    `refused` is why it was not lowered with one of any size.
    """
    sizes = None if dynamic_sizes is None else stepped(dynamic_sizes, step)
    ruled, fixed = with_rules(module, example, sizes, largest_batch is not None, release)
    free = largest_batch if not fixed else None
    exported_program = exported(ruled, example, free, sizes, step)
    sizes_taken = taken_sizes(exported_program)
    sides = None if dynamic_sizes is None else _sides(sizes_taken, dynamic_sizes)
    batch = free if free is not None else batch_of(example)
    edge, placed = _edge_of(exported_program, batch)
    if not _keeps(taken_sizes(edge.exported_program()), sizes_taken):
        raise ConversionError("ExecuTorch binds the sizes of the program to those of one call")
    taken = json.dumps(sizes_taken)
    content = _bytes_of(edge, {**texts, SIZES_TEXT: taken})
    why = f"another is refused ({refused})" if refused and largest_batch is None else fixed
    return LoweredProgram(content, ruled, placed, batch, why, sides, step, edge, taken)


def _sides(taken: list[list[list[int]]], asked: tuple[int, int]) -> tuple[int, int]:
    """The least and the most height and width that all images may have. Raises `UserError` where that is one."""
    ends = [side for each in taken if len(each) == 4 for side in each[2:]]
    least, most = max(side[0] for side in ends), min(side[1] for side in ends)
    if least >= most:
        raise UserError(
            f"--dynamic-sizes {asked[0]}:{asked[1]}: of these sizes the network takes {least} alone, or multiples of "
            f"{_STEPS[-1]}; leave it out, or ask for more"
        )
    return least, most


def _keeps(left: list[list[list[int]]], taken: list[list[list[int]]]) -> bool:
    """Whether the sizes that are `left` after lowering are those that were to be taken; 2 may stand for 1 in torch."""
    ends = zip(chain.from_iterable(left), chain.from_iterable(taken), strict=True)
    return all(own[0] <= max(wanted[0], 2) and own[1] >= wanted[1] for own, wanted in ends)


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


def _decides(error: Exception) -> bool:
    """Whether export refuses because code decides by the numbers in a tensor."""
    return "data-dependent" in message_line(error)


def _reason(error: Exception) -> str:
    """Why export refuses a module, in one line."""
    line = refusal(error)
    if not _decides(error):
        return line
    place = where(error)
    own = place.startswith(short(str(Path(__file__).parent)))
    decides = f"{'its code' if own else place} decides by the numbers in a tensor"
    told = f" ({line})" if own else ""
    return f"{decides}, and a program has one way for all{told}; take the decision out of the model, or write a .ptl"


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

        with least_sizes(), own_orders():
            edge = to_edge_transform_and_lower(
                exported_program, transform_passes=[_edge_rules], partitioner=[xnnpack_partitioner()]
            )
        return edge, placement(edge.exported_program(), batch)


def _edge_rules(graph_module: Any) -> PassResult:
    for rule in EDGE_RULES:
        rule(graph_module)
    graph_module.graph.lint()
    graph_module.recompile()
    return PassResult(graph_module, True)


def _bytes_of(edge: Any, texts: Mapping[str, str]) -> bytes:
    """The bytes of the program, with these texts as constant methods. What is given stays as it is."""
    with _refusals_told(edge.exported_program().graph), lean():
        own = copy.deepcopy(edge)  # planning writes into it
        own._config_methods = dict(texts) or None  # `constant_methods`, given after what takes long
        return bytes(own.to_executorch().buffer)


@contextmanager
def _refusals_told(graph: fx.Graph | None = None) -> Iterator[None]:
    """Raises `ConversionError` with the reason where ExecuTorch refuses, whose own errors are of many types."""
    with quiet() as said:
        try:
            yield
        except Exception as error:
            reason = said.reason() or cause(error, graph)
            raise ConversionError(f"ExecuTorch does not lower the Q/DQ form: {reason}") from error


def shapes_of(tensors: tuple[Any, ...]) -> list[Any]:
    """The shapes of the tensors of one call."""
    return [value.shape for value in tree_leaves(tensors) if isinstance(value, Tensor)]


def is_taken(
    image: tuple[Any, ...], example: tuple[Any, ...], sizes: tuple[int, int] | None = None, step: int = 1
) -> bool:
    """Whether a program for `example`, whose images may be of these sizes, takes these tensors, their batch aside."""
    own, others = shapes_of(image), shapes_of(example)
    return len(own) == len(others) and all(
        len(one) == len(other)
        and all(
            size == wanted if sizes is None or dim < 2 or len(one) != _IMAGE else _is_among(size, sizes, step)
            for dim, (size, wanted) in enumerate(zip(one, other, strict=True))
            if dim
        )
        for one, other in zip(own, others, strict=True)
    )


def _is_among(size: int, sizes: tuple[int, int], step: int) -> bool:
    return sizes[0] <= size <= sizes[1] and size % step == 0


def check_sizes(example: tuple[Any, ...], images: Sequence[tuple[Any, ...]], sizes: tuple[int, int] | None) -> None:
    """Raise `UserError` for an image of one call that is not among the sizes that are to be free.

    And for `images`, by which a program would be proven, of which none has a size that it would take.
    """
    if sizes is not None:
        _check_free(example, sizes)
    if not any(is_taken(image, example, sizes) for image in images):
        own, others = (next((by(one) for one in shapes_of(call)), "") for call in (example, images[0]))
        raise UserError(
            f"a .pte takes images of the example's size, {own}, and those to calibrate with are of another, {others}: "
            "it could not be proven; give an example of their size, or --dynamic-sizes MIN:MAX"
        )


def by(shape: Sequence[int]) -> str:
    """Sizes with crosses between them, the batch left out."""
    return "x".join(map(str, shape[1:]))


def _check_free(example: tuple[Any, ...], sizes: tuple[int, int]) -> None:
    images = [value for value in tree_leaves(example) if isinstance(value, Tensor) and value.ndim == 4]
    if not images:
        raise UserError(
            f"--dynamic-sizes {sizes[0]}:{sizes[1]}: none of the model's inputs is an image (of four "
            "dimensions); leave it out"
        )
    for image in images:
        if not all(sizes[0] <= size <= sizes[1] for size in image.shape[2:]):
            raise UserError(
                f"--dynamic-sizes {sizes[0]}:{sizes[1]}: the model's input of {image.shape[2]}x{image.shape[3]} is not "
                "among these sizes"
            )
