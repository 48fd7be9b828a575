"""The integers, scales, zero points and other constants that stand in a file that was written from a Q/DQ form.

Layers are convolutions and linear layers, their weights in the order torch has them. Values are int8 ones that the file
computes, each with what it is made of. Integers are signed, -128 to 127, whatever the file has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]
Scales = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FileTensor:
    """A constant where it is read, in its own shape; weights in the order of the dimensions that torch has."""

    dtype: str
    values: Numbers
    place: str

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.values.shape}"


@dataclass(frozen=True)
class Grid:
    """Scale and zero point of int8 integers, -128 to 127."""

    scale: np.float32
    zero_point: int

    def __str__(self) -> str:
        return f"scale {self.scale:.9g} and zero point {self.zero_point}"


@dataclass(frozen=True)
class FileLayer:
    """A convolution or linear layer; `given` and `gives` are None where that is float.

    `float_bias` is the bias of one whose input is ranged at every call.
    """

    kind: str
    place: str
    weight: Integers
    scales: Scales
    bias: Integers | None
    bias_scales: Scales
    given: Grid | None
    gives: Grid | None
    float_bias: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FileValue:
    """An int8 value that a node of the file gives; `of` are the grids of the int8 values that it is made of.

    `is_layer` says that a convolution or linear layer gives it.
    """

    grid: Grid
    place: str
    of: tuple[Grid, ...]
    is_layer: bool = False


@dataclass(frozen=True)
class FileConstant:
    """An int8 tensor that is in the file and no weight."""

    grid: Grid
    place: str
    integers: Integers


@dataclass(frozen=True)
class FileNumbers:
    """All of them in running order; `problems` say where two parts of the file take one value for different ones.

    `tensors` are the constants that are neither a layer's integers nor among `constants`, each where it is read, and
    `scalars` the numbers that are no tensors.
    """

    layers: tuple[FileLayer, ...]
    values: tuple[FileValue, ...]
    constants: tuple[FileConstant, ...]
    tensors: tuple[FileTensor, ...]
    problems: tuple[str, ...]
    scalars: frozenset[float] = frozenset()
