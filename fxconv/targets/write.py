"""From an int8 module to a file on the disk that says what it is, proves itself, and was compared with the module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fxconv import replay
from fxconv.config import Config, Method
from fxconv.models import forward
from fxconv.progress import Clock
from fxconv.targets.proof import golden, metadata
from fxconv.targets.proof.golden import NO_GOLDEN, Golden
from fxconv.targets.target import Target
from fxconv.verification import parity
from fxconv.verification.lowered_outputs import told_apart
from fxconv.verification.parity import StageParity


@dataclass(frozen=True)
class Made:
    """The bytes of the artifact, how they came about, and the ledger's rows on the way to them.

    `golden` are the inputs it can prove itself by, `needs` what it needs at run time, None when nobody asked.
    """

    content: bytes
    method: Method
    warnings: tuple[str, ...]
    ledger: tuple[StageParity, ...]
    golden: Golden
    needs: Any = None


def make(
    target: Target,
    whole: nn.Module,
    example: tuple[Tensor, ...],
    config: Config,
    reference: forward.Outputs,
    images: Sequence[tuple[Tensor, ...]],
    has_islands: bool,
    clock: Clock,
    told: Callable[[Method], str],
    specs: Sequence[dict[str, Any]],
) -> Made:
    """Lower the int8 module and compare what lies between it and the file, of which nothing stays in memory.

    `told` is what the artifact, lowered so, says of itself, `specs` are its golden inputs'.
    """
    with clock.step("lowering"):
        lowered = target.lower(whole, example, config)
    with clock.step("verification"):
        ledger = tuple(
            parity.same_bits(stage, *told_apart(whole, module, reference, images), has_islands)
            for stage, module in lowered.stages.items()
        )
        found = NO_GOLDEN
        if config.golden:
            found = golden.golden(whole, lowered.content, specs, config.engine.value, has_islands, target)
        extra = {metadata.FILE: told(lowered.method)} | ({replay.FILE: found.text} if found.text else {})
    with clock.step("lowering"):
        lowered = replace(lowered, content=b"")  # of a large model two are too many
        written = target.write(lowered, extra, config)
    return Made(written.content, lowered.method, lowered.warnings, ledger, found, written.needs)


def read_back(
    target: Target,
    path: Path,
    content: bytes,
    int8: nn.Module,
    reference: forward.Outputs,
    images: list[tuple[Any, ...]],
    has_islands: bool,
    has_golden: bool = False,
) -> StageParity:
    """The ledger's last row: the file as it lies on the disk, in the target's runtime."""
    try:
        row = parity.same_bits("reloaded", *told_apart(int8, target.load(path), reference, images), has_islands)
        on_disk = path.read_bytes()
        problem = golden.problem_in(path, target) if has_golden else ""
    except (RuntimeError, OSError, ValueError) as error:
        return parity.unreadable("reloaded", error)
    if row.passed and on_disk != content:
        return replace(row, passed=False, problem="the bytes on disk are not the bytes that were written")
    if row.passed and problem:
        return replace(row, passed=False, problem=f"golden inputs: {problem}")
    return row
