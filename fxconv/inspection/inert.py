"""Pickles, read without doing what they say.

A pickle is a program for a stack machine: it names functions and calls them. This machine builds the lists, tuples and
strings, and puts down a call as what it is, a name with arguments. Nothing is imported, looked up or called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fxconv.inspection.found import Unreadable

# A model's structure has a few hundred thousand steps; beyond this it takes too long, or was made to.
_MOST_STEPS = 1_000_000
_MOST_BITS = 1024


@dataclass(eq=False, repr=False, slots=True)
class Global:
    """Something the pickle names, `collections.OrderedDict`; it may exist or not."""

    path: str


@dataclass(eq=False, repr=False, slots=True)
class Stored:
    """What lies outside of the pickle, by its id: the numbers of a tensor."""

    id: Any


@dataclass(eq=False, repr=False, slots=True)
class Dict:
    """A dict as its pairs: keys are never hashed or compared, which those of a hostile file could make slow."""

    items: list[tuple[Any, Any]] = field(default_factory=list)

    def get(self, key: str) -> Any:
        """The value of a text key; None when there is none."""
        return next((value for name, value in self.items if isinstance(name, str) and name == key), None)


@dataclass(eq=False, repr=False, slots=True)
class Call:
    """A call that was not made: of what, with what, and what was to be put into its result."""

    what: Any
    arguments: Any = ()
    state: Any = None
    items: list[tuple[Any, Any]] = field(default_factory=list)
    elements: list[Any] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The name of what would be called; "" when it has none.

        Old files keep a module's class, and its source, outside of the pickle.
        """
        what = self.what
        if isinstance(what, Stored) and isinstance(what.id, tuple) and what.id[:1] == ("module",) and len(what.id) > 1:
            what = what.id[1]
        return what.path if isinstance(what, Global) else ""


@dataclass(frozen=True)
class Pickle:
    """What a pickle holds, where it ends, and everything that unpickling it would look up, each name once."""

    value: Any
    end: int
    names: tuple[str, ...]


def read_pickle(data: bytes, start: int = 0) -> Pickle:
    """The pickle in `data` from `start` on. Raises `Unreadable`."""
    machine, end = _Machine(), start
    try:
        for step, (opcode, argument, place) in enumerate(pickletools.genops(memoryview(data)[start:].tobytes())):
            if step > _MOST_STEPS:
                raise Unreadable(f"holds a pickle of more than {_MOST_STEPS:,} steps; no model is described by so many")
            if opcode.name == "STOP":
                end += (place or 0) + 1
                break
            machine.step(opcode.name, argument)
        return Pickle(machine.stack[-1], end, tuple(machine.names))
    except Unreadable:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise Unreadable("holds a damaged pickle; copy it again") from error


_NEW: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": Dict,
    "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_IGNORED = ("PROTO", "FRAME")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_REFUSED = ("NEXT_BUFFER", "READONLY_BUFFER")  # what they speak of is in another file


class _Machine:
    """The stack, what lies below each mark on it, what was kept by number, and what was named."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.kept: dict[int, Any] = {}
        self.names: dict[str, None] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do one step of the pickle."""
        if name in _NEW:
            self.stack.append(_NEW[name]())
        elif name in _TUPLES:
            self.stack[-_TUPLES[name] :] = [tuple(self._top(_TUPLES[name]))]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.kept[int(argument)])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.kept[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.kept[len(self.kept)] = self.stack[-1]
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name in _REFUSED:
            raise Unreadable("holds a pickle whose values lie in another file; save it whole")
        elif name not in _IGNORED:  # what is left puts its argument on the stack: numbers, texts, bytes
            self.stack.append(_bounded(argument))

    def _top(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        return self.stack[-count:]

    def _named(self, path: str) -> Global:
        self.names[path] = None
        return Global(path)

    def _marked(self) -> list[Any]:
        """What was put down since the last mark; the stack is the one below it again."""
        found, self.stack = self.stack, self.below.pop()
        return found

    def _mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._marked()

    def _pop_mark(self, _: Any) -> None:
        self._marked()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _tuple(self, _: Any) -> None:
        values = tuple(self._marked())
        self.stack.append(values)

    def _list(self, _: Any) -> None:
        values = self._marked()
        self.stack.append(values)

    _frozenset = _list

    def _dict(self, _: Any) -> None:
        values = self._marked()
        self.stack.append(Dict(_pairs(values)))

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        _elements(self.stack[-1]).append(value)

    def _appends(self, _: Any) -> None:
        values = self._marked()
        _elements(self.stack[-1]).extend(values)

    _additems = _appends

    def _setitem(self, _: Any) -> None:
        key, value = self._top(2)
        del self.stack[-2:]
        _items(self.stack[-1]).append((key, value))

    def _setitems(self, _: Any) -> None:
        values = self._marked()
        _items(self.stack[-1]).extend(_pairs(values))

    def _global(self, names: Any) -> None:
        self.stack.append(self._named(str(names).replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        module, name = self._top(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError
        self.stack[-2:] = [self._named(f"{module}.{name}")]

    def _ext1(self, number: Any) -> None:
        self.stack.append(self._named(f"extension {number}"))

    _ext2 = _ext4 = _ext1

    def _reduce(self, _: Any) -> None:
        what, arguments = self._top(2)
        self.stack[-2:] = [Call(what, arguments)]

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        what, arguments, _named = self._top(3)
        self.stack[-3:] = [Call(what, arguments)]

    def _obj(self, _: Any) -> None:
        what, *arguments = self._marked()
        self.stack.append(Call(what, tuple(arguments)))

    def _inst(self, names: Any) -> None:
        arguments = self._marked()
        self.stack.append(Call(self._named(str(names).replace(" ", ".", 1)), tuple(arguments)))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state

    def _persid(self, name: Any) -> None:
        self.stack.append(Stored(name))

    def _binpersid(self, _: Any) -> None:
        self.stack[-1] = Stored(self.stack[-1])


# The methods of the machine that do something under the name of an opcode, found once.
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    opcode.name: getattr(_Machine, f"_{opcode.name.lower()}")
    for opcode in pickletools.opcodes
    if hasattr(_Machine, f"_{opcode.name.lower()}")
}


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(values[::2], values[1::2], strict=True))


def _elements(value: Any) -> list[Any]:
    return value if isinstance(value, list) else value.elements


def _items(value: Any) -> list[tuple[Any, Any]]:
    if not isinstance(value, (Dict, Call)):
        raise TypeError
    return value.items


def _bounded(value: Any) -> Any:
    """A number that can be written out in digits; Python itself refuses the longest ones."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise Unreadable(f"holds a pickled number of {value.bit_length():,} bits; no model has one")
    return value
