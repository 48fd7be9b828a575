"""A file that a conversion wrote: what it is, and what was found out about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fxconv.config import Method
from fxconv.measures.fidelity import Fidelity
from fxconv.measures.latency import Latency
from fxconv.targets.artifact import Artifact
from fxconv.targets.proof.golden import NO_GOLDEN, Golden
from fxconv.targets.target import Target
from fxconv.verification.audit import OpAudit
from fxconv.verification.other_batches import BatchCheck
from fxconv.verification.other_sizes import SizeCheck
from fxconv.verification.parity import StageParity


@dataclass(frozen=True, repr=False)
class WrittenFile:
    """One file of a conversion, of one target.

    `ledger` are the rows of its way from the int8 module, `operations` its int8 operations on its own values, where the
    runtime has kernels of its own; none where they are the int8 module's, whose audit holds. `latency` is of its own
    runtime, `golden` the inputs it can prove itself by. `fidelity` is how it answers beside float, `to_int8_db` how
    near it comes to the int8 module, in decibels, infinite where it is equal. `sizes` and `batches` are what it was
    tried with besides, `needs` what it needs of the release that was named, of the target's own type. `frozen_branches`
    are lines of the model whose decisions by the numbers in a tensor it has as the example took them.
    """

    target: Target
    artifact: Artifact
    ledger: tuple[StageParity, ...]
    latency: Latency
    method: Method
    fidelity: Fidelity
    operations: tuple[OpAudit, ...] = ()
    to_int8_db: float = math.inf
    golden: Golden = NO_GOLDEN
    sizes: tuple[SizeCheck, ...] = ()
    batches: tuple[BatchCheck, ...] = ()
    needs: Any = None
    frozen_branches: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<WrittenFile {self.target.name}: {self.artifact!r}>"

    @property
    def proven(self) -> bool:
        """Whether every stage of its way ran and passed."""
        return tuple(row.stage for row in self.ledger) == self.target.stages and all(row.passed for row in self.ledger)
