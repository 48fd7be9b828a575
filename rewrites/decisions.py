"""What a forward decided once, while it was traced: by a size of its input, or by the numbers in a buffer."""

from __future__ import annotations

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

    def _entry(self, frame: FrameType) -> Fixed:
        """The line that a person wrote: what torch or a dataclass asks is asked by the line that calls it."""
        written: FrameType | None = frame
        while written is not None and written.f_code is not self.root:
            name = written.f_code.co_filename
            if name != "<string>" and not name.startswith((TORCH, REWRITES, *_NUMPY)) and not _is_pythons(name):
                return _entry(written)
            written = written.f_back
        return _entry(frame)

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
            self._texts.append(_Text(text, self._entry(frame)))

    def told(self, message: object) -> None:
        """A text only tells: those that it was made of, just before, decide nothing."""
        while self._texts and self._texts[-1].text in str(message):
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
