"""A model that an installed package names: what every package has to say of one of its models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fxconv.models.preprocessing import Preprocessing

Arguments = Mapping[str, Any]


def _adopts_nothing(arguments: Arguments, state: Mapping[str, Tensor]) -> nn.Module | None:
    return None


@dataclass(frozen=True)
class PackageModel:
    """A model of an installed package, of which nothing is fetched.

    `build` makes it, with random weights, of the arguments it is called with beside those the user gave; `sized` are
    those by which it takes images of another height and width, none where it takes any. `preprocessing` says what
    arguments make of the input. `classes` is the argument that says how many classes it tells apart. `cached` is the
    file of its published weights where the package has fetched it before, and `pretrained` the model with those;
    `without` says why there are none otherwise. `adopt` gives the model with a checkpoint of the package's own older
    names, None where that is no such checkpoint. `names` are what it was trained to tell apart.
    """

    name: str
    build: Callable[[Arguments], nn.Module]
    preprocessing: Callable[[Arguments], Preprocessing]
    sized: Callable[[int, int], dict[str, Any]]
    classes: str
    without: str
    cached: Path | None = None
    pretrained: Callable[[], nn.Module] | None = None
    adopt: Callable[[Arguments, Mapping[str, Tensor]], nn.Module | None] = _adopts_nothing
    names: tuple[str, ...] | None = None
