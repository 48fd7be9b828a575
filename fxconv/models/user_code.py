"""Objects of the user's own, named on the command line as FILE.py:NAME or PACKAGE.MODULE:NAME."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from fxconv.errors import UserError, described


def object_at(spec: str, what: str) -> Any:
    """The object a spec names; `what` begins every message. Raises `UserError` when there is none.

    The user's code runs as it is imported: whatever it raises, a call of `sys.exit` included, is theirs to mend.
    """
    home, _, name = spec.rpartition(":")
    if not home:
        raise UserError(f"{what} {spec}: expected FILE.py:NAME or PACKAGE.MODULE:NAME")
    try:
        namespace = _file(Path(home)) if home.endswith(".py") else _module(home)
    except (Exception, SystemExit) as error:
        if isinstance(error, UserError):
            raise
        cure = "check the name, or mend it there"
        raise UserError(f"{what} {spec}: {home} does not import: {described(error)}; {cure}") from error
    found = getattr(namespace, name, None)
    if found is None:
        near = difflib.get_close_matches(name, [n for n in vars(namespace) if not n.startswith("_")], n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"{what} {spec}: {home} has no {name!r}{hint}")
    return found


def _file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected FILE.py:NAME")
    spec = importlib.util.spec_from_file_location(f"fxconv_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles in the file look their module up here
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def _module(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)
