"""The rows of the parity ledger before the artifact: float, trained and int8, each beside what it must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import fx, nn

from fxconv.config import Config, Teacher
from fxconv.measures.channel_noise import PartNoise, named, part_noises
from fxconv.measures.output_comparison import shape_problem
from fxconv.measures.output_makers import judged_outputs, layer_noises, makers
from fxconv.measures.replayed_decisions import ComparedOutputs, compared_outputs
from fxconv.models import forward
from fxconv.quantization import fusion
from fxconv.quantization.quantize import QuantizedModel
from fxconv.quantization.training.train import fake_quantized
from fxconv.verification import parity
from fxconv.verification.audit import AUDIT_INPUTS, Audit, Watched
from fxconv.verification.parity import EQUALIZED, FUSED_IMAGES, TRAINED, StageParity
from rewrites.parts import graphs_in, prefixed


def float_rows(
    quantized: QuantizedModel,
    floating: nn.Module,
    watched: Mapping[str, Watched],
    original: forward.Outputs,
    images: Sequence[tuple[Any, ...]],
) -> list[StageParity]:
    """The fused float module against the original, and the same equalized where it is, which was calibrated.

    What the audit's run of the latter gave serves when it is one graph.
    """
    few, rewritten = images[:FUSED_IMAGES], quantized.rewritten.module

    def row(stage: str, module: nn.Module) -> StageParity:
        if "" in watched and module is floating:
            return parity.same_but_for_rounding(stage, original[:AUDIT_INPUTS], watched[""].outputs)
        both = compared_outputs(rewritten, module, original[: len(few)], few)
        return parity.same_but_for_rounding(stage, both.wanted, both.got)

    if not quantized.recipe.keeping:
        return [row("fused", floating)]
    return [row("fused", fusion.fuse(rewritten)), row(EQUALIZED, floating)]


def trained_rows(
    quantized: QuantizedModel,
    config: Config,
    original: forward.Outputs,
    reference: forward.Outputs,
    images: Sequence[tuple[Any, ...]],
    least: float,
) -> list[StageParity]:
    """What was trained against the original, and int8 against what was trained, both of which round alike.

    After a training on labels, or one of the user's own, the original is no measure of what is right.
    """
    trained = forward.outputs(fake_quantized(quantized, config), images)
    distilled = quantized.training is not None and quantized.training.learn_from is Teacher.float
    if distilled:
        row = parity.close_enough(TRAINED, original, trained, least)
    else:
        row = parity.only_finite(TRAINED, original, trained, "finite: it was not trained to be like it")
    parts = () if shape_problem(trained, reference) else part_noises(trained, reference)
    return [row, parity.like_float("int8", trained, reference, least, TRAINED, parts)]


def reference_of(int8: nn.Module, audited: Audit, images: Sequence[tuple[Any, ...]]) -> forward.Outputs:
    """What the int8 module returns; nothing of one that is not a single graph, which is run anew wherever it counts."""
    if not isinstance(int8, fx.GraphModule):
        return []
    return [*audited.outputs, *forward.outputs(int8, images[len(audited.outputs) :])]


def int8_row(
    floating: nn.Module,
    int8: nn.Module,
    original: forward.Outputs,
    reference: forward.Outputs,
    images: Sequence[tuple[Any, ...]],
    least: float,
    watched: Watched | None = None,
    audited: Audit | None = None,
) -> StageParity:
    """The int8 module against the original, outputs and channels; one that is no single graph decides as that does.

    What was `watched` of `floating`, and `audited` of `int8`, tells of the channels of layers that make the outputs.
    """
    if isinstance(int8, fx.GraphModule):
        assert isinstance(floating, fx.GraphModule)
        if shape_problem(original, reference):
            return parity.close_enough("int8", original, reference, least)
        parts, known = tuple[PartNoise, ...](), set[int]()
        if watched is not None and audited is not None and audited.kept:
            parts, known = layer_noises(floating, watched.kept, audited.kept), judged_outputs(floating)
        parts += named(part_noises(original, reference, known), makers(floating))
        return parity.like_float("int8", original, reference, least, looked_at=parts)
    few = images[:AUDIT_INPUTS]
    both = compared_outputs(floating, int8, original[: len(few)], few)
    seen = [*range(both.returned), *both.last]
    wanted, got = ([[row[place] for place in seen] for row in rows] for rows in (both.wanted, both.got))
    parts = () if shape_problem(wanted, got) else part_noises(wanted, got)
    parts = tuple(_of_a_graph(part, seen[part.output], both, floating) for part in parts)
    why = f"what leads up to it, for {both.incomparable}" if both.incomparable else ""
    return parity.like_float("int8", both.wanted, both.got, least, looked_at=parts, compared=why)


def _of_a_graph(part: PartNoise, place: int, both: ComparedOutputs, floating: nn.Module) -> PartNoise:
    """A part of what a graph gives with the words for that; one of what the model returns as it is."""
    if place < both.returned:
        return part
    path, output = both.origins[place - both.returned]
    names = makers(graphs_in(floating)[path])[output].split(", ")
    return replace(part, layer=", ".join(prefixed(path, name) for name in names), whose=f"what {path} gives")
