"""Whether the images that a scripted artifact was compared on took each of its branches both ways."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fxconv.models.checkpoints import some
from fxconv.models.one_way_branches import one_way_branches
from fxconv.verification.other_inputs import OtherInputs


def one_way_warnings(other: OtherInputs, images: Sequence[tuple[Tensor, ...]]) -> tuple[str, ...]:
    """What the user must know of branches that no image took the other way; `images` are what the artifact takes.

    A model that is one graph has no branches. A trace has none either, and has a warning of its own.
    """
    if not other.rewritten.leaves:
        return ()
    calls = [other.signature.arguments(other.floats(image)) for image in images]
    lines = one_way_branches(other.model, calls)
    if not lines:
        return ()
    return (
        f"decided alike by the numbers in a tensor for all {len(calls)} images compared: {some(list(lines))}; what is "
        "computed otherwise was not compared, and its ranges may be too narrow: calibrate on images of both kinds",
    )
