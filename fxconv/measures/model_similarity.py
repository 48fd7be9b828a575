"""How similar the int8 module's answers are to the float model's, on images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn

from fxconv.measures.replayed_decisions import compared_outputs
from fxconv.measures.similarity import Similarity, has_class_scores
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs


def similarity_of(
    floating: nn.Module, int8: nn.Module, images: Sequence[Inputs], known: forward.Outputs | None = None
) -> Similarity:
    """How like the answers of `floating` those of the real int8 module are on these images, each a call with N = 1.

    `known` are the outputs of `floating`, where somebody has them already.
    """
    if known is None:
        known = forward.outputs(floating, images)
    tally = Similarity(len(known[0]) if has_class_scores(known) else 0)
    if isinstance(int8, fx.GraphModule):
        for wanted, got in zip(known, forward.outputs_side_by_side(int8, images), strict=True):
            tally.add(wanted, got)
        return tally
    for one, image in zip(known, images, strict=True):
        both = compared_outputs(floating, int8, [one], [image])
        tally.add(both.wanted[0], both.got[0], both.returned)
    return tally
