"""Checks on the files a command will write, before any work is done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from fxconv.data.photographs import SUFFIXES, find
from fxconv.data.staged_file import StagedFile
from fxconv.errors import UserError
from fxconv.models.installed_packages import TIMM, package_of
from fxconv.models.model_names import resolve
from fxconv.pixel_options import is_function


def check_target(path: Path | None, option: str) -> Path | None:
    """`path` itself, when a file can be written there. Raises `UserError` when it cannot.

    A file is made there and removed: permission bits do not tell what root, a network or a full disk allows.
    """
    if path is not None:
        with StagedFile(path, b"", option):
            pass
    return path


def code_file(spec: str) -> Path | None:
    """The file of FILE.py:NAME, or of PACKAGE.MODULE:NAME, found without importing anything; None where there is none.

    What it imports in turn is known when it has been imported: `StagedFile` looks at that.
    """
    home = spec.replace("::", ":").rpartition(":")[0]
    if home.endswith(".py"):
        return Path(home)
    if package_of(spec) is not None:  # a name in a package, which is imported from where it is installed alone
        return None
    found, places = None, [str(Path.cwd()), *sys.path]
    for name in home.split("."):
        found = PathFinder.find_spec(name, places)
        places = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(found.origin) if found is not None and found.origin is not None and found.has_location else None


def read_files(
    model: str,
    weights: str,
    calib: Path | None,
    example: Path | None,
    passes: Sequence[str] = (),
    preprocess: str | None = None,
) -> dict[str, Path | None]:
    """The files and folders a command reads, by what names them."""
    from fxconv.data.arrays import split_name

    reads = {"the model": code_file(model), "--weights": Path(weights)}
    reads |= {"--calib": calib and split_name(calib)[0], "--example": example and split_name(example)[0]}
    if is_function(preprocess):
        reads["--preprocess"] = code_file(str(preprocess))
    return reads | {f"--pass {spec}": code_file(spec) for spec in passes}


def check_distinct(writes: dict[str, Path | None], reads: dict[str, Path | None], lists: Sequence[Path] = ()) -> None:
    """No file is written twice, over an input, or over a photograph in a folder of them. Raises `UserError`.

    `lists` are those of the inputs that name photographs, a line each.
    """
    files = {option: _file(path) for option, path in reads.items() if path is not None}
    read = {option: path for option, path in files.items() if _there(path)}
    targets = [(option, path) for option, path in writes.items() if path is not None]
    for index, (option, path) in enumerate(targets):
        for other, before in [*read.items(), *targets[:index]]:
            if _same(path, before):
                raise UserError(f"{option} {path}: is the same file as {other}; choose another name")
            if _there(path) and before.is_dir() and _is_photograph_in(path, before):
                raise UserError(f"{option} {path}: is one of the files in {other} {before}; choose another name")
        for file in lists:
            if _there(path) and _is_named_in(path, file, reads):
                raise UserError(f"{option} {path}: is one of the photographs that {file} names; choose another name")


def _is_photograph_in(path: Path, folder: Path) -> bool:
    """Whether a file is one of the photographs in a folder, by another name or through a link as well."""
    if path.suffix.lower() in SUFFIXES and folder.resolve() in path.resolve().parents:
        return True
    return any(_there(photograph) and photograph.samefile(path) for photograph in find(folder)[0])


def _is_named_in(path: Path, file: Path, reads: dict[str, Path | None]) -> bool:
    """Whether a list of photographs and their classes names a file; they lie in --eval, or beside the list."""
    from fxconv.data.labels import photographs_in

    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return False  # whoever reads it says so
    named = photographs_in(lines, reads.get("--eval") or file.parent)
    return any(_there(photograph) and photograph.samefile(path) for photograph in named)


def _file(path: Path) -> Path:
    """The file itself of FILE.npz:NAME, which names one of its arrays."""
    home = str(path).rpartition(":")[0]
    return Path(home) if home and not _there(path) else path


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name no file can have; whoever reads it says so
        return False


def _same(path: Path, other: Path) -> bool:
    """Whether both names mean one file: hard links and file systems that ignore case included."""
    if _there(path) and _there(other):
        return path.samefile(other)
    return path.resolve() == other.resolve()


def default_output(model: str, suffix: str) -> Path:
    """Where the artifact of `model` goes when nothing is said: its name with this suffix, in the current folder."""
    kind, _, name = model.rpartition(":")
    if package_of(model) == TIMM:
        name = name.lower().replace("-", "_")
    if kind.lower() == "detector":
        name = f"detector_{name.lower().replace('-', '_')}"
    elif ":" not in model:
        name = resolve(model)
    path = Path(f"{name}{suffix}")
    check_target(path, "-o")
    return path
