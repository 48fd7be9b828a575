"""How photographs become what a file takes: as the file says, or where it does not, as the user says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fxconv import pixel_options
from fxconv.config import Config
from fxconv.errors import UserError
from fxconv.inspection.printable import printable
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.preprocessing_choice import chosen
from fxconv.models.preprocessing_function import FunctionPreprocessing, from_spec
from fxconv.targets.proof import metadata
from fxconv.targets.wrapping.normalization import InGraphNormalization

_IMAGE = "one image [1, C, H, W]"


@dataclass(frozen=True)
class FileInput:
    """The one image that a file takes: how it is made of a photograph, and whether as uint8 pixels."""

    preprocessing: Preprocessing
    is_pixels: bool

    def tensor(self, image: Image.Image) -> Tensor:
        """`[1, C, H, W]` of an upright image, of the mode that the preprocessing asks for."""
        how, made = self.preprocessing, self.preprocessing.fitted(image)[None]
        if not self.is_pixels:
            return made
        if how.says_values:
            return InGraphNormalization(*how.unit_scaled).pixels((made,))[0]
        pixels = made.round()
        if not torch.equal(pixels, made) or made.min() < 0 or made.max() > 255:
            raise UserError(f"--preprocess {how.source}: makes other values than whole ones from 0 to 255, and the "
                            "file takes uint8; leave its pixels as they are")  # fmt: skip
        return pixels.to(torch.uint8)


def file_input(path: Path, told: Mapping[str, Any], pixels: Mapping[str, Any] = MappingProxyType({})) -> FileInput:
    """What a file takes, which says `told` of itself; `pixels` are the fields of `Config` that the user gave.

    Raises `UserError` where that is no single photograph, where nobody says how it is preprocessed, and where the file
    says it and the user, too.
    """
    like = _one_image(path, told)
    known, config = Preprocessing().resized(*like.shape[1:]), Config(**pixels)
    said = told.get("preprocessing")
    if said is None:
        how = _as_asked(path, known, config)
    elif isinstance(said, dict):
        how = _as_said(path, dict(told), known, config)
    else:
        raise UserError(f"{path}: what its {metadata.FILE} says of preprocessing is damaged")
    if how.shape != like.shape[1:]:
        made, taken = ("x".join(map(str, shape)) for shape in (how.shape, like.shape[1:]))
        if isinstance(how, FunctionPreprocessing):
            raise UserError(f"--preprocess {how.name}: makes {made} of an image, and {path} takes {taken}")
        if said is not None:
            raise UserError(f"{path}: what its {metadata.FILE} says of preprocessing is damaged")
        raise UserError(f"{path}: takes {taken}, and not {made}; leave --crop out, or set --resize to its size")
    return FileInput(how, like.dtype == torch.uint8)


def _one_image(path: Path, told: Mapping[str, Any]) -> Tensor:
    """A tensor like the one that a file takes."""
    inputs = metadata.inputs_in(path, "convert the model anew")
    if inputs is None:
        raise UserError(
            f"{path}: does not say what it takes, as the files of fxconv convert do; fxconv bench --example FILE.npy "
            "runs it on arrays, fxconv verify --against MODEL on photographs beside its model"
        )
    shapes = " and ".join(f"{str(one.dtype).removeprefix('torch.')} {list(one.shape)}" for one in inputs)
    if len(inputs) > 1:
        raise UserError(f"{path}: takes {len(inputs)} inputs ({printable(shapes)}), and predict gives it {_IMAGE}")
    like = inputs[0]
    if like.ndim == 5:
        raise UserError(f"{path}: takes clips ({shapes}), and predict gives it {_IMAGE}")
    if like.ndim != 4 or len(like) != 1 or like.dtype not in (torch.float32, torch.uint8):
        raise UserError(f"{path}: takes {printable(shapes)}, and predict gives it {_IMAGE}")
    if like.shape[1] not in (1, 3):
        raise UserError(f"{path}: takes {like.shape[1]} channels, which photographs cannot fill")
    return like


def _as_said(path: Path, told: dict[str, Any], known: Preprocessing, config: Config) -> Preprocessing:
    """As the file says; only a function of the user's is named again."""
    given = config.preprocess if pixel_options.is_function(config.preprocess) else None
    by_function = isinstance(told["preprocessing"].get("function"), dict)
    options = [f"--{field}" for field in config.pixel_choices]
    if config.preprocess is not None and not (by_function and given):
        options.insert(0, f"--preprocess {config.preprocess}")
    how = metadata.preprocessing_in(path, told, known, given)
    if options:
        raise UserError(f"{path}: says how: {how.in_words}; leave {options[0]} out")
    return how


def _as_asked(path: Path, known: Preprocessing, config: Config) -> Preprocessing:
    """As the user says of a file that does not."""
    if pixel_options.is_function(config.preprocess) and not config.pixel_choices:
        return from_spec(str(config.preprocess))
    how = chosen(known, config)
    if not how.is_known:
        raise UserError(
            f"{path}: does not say how photographs become what it takes; give --preprocess torchvision, timm, unit, "
            "raw or FILE.py:FUNCTION, or --mean and --std, with --resize and --crop as the model was trained"
        )
    return how
