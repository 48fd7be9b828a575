"""What each torch reads and which operators it has, from the data that benchmarks/runtimes.py takes of its packages."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = 1
DATA = Path(__file__).parent / "operators.json"


@dataclass(frozen=True)
class Arity:
    """How many arguments an operator takes: `least` have no default, `most` is None where any number may follow."""

    most: int | None
    least: int

    def takes(self, passed: int) -> bool:
        """Whether a program may pass so many, the rest being given their defaults."""
        return self.least <= passed and (self.most is None or passed <= self.most)

    def __str__(self) -> str:
        if self.most == self.least:
            return str(self.least)
        return f"{self.least} or more" if self.most is None else f"{self.least} to {self.most}"


@dataclass(frozen=True)
class Torch:
    """A torch: the versions that it reads, both ends included, and its operators by full name, overload and all."""

    version: str
    bytecode: tuple[int, int]
    file_format: tuple[int, int]
    reads_flatbuffer: bool
    operators: Mapping[str, Arity]

    def overloads(self, name: str) -> tuple[Arity, ...]:
        """The overloads of an operator, by its name without any."""
        return _overloads(self.version).get(name, ())


@cache
def data() -> dict[str, Any]:
    """The file as it is, with where each part of it comes from."""
    content: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    assert content["schema"] == SCHEMA
    return content


@cache
def torch_of(version: str) -> Torch:
    """What is known of a torch. `version` must be that of a release in `fxconv.targets.mobile.releases.table`."""
    wheels = data()["wheels"]
    number = [wheel["torch"] for wheel in wheels].index(version)
    found: dict[str, Arity] = {}
    for space, keys in data()["operators"].items():
        for key, names in keys.items():
            if (arity := _at(key, number)) is not None:
                found |= {f"{space}::{name}": arity for name in names.split()}
    wheel = wheels[number]
    return Torch(version, tuple(wheel["bytecode"]), tuple(wheel["file_format"]), wheel["flatbuffer"], found)


@cache
def _overloads(version: str) -> dict[str, tuple[Arity, ...]]:
    found: defaultdict[str, list[Arity]] = defaultdict(list)
    for name, arity in torch_of(version).operators.items():
        found[name.partition(".")[0]].append(arity)
    return {name: tuple(arities) for name, arities in found.items()}


def _at(key: str, number: int) -> Arity | None:
    """What `0-2 3/2,3-5 */1` says of a release by its number; None where it has no such operator."""
    for run in key.split(","):
        span, told = run.split(" ")
        first, last = span.split("-")
        if int(first) <= number <= int(last):
            most, least = told.split("/")
            return Arity(None if most == "*" else int(most), int(least))
    return None
