"""An artifact beside its model at an input of another size, or another batch, than the one it was made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, fx, nn

from fxconv.diagnostics.blame import is_out_of_memory
from fxconv.models import forward
from fxconv.models.checkpoints import some
from fxconv.models.signature import InputSignature
from fxconv.verification import parity
from fxconv.verification.lowered_outputs import comparable_outputs
from fxconv.verification.same_function import same_function
from rewrites import Rewritten
from rewrites.location import place_in


class TakesPixels(Protocol):
    """How the tensors of a model become the pixels that its artifact takes, and pixels those tensors."""

    def pixels(self, tensors: Sequence[Tensor], /) -> tuple[Tensor, ...]:
        """The pixels of normalized tensors."""
        ...

    def floats(self, pixels: Sequence[Tensor], /) -> tuple[Tensor, ...]:
        """The normalized tensors of pixels."""
        ...


@dataclass(frozen=True)
class OtherInputs:
    """A model, what became of it, and its artifact, which `load` gives, to be called with inputs of another shape.

    `int8` takes what the artifact takes, `model` and `rewritten` what `signature` makes of tensors; with `inside` int8
    and artifact take pixels, of which those tensors were made. A trace is for the example wherever Python computed.
    `least_db` is how near the artifact must come to int8, in decibels, where its kernels are others; None where they
    are the same.
    """

    model: nn.Module
    rewritten: Rewritten
    int8: nn.Module
    signature: InputSignature
    load: Callable[[], Callable[..., Any]]
    is_traced: bool = False
    inside: TakesPixels | None = None
    least_db: float | None = None

    @property
    def may_differ(self) -> bool:
        """Whether anything in the artifact may depend on the example's shape.

        Nothing does where all of the model is one graph that decided nothing by a shape and was scripted.
        """
        is_whole = isinstance(self.int8, fx.GraphModule) and not self.rewritten.leaves
        return not is_whole or bool(self.rewritten.fixed) or self.is_traced

    @property
    def decided(self) -> str:
        """The lines that decided by the example's shape, in words."""
        rewritten = self.rewritten
        if rewritten.fixed:
            known = "" if self.is_traced or rewritten.leaves else "decided at "
            lines = some([f"{entry.place} ({entry.code})" for entry in rewritten.fixed])
            return f"{known or 'of the lines that decided are known '}{lines}"
        if rewritten.leaves:
            lines = some([place_in(leaf.reason) or leaf.path or "the model itself" for leaf in rewritten.leaves])
            return f"which line decided is not known; these do not trace: {lines}"
        return "which line decided is not known"

    def floats(self, taken: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the model takes of what the artifact takes."""
        return tuple(taken) if self.inside is None else self.inside.floats(taken)

    def problem(self, tensors: tuple[Tensor, ...], what: str) -> str | None:
        """What is wrong on these tensors, which the model takes; "" when nothing is, None where float refuses them.

        `what` is other about them, in a word.
        """
        taken = tensors
        if self.inside is not None:
            taken = self.inside.pixels(tensors)
            tensors = self.inside.floats(taken)
        images = [self.signature.arguments(tensors)]
        try:
            wanted = forward.outputs(self.model, images)
        except Exception:  # whatever a model raises that takes no such input
            return None
        try:
            return self._difference(wanted, images, taken, what)
        except Exception as error:  # whatever a graph made for one shape raises at another
            return None if is_out_of_memory(error) else f"it fails ({type(error).__name__})"

    def _difference(
        self, wanted: forward.Outputs, images: list[tuple[Any, ...]], taken: tuple[Tensor, ...], what: str
    ) -> str:
        row = same_function(self.model, self.rewritten, wanted, images)
        if not row.passed:
            return f"it computes something else than the model ({row.problem})"
        reference = forward.outputs(self.int8, [taken]) if isinstance(self.int8, fx.GraphModule) else []
        both = comparable_outputs(self.int8, self.load(), reference, [taken])
        if self.least_db is not None:
            row = parity.close_enough(parity.RELOADED, *both, self.least_db, "int8")
        else:
            row = parity.same_bits(parity.RELOADED, *both, has_islands=True)
        return "" if row.passed else f"tracing has fixed what depends on the {what} ({row.problem})"
