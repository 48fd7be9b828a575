"""Whether what a line of Python asks decides nothing but whether an error is raised: `if x.min() < 0: raise ...`.

A trace has the other way, the one that goes on, and is right for every input that the model answers.
"""

from __future__ import annotations

import ast
import builtins
import linecache
from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

# (line, column) of the first and behind the last character; columns are None before Python 3.11.
_Position = tuple[tuple[int, int | None], tuple[int, int | None]]
# Modules whose functions keep nothing of what they are given.
_PURE = frozenset({"torch", "math", "np", "numpy", "F"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def is_check(asking: Sequence[FrameType], callers: Sequence[FrameType]) -> bool:
    """Whether one of the frames `asking` only decides whether to raise, and nobody among `callers` catches that.

    `callers` are all frames from the first of `asking` outwards. Where no source can be found, it is no check.
    """
    for place, frame in enumerate(asking):
        statements = _innermost(frame)
        if statements and all(any(_decides_to_raise(one, frame) for one in chain) for chain in statements):
            return not any(_catches(caller) for caller in callers[place:])
    return False


def _innermost(frame: FrameType) -> list[list[ast.stmt]]:
    """The statements that run in a frame, each with those around it; several where columns are not known."""
    tree, position = _tree(frame.f_code.co_filename), _position(frame)
    return [] if tree is None else list(_chains(tree, position, []))


def _chains(node: ast.AST, position: _Position, around: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    inside = False
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr) and (not hasattr(child, "lineno") or _spans(child, position)):
            chain = [child, *around] if isinstance(child, ast.stmt) else around
            for found in _chains(child, position, chain):
                inside = True
                yield found
    if isinstance(node, ast.stmt) and not inside:
        yield around


def _decides_to_raise(statement: ast.stmt, frame: FrameType) -> bool:
    position = _position(frame)
    if not isinstance(statement, (ast.If, ast.Assert)) or not _asks(statement, position):
        return False
    if isinstance(statement, ast.If) and not (always_raises(statement.body) or always_raises(statement.orelse)):
        return False
    return not any(_keeps(node, position) for node in ast.walk(statement.test))


def _asks(statement: ast.If | ast.Assert, position: _Position) -> bool:
    """Whether the test of a statement runs; Python has what branches by it at the place of the whole statement."""
    first = (statement.lineno, statement.col_offset)
    whole = first, (statement.end_lineno, statement.end_col_offset)
    header = (statement.lineno, None), (statement.lineno, None)
    return position in (whole, header) or _spans(statement.test, position)


def _keeps(node: ast.AST, position: _Position) -> bool:
    """Whether part of a test may keep the answer for later: `:=`, or somebody's function that is given it."""
    if isinstance(node, ast.NamedExpr):
        return True
    if not isinstance(node, ast.Call) or not any(_spans(argument, position) for argument in node.args):
        return False
    if isinstance(node.func, ast.Name):
        return not hasattr(builtins, node.func.id)
    root = node.func
    while isinstance(root, (ast.Attribute, ast.Call, ast.Subscript)):
        root = root.func if isinstance(root, ast.Call) else root.value
    return not (isinstance(root, ast.Name) and root.id in _PURE)


def always_raises(body: Sequence[ast.stmt]) -> bool:
    """Whether a block always ends by raising."""
    if not body or any(isinstance(node, (ast.Return, ast.Break, ast.Continue)) for node in _own(body)):
        return False
    last = body[-1]
    return isinstance(last, ast.Raise) or (
        isinstance(last, ast.If) and always_raises(last.body) and always_raises(last.orelse)
    )


def _own(body: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of a block, without those of functions that are defined in it."""
    left: list[ast.AST] = list(body)
    while left:
        node = left.pop()
        yield node
        left += [child for child in ast.iter_child_nodes(node) if not isinstance(child, _FUNCTIONS)]


def _catches(frame: FrameType) -> bool:
    """Whether what is raised where a frame is may be caught in it, and the forward go on."""
    return any(_swallows(one, frame) for chain in _innermost(frame) for one in chain)


def _swallows(statement: ast.stmt, frame: FrameType) -> bool:
    if isinstance(statement, ast.Try):
        inside = any(_spans(one, _position(frame)) for one in statement.body)
        return inside and not all(always_raises(handler.body) for handler in statement.handlers)
    if isinstance(statement, ast.With):
        calls = [item.context_expr.func for item in statement.items if isinstance(item.context_expr, ast.Call)]
        return any(ast.unparse(call).rpartition(".")[2] == "suppress" for call in calls)
    return False


def _position(frame: FrameType) -> _Position:
    """What runs in a frame right now: an expression, or before Python 3.11 a whole line."""
    if hasattr(frame.f_code, "co_positions"):
        line, last, column, end = _positions(frame.f_code)[frame.f_lasti // 2]
        if None not in (line, last):
            return (line, column), (last, end)
    return (frame.f_lineno, None), (frame.f_lineno, None)


@lru_cache(maxsize=64)
def _positions(code: CodeType) -> list[tuple[int, int, int | None, int | None]]:
    return list(code.co_positions())  # type: ignore[attr-defined]


def _spans(node: Any, position: _Position) -> bool:
    """Whether a statement or an expression is where this is, or around it."""
    (line, column), (last, end) = position
    if not (node.lineno <= line and last <= node.end_lineno):
        return False
    if column is None or end is None:
        return True
    begins = (node.lineno, node.col_offset) <= (line, column)
    return bool(begins and (last, end) <= (node.end_lineno, node.end_col_offset))


@lru_cache(maxsize=64)
def _tree(filename: str) -> ast.Module | None:
    try:
        text = "".join(linecache.getlines(filename))
        return ast.parse(text) if text else None
    except (SyntaxError, ValueError, RecursionError):
        return None
