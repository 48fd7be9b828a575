"""Rewrites of ExecuTorch's form of a program, before its delegate is given what it takes.

What they mend is there only after export: it comes of code around the int8 graphs as well, or export writes it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from fxconv.targets.executorch.edges.copies import copies
from fxconv.targets.executorch.edges.float_pads import float_pads
from fxconv.targets.executorch.edges.one_reader import one_reader
from fxconv.targets.executorch.edges.prelu_ranks import prelu_ranks
from fxconv.targets.executorch.edges.read_sizes import read_sizes

EdgeRule = Callable[[fx.GraphModule], None]

EDGE_RULES: tuple[EdgeRule, ...] = (
    prelu_ranks,
    float_pads,
    read_sizes,
    copies,
    one_reader,  # last: others write readers
)

__all__ = ["EDGE_RULES", "EdgeRule"]
