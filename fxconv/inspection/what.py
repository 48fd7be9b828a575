"""What a file or folder is in a few words, for the line that says that another was expected."""

from __future__ import annotations

from pathlib import Path

from fxconv.errors import UserError
from fxconv.inspection import Kind, inspect
from fxconv.inspection.printable import printable

# Files that `fxconv convert` and others write, or that others run: nothing in them is left to convert.
ARTIFACTS = (Kind.LITE, Kind.LITE_FLATBUFFER, Kind.ONNX, Kind.TFLITE, Kind.EXECUTORCH, Kind.EXPORTED)
WEIGHTS = (Kind.STATE_DICT, Kind.CHECKPOINT, Kind.SAFETENSORS)
_ARTICLES = {kind: "an" if kind.value[0] in "aeioxEO" else "a" for kind in Kind} | {Kind.PICKLE: ""}
_TEXTS = {
    ".py": "a Python file",
    ".ipynb": "a notebook",
    ".json": "a JSON file",
    ".yaml": "a YAML file",
    ".yml": "a YAML file",
}
_READ = 4096


def kind_of(path: Path) -> Kind | None:
    """The kind of a file that `inspect` reads to its end; None for any other."""
    try:
        return inspect(path).kind
    except UserError:
        return None


def what_is(path: Path) -> str:
    """What there is at `path`, as it goes on after "is": `a TorchScript archive`, `a PNG image`, `a folder`.

    Nothing in it is run. Of what is not there it is `no such file`.
    """
    if path.is_dir():
        return "a folder"
    if _is_text(path) and (named := _TEXTS.get(path.suffix.lower())):
        return named
    try:
        kind = inspect(path).kind
    except UserError as error:
        return _short(str(error).removeprefix(f"{printable(str(path), 300)}: "))
    return with_article(kind)


def with_article(kind: Kind) -> str:
    """`an ExecuTorch program`."""
    return f"{_ARTICLES[kind]} {kind.value}".strip()


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(_READ)
    except (OSError, ValueError):
        return False


def _short(words: str) -> str:
    """What a file is, of the words that also say what to do about it."""
    ends = [
        end
        for mark in ("; ", ", no model", " (.npz)", ", as ", " that torch did not", " (")
        if (end := words.find(mark)) > 0
    ]
    return words[: min(ends, default=len(words))].removeprefix("is ")
