"""What the code of modules that do not trace says about the modules in it, read from its source.

One run shows one way through such code. Its source shows the other branches as well: what they call a module with, what
they set on it, and what they read of a layer that lies inside of it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from rewrites.calls import Call

# What may be asked of a weight without its values.
_METADATA = frozenset(
    {
        "dtype", "shape", "device", "ndim", "layout", "size", "dim", "ndimension", "numel", "nelement", "is_cuda",
        "requires_grad", "is_floating_point", "is_complex", "element_size", "itemsize",
    }
)  # fmt: skip
_GIVEN_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class _Place:
    """What an expression stands for: the deepest module on its way from `self`, and the names behind that.

    `module` is None where the source alone does not tell; then `inside` is the module that the code belongs to.
    """

    module: nn.Module | None
    names: tuple[str, ...]
    inside: nn.Module

    def may_be(self, module: nn.Module) -> bool:
        """Whether this may be `module` itself."""
        if self.module is not None:
            return self.module is module and not self.names
        paths = [path for path, part in self.inside.named_modules() if part is module and path]
        return bool(paths) and (not self.names or self.names[-1] in {path.rpartition(".")[2] for path in paths})


@dataclass(frozen=True)
class _SourceCall:
    """One call in the source: of what, with which arguments by place and by name."""

    place: _Place
    by_place: tuple[ast.expr, ...]
    by_name: Mapping[str, ast.expr]
    has_starred: bool

    def arguments(self, module: nn.Module) -> dict[str, ast.expr] | None:
        """What it gives for the module's parameters; None where that cannot be told, or it has no such parameters."""
        try:
            parameters = inspect.signature(module.forward).parameters.values()
        except (TypeError, ValueError):
            return None
        places = [p.name for p in parameters if p.kind in _GIVEN_BY_PLACE]
        named = {p.name for p in parameters if p.kind not in _STARRED}
        if self.has_starred or len(self.by_place) > len(places) or not self.by_name.keys() <= named:
            return None
        return dict(zip(places, self.by_place, strict=False)) | dict(self.by_name)


@dataclass(frozen=True)
class _Read:
    """One value that the source reads of a module: the names behind it, whether that is a call of it, or `is None`."""

    place: _Place
    is_called: bool
    is_compared: bool

    @property
    def takes_values(self) -> bool:
        """Whether it may want the numbers in a weight."""
        names = self.place.names
        if not names or names[0] not in ("weight", "bias"):
            return False
        return not self.is_compared and not (len(names) > 1 and names[1] in _METADATA)


class Outside:
    """The source of the modules that do not trace, as far as it concerns the modules in them."""

    def __init__(self) -> None:
        self.calls: list[_SourceCall] = []
        self.writes: list[_Place] = []
        self.reads: list[_Read] = []
        self.unreadable: list[nn.Module] = []
        self.known: set[nn.Module] = set()

    def add(self, module: nn.Module) -> None:
        """Read what the forward of `module`, and what that calls on `self`, does with the modules in it."""
        if module in self.known or _is_torchs(type(module)):
            return
        self.known.add(module)
        functions = _functions(module)
        waiting, done = ["forward"], set[str]()
        while waiting:
            name = waiting.pop()
            if name in done:
                continue
            done.add(name)
            for function in functions.get(name, ()):
                tree = _parsed(function)
                if tree is None:
                    self.unreadable.append(module)
                    continue
                reader = _Reader(module, tree)
                reader.visit(tree)
                self.calls += reader.calls
                self.writes += reader.writes
                self.reads += reader.reads
                waiting += reader.mentioned

    def other_call(self, module: nn.Module, call: Call) -> str:
        """Which arguments another call of `module` gives than the one that was seen; empty where none does."""
        seen = set(call.arguments)
        optional = _parameters(module) - seen
        for one in self.calls:
            given = one.arguments(module) or {}
            other = {name for name in seen & given.keys() if _has_other_length(given[name], call.arguments[name])}
            if one.has_starred:
                other = optional
            elif one.place.module is None:
                other |= given.keys() - seen  # it need not be this module that is called
            elif given:
                other |= given.keys() ^ seen
            if other and one.place.may_be(module):
                return ", ".join(sorted(other))
        if optional and any(module in set(host.modules()) for host in self.unreadable):
            return ", ".join(sorted(optional))
        return ""

    def always_gives(self, module: nn.Module, name: str, value: Any) -> bool:
        """Whether all calls that may be of `module` give this very value, written out."""
        calls = [one for one in self.calls if one.place.may_be(module)]
        given = [(one.arguments(module) or {}).get(name) for one in calls]
        if any(module in set(host.modules()) for host in self.unreadable):
            return False
        written = [expression.value for expression in given if isinstance(expression, ast.Constant)]
        return len(written) == len(calls) > 0 and all(type(one) is type(value) and one == value for one in written)

    def written(self, module: nn.Module) -> str:
        """The attribute that the code sets on `module`, or on a module in it; empty where it sets none."""
        inside = set(module.modules())
        for place in self.writes:
            if place.module is not None and place.module in inside and place.module is not place.inside:
                return place.names[-1]
            may_be = place.module is None and inside <= set(place.inside.modules())
            if may_be and any(place.names[-1] in vars(part) for part in inside):
                return place.names[-1]
        return ""

    def reads_of(self, module: nn.Module) -> Iterator[tuple[nn.Module, _Read]]:
        """What the code reads of `module` and of the modules in it, without their names in between."""
        inside = set(module.modules())
        for read in self.reads:
            if read.place.module is not None and read.place.module in inside:
                yield read.place.module, read


def _has_other_length(expression: ast.expr, value: Any) -> bool:
    """Whether an argument is written out as a list or tuple of another length than the value that was seen."""
    if not isinstance(expression, (ast.List, ast.Tuple)) or not isinstance(value, (list, tuple)):
        return False
    return len(expression.elts) != len(value) and not any(isinstance(one, ast.Starred) for one in expression.elts)


def _is_torchs(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("torch", "builtins", __name__.partition(".")[0])


def _parameters(module: nn.Module) -> set[str]:
    """The parameters of a module's forward."""
    try:
        return set(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return set()


def _functions(module: nn.Module) -> dict[str, list[Any]]:
    """The functions and properties of a module's class, those of the classes above included, by name."""
    found: dict[str, list[Any]] = {}
    bound = {name: value for name, value in vars(module).items() if inspect.ismethod(value)}
    kinds = [kind for kind in type(module).__mro__ if not _is_torchs(kind)]
    for scope in (bound, *map(vars, kinds)):
        for name, value in scope.items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            function = inspect.unwrap(function) if callable(function) else function
            if inspect.isfunction(function):
                found.setdefault(name, []).append(function)
    return found


def _parsed(function: Any) -> ast.FunctionDef | ast.Lambda | None:
    """The source of a function as a tree; None where there is none."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Lambda))]
    found = [node for node in functions if getattr(node, "name", "<lambda>") == function.__name__]
    # of two lambdas in one line nothing tells which it is
    return None if not found or (function.__name__ == "<lambda>" and len(found) > 1) else found[0]


class _Reader(ast.NodeVisitor):
    """Collects from one function what it calls, sets and reads."""

    def __init__(self, module: nn.Module, function: ast.FunctionDef | ast.Lambda) -> None:
        self.module = module
        arguments = [*function.args.posonlyargs, *function.args.args]
        self.own_name = arguments[0].arg if arguments else ""
        self.local = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and _is_stored(node)}
        self.local |= {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
        self.calls: list[_SourceCall] = []
        self.writes: list[_Place] = []
        self.reads: list[_Read] = []
        self.mentioned: list[str] = []

    def visit_Call(self, node: ast.Call) -> None:
        place = self._place(node.func)
        if place is not None:
            starred = any(isinstance(one, ast.Starred) for one in node.args)
            starred |= any(keyword.arg is None for keyword in node.keywords)
            named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
            self.calls.append(_SourceCall(place, tuple(node.args), named, starred))
        if isinstance(node.func, ast.Name) and node.func.id == "setattr" and len(node.args) > 1:
            word = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            target = ast.Attribute(node.args[0], str(word), ast.Store())
            self._write(target)
        self._read(node.func, is_called=True)
        for child in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(child)

    def visit_Compare(self, node: ast.Compare) -> None:
        is_identity = all(isinstance(one, (ast.Is, ast.IsNot)) for one in node.ops)
        for child in (node.left, *node.comparators):
            self._read(child, is_compared=is_identity)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _is_stored(node):
            self._write(node)
        else:
            self._read(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._read(node)
        self.visit(node.slice)

    def _write(self, node: ast.Attribute) -> None:
        place = self._place(node)
        if place is not None and place.names:
            self.writes.append(place)

    def _read(self, node: ast.expr, is_called: bool = False, is_compared: bool = False) -> None:
        if not isinstance(node, (ast.Attribute, ast.Subscript)):
            self.visit(node) if not isinstance(node, ast.Name) else None
            return
        self.mentioned += [one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)]
        place = self._place(node)
        if place is not None and place.module is not None:
            if place.module is not self.module:
                self.reads.append(_Read(place, is_called and not place.names, is_compared))
            return
        self._read(node.value)

    def _place(self, node: ast.expr) -> _Place | None:
        """What an expression stands for; None for what is no module and nothing of one, such as a global name."""
        if isinstance(node, ast.Name):
            if node.id == self.own_name:
                return _Place(self.module, (), self.module)
            return _Place(None, (), self.module) if node.id in self.local else None
        if isinstance(node, ast.Attribute):
            place = self._place(node.value)
            if place is None:
                return None
            child = place.module._modules.get(node.attr) if place.module is not None and not place.names else None
            if child is not None:
                return _Place(child, (), self.module)
            return _Place(place.module, (*place.names, node.attr), self.module)
        if isinstance(node, ast.Subscript):
            place, index = self._place(node.value), node.slice
            if place is None or place.module is None or place.names:
                return _Place(None, (), self.module)
            child = place.module._modules.get(str(index.value)) if isinstance(index, ast.Constant) else None
            return _Place(child, (), self.module)
        return _Place(None, (), self.module) if isinstance(node, (ast.Call, ast.IfExp)) else None


def _is_stored(node: ast.expr) -> bool:
    return isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))
