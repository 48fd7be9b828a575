"""Operators that reach beyond the numbers they are given: to run a file that calls them is to trust it."""

from __future__ import annotations

from collections.abc import Iterable

from fxconv.inspection.found import Operator

# Found among the schemas of torch 2.12 and torchvision 0.27 by what they take.
EFFECTS = {
    "aten::save": "writes files",
    "aten::from_file": "reads and writes files",
    "debugprims::load_tensor": "reads files",
    "image::read_file": "reads files",
    "image::write_file": "writes files",
    "prim::rpc_async": "calls other machines",
    "prim::rpc_remote": "calls other machines",
    "prim::rpc_sync": "calls other machines",
}


def effects(operators: Iterable[Operator]) -> list[str]:
    """What the operators of a file do beyond computing, each as a sentence."""
    names = dict.fromkeys(one.name for one in operators)
    return [f"{name} {EFFECTS[name]}: run it only if you trust it" for name in names if name in EFFECTS]
