"""What MODEL may name: models of torchvision, detectors of fxconv's, and the nearest of a name that is neither.

Nothing here imports torch: names are read from torchvision's source, for to import it takes seconds.
"""

from __future__ import annotations

import difflib
import functools
import re

from fxconv.errors import UserError
from fxconv.models import model_file
from fxconv.models.installed_packages import package_of, source_folder

ALIASES = {"mobilenet_v3": "mobilenet_v3_large"}
# What a model's text begins with when it is a detector of fxconv's, and the backbones there are.
DETECTOR = "detector:"
BACKBONE_NAMES = ("mobilenet_v3_small", "mobilenet_v3_large", "resnet18")
_REGISTERED = re.compile(r'^@register_model\((?:name="(\w+)")?\)\n(?:.*\n)*?def (\w+)', re.MULTILINE)


@functools.cache
def _in_source() -> tuple[str, ...]:
    """All that torchvision registers, the twins that it quantized itself too; none where it is not installed."""
    folder = source_folder("torchvision")
    found: set[str] = set()
    for file in sorted((folder / "models").rglob("*.py")) if folder is not None else ():
        found |= {name or function for name, function in _REGISTERED.findall(file.read_text(encoding="utf-8"))}
    return tuple(sorted(found))


def names() -> list[str]:
    """The torchvision models that can be named: all but the twins torchvision quantized itself."""
    return [name for name in _in_source() if not name.startswith("quantized_")]


def detectors() -> list[str]:
    """The detectors that can be named."""
    return [f"{DETECTOR}{backbone}" for backbone in BACKBONE_NAMES]


def is_detector(text: str) -> bool:
    """Whether `text` names a detector, one that there is or not."""
    return text.lower().startswith(DETECTOR)


def resolve(text: str) -> str:
    """The torchvision name meant by `text`: case and `-` or `_` do not matter. Raises `UserError` with near names."""
    wanted = text.lower().replace("-", "_")
    known = names()
    wanted = ALIASES.get(wanted, wanted)
    if wanted in known:
        return wanted
    if wanted.startswith("quantized_") and wanted.removeprefix("quantized_") in known:
        raise UserError(f"model {text!r} is quantized by torchvision already; name the float one: {wanted[10:]}")
    if (file := model_file.refusal(text)) is not None:
        raise file
    near = difflib.get_close_matches(wanted, [*known, *ALIASES], n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise UserError(f"unknown model {text!r}{hint} (fxconv models lists all; or give FILE.py:FACTORY)")


def backbone_of(text: str) -> str:
    """The backbone that `detector:NAME` means. Raises `UserError` with the nearest."""
    wanted = text[len(DETECTOR) :].lower().replace("-", "_")
    wanted = ALIASES.get(wanted, wanted)
    if wanted in BACKBONE_NAMES:
        return wanted
    near = difflib.get_close_matches(wanted, BACKBONE_NAMES, n=1)
    hint = f"; did you mean {DETECTOR}{near[0]}?" if near else ""
    raise UserError(f"unknown detector {text!r}{hint}; there are {', '.join(detectors())}")


def check_name(text: str) -> None:
    """Raise `UserError` for a name that is no model's, where the name alone tells, before anything is imported.

    A model of an installed package and one that code of the user's makes are known when they are loaded.
    """
    if is_detector(text):
        backbone_of(text)
    elif package_of(text) is None and ":" not in text:
        resolve(text)
