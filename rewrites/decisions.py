"""What a forward decided once, while it was traced: by a size of its input, or by the numbers in a buffer."""

from __future__ import annotations

import dis
import inspect
import linecache
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import fx, nn

from rewrites.location import short

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
    """What the forward read from the buffers of its model, and decided by: `recipe` works it out from them anew."""

    place: str
    code: str
    recipe: fx.GraphModule
    answer: Any

    def is_same(self) -> bool:
        """Whether the buffers of `recipe` answer as those did that were traced."""
        with torch.no_grad():
            return bool(_plainly(self.recipe()) == self.answer)


def _plainly(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value


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
        self._texts: list[_Text] = []
        self._last: list[tuple[int, int, Fixed, bool]] = []
        self._read: dict[tuple[str, str, fx.Node], None] = {}

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
        return found is not None and found.opname.startswith("BINARY_") and found.argrepr in ("%", "%=")

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
        """Note the line that takes a decision by what a node reads from buffers."""
        if (frame := self._frame()) is not None:
            entry = self._entry(frame)
            self._read[entry.place, entry.code, node] = None

    def mark(self) -> Callable[[], None]:
        """A moment to go back to: what is called gives up what was decided since."""
        fixed, texts, read = dict(self.fixed), list(self._texts), dict(self._read)

        def back() -> None:
            self.fixed, self._texts, self._read = fixed, texts, read

        return back

    def by_sizes(self) -> tuple[Fixed, ...]:
        """All decisions by sizes, those by a text that was made of one among them."""
        return tuple(self.fixed | {text.place: None for text in self._texts})

    def by_buffers(self, root: nn.Module) -> tuple[Read, ...]:
        """All decisions by buffers, with what works them out; `root` is what was traced."""
        return tuple(
            Read(place, code, _recipe(root, node), _plainly(node.meta["value"])) for place, code, node in self._read
        )


def _is_pythons(filename: str) -> bool:
    return filename.startswith(_PYTHON) and not filename.startswith(_SITE)


def _entry(frame: FrameType) -> Fixed:
    file, line = frame.f_code.co_filename, frame.f_lineno
    return Fixed(f"{short(file)}:{line}", linecache.getline(file, line, frame.f_globals).strip())


def _lines(frame: FrameType) -> set[tuple[str, int]]:
    """The lines of the call that a frame is at."""
    first, last = frame.f_lineno, frame.f_lineno
    if hasattr(frame.f_code, "co_positions"):  # from Python 3.11 on
        start, end, *_ = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        first, last = start or first, end or last
    return {(frame.f_code.co_filename, line) for line in range(first, last + 1)}


def _is_read_once(frame: FrameType, value: object) -> bool:
    """Whether a value has a name in a frame whose code reads it in one place alone."""
    names = {name for name, held in frame.f_locals.items() if held is value}
    reads = [one.argval for one in dis.get_instructions(frame.f_code) if one.opname.startswith("LOAD")]
    return bool(names) and all(reads.count(name) == 1 for name in names)


def _recipe(root: nn.Module, node: fx.Node) -> fx.GraphModule:
    """A graph of its own for a node that is made of buffers alone."""
    needed = _behind([node])
    graph, copied = fx.Graph(), dict[fx.Node, fx.Node]()
    for part in node.graph.nodes:
        if part in needed:
            copied[part] = graph.node_copy(part, lambda n: copied[n])
    graph.output(copied[node])
    for part in graph.nodes:
        part.meta.clear()
    return fx.GraphModule(root, graph)


def _behind(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    found, queue = set[fx.Node](), list(nodes)
    while queue:
        if (node := queue.pop()) not in found:
            found.add(node)
            queue += node.all_input_nodes
    return found
