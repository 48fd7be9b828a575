"""Modules that are alike as one class, whose parameters are the numbers in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rewrites.emit.blocks import Block
from rewrites.emit.parameters import named
from rewrites.emit.text import Expression, Group, Slot, Written, call, commented, lines, literal, slots
from rewrites.emit.tree import plain
from rewrites.naming import snake_case

# A class is named by so many of its parts at most.
_MOST_WORDS = 3


@dataclass(frozen=True)
class Part:
    """What an `__init__` sets: a path, and the expression for it. A `buffer` is one, `persistent` or `constant`."""

    path: str
    expression: Expression
    buffer: str = ""


@dataclass(frozen=True)
class Template:
    """A block with all that is written in its class: the original's class, its parts, and what it is called."""

    block: Block
    kind: str
    parts: tuple[Part, ...]
    name: str

    def slots(self) -> list[Slot]:
        """The numbers in which another block may differ, in the order they are written."""
        expressions = [part.expression for part in self.parts]
        expressions += [line.expression for line in self.block.lines]
        return [slot for one in (*expressions, self.block.returned) for slot in slots(one)]

    def key(self) -> str:
        """The same text for blocks that differ in those numbers alone."""
        return "\n".join([self.kind, *_init(self, lambda slot: "?"), *_forward(self.block, lambda slot: "?")])

    def words(self) -> list[str]:
        """What it has, by the first words of its parts' paths."""
        return list(dict.fromkeys(part.path.partition(".")[0] for part in self.parts))


@dataclass
class Class:
    """A class of the file: its name, the blocks that are of it, and for each slot its parameter, "" where all agree."""

    name: str
    templates: list[Template] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)

    def made(self, template: Template, of: str) -> Group:
        """The call that makes a module like `template`, which is called `of`."""
        values = {name: slot.value for slot, name in zip(template.slots(), self.parameters, strict=True) if name}
        defaults = self._defaults()
        return call(self.name, **{n: Slot(of, n, values[n], default=defaults.get(n)) for n in self._ordered()})

    def text(self) -> list[str]:
        """The class, line by line."""
        template = self.templates[0]
        numbers = iter(template.slots())
        chosen = dict(zip(map(id, numbers), self.parameters, strict=True))
        columns = zip(*(one.slots() for one in self.templates), strict=True)
        left_out = {id(column[0]) for column in columns if all(slot.is_default for slot in column)}
        kinds, defaults = {name: self._kind(name) for name in self._ordered()}, self._defaults()
        kept = {chosen[id(slot)] for slot in template.slots() if slot.in_forward} - {""}

        def written(slot: Slot) -> str:
            name = chosen[id(slot)]
            if id(slot) in left_out:
                return ""
            return slot.text() if not name else f"self.{name}" if slot.in_forward else name

        behind = {name: f" = {literal(default)}" for name, default in defaults.items()}
        given = tuple((f"{name}: ", f"{kind}{behind.get(name, '')}") for name, kind in kinds.items())
        head = lines("def ", Group("__init__(", ") -> None:", (("", "self"), *given)), written, 4)
        keeping = [f"        self.{name} = {name}" for name in kinds if name in kept]
        return [
            f"class {self.name}(nn.Module):",
            *_docstring(self.templates),
            *head,
            "        super().__init__()",
            *keeping,
            *_init(template, written),
            "",
            *_forward(template.block, written),
        ]

    def _defaults(self) -> dict[str, Any]:
        """Of each parameter that only stands for one argument of layers, and one that may be left out, that default."""
        found: dict[str, set[Any]] = {}
        for slot, name in zip(self.templates[0].slots(), self.parameters, strict=True):
            found.setdefault(name, set()).add(slot.default)
        return {name: next(iter(each)) for name, each in found.items() if name and len(each) == 1 and each != {None}}

    def _ordered(self) -> list[str]:
        """The parameters, those with defaults behind the others."""
        names = dict.fromkeys(name for name in self.parameters if name)
        return sorted(names, key=lambda name: name in self._defaults())

    def _kind(self, name: str) -> str:
        """The type of a parameter."""
        values = [
            one.slots()[index].value for one in self.templates for index, n in enumerate(self.parameters) if n == name
        ]
        kinds = {"tuple[int, ...]" if isinstance(value, tuple) else type(value).__name__ for value in values}
        return " | ".join(sorted(kinds - {"int"} if {"int", "float"} <= kinds else kinds))


def classes(templates: Sequence[Template], taken: set[str]) -> list[Class]:
    """The classes of blocks, those of one text in one class. Their names are none of those `taken`, and join them."""
    alike: dict[str, list[Template]] = {}
    for template in templates:
        alike.setdefault(template.key(), []).append(template)
    found = []
    for kind in dict.fromkeys(template.kind for template in templates):
        groups = [group for group in alike.values() if group[0].kind == kind]
        for name, group in zip(_names(kind, groups, taken), groups, strict=True):
            taken.add(name)
            found.append(Class(name, group, named([one.slots() for one in group])))
    return found


def _names(kind: str, groups: Sequence[Sequence[Template]], taken: set[str]) -> list[str]:
    """One name a group: the original's class, and behind it what one group has and another has not."""
    words = [group[0].words() for group in groups]
    shared = set.intersection(*map(set, words))
    found: list[str] = []
    for group in words:
        own = [word for word in group if word not in shared] if len(groups) > 1 else []
        wanted = "".join([plain(kind), *map(camel, own if len(own) <= _MOST_WORDS else [])])
        name, count = wanted, 1
        while name in taken or name in found:
            count += 1
            name = f"{wanted}{count}"
        found.append(name)
    return found


def camel(word: str) -> str:
    """`squeeze_excitation` as a class is named."""
    return "".join(part[:1].upper() + part[1:] for part in snake_case(word).split("_"))


def _docstring(templates: Sequence[Template]) -> list[str]:
    """Which modules a class is for."""
    paths = [template.name for template in templates]
    if paths == [""]:
        return []
    told = ", ".join(paths[:-1]) + (" and " if len(paths) > 1 else "") + paths[-1]
    if len(told) > 70 and len(paths) > 2:
        told = f"{paths[0]} and {len(paths) - 1} more"
    return [f'    """{told}."""', ""]


def _init(template: Template, written: Written) -> list[str]:
    """What the parts are."""
    known, found = {part.path for part in template.parts}, []
    holders = dict.fromkeys(one for part in template.parts for one in _around(part.path))
    found += [f"        self.{holder} = nn.Module()" for holder in sorted(holders) if holder not in known]
    for part in template.parts:
        if not part.buffer:
            found += lines(f"self.{part.path} = ", part.expression, written, 8)
            continue
        holder, _, name = part.path.rpartition(".")
        kept = {} if part.buffer == "persistent" else {"persistent": "False"}
        register = f"self.{holder}.register_buffer" if holder else "self.register_buffer"
        found += lines("", call(register, f'"{name}"', part.expression, **kept), written, 8)
    return found


def _around(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _forward(block: Block, written: Written) -> list[str]:
    given = tuple(("", f"{name}: Tensor" if is_tensor else name) for name, is_tensor in block.inputs)
    gives = " -> Tensor:" if block.gives_tensor else ":"
    found = lines("def ", Group("forward(", f"){gives}", (("", "self"), *given)), written, 4)
    for line in block.lines:
        targets = f"{', '.join(line.targets)} = " if line.targets else ""
        found += commented(lines(targets, line.expression, written, 8), line.comment)
    return [*found, *lines("return ", block.returned, written, 8)]
