"""Whether this torch can do the job, and what it is."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass

from fxconv.errors import UserError

VERSION = "0.1.0"
# What this fxconv is made for, as pip takes it.
INSTALL = 'install "torch>=2.12,<2.13" and "torchvision>=0.27,<0.28"'


@dataclass(frozen=True)
class Environment:
    """Versions and engine of one conversion; `python` is Python's, `machine` the system and the processor's kind."""

    torch: str
    torchvision: str
    engine: str
    xnnpack: bool
    python: str = ""
    machine: str = ""


def check(engine: str = "qnnpack") -> Environment:
    """What this installation is. Raises `UserError` with one sentence when it cannot convert."""
    try:
        import torch
    except ImportError as error:
        raise UserError(f"torch does not import ({error}); {INSTALL}") from error
    try:
        import torch.ao.quantization
        import torch.backends.xnnpack
    except ImportError as error:
        raise UserError(f"torch {torch.__version__} comes without torch.ao.quantization; {INSTALL}") from error
    xnnpack = bool(getattr(torch.backends.xnnpack, "enabled", False))
    if not xnnpack:
        raise UserError(
            f"torch {torch.__version__} is built without XNNPACK (2.13 and later are), "
            f"so optimize_for_mobile cannot work; {INSTALL}"
        )
    engines = torch.backends.quantized.supported_engines
    if engine not in engines:
        known = ", ".join(e for e in engines if e != "none")
        raise UserError(
            f"this torch {torch.__version__} has no quantized engine {engine!r} (it has {known}); {INSTALL}"
        )
    torchvision = importlib.metadata.version("torchvision")
    return Environment(torch.__version__, torchvision, engine, xnnpack, platform.python_version(), _machine())


def versions() -> str:
    """What a report of a fault needs to say, a line each; nothing is imported for it."""
    lines = [f"fxconv {VERSION}"]
    for name in ("torch", "torchvision"):
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join([*lines, f"Python {platform.python_version()} on {_machine()}"])


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}"


def has_vnni() -> bool:
    """Whether the desktop engines can use the full 8-bit range: without VNNI their 16-bit sums overflow."""
    import torch

    return bool(torch.cpu._is_vnni_supported())
