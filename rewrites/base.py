"""What a rewrite pass is, and the two ways it can end early."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from rewrites.edits import Editor
from rewrites.location import where


class PassError(RuntimeError):
    """A fault in a pass, never in the user's model: names the pass and the node it was looking at.

    `own` says whose pass it is: a fault in one of this library's is an INTERNAL ERROR; one in a pass of the user's
    own is theirs, and the message gives the file and line of their code that raised.
    """

    def __init__(self, pass_name: str, node: str | None, cause: BaseException | str, own: bool = True) -> None:
        self.pass_name, self.node, self.own = pass_name, node, own
        at = f" at node {node}" if node else ""
        what = cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}".removesuffix(": ")
        if own:
            super().__init__(f"INTERNAL ERROR in pass {pass_name}{at}: {what}")
        else:
            line = f", {where(cause)}" if isinstance(cause, BaseException) else ""
            super().__init__(f"pass {pass_name} failed{at}{line}: {what}")


class Refusal(Exception):
    """Raised while deciding about one node; the pass turns it into a `Skip` with the same sentence."""


class RewritePass(ABC):
    """One rule, applied to a whole graph through an `Editor`.

    A subclass gives `name` (as on the command line), `run`, and an `example` module that shows the
    rule at work; its docstring is its page in the documentation. A pass leaves the float function
    unchanged: `torch.equal` before and after, unless it declares a `tolerance`, the largest absolute
    difference it may cause in float32 as a share of the output's largest magnitude. A second run
    makes no edit.
    """

    name: ClassVar[str]
    tolerance: ClassVar[float] = 0.0

    @abstractmethod
    def run(self, editor: Editor) -> None:
        """Edit the graph through `editor`; record with `editor.skip` what was declined, and why."""

    @staticmethod
    @abstractmethod
    def example() -> nn.Module:
        """A small module on which the pass makes at least one edit; it takes a [1, 8, 8, 8] tensor."""

    @classmethod
    def is_own(cls) -> bool:
        """Whether this library brings the pass; any other is the user's own."""
        return cls.__module__.partition(".")[0] == __name__.partition(".")[0]

    @classmethod
    def why(cls) -> str:
        """The paragraph of the pass's page that begins with "Why:", as one line; empty when there is none."""
        for paragraph in inspect.cleandoc(cls.__doc__ or "").split("\n\n"):
            if paragraph.startswith("Why:"):
                return " ".join(paragraph.removeprefix("Why:").split())
        return ""

    @classmethod
    def summary(cls) -> str:
        """The first line of the pass's page."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]
