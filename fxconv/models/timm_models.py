"""Models that timm names, `timm:NAME`: with timm's own configuration, and nothing fetched."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torchvision.transforms import InterpolationMode

from fxconv.errors import UserError, described
from fxconv.models.installed_packages import TIMM, imported, installed_alone
from fxconv.models.model_arguments import parameters_of, refuse_weights, unexpected, unknown
from fxconv.models.package_model import PackageModel
from fxconv.models.preprocessing import Origin, Preprocessing

# Arguments of create_model itself that make another model of one, beside those of the model's class.
_OF_ANY = ("num_classes", "in_chans", "img_size", "features_only", "out_indices", "drop_rate", "scriptable")


def names() -> list[str]:
    """All that can be named. Raises `UserError` without timm."""
    return [f"{TIMM}{name}" for name in imported("timm", TIMM).list_models()]


def opened(text: str, arguments: Mapping[str, Any]) -> PackageModel:
    """The model that `timm:NAME` names, NAME with a tag or without. Raises `UserError` for what the user can mend."""
    timm = imported("timm", text)
    name = _resolved(timm, text)
    whole = f"{TIMM}{name}"
    refuse_weights(arguments, whole)
    known = _known(timm, text, name)

    def build(more: Mapping[str, Any]) -> nn.Module:
        return _created(timm, name, {**arguments, **more})

    cached = _cached(known)
    without = (
        f"timm's weights of {name} are not in its cache, and fxconv fetches none of timm's "
        f"(timm.create_model('{name}', pretrained=True) does)"
    )
    if "num_classes" in arguments:  # timm would leave the head at random
        cached, without = None, f"nobody publishes weights of {name} with num_classes={arguments['num_classes']}"
    return PackageModel(
        whole,
        build,
        lambda more: _preprocessing(whole, known, {**arguments, **more}),
        lambda height, width: _sized(known, arguments, height, width),
        "num_classes",
        without,
        cached,
        lambda: _created(timm, name, dict(arguments), pretrained=True, pretrained_cfg_overlay={"file": str(cached)}),
    )


def _resolved(timm: ModuleType, text: str) -> str:
    """The name that is meant: case and `-` or `_` do not matter."""
    given = text[len(TIMM) :]
    architecture, dot, tag = given.partition(".")
    for name in (architecture, architecture.lower().replace("-", "_")):
        if timm.is_model(name):
            return f"{name}{dot}{tag}"
    known = timm.list_models()
    near = difflib.get_close_matches(architecture.lower().replace("-", "_"), known, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(f'{TIMM}{name}' for name in near)}?" if near else ""
    raise UserError(f"unknown model {text!r}{hint} (fxconv models {TIMM} lists all {len(known)})")


def _known(timm: ModuleType, text: str, name: str) -> Any:
    """What timm knows of a model's weights and their input; None where it knows nothing of that architecture."""
    architecture, _, tag = name.partition(".")
    try:
        known = timm.get_pretrained_cfg(name)
    except Exception as error:  # timm has a RuntimeError for a tag that there is not
        if not tag:
            raise UserError(f"{text}: timm cannot tell its configuration: {described(error)}") from error
        known = None
    if known is None and tag:
        raise _unknown_tag(timm, text, architecture)
    return known


def _unknown_tag(timm: ModuleType, text: str, architecture: str) -> UserError:
    tagged = [one for one in timm.list_models(pretrained=True) if one.partition(".")[0] == architecture]
    near = difflib.get_close_matches(text[len(TIMM) :], tagged, n=3, cutoff=0) or [architecture]
    named = ", ".join(f"{TIMM}{one}" for one in near)
    return UserError(f"unknown model {text!r}: timm has no such weights of {architecture}; did you mean {named}?")


def _created(timm: ModuleType, name: str, arguments: dict[str, Any], **more: Any) -> nn.Module:
    try:
        with installed_alone():
            return timm.create_model(name, **{"pretrained": False, **more, **arguments})
    except Exception as error:  # whatever an argument that does not fit raises
        key = unexpected(error) if isinstance(error, TypeError) else None
        if key in arguments:
            made = type(timm.create_model(name, pretrained=False))
            raise unknown(str(key), [*parameters_of(made.__init__), *_OF_ANY], f"{TIMM}{name}") from error
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        why = f" with {given}" if given else ""
        raise UserError(f"{TIMM}{name}: timm cannot make it{why}: {described(error)}") from error


def _sized(known: Any, arguments: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    if "img_size" in arguments or not getattr(known, "fixed_input_size", False):
        return {}
    return {"img_size": height if height == width else (height, width)}


def _preprocessing(name: str, known: Any, arguments: Mapping[str, Any]) -> Preprocessing:
    """As timm would preprocess for the model, with the size and the channels that its arguments give it."""
    if known is None:
        return Preprocessing()
    channels, height, width = known.input_size
    ratio = 1 / (known.crop_pct or 1.0)
    source = f"timm's configuration of {name.removeprefix(TIMM)}"
    found = Preprocessing(
        height, width, tuple(known.mean), tuple(known.std), ratio, _interpolation(known.interpolation), source
    )
    size = arguments.get("img_size") or (height, width)
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    sized = found.resized(arguments.get("in_chans", channels), height, width)
    return replace(sized, source=source, origin=Origin.package)


def _interpolation(name: str) -> InterpolationMode:
    known = {mode.value: mode for mode in InterpolationMode}
    return known.get(name, InterpolationMode.BILINEAR)


def _cached(known: Any) -> Path | None:
    """The file of the published weights, where timm has fetched it before."""
    if known is None:
        return None
    repository, address = getattr(known, "hf_hub_id", None), getattr(known, "url", None)
    if repository:
        try:
            hub = importlib.import_module("huggingface_hub")
        except ImportError:
            return None
        for file in (getattr(known, "hf_hub_filename", None), "model.safetensors", "pytorch_model.bin"):
            found = hub.try_to_load_from_cache(repository, file) if file else None
            if isinstance(found, str):
                return Path(found)
    if isinstance(address, str):
        file = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]
        return file if file.is_file() else None
    return None
