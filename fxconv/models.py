"""A name, a file.py:factory or a package.module:factory  ->  an nn.Module and the input it takes."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models as zoo

from fxconv.errors import UserError
from fxconv.imports import object_at
from fxconv.preprocessing import Preprocessing
from fxconv.weights import cached_or_fetched, load_into, read_checkpoint
from rewrites.spec import check_source

ALIASES = {"mobilenet_v3": "mobilenet_v3_large"}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be converted.

    `weights` says in words where they come from; `is_random` that they come from a seed, so that batch
    norms have to be re-estimated before anything is compared.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    weights: str
    is_random: bool
    warnings: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers the model holds."""
        return sum(p.numel() for p in self.module.parameters())


def names() -> list[str]:
    """The torchvision models that can be named: all but the twins torchvision quantized itself."""
    return [name for name in zoo.list_models() if not name.startswith("quantized_")]


def resolve(text: str) -> str:
    """The torchvision name meant by `text`: case and `-` or `_` do not matter. Raises `UserError` with near names."""
    wanted = text.lower().replace("-", "_")
    known = names()
    wanted = ALIASES.get(wanted, wanted)
    if wanted in known:
        return wanted
    if wanted.startswith("quantized_") and wanted.removeprefix("quantized_") in known:
        raise UserError(f"model {text!r} is quantized by torchvision already; name the float one: {wanted[10:]}")
    near = difflib.get_close_matches(wanted, [*known, *ALIASES], n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise UserError(f"unknown model {text!r}{hint} (fxconv models lists all; or give FILE.py:FACTORY)")


def parse_input_size(text: str | None) -> tuple[int | None, int, int] | None:
    """`N`, `HxW` or `CxHxW` to (channels or None, height, width) in pixels; None when nothing is given."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts) or len(parts) > 3:
        raise UserError(f"--input-size {text}: expected N, HxW or CxHxW in pixels, such as 224, 240x320 or 1x28x28")
    sizes = [int(part) for part in parts]
    if len(sizes) == 1:
        return None, sizes[0], sizes[0]
    return (None, *sizes) if len(sizes) == 2 else (sizes[0], sizes[1], sizes[2])  # type: ignore[return-value]


def load(
    text: str, weights: str = "auto", input_size: str | None = None, seed: int = 0, structure_only: bool = False
) -> LoadedModel:
    """The model `text` names, in eval mode.

    `weights` is auto, random or the path of a checkpoint. With `structure_only` nothing is fetched: the weights
    do not matter when only the rewriting is shown. Raises `UserError` for whatever the user can mend.
    """
    size = parse_input_size(input_size)
    if ":" in text:
        loaded = _from_factory(text, weights, seed)
    else:
        loaded = _from_torchvision(resolve(text), weights, seed, structure_only)
    if size is not None:
        loaded = replace(loaded, preprocessing=loaded.preprocessing.resized(*size))
    if offences := check_source(loaded.module):
        raise UserError(f"{text}: {offences[0].node}: {offences[0].rule}")
    broken = [name for name, tensor in loaded.module.state_dict().items() if not _is_finite(tensor)]
    if broken:
        raise UserError(
            f"{text}: {len(broken)} weights hold NaN or infinity, the first is {broken[0]}; mend the checkpoint"
        )
    loaded.module.eval()
    return loaded


def _is_finite(value: object) -> bool:
    return not isinstance(value, torch.Tensor) or bool(torch.isfinite(value).all())


def _seeded(build: Callable[[], Any], seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _from_torchvision(name: str, weights: str, seed: int, structure_only: bool) -> LoadedModel:
    builder = zoo.get_model_builder(name)
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # said by name, or torchvision warns of a change to come
    module: nn.Module = _seeded(lambda: builder(**options), seed)
    published = zoo.get_model_weights(name)
    default = published.DEFAULT if len(published) else None
    preset = default
    described, is_random, warnings = f"random, seed {seed}", True, []
    if weights not in ("auto", "random"):
        path = Path(weights)
        load_into(module, read_checkpoint(path), path, name)
        described, is_random = str(path), False
        preset = next((entry for entry in published if entry.url.rsplit("/", 1)[-1] == path.name), default)
    elif weights == "auto" and default is not None and not structure_only:
        state = cached_or_fetched(default)
        if state is not None:
            module.load_state_dict(state)
            described, is_random = str(default), False
        else:
            warnings.append(
                f"RANDOM WEIGHTS: {default} is not cached and could not be fetched. The artifact shows the conversion, "
                "it recognises nothing; give --weights FILE, or --weights random to say that this is meant"
            )
    preprocessing = Preprocessing()
    if preset is not None:
        preprocessing = Preprocessing.from_preset(preset.transforms(), str(preset))
    return LoadedModel(name, module, preprocessing, described, is_random, tuple(warnings))


def _from_factory(text: str, weights: str, seed: int) -> LoadedModel:
    factory, factory_name = object_at(text, "model"), text.rpartition(":")[2]
    module = factory
    if not isinstance(factory, nn.Module):
        if not callable(factory):
            raise UserError(f"{text} is neither a module nor a function that makes one")
        try:
            module = _seeded(factory, seed)
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{text}() failed with {type(error).__name__}: {error}; it must need no arguments"
            ) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{text}() gave a {type(module).__name__}, not an nn.Module")
    described, is_random = "as the factory made them", False
    if weights == "random":
        described, is_random = f"random as the factory made them, seed {seed}", True
    elif weights != "auto":
        path = Path(weights)
        load_into(module, read_checkpoint(path), path, text)
        described = str(path)
    return LoadedModel(factory_name, module, Preprocessing(), described, is_random)
