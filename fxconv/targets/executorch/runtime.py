"""ExecuTorch programs in ExecuTorch's own runtime: loaded and run as an app does it, and safely."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from fxconv.errors import ConversionError, UserError
from fxconv.targets.executorch.quiet import quiet

_TYPES = {torch.float32: 6, torch.uint8: 0, torch.int8: 1, torch.int32: 3, torch.int64: 4, torch.bool: 11,
          torch.float16: 5, torch.float64: 7}  # fmt: skip
_NAMES = {number: str(dtype).removeprefix("torch.") for dtype, number in _TYPES.items()}


# The constant method that says what sizes a program takes.
SIZES_TEXT = "fxconv_sizes"


class RefusedInput(ValueError):
    """What a program is given is not what it takes."""


class Program:
    """A loaded program, called with the tensors of one call.

    What it returns is one tensor, or a tuple of all that it gives, in order: a file knows no names and no nesting.
    A tensor in another memory format than the contiguous one is made contiguous first, for the runtime reads any
    memory as if it were. What it returns are copies, which the next call leaves alone.
    """

    def __init__(self, program: Any, method: Any, content: bytes | None) -> None:
        # A method does not keep its program alive, nor a program the bytes it was made of.
        self._program, self._method, self._content = program, method, content
        self._sizes = _sizes(self.text(SIZES_TEXT))
        self._threads = _POOL.resets
        taken = [method.metadata.input_tensor_meta(at) for at in range(method.metadata.num_inputs())]
        self._wanted = [(tuple(one.sizes()), one.dtype()) for one in taken]
        self._ran: set[tuple[tuple[torch.Size, torch.dtype], ...]] = set()

    def __call__(self, *inputs: Any) -> Any:
        """Run it. Raises `RefusedInput` for inputs that it does not take, and what the runtime does."""
        given = [value.detach().contiguous() for value in tree_leaves(inputs) if isinstance(value, Tensor)]
        if self._threads != _POOL.resets:  # its threads are gone
            with quiet():
                self._method, self._threads = self._program.load_method("forward"), _POOL.resets
            self._ran.clear()
        kinds = tuple((value.shape, value.dtype) for value in given)
        # What it says of sizes it says the first time. To listen takes longer than many a call.
        results = self._method.execute(given) if kinds in self._ran else self._first(given)
        self._ran.add(kinds)
        copies = tuple(map(_copied, results))
        return copies[0] if len(copies) == 1 else copies

    def _first(self, given: Sequence[Tensor]) -> Any:
        """What it returns for inputs of sizes and types that it has not seen yet."""
        self._check(given)
        with quiet() as said:
            try:
                return self._method.execute(given)
            except RuntimeError as error:
                shapes = ", ".join(_by(tuple(value.shape)) for value in given)
                reason = said.reason() or str(error)
                raise RefusedInput(f"does not run on an input of {shapes}: {reason}") from error

    def _check(self, given: Sequence[Tensor]) -> None:
        if len(self._wanted) != len(given):
            raise RefusedInput(f"takes {len(self._wanted)} tensors, and is given {len(given)}")
        for number, (value, (largest, kind)) in enumerate(zip(given, self._wanted, strict=True)):
            if _TYPES.get(value.dtype) != kind:
                name = _NAMES.get(kind, str(kind))
                raise RefusedInput(f"takes {name}, and is given {str(value.dtype).removeprefix('torch.')}")
            taken = self._sizes[number] if number < len(self._sizes) else [(1, size, 1) for size in largest]
            if len(taken) != value.ndim or any(
                size % step or not least <= size <= most
                for size, (least, most, step) in zip(value.shape, taken, strict=True)
            ):
                raise RefusedInput(f"takes tensors of {_ranges(taken)}, and is given {_by(tuple(value.shape))}")

    def text(self, name: str) -> str | None:
        """The text that a constant method gives; None where the program has none of this name."""
        if name not in self._program.method_names:
            return None
        with quiet():
            value = self._program.load_method(name).execute([])[0]
        return value if isinstance(value, str) else None


def load(file: Path | bytes) -> Program:
    """A program, or its bytes, in this process, on one thread unless `set_threads` said otherwise.

    Raises `UserError`, in the runtime's words, if a file does not load, and `ConversionError` if bytes do not.
    """
    if _POOL.threads is None:
        set_threads(1)
    with quiet() as said:
        try:
            from executorch.runtime import Runtime, Verification

            # From memory: a file that is replaced while it is mapped would end the process.
            content = file if isinstance(file, bytes) else Path(file).read_bytes()
            program = Runtime.get().load_program(content, verification=Verification.InternalConsistency)
            method = program.load_method("forward")
        except RuntimeError as error:
            refused = f"ExecuTorch does not load it: {said.reason() or error}"
            if isinstance(file, bytes):  # what fxconv has made just now
                raise ConversionError(f"the program that was written: {refused}") from error
            raise UserError(f"{file}: {refused}") from error
    if method is None:
        raise UserError("the program has no method forward, which ExecuTorch would run")
    return Program(program, method, content)


@dataclass
class _Pool:
    """The threads that all programs of a process share; None before anybody said how many. `resets` counts them."""

    threads: int | None = None
    resets: int = 0


_POOL = _Pool()


def set_threads(count: int) -> int:
    """Let this process's programs run on so many threads, and say how many they run on.

    Programs that are loaded already get the new ones when they are called. A runtime that cannot be told goes on with
    what it has, one thread a core.
    """
    with quiet():
        from executorch.extension.pybindings import portable_lib

        asked = getattr(portable_lib, "_threadpool_get_thread_count", None)
        reset = getattr(portable_lib, "_unsafe_reset_threadpool", None)
        has = int(asked()) if asked is not None else 0
        if reset is not None and has != count:
            reset(count)
            _POOL.resets += 1
            has = int(asked()) if asked is not None else 0
        _POOL.threads = count
        return has


def _sizes(text: str | None) -> list[list[tuple[int, int, int]]]:
    """The least and the most of each size of each input, and what divides it, as a file of fxconv's says them.

    None for any other file.
    """
    try:
        return [[_size(*map(int, ends)) for ends in each] for each in json.loads(text or "[]")]
    except (ValueError, TypeError, OverflowError, RecursionError):
        return []


def _size(least: int, most: int, step: int = 1) -> tuple[int, int, int]:
    return least, most, max(1, step)


def _ranges(sizes: Sequence[tuple[int, int, int]]) -> str:
    """1..8x3x64..128 by 32x224."""
    by = {step: f" by {step}" if step > 1 else "" for _, _, step in sizes}
    return "x".join(str(least) if least == most else f"{least}..{most}{by[step]}" for least, most, step in sizes)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)
