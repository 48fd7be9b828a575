"""Which layer each operator of a lite-interpreter file belongs to.

optimize_for_mobile writes all layers into one function, and what the lite interpreter runs knows no names. But the
archive also holds that function as TorchScript's text, whose values keep the names that torch.fx gave them, and the
lines of the graph those stem from: `features_0_conv = self.features_0.conv(quant_x)`. All of it is read as text.

A file that was traced has neither, and a graph of modules alone, without an operation between them, leaves no lines.
"""

from __future__ import annotations

import ast
import pickletools
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fxconv.targets.mobile.source_lines import LINES, read

# Calls that are printed like any Python, and the operators they are.
_BUILTINS = {"int": "aten::Int", "float": "aten::Float", "bool": "aten::Bool", "str": "aten::str"}
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Program:
    """The function that a file runs, as text, and the layer of each value that torch.fx named: a module's path, or the
    value's own name for an operation between layers.

    `roots` are the names of values of modules that stand in no other; `returned` those of what it returns.
    """

    body: Sequence[ast.stmt] = ()
    layers: dict[str, str] = field(default_factory=dict)
    returned: tuple[str, ...] = ()
    roots: frozenset[str] = frozenset()


def layers_by_operator(program: Program) -> dict[str, tuple[str, ...]]:
    """The layers that call each operator, by its name without overload, as the text has them; those that are known."""
    reading = _Matching(program, ())
    found: dict[str, dict[str, None]] = {}
    for operator, layer in reading.owned(program.body):
        found.setdefault(operator, {})[layer] = None
    return {operator: tuple(layers) for operator, layers in found.items()}


def program_of(path: Path, most: int = _MOST_BYTES) -> Program:
    """The program of a file; an empty one where the archive does not have its text, or no graph that names values.

    Nothing longer than `most` bytes is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {name.partition("/")[2]: name for name in archive.namelist()}
            module, _, name = _root(_read(archive, entries["data.pkl"], most)).rpartition(".")
            home = f"code/{module.replace('.', '/')}.py"
            body = _forward(_read(archive, entries[home], most).decode(), name)
            return _named(_read(archive, entries[f"{home}{LINES}"], most), body)
    except Exception:  # whatever is missing or damaged: the names are a help, and no part of what is measured
        return Program()


def layers_of(program: Program, executed: Sequence[str]) -> list[str | None]:
    """The layer of each operator that ran, by name and in order; None where it is not known.

    Where the order is not that of the text, none is known.
    """
    unknown: list[str | None] = [None] * len(executed)
    if not program.layers:
        return unknown
    try:
        return _Matching(program, executed).found()
    except _Differs:
        return unknown


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    if archive.getinfo(name).file_size > most:
        raise ValueError(f"{name} is too large")
    return archive.read(name)


def _root(pickled: bytes) -> str:
    """The class of the module in a file: the first that its data names."""
    named = next(argument for code, argument, _ in pickletools.genops(pickled) if code.name == "GLOBAL")
    return str(named).replace(" ", ".")


def _forward(text: str, kind: str) -> list[ast.stmt]:
    """The statements of a class's forward."""
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == kind]
    functions = [node for node in classes[0].body if isinstance(node, ast.FunctionDef) and node.name == "forward"]
    return functions[0].body


def _named(pickled: bytes, body: list[ast.stmt]) -> Program:
    """The program of these statements, with the names in the lines of graphs that they stem from.

    A name that stands for two layers, in two graphs, is left out.
    """
    texts, places = read(pickled)
    graphs = {place.lines for place in places if place.lines}
    layers: dict[str, str] = {}
    twice, roots = set[str](), set[str]()
    returned: tuple[str, ...] = ()
    for graph in graphs:
        if sum(len(texts[index]) for index in graph) > _MOST_BYTES:
            raise ValueError("a graph is too large")
        function = ast.parse("".join(texts[index] for index in graph)).body[0]
        assert isinstance(function, ast.FunctionDef)
        for statement in function.body:
            if isinstance(statement, ast.Return) and len(graphs) == 1:
                returned = tuple(one.id if isinstance(one, ast.Name) else "" for one in _members(statement.value))
            if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
                continue
            name, value = statement.targets[0].id, statement.value
            if isinstance(value, (ast.Constant, ast.Name)):  # `x = None` ends a value's life
                continue
            path = _path(value.func) if isinstance(value, ast.Call) else ""
            if layers.setdefault(name, path or name) != (path or name):
                twice.add(name)
            if path and "." not in path:
                roots.add(name)
    kept = {name: layer for name, layer in layers.items() if name not in twice}
    return Program(body, kept, returned, frozenset(roots - twice))


def _members(value: ast.expr | None) -> list[ast.expr]:
    if value is None:
        return []
    return list(value.elts) if isinstance(value, (ast.Tuple, ast.List)) else [value]


def _path(function: ast.expr) -> str:
    """`features.0.conv` of `getattr(self.features, "0").conv`; "" for what is no part of `self`."""
    if isinstance(function, ast.Name):
        return ""
    if isinstance(function, ast.Attribute):
        owner, part = function.value, function.attr
    elif isinstance(function, ast.Call) and len(function.args) == 2 and isinstance(function.args[1], ast.Constant):
        owner, part = function.args[0], str(function.args[1].value)
    else:
        return ""
    if isinstance(owner, ast.Name):
        return part if owner.id == "self" else ""
    before = _path(owner)
    return f"{before}.{part}" if before else ""


class _Differs(Exception):
    """What ran is not what the text says."""


class _Matching:
    """The text followed as it ran. Only operators that both have count: some are instructions, some are no text."""

    def __init__(self, program: Program, executed: Sequence[str]) -> None:
        self.program, self.executed = program, executed
        printed = {operator for operator, _ in self._all(program.body)}
        self.both = printed & set(executed)
        self.left = iter([index for index, operator in enumerate(executed) if operator in self.both])
        self.next = next(self.left, None)
        self.layers: list[str | None] = [None] * len(executed)

    def found(self) -> list[str | None]:
        self._run(self.program.body)
        if self.next is not None:
            raise _Differs
        return self.layers

    def _all(self, statements: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.Call]]:
        for statement in statements:
            yield from (pair for one in _expressions(statement) for pair in _calls(one))
            for part in ("body", "orelse"):
                yield from self._all(getattr(statement, part, []))

    def owned(self, statements: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
        """The operators with their layers, of all branches, where a layer is known."""
        for statement in statements:
            owners = self._owners(statement)
            for operator, call in (pair for one in _expressions(statement) for pair in _calls(one)):
                if id(call) in owners:
                    yield operator, owners[id(call)]
            for part in ("body", "orelse"):
                yield from self.owned(getattr(statement, part, []))

    def _run(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            owners = self._owners(statement)
            for expression in _expressions(statement):
                for operator, call in _calls(expression):
                    self._take(operator, owners.get(id(call)))
            if isinstance(statement, ast.If):
                self._run(self._branch(statement))
            elif isinstance(statement, (ast.For, ast.While)):
                while self._starts(statement.body):
                    self._run(statement.body)

    def _take(self, operator: str, layer: str | None) -> None:
        if operator not in self.both:
            return
        if self.next is None or self.executed[self.next] != operator:
            raise _Differs
        self.layers[self.next], self.next = layer, next(self.left, None)

    def _branch(self, statement: ast.If) -> Sequence[ast.stmt]:
        """The branch that ran: one that raises did not; else the one that begins as it went on."""
        for branch, other in ((statement.body, statement.orelse), (statement.orelse, statement.body)):
            if any(operator == "prim::RaiseException" for operator, _ in self._all(branch)):
                return other
        return statement.orelse if not self._starts(statement.body) else statement.body

    def _starts(self, statements: Sequence[ast.stmt]) -> bool:
        first = next((operator for operator, _ in self._all(statements) if operator in self.both), None)
        return first is not None and self.next is not None and self.executed[self.next] == first

    def _owners(self, statement: ast.stmt) -> dict[int, str]:
        """The layer whose value a call of this statement is, by the call's identity."""
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            layer = self._layer(statement.targets[0].id)
            return {id(statement.value): layer} if layer else {}
        if isinstance(statement, ast.Return):
            members = _members(statement.value)
            if len(members) == len(self.program.returned):
                pairs = zip(members, self.program.returned, strict=True)
                layers = self.program.layers
                return {id(member): layers[name] for member, name in pairs if name in layers}
        return {}

    def _layer(self, name: str) -> str | None:
        """The layer of a value by its name in the text.

        There a module of the root has taken its own name, so that its value has a number behind it: `conv10` is the
        first of `conv1`, and not of `conv10`.
        """
        known, roots = self.program.layers, self.program.roots
        digits = len(name) - len(name.rstrip("0123456789"))
        shorter = (name[:-length] for length in range(1, digits + 1))
        if name in known and name not in roots:
            return known[name]
        return next((known[one] for one in shorter if one in roots), known.get(name))


def _expressions(statement: ast.stmt) -> list[ast.expr]:
    """What a statement itself works out, without those inside of it."""
    if isinstance(statement, (ast.If, ast.While)):
        return [statement.test]
    if isinstance(statement, ast.For):
        return [statement.iter]
    value = getattr(statement, "value", None)
    return [value] if isinstance(value, ast.expr) else []


def _calls(expression: ast.expr) -> Iterator[tuple[str, ast.Call]]:
    """The operators in an expression, innermost first, as they run."""
    for part in ast.iter_child_nodes(expression):
        if isinstance(part, ast.expr):
            yield from _calls(part)
        elif isinstance(part, ast.keyword):
            yield from _calls(part.value)
    if isinstance(expression, ast.Call) and (operator := _operator(expression.func)):
        yield operator, expression


def _operator(function: ast.expr) -> str:
    """`aten::add` of `torch.add`, `quantized::mul` of `ops.quantized.mul`; "" for what is none."""
    words = ast.unparse(function).split(".")
    if words[0] == "torch" and len(words) == 2:
        return f"aten::{words[1]}"
    if words[0] == "ops" and len(words) == 3:
        return f"{words[1]}::{words[2]}"
    return _BUILTINS.get(words[0], "") if len(words) == 1 else ""
