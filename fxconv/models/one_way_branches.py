"""Branches that a model takes by the numbers in a tensor, and took the same way for every image it was compared on.

What it computes the other way, no image has calibrated or compared. A file that keeps the branch goes that way when the
numbers say so.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from fxconv.models import forward
from fxconv.models.checks_in_code import always_raises, is_check
from fxconv.models.graph_calls import Inputs
from fxconv.models.number_reads import GIVES_NUMBERS, SELECTS, is_library, is_torchvision
from rewrites.location import short
from rewrites.surroundings import unchanged

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def one_way_branches(model: nn.Module, images: Sequence[Inputs]) -> tuple[str, ...]:
    """The lines `net.py:17 (if x.max() > 3:)` where that is so while `model` runs on these images, in running order.

    Those are tests whose answer was always the same, and statements by numbers read before, one block of which never
    ran. Lines that only decide whether to raise are none, nor are those of torchvision.
    """
    watch = _Watch()
    with unchanged(model), torch.no_grad(), watch.running():
        for image in images:
            model(*forward.cloned(image))
    return tuple(dict.fromkeys(watch.found()))


@dataclass
class _Read:
    """A line that got numbers of a tensor: its answers, as far as they are truth values."""

    code: CodeType
    line: int
    answers: set[bool] = field(default_factory=set)
    is_number: bool = False


class _Watch(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.reads: dict[tuple[str, int], _Read] = {}
        self.ran: set[tuple[str, int]] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in GIVES_NUMBERS or func in SELECTS or _is_masked(func, args):
            self._keep(result)
        return result

    def _keep(self, result: Any) -> None:
        frames = list(_frames(sys._getframe(2)))
        own = next((place for place, one in enumerate(frames) if not is_library(one.f_code.co_filename)), None)
        if own is None or is_torchvision(frames[own].f_code.co_filename) or is_check(frames[: own + 1], frames):
            return
        code, line = frames[own].f_code, frames[own].f_lineno
        read = self.reads.setdefault((code.co_filename, line), _Read(code, line))
        if isinstance(result, bool):
            read.answers.add(result)
        else:
            read.is_number = True

    def running(self) -> _Running:
        """While it is open, calls are watched, and which lines of the user's code run."""
        return _Running(self)

    def found(self) -> Iterator[str]:
        """The lines, each with its code."""
        for (filename, line), read in self.reads.items():
            function = _function(filename, read.code)
            statements = list(_decided(function, line)) if function is not None else []
            for statement in statements:
                if any(self._never_ran(filename, block) for block in _blocks(statement)):
                    yield _place(filename, statement.lineno)
            # a test on this line, or an expression that nothing else goes by
            asks = any(_tests(one, line) for one in statements) or not (statements or read.is_number)
            if asks and len(read.answers) == 1:
                yield _place(filename, line)

    def _never_ran(self, filename: str, block: Sequence[ast.stmt]) -> bool:
        return bool(block) and not always_raises(block) and (filename, block[0].lineno) not in self.ran


def _is_masked(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether truth values select by an index: how many of them are true is how many values there are."""
    return func is Tensor.__getitem__ and any(
        isinstance(leaf, Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1:])
    )


class _Running:
    """A watch that is open, and a tracer of Python's that notes the lines of the user's code."""

    def __init__(self, watch: _Watch) -> None:
        self.watch = watch
        self.known: dict[str, bool] = {}

    def __enter__(self) -> None:
        self.before = sys.gettrace()
        self.watch.__enter__()
        sys.settrace(self._called)

    def __exit__(self, *error: Any) -> None:
        sys.settrace(self.before)
        self.watch.__exit__(*error)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        filename = frame.f_code.co_filename
        if filename not in self.known:
            self.known[filename] = not (is_library(filename) or is_torchvision(filename))
        return self._line if self.known[filename] else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.watch.ran.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames from this one outwards to where the model was called."""
    while frame is not None and frame.f_code is not one_way_branches.__code__:
        yield frame
        frame = frame.f_back


def _function(filename: str, code: CodeType) -> _Function | None:
    """The function in whose source this code was written; None where that cannot be found."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError, RecursionError):
        return None
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lines = (min([node.lineno, *(one.lineno for one in node.decorator_list)]) for node in functions)
    both = zip(functions, lines, strict=True)
    return next((node for node, first in both if node.name == code.co_name and first == code.co_firstlineno), None)


def _decided(function: _Function, line: int) -> Iterator[ast.stmt]:
    """The statements of a function that go one way or another by numbers that are read on this line."""
    names: set[str] = set()
    for _ in range(2):  # a loop hands on what is read further below
        for node in ast.walk(function):
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and _is_of(node.value, line, names):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {name.id for one in targets for name in ast.walk(one) if isinstance(name, ast.Name)}
    for node in ast.walk(function):
        if (isinstance(node, (ast.If, ast.While)) and _is_of(node.test, line, names)) or (
            isinstance(node, (ast.For, ast.AsyncFor)) and _is_of(node.iter, line, names)
        ):
            yield node


def _is_of(expression: ast.expr | None, line: int, names: Iterable[str]) -> bool:
    """Whether an expression stands on this line, or is made of one of these names."""
    if expression is None:
        return False
    if expression.lineno <= line <= (expression.end_lineno or expression.lineno):
        return True
    return any(isinstance(node, ast.Name) and node.id in set(names) for node in ast.walk(expression))


def _tests(statement: ast.stmt, line: int) -> bool:
    """Whether the test of a statement stands on this line."""
    return isinstance(statement, (ast.If, ast.While)) and _is_of(statement.test, line, ())


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a statement; that behind a loop runs whatever the loop does."""
    yield getattr(statement, "body", [])
    if isinstance(statement, ast.If):
        yield statement.orelse


def _place(filename: str, line: int) -> str:
    code = linecache.getline(filename, line).strip()
    return f"{short(filename)}:{line} ({code})" if code else f"{short(filename)}:{line}"
