"""What was held of the numbers of a file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeldNumbers:
    """One row: a layer with its weights, scales, bias and ranges, or all that is wrong with something else.

    `where` is the operation of the int8 module, `what` says what of it was compared; `note` how a rule of lowering
    changed it, `problem` what differs, "" for nothing.
    """

    where: str
    what: str
    note: str = ""
    problem: str = ""
