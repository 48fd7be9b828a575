"""The constants of the file: what was called what, what is fused, what stays in float, what is in no checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from rewrites.emit.file import Decided, File, Folded
from rewrites.emit.text import Expression, Group, Slot, lines

_UNPACKING = [
    "", "",
    "def _unpacked(shape: tuple[int, ...], dtype: torch.dtype, content: str) -> Tensor:",
    '    """A tensor of its compressed bytes."""',
    "    packed = bytearray(zlib.decompress(base64.b64decode(content)))",
    "    return torch.frombuffer(packed, dtype=dtype).reshape(shape)",
]  # fmt: skip


def plainly(slot: Slot) -> str:
    return slot.text()


def table(name: str, comment: str, opening: str, items: Sequence[tuple[str, Expression]]) -> list[str]:
    """A constant with an item a line; formatters want a single word in the line of its name."""
    if opening == "(" and len(items) == 1:
        return ["", f"# {comment}", *lines(f"{name} = ", Group("(", ")", tuple(items)), plainly, 0)]
    found = ["", f"# {comment}", f"{name} = {opening}"]
    for key, item in items:
        found += lines(key, item, plainly, 4, ",")
    return [*found, "}" if opening == "{" else "]" if opening == "[" else ")"]


def tables(file: File) -> list[str]:
    recipes: tuple[Folded | Decided, ...] = (*file.folded, *file.decided)
    constants = [*file.constants.values(), *(own for one in recipes for own in one.names.values())]
    is_packed = any(map(_is_packed, (*constants, *(one.answer for one in file.decided))))
    found = [*(_UNPACKING if is_packed else []), ""]
    originals = [(f'"{new}": ', f'"{old}"') for new, old in file.originals.items()]
    found += (
        table("ORIGINAL", "What is named so here is named so in the original.", "{", originals)
        if originals
        else ["", "ORIGINAL: dict[str, str] = {}"]
    )
    if file.forward:
        forward = [(f'"{norm}": ', _strings("(", ")", layers)) for norm, layers in file.forward.items()]
        found += table("FORWARD", "The batch norms that the layers behind them do the work of.", "{", forward)
    chains: list[tuple[str, Expression]] = [("", _strings("[", "]", chain)) for chain in file.fusable]
    found += (
        table("FUSABLE", "The layers that run as one.", "[", chains)
        if chains
        else ["", "FUSABLE: list[list[str]] = []"]
    )
    if file.floating:
        found += table("FLOAT", "The layers that stay in float.", "(", [("", f'"{path}"') for path in file.floating])
    if file.rows:
        rows = [(f'"{path}": ', f"({start}, {stop})") for path, (start, stop) in file.rows.items()]
        found += table("ROWS", "The layers that are some rows of one of the original's.", "{", rows)
    if file.reshaped:
        found += table("RESHAPED", "What has other dimensions here.", "(", [("", f'"{key}"') for key in file.reshaped])
    if file.constants:
        items = [(f'"{path}": ', one) for path, one in file.constants.items()]
        found += table("CONSTANTS", "What is in no checkpoint.", "{", items)
    if file.folded:
        items = [(f'"{one.path}": ', _row(one.recipe, _names(one))) for one in file.folded]
        found += table(
            "FOLDED", "What is worked out of a checkpoint, by what, and of which of its tensors.", "{", items
        )
    if file.decided:
        items = [("", _row(one.line, one.recipe, _names(one), one.answer)) for one in file.decided]
        found += table(
            "DECIDED", "What lines decided by a checkpoint: by what, of which of its tensors, and what came out.", "[",
            items,
        )  # fmt: skip
    return found


def _is_packed(expression: Expression) -> bool:
    """Whether there is a tensor in it that is written in bytes."""
    if not isinstance(expression, Group):
        return False
    return expression.opening == "_unpacked(" or any(_is_packed(item) for _, item in expression.items)


def _row(*members: Expression) -> Group:
    return Group("(", ")", tuple(("", member) for member in members))


def _strings(opening: str, closing: str, words: Sequence[str]) -> Group:
    return Group(opening, closing, tuple(("", f'"{word}"') for word in words))


def _names(one: Folded | Decided) -> Group:
    return Group("{", "}", tuple((f'"{own}": ', made) for own, made in one.names.items()))
