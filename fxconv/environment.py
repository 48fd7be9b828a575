"""Whether this torch can do the job, and what it is."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from dataclasses import dataclass

from fxconv.errors import UserError

VERSION = "0.1.0"
# The releases of torch that fxconv is tested with, and the torchvision made for each.
TORCHVISION = {"2.12": "0.27", "2.13": "0.28", "2.14": "0.29"}
# The releases of ExecuTorch that lower and run beside each torch, the one to install first. A wheel reads the fields of
# a tensor where they were in the torch that it was built beside. 1.5 declares none, and torch 2.13 moved them.
EXECUTORCH = {"2.12": ("1.3.1",), "2.13": ("1.5.1", "1.4.1"), "2.14": ("1.5.1", "1.4.1")}
# The same, as pip takes it.
INSTALL = 'install "torch>=2.12,<2.15" and "torchvision>=0.27,<0.30"'


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
    torchvision = _torchvision_of(torch.__version__)
    try:
        import torch.ao.quantization
        import torch.jit.mobile
    except ImportError as error:
        raise UserError(f"torch {torch.__version__} comes without {error.name}; {INSTALL}") from error
    engines = torch.backends.quantized.supported_engines
    if engine not in engines:
        known = ", ".join(e for e in engines if e != "none")
        raise UserError(
            f"this torch {torch.__version__} has no quantized engine {engine!r} (it has {known}); {INSTALL}"
        )
    return Environment(torch.__version__, torchvision, engine, has_xnnpack(), platform.python_version(), _machine())


def _torchvision_of(torch: str) -> str:
    """The installed torchvision. Raises `UserError` where it is not the one made for this torch, or the torch is older
    than all that fxconv is tested with. Of newer ones, what they can do decides."""
    oldest = next(iter(TORCHVISION))
    if _release(torch) < _release(oldest):
        raise UserError(f"torch {torch} is older than {oldest}, the oldest that fxconv is made for; {INSTALL}")
    try:
        torchvision = importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"torchvision is not installed; {INSTALL}") from error
    wanted = next((made for one, made in TORCHVISION.items() if _release(one) == _release(torch)), None)
    if wanted is not None and _release(torchvision) != _release(wanted):
        raise UserError(f"torch {torch} and torchvision {torchvision} do not belong together; {INSTALL}")
    return torchvision


def executorch_for(torch: str) -> tuple[str, ...]:
    """The releases of ExecuTorch that go with this torch, the one to install first; none where no pair is known."""
    return next((made for one, made in EXECUTORCH.items() if _release(one) == _release(torch)), ())


def same_release(one: str, other: str) -> bool:
    """Whether two versions differ in their last number at most, or in their build: 1.5.0 and 1.5.1+cpu."""
    return _release(one) == _release(other)


def untested(torch: str) -> str:
    """One sentence on a torch that is newer than all that fxconv is tested with; "" for the others."""
    newest = next(reversed(TORCHVISION))
    if _release(torch) <= _release(newest):
        return ""
    return f"torch {torch} is newer than {newest}, the newest that fxconv is tested with"


def _release(version: str) -> tuple[int, ...]:
    """(2, 14) of 2.14.1+cpu."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def has_xnnpack() -> bool:
    """Whether this torch can pack float layers for XNNPACK: 2.13 and later, as they are published, cannot."""
    import torch.backends.xnnpack

    return bool(getattr(torch.backends.xnnpack, "enabled", False))


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
