"""Python as text, laid out as `ruff format` and `black` would lay it out, for any line length of 88 and more.

An expression is text, a `Slot` that may become a parameter, or a call, list or operator made of such. What does not fit
in a line is written an item a line, each with a comma behind it, which formatters then keep.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

WIDTH = 88


@dataclass(frozen=True, eq=False)
class Slot:
    """A number, or tuple of numbers, in which blocks that are alike may differ; `of` and `setting` say whose it is.

    A keyword argument has a `default`, and is left out where every block has that.
    """

    of: str
    setting: str
    value: Any
    in_forward: bool = False
    default: Any = None

    @property
    def is_default(self) -> bool:
        """Whether it may be left out."""
        return self.default is not None and self.value == self.default

    def text(self) -> str:
        """The number itself."""
        return literal(self.value)


@dataclass(frozen=True)
class Group:
    """Items between two words: the arguments of a call, or the members of a list or tuple; some have a keyword.

    With `comments`, one an item, each item has a line of its own.
    """

    opening: str
    closing: str
    items: tuple[tuple[str, Expression], ...]
    comments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Infix:
    """Two operands, an operator between them and what is written behind both."""

    left: Expression
    operator: str
    right: Expression
    behind: str = ""


Expression = str | Slot | Group | Infix
Written = Callable[[Slot], str]


def call(function: str, *arguments: Expression, **keywords: Expression) -> Group:
    """The call of a function."""
    return Group(f"{function}(", ")", (*(("", argument) for argument in arguments), *keywords.items()))


def slots(expression: Expression) -> Iterator[Slot]:
    """The slots of an expression, in the order they are written."""
    if isinstance(expression, Slot):
        yield expression
    elif isinstance(expression, Infix):
        yield from slots(expression.left)
        yield from slots(expression.right)
    elif isinstance(expression, Group):
        for _, item in expression.items:
            yield from slots(item)


def flat(expression: Expression, written: Written) -> str:
    """An expression in one line; `written` is what stands for a slot, "" for one that is left out."""
    if isinstance(expression, str):
        return expression
    if isinstance(expression, Slot):
        return written(expression)
    if isinstance(expression, Infix):
        sides = flat(expression.left, written), flat(expression.right, written)
        between = expression.operator if expression.operator in ("**", "[") else f" {expression.operator} "
        return between.join(sides) + expression.behind
    texts = [(key, flat(item, written)) for key, item in expression.items]
    inside = ", ".join(_item(key, item) for key, item in texts if item)
    alone = "," if expression.opening == "(" and len(expression.items) == 1 else ""
    return f"{expression.opening}{inside}{alone}{expression.closing}"


def _item(key: str, text: str) -> str:
    return f"{key}{text}" if key.endswith(" ") or not key else f"{key}={text}"


def lines(before: str, expression: Expression, written: Written, indent: int, behind: str = "") -> list[str]:
    """`before`, an expression and `behind`, in as few lines as they fit in."""
    margin = " " * indent
    whole = f"{margin}{before}{flat(expression, written)}{behind}"
    if not isinstance(expression, Group) or not expression.items:
        if len(whole) > WIDTH and before.endswith(" = ") and not behind:
            return [f"{margin}{before}(", f"{margin}    {flat(expression, written)}", f"{margin})"]
        return [whole]
    if len(whole) <= WIDTH and not _has_comments(expression):
        return [whole]
    first = f"{margin}{before}{expression.opening}"
    if len(first) > WIDTH and before.endswith(" = ") and not behind:
        return [f"{margin}{before}(", *lines("", expression, written, indent + 4), f"{margin})"]
    found = [first]
    for index, (key, item) in enumerate(expression.items):
        if isinstance(item, Slot) and not written(item):
            continue
        # formatters put no comma behind an argument that stands alone and is in several lines itself
        alone = len(expression.items) == 1 and not key and isinstance(item, Group) and expression.opening != "("
        rest = lines(_item(key, ""), item, written, indent + 4, "" if alone else ",")
        found += commented(rest, expression.comments[index] if expression.comments else "")
    return [*found, f"{margin}{expression.closing}{behind}"]


def _has_comments(expression: Expression) -> bool:
    if not isinstance(expression, Group):
        return False
    return any(expression.comments) or any(_has_comments(item) for _, item in expression.items)


def commented(statement: list[str], comment: str) -> list[str]:
    """A statement with a comment behind it, or in front of it where there is no room behind."""
    if not comment:
        return statement
    if len(statement) == 1 and len(statement[0]) + len(comment) + 4 <= WIDTH:
        return [f"{statement[0]}  # {comment}"]
    margin = statement[0][: len(statement[0]) - len(statement[0].lstrip())]
    told = textwrap.wrap(comment, WIDTH - len(margin) - 2, break_long_words=False, break_on_hyphens=False)
    return [*(f"{margin}# {line}" for line in told), *statement]


def literal(value: Any) -> str:
    """A value as Python text. Raises `ValueError` for one that has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, (bool, int, float)) or value is None or value is Ellipsis:
        return "..." if value is Ellipsis else repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
        return str(value)
    if isinstance(value, torch.device):
        return f"torch.device({_quoted(str(value))})"
    if isinstance(value, (tuple, list)):
        inside = ", ".join(map(literal, value))
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    raise ValueError(f"a {type(value).__name__} has no place in a file")


def _quoted(text: str) -> str:
    """Text in double quotes, unless they are in it."""
    plain = repr(re.sub(r"Proxy\(\w+\)", "another", text))  # a message with a value in it, as tracing saw that
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in plain else plain
