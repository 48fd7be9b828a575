"""docs/deprecations.md names every room that uses what torch means to remove, and none that does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PAGE = (REPO / "docs" / "deprecations.md").read_text()
COLUMNS = ("ao", "quint8", "TorchScript", "lite")
# Names as they are written out, longest first: the lite interpreter is a part of torch.jit.
FAMILIES = (
    ("lite", r"torch\.jit\.mobile\b"),
    ("TorchScript", r"torch\.jit\b|torch\.utils\.mobile_optimizer\b"),
    ("ao", r"torch\.ao\b|torch\.quantization\b"),
    ("quint8", r"torch\.(quantize_per_|q(u?int8|int32)\b|backends\.quantized\b|ops\.quantized\b)"),
)
METHODS = {
    **dict.fromkeys(("int_repr", "q_scale", "q_zero_point", "q_per_channel_scales", "is_quantized"), "quint8"),
    **dict.fromkeys(("_save_for_lite_interpreter", "_save_to_buffer_for_lite_interpreter"), "lite"),
}


def names(tree: ast.AST) -> Iterator[str]:
    """What is imported, and the dotted names that are read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def families(source: str) -> set[str]:
    found = set()
    for name in names(ast.parse(source)):
        kind = next((kind for kind, pattern in FAMILIES if re.match(pattern, name)), None)
        found.add(kind or METHODS.get(name.rpartition(".")[2]))
    return found - {None}


def room(file: Path) -> str:
    """A package of fxconv or rewrites, or a file that stands in neither of theirs."""
    parts = file.relative_to(REPO).parts
    return "/".join(parts[:2]) + ("/" if len(parts) > 2 else "")


def used() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in (*(REPO / "fxconv").rglob("*.py"), *(REPO / "rewrites").rglob("*.py")):
        if of := families(file.read_text()):
            found.setdefault(room(file), set()).update(of)
    return found


def told() -> dict[str, set[str]]:
    """The rows of the page's second table."""
    table = PAGE[PAGE.index("| room |") :].partition("\n\n")[0].splitlines()
    assert [cell.strip() for cell in table[0].split("|")][2:6] == list(COLUMNS)
    found = dict[str, set[str]]()
    for row in table[2:]:
        first, *marks = (cell.strip() for cell in row.strip("|").split("|")[: 1 + len(COLUMNS)])
        assert set(marks) <= {"x", ""}
        for place in re.findall(r"`([\w/.]+)`", first):
            found[place] = {column for column, mark in zip(COLUMNS, marks, strict=True) if mark}
    return found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from torch.ao.quantization import prepare", {"ao"}),
        ("import torch.ao.nn.quantized as nnq", {"ao"}),
        ("from torch.jit.mobile import _load_for_lite_interpreter", {"lite"}),
        ("import torch\ntorch.jit.script(f)", {"TorchScript"}),
        ("import torch\ntorch.quantize_per_tensor(x, 1.0, 0, torch.quint8)", {"quint8"}),
        ("x.q_scale()", {"quint8"}),
        ("m._save_to_buffer_for_lite_interpreter()", {"lite"}),
        ("import torch\ntorch.fake_quantize_per_tensor_affine(x, 1.0, 0, 0, 255)", set()),
        ("text = 'torch.jit.load(path)'", set()),
    ],
)
def test_what_counts_as_use(source, found):
    assert families(source) == found


def test_every_room_that_uses_what_is_deprecated_stands_in_the_table_and_no_other():
    assert told() == used()


def test_the_page_says_what_uses_none_of_it():
    assert not used().keys() & {f"fxconv/{room}/" for room in ("report", "cli", "analysis", "data", "inspection")}


def test_the_files_that_the_page_names_are_there():
    assert [path for path in re.findall(r"`((?:fxconv|rewrites)/[\w/.]+)`", PAGE) if not (REPO / path).exists()] == []
