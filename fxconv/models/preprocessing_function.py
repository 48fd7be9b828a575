"""Preprocessing by a function of the user's, which is held by its name and the digest of its file."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fxconv.errors import UserError, described
from fxconv.models.image_pixels import decoded
from fxconv.models.preprocessing import Origin, Preprocessing
from fxconv.models.user_code import object_at

# What the function is tried on: a photograph is neither square nor of one colour.
_TRIED = (240, 320, 3)
# No side of a photograph is this long: it is decoded as it is, for what the function makes of it is its own matter.
_ALL_OF_IT = 1 << 20


@dataclass(frozen=True)
class FunctionPreprocessing(Preprocessing):
    """What `function` makes of an upright image of pillow's, RGB: float32 `[C, H, W]`.

    `name` is FILE.py:FUNCTION without folders, `digest` the SHA-256 of the file that holds it, "" where there is none.
    `mean` and `std` say nothing but how many channels there are.
    """

    function: Callable[[Image.Image], Any] = lambda image: image
    name: str = ""
    digest: str = ""

    @property
    def in_words(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{shape} from {self.name}" + (f" (SHA-256 {self.digest[:12]})" if self.digest else "")

    @property
    def says_values(self) -> bool:
        return False

    @property
    def mode(self) -> Any:
        return "RGB"

    @property
    def least_side(self) -> int:
        return _ALL_OF_IT

    def photograph(self, image: Image.Image) -> Tensor:
        return self.fitted(decoded(image, self.mode))

    def fitted(self, image: Image.Image) -> Tensor:
        given = called(self.function, image, self.name)
        if tuple(given.shape) != self.shape:
            shapes = (f"{'x'.join(map(str, shape))}" for shape in (given.shape, self.shape))
            one, first = shapes
            raise UserError(
                f"--preprocess {self.name}: made {one} of an image of {image.height}x{image.width}, and {first} of the "
                "first; make all of one size"
            )
        return given

    def pixels(self, array: npt.NDArray[np.uint8]) -> Tensor:
        return self.fitted(Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).convert("RGB"))

    def inputs(self, image: Image.Image, index: int) -> tuple[Tensor, ...]:
        if not self.is_still:
            raise UserError(
                f"--preprocess {self.name}: makes one image at a time, and the model takes "
                f"{'clips' if self.frames else f'{self.images} images'}; give an .npz file of preprocessed inputs"
            )
        return (self.fitted(image),)

    def moving(self, pixels: Tensor, index: int) -> tuple[Tensor, ...]:
        return self.inputs(Image.fromarray(pixels.permute(1, 2, 0).numpy()), index)

    def normalized(self, pixels: Tensor) -> Tensor:
        raise UserError(f"--preprocess {self.name}: is a function, which says no mean and deviation; name them instead")


def from_spec(spec: str) -> FunctionPreprocessing:
    """The function that `FILE.py:FUNCTION` names, tried on a drawn image. Raises `UserError`; runs the user's code."""
    function, (home, _, name) = object_at(spec, "--preprocess"), spec.rpartition(":")
    if not callable(function):
        raise UserError(
            f"--preprocess {spec}: is of type {type(function).__name__}, which cannot be called with an image"
        )
    if home.endswith(".py"):
        return from_function(function, f"{Path(home).name}:{name}", Path(home))
    return from_function(function, spec)


def from_function(
    function: Callable[[Image.Image], Any], name: str | None = None, file: Path | None = None
) -> FunctionPreprocessing:
    """A function of the user's as preprocessing: tried on a drawn image, by which the size of the input is known.

    `file` is the one that holds it, found out where it is not given. Raises `UserError` where it fails, gives no
    float32 `[C, H, W]`, or gives another tensor each time, as the transforms of a training do.
    """
    kind = type(function)
    is_function = getattr(function, "__qualname__", None) is not None
    named: Any = function if is_function else kind
    name = name or f"{named.__module__}:{named.__qualname__}"
    drawn = np.random.default_rng(0).integers(0, 256, _TRIED, np.uint8)
    first, again = (called(function, Image.fromarray(drawn), name) for _ in range(2))
    if not torch.equal(first, again):
        raise UserError(
            f"--preprocess {name}: makes another tensor of the same image each time; give the transforms of an "
            "evaluation, without anything random"
        )
    channels, height, width = first.shape
    # the file of a library's class says nothing of what an instance of it does
    file = file or (_file_of(function) if is_function or not _is_installed(kind) else None)
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file is not None and file.is_file() else ""
    neutral = ((0.0,) * channels, (1.0,) * channels)
    return FunctionPreprocessing(
        height, width, *neutral, source=name, origin=Origin.user, function=function, name=name, digest=digest
    )


def called(function: Callable[[Image.Image], Any], image: Image.Image, name: str) -> Tensor:
    """What the function makes of an image, as float32 `[C, H, W]`. Raises `UserError` where that is something else."""
    try:
        made = function(image.copy())  # it may draw on it
    except (Exception, SystemExit) as error:
        raise UserError(
            f"--preprocess {name}: failed with {described(error)}; it is called with an image of pillow's (RGB, "
            f"{image.height}x{image.width}) and makes a float tensor [C, H, W] of it"
        ) from error
    tensor = torch.from_numpy(made) if isinstance(made, np.ndarray) else made
    if not isinstance(tensor, Tensor):
        raise UserError(
            f"--preprocess {name}: made something of type {type(made).__name__} of an image; give a float tensor "
            "[C, H, W], with ToTensor() or the like"
        )
    shape = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
    if tensor.ndim == 4 and len(tensor) == 1:
        raise UserError(f"--preprocess {name}: made {shape} of an image; leave the batch out, [C, H, W]")
    if tensor.ndim != 3 or not tensor.is_floating_point() or not tensor.numel():
        raise UserError(f"--preprocess {name}: made {shape} of an image; give float32 [C, H, W]")
    if not tensor.isfinite().all():
        raise UserError(f"--preprocess {name}: made values that are not finite (NaN or infinite); mend it there")
    return tensor.detach().float().contiguous()


def _is_installed(kind: type) -> bool:
    """Whether a class is of a package that was installed."""
    file = _file_of(kind)
    return file is not None and "site-packages" in file.parts


def _file_of(function: Any) -> Path | None:
    """The file of Python that a function, or the class of what is called, is written in."""
    for one in (function, type(function)):
        try:
            found = inspect.getsourcefile(inspect.unwrap(one) if callable(one) else one)
        except TypeError:
            continue
        if found is not None:
            return Path(found)
    return None
