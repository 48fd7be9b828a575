"""Which preprocessing a model gets: what the user says of it goes before what is known of its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn
from torchvision.transforms import InterpolationMode

from fxconv import pixel_options
from fxconv.config import Config
from fxconv.errors import UserError
from fxconv.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Origin, Preprocessing
from fxconv.models.preprocessing_function import FunctionPreprocessing, from_spec

# What timm preprocesses with where a model of its own says nothing else.
_TIMM_CROP = 0.875


def chosen(known: Preprocessing, config: Config, is_sized: bool = False) -> Preprocessing:
    """The preprocessing that the choices ask for; `known` where they ask for none.

    `known` has the size of the network's input; `is_sized` says that the user asked for that size. Raises `UserError`
    for what does not fit the network, or one another.
    """
    if config.preprocess is None and not config.pixel_choices:
        return known
    if pixel_options.is_function(config.preprocess):
        return _by_function(from_spec(str(config.preprocess)), known, is_sized)
    how = _valued(_recipe(known, config.preprocess), config)
    how = _fitted(how, config, is_sized)
    if config.interpolation is not None:
        how = replace(how, interpolation=InterpolationMode(config.interpolation.value))
    said = [f"preprocess {config.preprocess}"] if config.preprocess is not None else []
    said += [f"{field} {_said(getattr(config, field))}" for field in config.pixel_choices]
    # who says nothing of the values leaves them as they were, and what was assumed stays so
    settled = config.preprocess is not None or (config.mean is not None and config.std is not None)
    base = "" if config.preprocess is not None else f"{known.source}, with "
    return replace(
        how, source=base + ", ".join(said), origin=Origin.user if settled or known.is_known else known.origin
    )


def _said(value: Any) -> str:
    """A choice as it was typed."""
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value)
    return str(getattr(value, "value", value))


def _by_function(made: FunctionPreprocessing, known: Preprocessing, is_sized: bool) -> Preprocessing:
    found, wanted = made.size, known.size
    if is_sized and found != wanted:
        raise UserError(
            f"--preprocess {made.name}: makes {found[0]}x{found[1]} of an image, and --input-size is "
            f"{wanted[0]}x{wanted[1]}; leave --input-size out"
        )
    return replace(made, frames=known.frames, images=known.images)


def _recipe(known: Preprocessing, name: str | None) -> Preprocessing:
    """A recipe by name, for an input like `known`."""
    channels = known.channels
    if name in ("unit", pixel_options.RAW):
        scale = 1.0 if name == pixel_options.RAW else Preprocessing.scale
        return replace(known, mean=(0.0,) * channels, std=(1.0,) * channels, scale=scale)
    if name == "torchvision" and known.origin is not Origin.weights:
        return _imagenet(known, Preprocessing.resize, InterpolationMode.BILINEAR)
    if name == "timm" and known.origin is not Origin.package:
        return _imagenet(known, 1 / _TIMM_CROP, InterpolationMode.BICUBIC)
    return known


def _imagenet(known: Preprocessing, resize: float, interpolation: InterpolationMode) -> Preprocessing:
    plain = replace(known, mean=IMAGENET_MEAN, std=IMAGENET_STD, scale=Preprocessing.scale, stretched=None)
    return replace(plain, resize=resize, interpolation=interpolation).resized(known.channels, *known.size)


def _valued(how: Preprocessing, config: Config) -> Preprocessing:
    """With the mean and the deviation that were asked for, one for each channel."""
    for option, values in (("mean", config.mean), ("std", config.std)):
        if values is None:
            continue
        if len(values) not in (1, how.channels):
            shown = ",".join(f"{value:g}" for value in values)
            raise UserError(
                f"--{option} {shown}: {len(values)} numbers, and the model takes {how.channels} channels; give as many"
            )
        each = values * how.channels if len(values) == 1 else values
        how = replace(how, mean=each) if option == "mean" else replace(how, std=each)
    return how


def _fitted(how: Preprocessing, config: Config, is_sized: bool) -> Preprocessing:
    """With the resizing and the crop that were asked for."""
    cropped = config.crop is not None and config.crop != pixel_options.NO_CROP
    if cropped:
        sides = pixel_options.sides(str(config.crop))
        size = (sides[0], sides[-1])
        if is_sized and size != how.size:
            raise UserError(
                f"--crop {config.crop}: is the size of the input, and --input-size says {how.height}x{how.width}; "
                "leave one of them out"
            )
        how = how.resized(None, *size)
    if config.resize is None:
        return replace(how, stretched=how.size) if config.crop == pixel_options.NO_CROP else how
    resized = pixel_options.sides(config.resize)
    if config.crop == pixel_options.NO_CROP:  # all of the image, whatever its ratio: then it is the size of the input
        if is_sized and (resized[0], resized[-1]) != how.size:
            raise UserError(
                f"--resize {config.resize} --crop none: is the size of the input, and --input-size says "
                f"{how.height}x{how.width}; leave one of them out"
            )
        how = how.resized(None, resized[0], resized[-1])
        return replace(how, stretched=how.size)
    if any(full < side for full, side in zip((resized[0], resized[-1]), how.size, strict=True)) and (
        len(resized) == 2 or resized[0] < min(how.size)
    ):
        raise UserError(
            f"--resize {config.resize}: is smaller than the crop of {how.height}x{how.width}; give more, or set --crop "
            "or --input-size"
        )
    if len(resized) == 1:
        return replace(how, stretched=None, resize=resized[0] / min(how.size))
    return replace(how, stretched=(resized[0], resized[1]))


def of_module(module: nn.Module, known: Preprocessing) -> Preprocessing:
    """What a model of timm's says of itself, whoever made it; `known` for any other."""
    told: Any = getattr(module, "pretrained_cfg", None)
    if known.is_known or not isinstance(told, dict) or not told.get("mean"):
        return known
    return from_timm(told, f"timm's configuration of {told.get('architecture') or type(module).__name__}") or known


def from_timm(told: dict[str, Any], source: str) -> Preprocessing | None:
    """The preprocessing in a configuration of timm's; None where it is not one."""
    try:
        channels, height, width = (int(side) for side in told.get("input_size", (3, 224, 224)))
        mean, std = (tuple(float(value) for value in told[field]) for field in ("mean", "std"))
        crop, mode = float(told.get("crop_pct") or 1.0), str(told.get("interpolation") or "bicubic")
    except (KeyError, TypeError, ValueError):
        return None
    if len(mean) != channels or len(std) != channels or not crop > 0 or min(std) <= 0:
        return None
    names = {one.value: one for one in InterpolationMode}
    stretched = (height, width) if told.get("crop_mode") == "squash" and crop == 1 else None
    how = Preprocessing(height, width, mean, std, 1 / crop, names.get(mode, InterpolationMode.BILINEAR), source)
    return replace(how, origin=Origin.package, stretched=stretched)
