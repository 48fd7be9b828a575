"""What stands around a network in its artifact: one tensor for a list of images, normalization, peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, fx, nn

from fxconv.job import Job
from fxconv.models import forward
from fxconv.targets.mobile import lowering
from fxconv.targets.wrapping import heatmaps
from fxconv.targets.wrapping.normalization import InGraphNormalization, check_same
from fxconv.verification.audit import AUDIT_INPUTS


@dataclass(frozen=True)
class ModelWrapper:
    """The same for the int8 network and for its float twin.

    `step` is the quantization step of the heatmaps' logits, where ties are broken by noise; `inside` normalization in
    the artifact, None where it takes normalized tensors.
    """

    job: Job
    step: float | None = None
    inside: InGraphNormalization | None = None

    @classmethod
    def of(cls, job: Job, int8: nn.Module) -> ModelWrapper:
        """What the job asks for. Raises `UserError` where that cannot be."""
        step = None
        if job.maps is not None:
            step = heatmaps.logit_step(int8, job.maps, job.images[0], job.config.ties)
        inside = InGraphNormalization.of(job.preprocessing, job.example) if job.config.normalize_in_graph else None
        return cls(job, step, inside)

    @property
    def example(self) -> tuple[Tensor, ...]:
        """What one call of the artifact takes, as a trace records it."""
        return self.taken(self.job.example)

    def taken(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the artifact takes of these tensors, which the network would take."""
        return tuple(tensors) if self.inside is None else self.inside.pixels(tensors)

    def module(self, network: nn.Module) -> nn.Module:
        """The network with all that goes into the artifact."""
        maps, example = self.job.maps, self.job.example
        whole = lowering.taking_tensors(network, self.job.form)
        if maps is not None:
            whole = heatmaps.with_peaks(network, maps, self.job.config, self.step)
        return whole if self.inside is None else self.inside.module(whole, len(example), example[0].ndim)

    def reference(self, int8: nn.Module, whole: nn.Module, known: forward.Outputs) -> forward.Outputs:
        """What `whole`, made of `int8`, returns for the job's images, where `known` is what int8 does.

        Nothing of one that is no single graph, which is run anew wherever it counts. Raises `ConversionError` when
        normalization inside is not what it is outside.
        """
        if self.inside is not None:
            without = replace(self, inside=None).module(int8)
            check_same(without, whole, self.inside, [self.taken(each) for each in self.job.tensors[:AUDIT_INPUTS]])
        if self.job.maps is None and self.inside is None:
            return known
        return (
            forward.outputs(whole, [self.taken(each) for each in self.job.tensors])
            if isinstance(whole, fx.GraphModule)
            else []
        )
