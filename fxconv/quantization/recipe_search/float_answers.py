"""What float answers to a few images: what int8 of each trial is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fxconv.data.calibration import CalibrationData
from fxconv.data.held_out import HeldOut, held_out
from fxconv.errors import UserError
from fxconv.measures.model_similarity import similarity_of
from fxconv.measures.similarity import Similarity
from fxconv.models import forward
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.quantization import fusion
from fxconv.quantization.convert import ConvertedModule
from fxconv.quantization.failing_operation import failing_operation
from fxconv.quantization.recipe_search.recipe import JUDGED
from rewrites import Rewritten


@dataclass(frozen=True)
class FloatAnswers:
    """The outputs of the float model to `images` of `source`; `is_unseen` says that calibration did not see those.

    `refused` are the paths of layers for which a kernel has refused a range.
    """

    floating: nn.Module
    images: Sequence[tuple[Any, ...]]
    outputs: forward.Outputs
    source: str
    is_unseen: bool
    refused: Mapping[str, str]
    clock: Clock

    @classmethod
    def of(
        cls,
        rewritten: Rewritten,
        signature: InputSignature,
        data: CalibrationData,
        refused: Mapping[str, str],
        clock: Clock,
    ) -> FloatAnswers:
        """Those of the rewritten model, to images that are left over where there are some."""
        with clock.step("recipe"):
            source, is_unseen, images = _to_judge_by(signature, data)
            floating = fusion.fuse(rewritten.module)
            return cls(floating, images, forward.outputs(floating, images), source, is_unseen, refused, clock)

    def similarity_of(self, found: ConvertedModule) -> Similarity | None:
        """How like float int8 answers; None where it was not made, or a kernel refuses to run it."""
        if found.int8 is None or not found.is_taken(self.refused):
            return None
        try:
            with self.clock.step("recipe"):
                return similarity_of(self.floating, found.int8, self.images, self.outputs)
        except RuntimeError:  # a kernel that refuses is named when the audit runs it
            if _refuses(found.int8, self.images):
                return None
            raise


def _refuses(int8: nn.Module, images: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a kernel of `int8` refuses to run on one of these images."""
    return any(failing_operation(int8, image) is not None for image in images)


def _to_judge_by(signature: InputSignature, data: CalibrationData) -> tuple[str, bool, list[tuple[Any, ...]]]:
    """The source of a few images, whether calibration did not see them, and each as arguments."""
    others = held_out(data, JUDGED)
    try:
        images = others.data.examples(JUDGED)
    except UserError:  # none of those left over can be read
        others = HeldOut(data, False)
        images = data.examples(JUDGED)
    return others.data.source, others.is_unseen, [signature.arguments(image) for image in images]
