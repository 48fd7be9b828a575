"""Whether ExecuTorch is there, in a release that goes with this torch. `check` alone imports the two."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fxconv.environment import EXECUTORCH, executorch_for, same_release
from fxconv.errors import UserError
from fxconv.inspection.printable import printable

# What a conversion imports. The library that runs files is behind the last, and beside another torch it fails there.
_RUNTIME = "executorch.runtime"
_PARTS = ("executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner", _RUNTIME)
# torch logs, on stderr, how torchao registers a type, which executorch.exir imports: nothing a user can change.
_LOGS = "torch.utils._pytree"


def installed() -> str:
    """The release of ExecuTorch that is installed, 1.5.1 say. Raises `UserError`, in one line with the pin for the
    torch that is there, where there is none or where it does not go with that torch. Neither is imported."""
    torch = _version("torch")
    if not torch:
        raise UserError("torch is not installed; pip install fxconv brings it")
    fitting = executorch_for(torch)
    found = _version("executorch")
    if not fitting:
        known = ", ".join(EXECUTORCH)
        raise UserError(
            f"no release of ExecuTorch is known to run beside torch {torch}: write a .ptl, or take torch {known}"
        )
    if not found:
        raise UserError(f"a .pte needs the package executorch, which is not installed; {pin(torch)}")
    if not any(same_release(found, one) for one in fitting):
        raise UserError(
            f"executorch {found} does not run beside torch {torch}, whose tensors lie otherwise in memory; {pin(torch)}"
        )
    return found


def pin(torch: str) -> str:
    """What to install beside this torch, as pip takes it."""
    return f'for torch {".".join(torch.split(".")[:2])}: pip install "executorch=={executorch_for(torch)[0]}"'


def flatc() -> Path:
    """The flatbuffers compiler, which ExecuTorch runs when it writes a file: that of FLATC_EXECUTABLE, that in the
    package, or that on PATH. Raises `UserError` where there is none."""
    named = os.environ.get("FLATC_EXECUTABLE")
    if named and (there := shutil.which(named)):
        return Path(there)
    package = importlib.util.find_spec("executorch")
    for place in package.submodule_search_locations or () if package else ():
        for inside in ("data/bin/flatc", "exir/_serialize/flatbuffers-flatc"):
            if (path := Path(place) / inside).is_file():
                return path
    if there := shutil.which("flatc"):
        return Path(there)
    raise UserError(
        "executorch is installed without flatc, which writes its files; "
        f"pip install --force-reinstall --no-deps executorch=={_version('executorch')}, or put flatc on PATH"
    )


def check() -> str:
    """The release of ExecuTorch that is installed, its parts imported. Raises `UserError` where it cannot be used."""
    version = installed()
    flatc()
    return _imported(version, _PARTS)


def check_runtime() -> str:
    """The same of what runs files, which is imported in a fraction of the time."""
    return _imported(installed(), (_RUNTIME,))


def _imported(version: str, parts: Sequence[str]) -> str:
    for part in parts:
        try:
            with _unheard():
                importlib.import_module(part)
        except Exception as error:  # a library of another torch raises ImportError, OSError, or what its code runs into
            words = printable(str(error).strip().partition("\n")[0])
            torch = _version("torch")
            raise UserError(
                f"executorch {version} does not import beside torch {torch} ({words}); in a fresh environment, "
                f"{pin(torch)}"
            ) from error
    return version


def _version(package: str) -> str:
    """The version that is installed, "" for none. A folder without a distribution, as a checkout is, counts as none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@contextmanager
def _unheard() -> Iterator[None]:
    """Within, that is not logged, and no warning is heard: what is imported calls itself experimental, for instance."""
    log = logging.getLogger(_LOGS)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
