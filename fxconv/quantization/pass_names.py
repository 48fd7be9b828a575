"""The names of the passes, in their order, and what each does in a line: read from their source, without torch.

To import the passes is to import torch, which takes seconds; a list of them, and the nearest of a misspelt name, need
none of it.
"""

from __future__ import annotations

import ast
import difflib
import functools
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fxconv.errors import UserError


@dataclass(frozen=True)
class NamedPass:
    """A pass by its name and the first line of its page; `on_request` that it is not in the default order."""

    name: str
    summary: str
    on_request: bool


@functools.cache
def named_passes() -> tuple[NamedPass, ...]:
    """Every pass of fxconv's: those of the default order, then those on request."""
    package = find_spec("rewrites")
    assert package is not None and package.origin is not None  # it comes with fxconv
    folder = Path(package.origin).parent / "passes"
    listing = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    modules = {
        imported.name: (node.module or "").rpartition(".")[2]
        for node in listing.body
        if isinstance(node, ast.ImportFrom)
        for imported in node.names
    }
    return tuple(
        _named(folder / f"{modules[kind]}.py", kind, on_request)
        for tuple_name, on_request in (("DEFAULT_PASSES", False), ("ALTERNATIVES", True))
        for kind in _made_in(listing, tuple_name)
    )


def _made_in(listing: ast.Module, name: str) -> list[str]:
    """The classes that a tuple at the top of a module makes instances of."""
    for node in listing.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            assert isinstance(node.value, ast.Tuple)
            return [
                one.func.id for one in node.value.elts if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)
            ]
    raise AssertionError(f"rewrites.passes has no tuple {name}")


def _named(file: Path, kind: str, on_request: bool) -> NamedPass:
    """What the source of a pass says of it."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    (found,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == kind)
    (name,) = (
        node.value.value
        for node in found.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "name"
        and isinstance(node.value, ast.Constant)
    )
    return NamedPass(str(name), (ast.get_docstring(found) or kind).splitlines()[0], on_request)


def check_pass(name: str) -> None:
    """Raise `UserError`, with the nearest names, where no pass is called so."""
    known = [one.name for one in named_passes()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"unknown pass {name!r}{hint} (fxconv passes lists all)")
