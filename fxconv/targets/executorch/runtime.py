"""ExecuTorch programs in ExecuTorch's own runtime: loaded and run as an app does it, and safely."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from fxconv.errors import UserError
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

    def __call__(self, *inputs: Any) -> Any:
        """Run it. Raises `RefusedInput` for inputs that it does not take, and what the runtime does."""
        given = [value.detach().contiguous() for value in tree_leaves(inputs) if isinstance(value, Tensor)]
        self._check(given)
        with quiet() as said:
            try:
                results = [_copied(value) for value in self._method.execute(given)]
            except RuntimeError as error:
                shapes = ", ".join(_by(tuple(value.shape)) for value in given)
                reason = said.reason() or str(error)
                raise RefusedInput(f"does not run on an input of {shapes}: {reason}") from error
        return results[0] if len(results) == 1 else tuple(results)

    def _check(self, given: Sequence[Tensor]) -> None:
        metadata = self._method.metadata
        if metadata.num_inputs() != len(given):
            raise RefusedInput(f"takes {metadata.num_inputs()} tensors, and is given {len(given)}")
        for number, value in enumerate(given):
            wanted = metadata.input_tensor_meta(number)
            largest, name = tuple(wanted.sizes()), _NAMES.get(wanted.dtype(), str(wanted.dtype()))
            if _TYPES.get(value.dtype) != wanted.dtype():
                raise RefusedInput(f"takes {name}, and is given {str(value.dtype).removeprefix('torch.')}")
            taken = self._sizes[number] if number < len(self._sizes) else [(1, size) for size in largest]
            if len(taken) != value.ndim or any(
                not least <= size <= most for size, (least, most) in zip(value.shape, taken, strict=True)
            ):
                raise RefusedInput(f"takes tensors of {_ranges(taken)}, and is given {_by(tuple(value.shape))}")

    @property
    def largest_inputs(self) -> tuple[tuple[int, ...], ...]:
        """The largest sizes of each input that it takes."""
        metadata = self._method.metadata
        return tuple(tuple(metadata.input_tensor_meta(at).sizes()) for at in range(metadata.num_inputs()))

    def text(self, name: str) -> str | None:
        """The text that a constant method gives; None where the program has none of this name."""
        if name not in self._program.method_names:
            return None
        with quiet():
            value = self._program.load_method(name).execute([])[0]
        return value if isinstance(value, str) else None


def load(file: Path | bytes) -> Program:
    """A program, or its bytes, in this process. Raises `UserError`, in the runtime's words, if it does not load."""
    with quiet() as said:
        try:
            from executorch.runtime import Runtime, Verification

            # From memory: a file that is replaced while it is mapped would end the process.
            content = file if isinstance(file, bytes) else Path(file).read_bytes()
            program = Runtime.get().load_program(content, verification=Verification.InternalConsistency)
            method = program.load_method("forward")
        except RuntimeError as error:
            named = "" if isinstance(file, bytes) else f"{file}: "
            raise UserError(f"{named}ExecuTorch does not load it: {said.reason() or error}") from error
    if method is None:
        raise UserError("the program has no method forward, which ExecuTorch would run")
    return Program(program, method, content)


def set_threads(count: int) -> int:
    """Let this process's programs run on so many threads, and say how many they run on.

    Call it before a program is loaded. A runtime that cannot be told goes on with what it has.
    """
    with quiet():
        from executorch.extension.pybindings import portable_lib

        reset = getattr(portable_lib, "_unsafe_reset_threadpool", None)
        if reset is not None:
            reset(count)
        asked = getattr(portable_lib, "_threadpool_get_thread_count", None)
        return int(asked()) if asked is not None else 0


def _sizes(text: str | None) -> list[list[tuple[int, int]]]:
    """The least and the most of each size of each input, as a file of fxconv's says them; none for any other file."""
    try:
        return [[(int(least), int(most)) for least, most in each] for each in json.loads(text or "[]")]
    except (ValueError, TypeError):
        return []


def _ranges(sizes: Sequence[tuple[int, int]]) -> str:
    """1..8x3x224x224."""
    return "x".join(str(least) if least == most else f"{least}..{most}" for least, most in sizes)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)
