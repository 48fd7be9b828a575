"""A file given as MODEL: what it is, and what to type for it. Nothing in it is run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from fxconv.errors import UserError
from fxconv.inspection import Inspection, Kind, inspect
from fxconv.inspection.what import ARTIFACTS, WEIGHTS, what_is
from fxconv.models import python_file

# Suffixes of files that people have models in: of such a name that is none of a model, a file is meant.
_SUFFIXES = frozenset(
    (
        *(".py", ".ipynb", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".safetensors", ".onnx", ".tflite", ".pte", ".ptl"),
        *(
            ".pt2",
            ".h5",
            ".keras",
            ".pb",
            ".mlmodel",
            ".torchscript",
            ".tar",
            ".zip",
            ".gguf",
            ".json",
            ".yaml",
            ".yml",
        ),
    )
)
_SOURCE = "name the model's Python source, FILE.py:FACTORY"
_MOST_NAMED = 3
_LONGEST_CHOICES = 1 << 20
_NO_MODELS = ("a text", "of no kind", "a JSON", "a YAML")


def refusal(text: str) -> UserError | None:
    """What to say of MODEL where it names a file or a folder, and not what makes a model; None where it does not.

    `FILE.py` alone is answered with what in it makes a model, weights with the command that takes them.
    """
    path = Path(text)
    try:
        is_there = path.exists()
    except (OSError, ValueError):  # too long, or with a null byte: no file's name
        return None
    if not is_there:
        if path.suffix.lower() not in _SUFFIXES and "/" not in text:
            return None
        cure = "MODEL is a name (fxconv models lists them) or FILE.py:FACTORY"
        return UserError(f"{text}: no such file; check the name: {cure}")
    shown = shlex.quote(text)
    if _holds_choices(path):
        return UserError(f"{text} holds the choices of a conversion; fxconv convert --config {shown}")
    return UserError(f"{text} is {_told(path, shown)}")


def _holds_choices(path: Path) -> bool:
    """Whether a file is what `--save-config` wrote, by its keys; a report has its verdict besides."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8") as file:
            held = json.loads(file.read(_LONGEST_CHOICES))
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(held, dict) and "schema" in held and bool({"inputs", "mode"} & held.keys()) and "verdict" not in held
    )


def _told(path: Path, shown: str) -> str:
    what = what_is(path)
    if path.is_dir():
        return _folder(path, shown)
    if what == "a Python file":
        return _python(path)
    if what == "a notebook":
        return (
            f"{what}; move the model's code into a file, FILE.py:FACTORY, or call fxconv.convert(model) in the notebook"
        )
    if what.endswith("image"):
        return (
            f"{what}, no model; a folder of them is what --calib takes: fxconv convert MODEL --calib {_folder_of(path)}"
        )
    try:
        return _model(inspect(path), what, shown)
    except UserError as error:
        words = str(error).partition(": ")[2].removeprefix("is ")
        # what inspect takes is no help here
        return words if "; " in words and not what.startswith(_NO_MODELS) else f"{what}, no model; {_SOURCE}"


def _model(found: Inspection, what: str, shown: str) -> str:
    if found.kind in (Kind.LITE, Kind.LITE_FLATBUFFER):
        looks = f"fxconv inspect {shown} and fxconv verify {shown} look at it"
        return f"{what}, an artifact already; {looks}; to convert anew, {_SOURCE}"
    if found.kind is Kind.CALIBRATION:
        return f"{what}; fxconv convert --calibration {shown}"
    if found.kind in ARTIFACTS:
        return f"{what}, an artifact already; fxconv inspect {shown} says what is in it; to convert, {_SOURCE}"
    if found.kind is Kind.TORCHSCRIPT:
        return f"{what}, which cannot be rewritten; {_SOURCE}, with --weights FILE for what model.state_dict() saved"
    if found.kind in WEIGHTS:
        from fxconv.models.published_names import published_names  # imports torch, which a mistyped name need not

        names = published_names({one.name: one.shape for one in found.tensors}, found.kind is not Kind.CHECKPOINT)
        if names:
            more = f" (or {', '.join(names[1:])})" if names[1:] else ""
            typed = f"fxconv convert {names[0]} --weights {shown}{more}"
            return f"{what}, weights without a model, by their names {names[0]}'s: {typed}"
        typed = f"fxconv convert MODEL --weights {shown}, with MODEL a name or FILE.py:FACTORY"
        return f"{what}, weights without a model: {typed}"
    if found.kind is Kind.MODULE:
        kind = dict(found.facts).get("class", "")
        return (
            f"{what}{f' ({kind})' if kind else ''}: fxconv convert {_maker(kind)} --weights {shown} --unsafe-load "
            "takes its weights, and runs the code in it: only for a file you trust"
        )
    return f"{what}, no model; {_SOURCE}"


def _maker(kind: str) -> str:
    """What makes an object of a class, as far as its name tells."""
    home, _, name = kind.rpartition(".")
    file = Path(f"{home.replace('.', '/')}.py")
    return f"{file}:{name}" if home and home != "__main__" and file.is_file() else "FILE.py:FACTORY"


def _python(path: Path) -> str:
    try:
        found = python_file.makers(path)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        return f"a Python file that does not parse ({error.msg}{line}); mend it there"
    except OSError as error:
        return f"a Python file that cannot be read ({error.strerror}); check that you may read it"
    if not found:
        return f"a Python file, in which nothing seems to make a model; name what does: {path}:FACTORY"
    shown = " or ".join(f"{path}:{name}" for name in found[:_MOST_NAMED])
    more = f" (and {len(found) - _MOST_NAMED} more)" if len(found) > _MOST_NAMED else ""
    return f"a Python file; name what makes the model in it: {shown}{more}"


def _folder(path: Path, shown: str) -> str:
    home = shown.rstrip("/")
    weights = [
        one.name for one in sorted(path.iterdir()) if one.suffix in (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
    ]
    if (path / "config.json").is_file() and weights:
        return f"a folder, as save_pretrained writes; fxconv convert transformers:CLASS --weights {home}/{weights[0]}"
    if weights:
        return f"a folder; fxconv convert MODEL --weights {home}/{weights[0]} takes weights in it"
    if (path / "saved_model.pb").is_file() or path.suffix == ".mlpackage":
        return f"a folder of TensorFlow's or Core ML's, no model of PyTorch's; {_SOURCE}"
    if sources := sorted(path.glob("*.py")):
        return f"a folder; name a file in it and what makes the model: {home}/{sources[-1].name}:FACTORY"
    return f"a folder, no model; {_SOURCE}, and give photographs with --calib {home}"


def _folder_of(path: Path) -> str:
    return shlex.quote(str(path.parent))
