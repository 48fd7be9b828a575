"""What a forward decided once, while it was traced: by a size of its input, or by the numbers in a buffer."""

from __future__ import annotations

import ast
import copy
import dis
import functools
import inspect
import linecache
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, fx

from rewrites.location import short
from rewrites.recipes import recipe

# Where nobody wrote a model: torch, what traces it, and Python with its numbers.
TORCH, REWRITES = (f"{Path(file).parent}/" for file in (torch.__file__, __file__))
_FX = f"{TORCH}fx/"
_PYTHON = f"{sysconfig.get_path('stdlib')}/"
_SITE = tuple(f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib"))
_NUMPY = tuple(f"{folder}numpy/" for folder in _SITE)


@dataclass(frozen=True)
class Fixed:
    """A decision that the forward takes by the size of its input, taken once while tracing, for the example's size."""

    place: str
    code: str


@dataclass(frozen=True)
class Read:
    """What a line of the forward read from the buffers of its model, and decided by.

    `recipe` works these values out anew, one behind the other; `answer` has as plain numbers what they were.
    """

    place: str
    code: str
    recipe: fx.GraphModule
    answer: list[Any]

    def agrees(self, state: Mapping[str, Tensor]) -> bool:
        """Whether other values of the recipe's buffers, those of `state`, answer as the ones did that were traced."""
        recipe = copy.deepcopy(self.recipe)  # which shares its buffers with the model
        recipe.load_state_dict(state, strict=False)
        with torch.no_grad():
            found = [_plainly(value) for value in recipe()]
        return repr(found) == repr(self.answer)  # in which two numbers that are none are the same

    @property
    def line(self) -> str:
        """The line that decided, for a message."""
        return f"`{self.code}` at {self.place}" if self.code else self.place

    def refusal(self, keys: Iterable[str]) -> str:
        """Why a checkpoint is not taken whose tensors under these keys answer differently."""
        return DECIDED_OTHERWISE.format(line=self.line, keys=", ".join(keys))


# What is said of a checkpoint whose buffers a forward would have decided otherwise by.
DECIDED_OTHERWISE = (
    "{line} was decided by {keys} when the model was rewritten, and this checkpoint decides it otherwise: load it into "
    "the original model and rewrite that"
)


def _plainly(value: Any) -> Any:
    if isinstance(value, torch.Size):
        return list(value)
    return value.tolist() if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class _Text:
    """A text made of a size, which decides something unless it only tells."""

    text: str
    place: Fixed
    made_at: tuple[str, int]


class Decisions:
    """The decisions of one trace. `root` is the code of the function that traces; frames below it are the forward's."""

    def __init__(self, root: CodeType) -> None:
        self.root = root
        self.fixed: dict[Fixed, None] = {}
        self.counts: dict[fx.Node, Fixed] = {}
        self._texts: list[_Text] = []
        self._last: list[tuple[int, int, Fixed, bool]] = []
        self._read: dict[tuple[str, str, fx.Node], Any] = {}

    def innermost(self, *folders: str) -> FrameType | None:
        """The innermost frame of the forward that runs no file of these folders; None of a model of torch's own."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code is not self.root:
            if not frame.f_code.co_filename.startswith(folders):
                return frame
            frame = frame.f_back
        return None

    def _frame(self) -> FrameType | None:
        frame = inspect.currentframe()
        while frame is not None and frame.f_code is not self.root:
            name = frame.f_code.co_filename
            if not name.startswith((REWRITES, _FX, *_NUMPY)) and not _is_pythons(name):
                return frame
            frame = frame.f_back
        return None

    def _written(self) -> FrameType | None:
        """The innermost frame that a person wrote: what torch or a dataclass asks, the line that calls it asks."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code is not self.root:
            name = frame.f_code.co_filename
            if name != "<string>" and not name.startswith((TORCH, REWRITES, *_NUMPY)) and not _is_pythons(name):
                return frame
            frame = frame.f_back
        return None

    def _entry(self, frame: FrameType) -> Fixed:
        return _entry(self._written() or frame)

    def by_size(self) -> None:
        """Note the line that takes a decision by a size."""
        if (frame := self._frame()) is not None:
            entry = self._entry(frame)
            self._last.append((id(frame), frame.f_lasti, entry, entry not in self.fixed))
            self.fixed[entry] = None

    def by_count(self, node: fx.Node) -> None:
        """Note the line that asks how many tensors a node gives, which may be by the size of an input."""
        if (frame := self._frame()) is not None:
            self.counts.setdefault(node, _entry(frame))

    def nothing_decided(self) -> None:
        """The call under way goes on being worked out: that torch looked at its arguments to read them is none."""
        frame = self._frame()
        while self._last and frame is not None:
            where, at, entry, is_new = self._last.pop()
            if (where, at) == (id(frame), frame.f_lasti) and is_new:
                self.fixed.pop(entry, None)
        self._last.clear()

    def by_text(self, text: str) -> None:
        """A text was made of a size, in this line."""
        if (frame := self._frame()) is not None:
            at = self._written() or frame
            self._texts.append(_Text(text, _entry(at), (at.f_code.co_filename, at.f_lineno)))

    def is_formatting(self) -> bool:
        """Whether the forward is at a `%` of a text, which asks for the numbers that it writes."""
        if (frame := self._frame()) is None:
            return False
        at = frame.f_lasti
        found = next((one for one in dis.get_instructions(frame.f_code) if one.offset == at), None)
        if found is None:
            return False
        is_named = found.opname in ("BINARY_MODULO", "INPLACE_MODULO")  # before Python 3.11
        return is_named or (found.opname.startswith("BINARY_") and found.argrepr in ("%", "%="))

    def told(self, message: object) -> None:
        """A text only tells, when the call that tells it made it, or when it is read nowhere else."""
        if not self._texts or (frame := self._written()) is None:
            return
        lines, is_read_once = _lines(frame), _is_read_once(frame, message)
        while self._texts and self._texts[-1].text in str(message):
            if not is_read_once and self._texts[-1].made_at not in lines:
                return
            self._texts.pop()

    def by_buffer(self, node: fx.Node) -> None:
        """Note the line that takes a decision by what a node reads from buffers.

        Of several tensors in a tuple Python asks only how many they are, which no number in them changes.
        """
        value = node.meta["value"]
        if (not isinstance(value, (tuple, list)) or type(value) is torch.Size) and (frame := self._frame()) is not None:
            entry = _entry(frame)
            self._read.setdefault((entry.place, entry.code, node), _plainly(value))

    @property
    def has_read(self) -> bool:
        """Whether anything was decided by a buffer."""
        return bool(self._read)

    def mark(self) -> Callable[[], None]:
        """A moment to go back to: what is called gives up what was decided since."""
        fixed, texts, read = dict(self.fixed), list(self._texts), dict(self._read)

        def back() -> None:
            self.fixed, self._texts, self._read = fixed, texts, read

        return back

    def by_sizes(self) -> tuple[Fixed, ...]:
        """All decisions by sizes, those by a text that was made of one among them."""
        return tuple(self.fixed | {text.place: None for text in self._texts})

    def by_buffers(self, graph_module: fx.GraphModule) -> tuple[Read, ...]:
        """All decisions by buffers, with what works them out; `graph_module` is what was traced.

        What one line decides by the same buffers, as in a loop over their numbers, is one of them.
        """
        lines: dict[tuple[str, str, frozenset[Any]], dict[fx.Node, Any]] = {}
        for (place, code, node), answer in self._read.items():
            buffers = frozenset(part.target for part in _behind(node) if part.op == "get_attr")
            lines.setdefault((place, code, buffers), {})[node] = answer
        found = []
        for (place, code, _), answers in lines.items():
            made = recipe(graph_module, tuple(answers))
            for part in made.graph.nodes:  # what the tracer knew of it, values among that
                part.meta.clear()
            found.append(Read(place, code, made, list(answers.values())))
        return tuple(found)


def _is_pythons(filename: str) -> bool:
    return filename.startswith(_PYTHON) and not filename.startswith(_SITE)


def _entry(frame: FrameType) -> Fixed:
    file, line = frame.f_code.co_filename, frame.f_lineno
    return Fixed(f"{short(file)}:{line}", linecache.getline(file, line, frame.f_globals).strip())


def _lines(frame: FrameType) -> set[tuple[str, int]]:
    """The lines of the call that a frame is at."""
    file, first, last = frame.f_code.co_filename, frame.f_lineno, frame.f_lineno
    if hasattr(frame.f_code, "co_positions"):  # from Python 3.11 on
        start, end, *_ = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        first, last = start or first, end or last
    else:
        first, last = _statement(tuple(linecache.getlines(file, frame.f_globals)), first)
    return {(file, line) for line in range(first, last + 1)}


@functools.lru_cache(maxsize=256)
def _statement(source: tuple[str, ...], line: int) -> tuple[int, int]:
    """The first and last line of the statement at a line, as far as it holds no other statements."""
    try:
        nodes = list(ast.walk(ast.parse("".join(source))))
    except SyntaxError:
        return line, line
    simple = [node for node in nodes if isinstance(node, ast.stmt) and not hasattr(node, "body")]
    around = [
        (node.lineno, node.end_lineno or line) for node in simple if node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(around, default=(line, line))


def _is_read_once(frame: FrameType, value: object) -> bool:
    """Whether a value has a name in a frame whose code reads it in one place alone."""
    names = {name for name, held in frame.f_locals.items() if held is value}
    reads = [one.argval for one in dis.get_instructions(frame.f_code) if one.opname.startswith("LOAD")]
    return bool(names) and all(reads.count(name) == 1 for name in names)


def _behind(node: fx.Node) -> set[fx.Node]:
    found, queue = set[fx.Node](), [node]
    while queue:
        if (part := queue.pop()) not in found:
            found.add(part)
            queue += part.all_input_nodes
    return found
