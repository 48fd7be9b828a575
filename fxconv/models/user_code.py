"""Objects of the user's own, named on the command line as FILE.py:NAME or PACKAGE.MODULE:NAME."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fxconv.diagnostics.blame import blamed
from fxconv.errors import UserError, described
from fxconv.inspection.what import what_is
from fxconv.models import python_file


def object_at(spec: str, what: str, named: Callable[[Path], list[str]] = python_file.makers) -> Any:
    """The object a spec names; `what` begins every message. Raises `UserError` when there is none.

    `FILE.py::NAME`, as pytest has it, is `FILE.py:NAME`. A file that imports from its own package, `from .blocks import
    Block`, is imported as a part of that. `named` finds the names in a file that are meant where none is given. The
    user's code runs as it is imported: whatever it raises, a call of `sys.exit` included, is theirs to mend.
    """
    home, _, name = plain(spec).rpartition(":")
    check_form(spec, what, named)
    try:
        namespace = _file(Path(home)) if home.endswith(".py") else _module(home)
    except (Exception, SystemExit) as error:
        if isinstance(error, UserError):
            raise
        cure = "check the name, or mend it there"
        if isinstance(error, ModuleNotFoundError) and error.name and not home.startswith(error.name):
            cure = f"install what has {error.name.partition('.')[0]}, or mend it there"
        raise UserError(f"{what} {spec}: {home} does not import: {described(error)}{place(error)}; {cure}") from error
    found = getattr(namespace, name, None)
    if found is None:
        near = difflib.get_close_matches(name, [n for n in vars(namespace) if not n.startswith("_")], n=3)
        known = near or (named(Path(home)) if home.endswith(".py") else [])
        hint = f"; did you mean {', '.join(near)}?" if near else f"; it has {', '.join(known)}" if known else ""
        raise UserError(f"{what} {spec}: {home} has no {name!r}{hint}")
    return found


def check_form(spec: str, what: str, named: Callable[[Path], list[str]] = python_file.makers) -> None:
    """Raise `UserError` for another form than FILE.py:NAME or PACKAGE.MODULE:NAME, and for a file that is not there."""
    home, _, name = plain(spec).rpartition(":")
    if not home or not name:
        raise UserError(f"{what} {spec}: {_expected(Path(name or home), named)}")
    if not home.endswith(".py") and Path(home).is_file():
        raise UserError(f"{what} {spec}: {home} is {what_is(Path(home))}; expected FILE.py:NAME or PACKAGE.MODULE:NAME")
    if home.endswith(".py"):
        check_file(Path(home))


def check_file(path: Path) -> None:
    """Raise `UserError` where there is no such file of Python code."""
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; expected FILE.py:NAME")


def plain(spec: str) -> str:
    """The spec with one colon where it has two, as pytest names things."""
    return spec.replace("::", ":")


def place(error: BaseException) -> str:
    """`, in net.py, line 3 (import einops)`: the line of the user's own that raised it; "" where none did."""
    frame = blamed(error.__traceback__)
    if frame is None:
        return ""
    return f", in {Path(frame.filename).name}, line {frame.lineno}{f' ({frame.line})' if frame.line else ''}"


def _expected(path: Path, named: Callable[[Path], list[str]]) -> str:
    """What a spec should have been, with the names in the file that it is."""
    expected = "expected FILE.py:NAME or PACKAGE.MODULE:NAME"
    try:
        if path.suffix == ".py" and path.is_file() and (found := named(path)):
            return f"{expected}, such as {' or '.join(f'{path}:{name}' for name in found[:3])}"
    except (SyntaxError, OSError):  # told when it is imported
        pass
    return expected


def _file(path: Path) -> Any:
    check_file(path)
    if relative := python_file.relative_imports(path):
        return _in_package(path, relative[0])
    spec = importlib.util.spec_from_file_location(f"fxconv_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles in the file look their module up here
    _importing(path.parent.resolve(), lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    return module


def _in_package(path: Path, imported: str) -> Any:
    """The module of a file that imports from its package, imported as a part of that."""
    file = path.resolve()
    home = file.parent
    while (home / "__init__.py").is_file():
        home = home.parent
    name = ".".join(file.relative_to(home).with_suffix("").parts)
    if home == file.parent:
        raise UserError(
            f"{path}: imports {imported} from its package, and is in none: put an __init__.py beside it, or type "
            f"{file.parent.name}.{file.stem}:NAME {_seen(file.parent.parent)}"
        )
    module = _importing(home, lambda: importlib.import_module(name))
    if not Path(str(module.__file__)).samefile(file):
        raise UserError(f"{path}: another package is imported as {name.partition('.')[0]} already; rename its folder")
    return module


def _seen(folder: Path) -> str:
    """A folder as seen from the current one."""
    here = Path.cwd()
    return "here" if folder == here else "from the folder above" if folder == here.parent else f"in {folder}"


def _module(name: str) -> Any:
    return _importing(Path.cwd(), lambda: importlib.import_module(name))


def _importing(folder: Path, load: Callable[[], Any]) -> Any:
    """What `load` gives with `folder` first where modules are looked for."""
    sys.path.insert(0, str(folder))
    try:
        return load()
    finally:
        sys.path.pop(0)
