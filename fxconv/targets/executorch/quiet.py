"""What ExecuTorch says while it lowers, loads and runs, kept from the user's terminal, and its flatc within reach."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fxconv.targets import quiet as tools
from fxconv.targets.quiet import Said


@contextmanager
def quiet() -> Iterator[Said]:
    """Within, neither warnings nor logs are heard, and what the runtime prints is kept for a message."""
    with _flatc(), tools.quiet() as said:
        yield said


@contextmanager
def _flatc() -> Iterator[None]:
    """ExecuTorch 1.3 looks for flatc on the PATH; its own lies in the package."""
    before = os.environ.get("FLATC_EXECUTABLE")
    own = _own_flatc()
    if before is None and own is not None:
        os.environ["FLATC_EXECUTABLE"] = str(own)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("FLATC_EXECUTABLE", None)


def _own_flatc() -> Path | None:
    spec: Any = importlib.util.find_spec("executorch")
    places = (
        [] if spec is None else [Path(place) / "data" / "bin" / "flatc" for place in spec.submodule_search_locations]
    )
    return next((place for place in places if place.is_file()), None)
