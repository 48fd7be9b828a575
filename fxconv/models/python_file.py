"""What in a Python file makes a model, found by parsing it: nothing in it is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

_MODULES = frozenset({"Module", "LightningModule", "Sequential", "PreTrainedModel"})
_PASSES = frozenset({"RewritePass"})
_MAKERS = frozenset({"torchvision", "models", "timm"})
_MAKING = ("make", "build", "create", "get", "load", "model", "net")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree_of(path: Path) -> ast.Module:
    """The file, parsed. Raises `SyntaxError` for what is no Python, and `OSError`."""
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, or brackets without end
        raise SyntaxError(str(error)) from error


def makers(path: Path) -> list[str]:
    """The names in a file that make a model, the likeliest first: what needs no arguments before what does.

    These are classes that derive from nn.Module, functions that return one of them or are called as such functions are,
    and models that stand in the file. A class that is called in another is a part of it, and left out.
    """
    tree = tree_of(path)
    classes = _derived(tree, _MODULES)
    models = [name for name, value in _assigned(tree).items() if _is_model(value, classes)]
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and _makes(node, classes)}
    found = [*functions, *(name for name in classes if not name.startswith("_")), *models]
    parts = {name for each in classes.values() for name in _called(each)}
    needing = {name for name, node in functions.items() if _needs(node, 0)} | {
        name for name, node in classes.items() if any(_needs(each, 1) for each in node.body if _is_init(each))
    }
    whole = [name for name in found if name not in parts or name in functions] or found
    return sorted(whole, key=lambda name: (name in needing, name not in functions))


def passes(path: Path) -> list[str]:
    """The names of classes that derive from `rewrites.RewritePass`."""
    return list(_derived(tree_of(path), _PASSES))


def relative_imports(path: Path) -> list[str]:
    """What the file imports from its own package, as it is written: `.blocks`; none of what does not parse."""
    try:
        tree = tree_of(path)
    except (SyntaxError, OSError):
        return []
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    return ["." * node.level + (node.module or node.names[0].name) for node in found]


def _derived(tree: ast.Module, bases: frozenset[str]) -> dict[str, ast.ClassDef]:
    """The classes that derive from one of these, or from one in the file that does."""
    known, found = set(bases), dict[str, ast.ClassDef]()
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(_last(base) in known for base in node.bases):
            found[node.name] = node
            known.add(node.name)
    return found


def _makes(function: Function, classes: dict[str, ast.ClassDef]) -> bool:
    """Whether a function is likely to return a model."""
    if function.name.startswith("_"):
        return False
    if function.returns is not None and _names(function.returns) & {*classes, *_MODULES}:
        return True
    values = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            value = values.get(node.value.id, node.value) if isinstance(node.value, ast.Name) else node.value
            is_called_so = isinstance(value, ast.Call) and function.name.startswith(_MAKING)
            if is_called_so or _is_model(value, classes):
                return True
    return False


def _is_model(value: ast.expr, classes: dict[str, ast.ClassDef]) -> bool:
    """Whether an expression makes a model: `Net()`, `nn.Sequential(...)`, `torchvision.models.resnet18()`."""
    if not isinstance(value, ast.Call):
        return False
    name, first = _last(value.func), ast.unparse(value.func).partition(".")[0]
    return name in {*classes, "Sequential"} or (first == "nn" and name[:1].isupper()) or first in _MAKERS


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _is_init(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _needs(node: ast.stmt, own: int) -> bool:
    """Whether a function needs arguments beside the first `own`."""
    assert isinstance(node, ast.FunctionDef)
    given = node.args
    plain = len(given.posonlyargs) + len(given.args) - len(given.defaults) - own
    return plain > 0 or None in given.kw_defaults


def _called(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            yield _last(each.func)


def _last(node: ast.AST) -> str:
    """The last word of a name with dots; "" for what is none."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _names(node: ast.AST) -> set[str]:
    words = {_last(each) for each in ast.walk(node)}
    return words | {str(each.value) for each in ast.walk(node) if isinstance(each, ast.Constant)}
