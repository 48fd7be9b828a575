"""An attack: a model whose file may be wrong where nobody looks, and its twin, which differs in the one point."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Marks the line of a source that a refusal or a warning must name.
HERE = "# here"
_IMPORTS = """\
import copy
import math
import random
import types

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

"""
_MAKE = """

def make_net():
    torch.manual_seed(0)
    return Net()
"""


@dataclass(frozen=True)
class Attack:
    """Two sources with `make_net()`, and what they are converted and judged with.

    `probes` and `calibration` are names in `images`. `named` is what a refusal or a warning must say besides the lines
    that are marked, a pattern. Where `is_cured` fxconv has a way to answer right. `options` are those of
    `fxconv.convert`, `methods` the ways a model becomes TorchScript.
    """

    kind: str
    title: str
    attacked: str
    sound: str
    probes: str
    calibration: str = "still"
    named: str = ""
    is_cured: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    methods: Sequence[str] = ("auto", "trace")

    @property
    def name(self) -> str:
        """A file's name, made of kind and title."""
        return re.sub(r"\W+", "_", f"{self.kind} {self.title}").strip("_").lower()

    def lines(self) -> list[int]:
        """The marked lines of the attacked source."""
        return [number for number, line in enumerate(self.attacked.splitlines(), 1) if HERE in line]

    def write(self, folder: Path, is_sound: bool) -> Path:
        """The source as a file, for `inspect` and TorchScript to read."""
        path = folder / f"{self.name}{'_sound' * is_sound}.py"
        path.write_text(self.sound if is_sound else self.attacked)
        return path


ATTACKS: list[Attack] = []


def enter(attack: Attack) -> None:
    """Put an attack into the table, under a name of its own."""
    if any(attack.name == other.name for other in ATTACKS):
        raise ValueError(f"two attacks are called {attack.name}")
    ATTACKS.append(attack)


def indented(code: str, by: int) -> str:
    """Each line of the code moved to the right."""
    return "\n".join(" " * by + line if line else line for line in code.splitlines())


def whole(code: str) -> str:
    """A source that defines Net, with imports before it and make_net() behind."""
    return _IMPORTS + "\n" + code.strip("\n") + "\n" + _MAKE


def network(
    then: str, place: str = "net", init: str = "pass", above: str = "", last: str = "return self.head(y)"
) -> str:
    """Two convolutions with `then` between them, which changes `y` beside the input `x`, at one of `PLACES`.

    `{other}` in it is a choice that is always False.
    """
    inside = then.replace("{other}", "other" if place == "function" else "self.other")
    stem = "self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)"
    part, call = "", indented(inside, 8)
    method = ""
    if place in ("submodule", "leaf"):
        unused = ", **unused" * (place == "leaf")  # TorchScript has no such arguments
        part = _PART.format(init=indented(init, 8), then=indented(inside, 8), unused=unused)
        stem, init, call = f"{stem}\nself.part = Part()", "pass", "        y = self.part(x, y)"
    elif place == "function":
        part = f"def adjusted(x, y, other: bool):\n{indented(inside, 4)}\n    return y\n\n\n"
        call = "        y = adjusted(x, y, self.other)"
    elif place == "method":
        method = f"    def adjusted(self, x, y):\n{indented(inside, 8)}\n        return y\n\n"
        call = "        y = self.adjusted(x, y)"
    elif place != "net":
        raise ValueError(place)
    code = _NET.format(init=indented(f"{stem}\n{init}", 8), method=method, call=call, last=indented(last, 8))
    return whole(f"{above}\n\n\n{part}{code}".lstrip("\n"))


PLACES = ("net", "submodule", "leaf", "function", "method")
_PART = """\
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.other = nn.Conv2d(8, 8, 3, padding=1), False
{init}

    def forward(self, x, y{unused}):
{then}
        return torch.relu(self.conv(y))


"""
_NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.other = False
{init}

{method}    def forward(self, x):
        y = torch.relu(self.stem(x))
{call}
{last}
"""
