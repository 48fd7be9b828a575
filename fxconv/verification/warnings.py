"""What the user must know of a conversion that is right all the same, a sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from fxconv.config import Config, Engine
from fxconv.measures.output_comparison import constant_outputs
from fxconv.models.forward import Outputs
from fxconv.quantization.engine import reduces_range
from fxconv.quantization.expected_ranges import UninformativeRange

# Warnings of one kind name this many modules.
_NAMED = 3


def engine_warnings(config: Config) -> tuple[str, ...]:
    """Of engines that phones do not have."""
    if config.engine is Engine.qnnpack:
        return ()
    reduced = "; activations use 7 bits, for this processor lacks VNNI" if reduces_range(config) else ""
    return (f"the {config.engine.value} engine serves comparison only: phones do not have it{reduced}",)


def constant_warnings(original: Outputs) -> tuple[str, ...]:
    """Of outputs of the float model that say nothing."""
    constant = ", ".join(map(str, constant_outputs(original)))
    return (f"the float model's output {constant} is constant: comparing it says nothing",) if constant else ()


def company_warnings(in_company: bool) -> tuple[str, ...]:
    """Of a model whose answer to an image depends on those beside it."""
    if not in_company:
        return ()
    return (
        "the model answers an image otherwise beside another one, by statistics over a batch: it was calibrated and "
        "compared on single images, and what it computes of several may lie outside its ranges; give the file one at a "
        "time",
    )


def range_warnings(uninformative: Sequence[UninformativeRange]) -> tuple[str, ...]:
    """Of the first few observers by name, for a network with dead channels may have dozens."""
    named = tuple(f"the range of {one.where} says little: {one.problem}" for one in uninformative[:_NAMED])
    more = len(uninformative) - len(named)
    return (*named, f"and {more} more such ranges; the report has them all") if more > 0 else named
