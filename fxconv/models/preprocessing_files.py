"""What files beside a checkpoint say of preprocessing: transformers' preprocessor_config.json, timm's config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.transforms import InterpolationMode

from fxconv.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Origin, Preprocessing
from fxconv.models.preprocessing_choice import from_timm

_OF_TRANSFORMERS, _OF_TIMM = "preprocessor_config.json", "config.json"
# A configuration is a page of text; a larger file is none.
_MOST_BYTES = 1 << 20
_BY_NUMBER = {
    Image.Resampling.NEAREST: InterpolationMode.NEAREST,
    Image.Resampling.BILINEAR: InterpolationMode.BILINEAR,
    Image.Resampling.BICUBIC: InterpolationMode.BICUBIC,
    Image.Resampling.BOX: InterpolationMode.BOX,
    Image.Resampling.HAMMING: InterpolationMode.HAMMING,
    Image.Resampling.LANCZOS: InterpolationMode.LANCZOS,
}


def beside(checkpoint: Path, known: Preprocessing) -> Preprocessing:
    """How images were preprocessed for a checkpoint, where a file beside it says so; else `known`."""
    told = _read(checkpoint.parent / _OF_TRANSFORMERS)
    if told is not None:
        return _of_transformers(told, known) or known
    told = _read(checkpoint.parent / _OF_TIMM)
    given = told.get("pretrained_cfg") if told is not None else None
    return (from_timm(given, f"{_OF_TIMM} beside {checkpoint.name}") if isinstance(given, dict) else None) or known


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= _MOST_BYTES:
            told = json.loads(path.read_text(encoding="utf-8"))
            return told if isinstance(told, dict) else None
    return None


def _of_transformers(told: Mapping[str, Any], known: Preprocessing) -> Preprocessing | None:
    """The same from transformers' image processors, as far as their fields say it; None where they do not."""
    try:
        crops, resizes = told.get("do_center_crop", False), told.get("do_resize", True)
        size, crop = _sides(told.get("size")), _sides(told.get("crop_size")) if crops else None
        if told.get("do_normalize", True):
            mean, std = (
                tuple(float(value) for value in told.get(field) or default)
                for field, default in (("image_mean", IMAGENET_MEAN), ("image_std", IMAGENET_STD))
            )
        else:
            mean, std = (0.0,) * known.channels, (1.0,) * known.channels
        scale = 1.0 if not told.get("do_rescale", True) else float(told.get("rescale_factor") or 1 / 255)
        mode = _BY_NUMBER[Image.Resampling(told.get("resample", Image.Resampling.BILINEAR))]
    except (KeyError, TypeError, ValueError):
        return None
    if len(mean) != known.channels or len(std) != known.channels or min(std) <= 0 or scale not in (1.0, 1 / 255):
        return None
    how = replace(known, mean=mean, std=std, scale=scale, interpolation=mode)
    if resizes and size is not None:
        full = size if len(size) == 2 else (size[0], size[0])
        target = crop or full
        how = replace(how.resized(None, target[0], target[-1]), stretched=full if len(size) == 2 else None)
        if len(size) == 1:
            how = replace(how, resize=size[0] / min(how.size) if crop else 1.0)
    return replace(how, source=_OF_TRANSFORMERS, origin=Origin.package)


def _sides(told: Any) -> tuple[int, ...] | None:
    """Height and width, or the shorter side alone; None where nothing is said."""
    if told is None:
        return None
    if isinstance(told, int):
        return (told,)
    if "height" in told:
        return int(told["height"]), int(told["width"])
    return (int(told["shortest_edge"]),) if "shortest_edge" in told else None
