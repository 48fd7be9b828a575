"""What the graphs of a model are after each pass, as files to look into: `FXCONV_DUMP=DIR`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from fxconv.errors import UserError
from rewrites import PassResult
from rewrites.parts import graphs_in

VARIABLE = "FXCONV_DUMP"


def dumping() -> Callable[[PassResult, nn.Module], Any] | None:
    """What writes `DIR/NN-PASS.py` after each pass when the environment asks for it, or None.

    A conversion that rewrites more than once, as for --keep-float, leaves the files of the last time. Raises
    `UserError` for a folder that cannot be made or written into.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder, done = Path(named), list[str]()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{VARIABLE}={named}: {error.strerror}; name a folder") from error

    def write(result: PassResult, module: nn.Module) -> None:
        done.append(result.name)
        parts = [f"# after {result.name}: {len(result.edits)} edits, {len(result.skips)} skips\n"]
        for path, graph in graphs_in(module).items():
            parts.append(f"# the graph of {path or 'the model'}\n{graph.code}")
        try:
            (folder / f"{len(done):02}-{result.name}.py").write_text("\n".join(parts))
        except OSError as error:
            raise UserError(f"{VARIABLE}={named}: {error.strerror}; name a folder that can be written into") from error

    return write
