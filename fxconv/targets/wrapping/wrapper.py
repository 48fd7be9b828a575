"""What stands around a network in its artifact: one tensor for a list of images, normalization, peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxconv.config import Config
from fxconv.models import forward
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.signature import InputSignature
from fxconv.targets.wrapping import heatmaps
from fxconv.targets.wrapping.heatmaps import Heatmaps
from fxconv.targets.wrapping.normalization import InGraphNormalization, check_same
from fxconv.targets.wrapping.odd_outputs import OddOutputs
from fxconv.targets.wrapping.tensors import taking_tensors
from fxconv.verification.audit import AUDIT_INPUTS


@dataclass(frozen=True)
class WrappedModel:
    """An int8 module as it goes into a file, and what it is called with.

    `example` is what one call takes, for which it gave `returned`, and `tensors` are the same for each image;
    `reference` is what it gives for those, nothing where it is no single graph and is run anew wherever it counts.
    `inside` is its normalization, None where it takes normalized tensors. `warnings` are what the user must know of it.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    tensors: list[tuple[Tensor, ...]]
    reference: forward.Outputs
    returned: Any
    inside: InGraphNormalization | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelWrapper:
    """The same for the int8 network and for its float twin.

    `network_example` is what one call of the network takes; `maps` says where its heatmaps are, None where no peaks are
    looked for, and `step` the quantization step of their logits, where ties are broken by noise. `inside` is
    normalization in the artifact, None where it takes normalized tensors; `odd` is what it returns beside tensors, None
    where it returns tensors alone.
    """

    signature: InputSignature
    config: Config
    network_example: tuple[Tensor, ...]
    maps: Heatmaps | None = None
    step: float | None = None
    inside: InGraphNormalization | None = None
    odd: OddOutputs | None = None

    @classmethod
    def of(
        cls,
        int8: nn.Module,
        signature: InputSignature,
        config: Config,
        example: tuple[Tensor, ...],
        image: tuple[Any, ...],
        maps: Heatmaps | None,
        preprocessing: Preprocessing | None,
    ) -> ModelWrapper:
        """What the choices ask for; `example` is what one call of the network takes, `image` the model's arguments.

        Raises `UserError` where that cannot be.
        """
        step = heatmaps.logit_step(int8, maps, image, config.ties) if maps is not None else None
        inside = InGraphNormalization.of(preprocessing, example) if config.normalize_in_graph else None
        return cls(signature, config, example, maps, step, inside, OddOutputs.of(int8, image))

    @property
    def example(self) -> tuple[Tensor, ...]:
        """What one call of the artifact takes, as a trace records it."""
        return self.taken(self.network_example)

    def taken(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the artifact takes of these tensors, which the network would take."""
        return tuple(tensors) if self.inside is None else self.inside.pixels(tensors)

    def module(self, network: nn.Module) -> nn.Module:
        """The network with all that goes into the artifact."""
        example = self.network_example
        whole = taking_tensors(network, self.signature)
        if self.odd is not None:
            whole = self.odd.left_out(whole)
        if self.maps is not None:
            whole = heatmaps.with_peaks(whole, self.maps, self.config, self.step)
        return whole if self.inside is None else self.inside.module(whole, len(example), example[0].ndim)

    def wrapped(
        self, int8: nn.Module, reference: forward.Outputs, tensors: Sequence[tuple[Tensor, ...]]
    ) -> WrappedModel:
        """The int8 network with all that goes into the artifact, called with these tensors of images.

        `reference` is what the network alone returns for them. Raises `ConversionError` when normalization inside is
        not what it is outside.
        """
        whole, taken = self.module(int8), [self.taken(each) for each in tensors]
        if self.inside is not None:
            without = replace(self, inside=None).module(int8)
            check_same(without, whole, self.inside, taken[:AUDIT_INPUTS])
        if self.maps is not None or self.inside is not None:
            reference = forward.outputs(whole, taken) if isinstance(whole, fx.GraphModule) else []
        with torch.no_grad():
            returned = whole(*forward.cloned(self.example))
        told = self.odd.warnings if self.odd is not None else ()
        return WrappedModel(whole, self.example, taken, reference, returned, self.inside, told)
