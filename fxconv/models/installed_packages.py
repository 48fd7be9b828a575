"""Packages that name models, imported only when somebody asks for one of theirs."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from fxconv.errors import UserError, described

# What MODEL begins with, and the package that has it. The colon of `timm.models:resnet18` is that of a module.
TIMM, TRANSFORMERS = "timm:", "transformers:"
_REGISTERED = re.compile(r"^@register_model\s*(?:\([^)]*\)\s*)?\ndef (\w+)", re.MULTILINE)
# Of the lists of classes by what they are for, in modeling_auto.py, those of classes that take images alone.
_PURPOSES = re.compile(
    r"^MODEL_FOR_(?:IMAGE|MASKED_IMAGE_MODELING|IMAGE_CLASSIFICATION|IMAGE_SEGMENTATION|SEMANTIC_SEGMENTATION|"
    r"INSTANCE_SEGMENTATION|UNIVERSAL_SEGMENTATION|OBJECT_DETECTION|DEPTH_ESTIMATION|BACKBONE|KEYPOINT_DETECTION|"
    r"IMAGE_TO_IMAGE|IMAGE_MATTING|NORMAL_ESTIMATION|POSE_ESTIMATION)_MAPPING_NAMES = OrderedDict\(\n(.*?)^\)",
    re.MULTILINE | re.DOTALL,
)
_CLASS = re.compile(r'"([A-Z]\w+)"')


def package_of(text: str) -> str | None:
    """What MODEL begins with when a package has it, in small letters; None of any other MODEL."""
    return next((prefix for prefix in (TIMM, TRANSFORMERS) if text.lower().startswith(prefix)), None)


def imported(name: str, what: str) -> ModuleType:
    """An installed package; `what` begins the messages. Raises `UserError` when it is missing, or does not import."""
    try:
        with installed_alone():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(name, what, error) from error
        raise _missing(name, what) from error
    except Exception as error:  # whatever a package that does not fit its surroundings raises
        raise _broken(name, what, error) from error


def check_installed(text: str) -> None:
    """Raise `UserError` for a MODEL of a package that is not installed; nothing is imported."""
    if (prefix := package_of(text)) is not None:
        name = prefix.removesuffix(":")
        if name not in sys.modules and source_folder(name) is None:
            raise _missing(name, text)


def _missing(name: str, what: str) -> UserError:
    return UserError(f"{what}: the package {name} is not installed: pip install {name}")


def _broken(name: str, what: str, error: Exception) -> UserError:
    return UserError(f"{what}: the package {name} does not import: {described(error)}; install it anew")


@contextmanager
def installed_alone() -> Iterator[None]:
    """Inside, nothing is imported from the current folder: a file of the user's may be called timm.py."""
    kept, here = sys.path.copy(), Path.cwd()
    sys.path[:] = [place for place in kept if place and Path(place) != here]
    try:
        yield
    finally:
        sys.path[:] = kept


def source_folder(name: str) -> Path | None:
    """Where the source of an installed package lies, found without importing it; None where it is not installed."""
    try:
        with installed_alone():
            found = find_spec(name)
    except (ImportError, ValueError):  # a ValueError of a module that somebody made by hand
        return None
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def names_in_source(prefix: str) -> list[str]:
    """What can be named in a package, read from its source without importing it; none where it is not installed.

    Of timm all models, of transformers the classes that take images.
    """
    folder = source_folder(prefix.removesuffix(":"))
    if folder is None:
        return []
    if prefix == TIMM:
        texts = (file.read_text(encoding="utf-8") for file in sorted((folder / "models").glob("*.py")))
        found = {name for text in texts for name in _REGISTERED.findall(text)}
    else:
        lists = folder / "models" / "auto" / "modeling_auto.py"
        sections = _PURPOSES.findall(lists.read_text(encoding="utf-8")) if lists.is_file() else []
        found = {name for section in sections for name in _CLASS.findall(section)}
    return sorted(f"{prefix}{name}" for name in found)
