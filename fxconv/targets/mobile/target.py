"""The mobile target, .ptl: TorchScript, optimized for phones, in the lite interpreter's archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from fxconv import replay
from fxconv.config import Config
from fxconv.models import forward
from fxconv.targets.artifact import Artifact
from fxconv.targets.mobile import allow_list, interpreter, lite_file, lowering
from fxconv.targets.mobile.releases import release
from fxconv.targets.mobile.releases.fitting import fitted
from fxconv.targets.target import Context, Lowered, Program, Proven, Target, Written
from fxconv.verification import parity
from fxconv.verification.lowered_outputs import comparable_outputs
from fxconv.verification.parity import BETWEEN_IMAGES, RELOADED, RELOADED_IMAGES, StageParity


class MobileTarget(Target):
    """What `Target` says, by torch's lite interpreter."""

    name, suffix = "mobile", ".ptl"
    stages = (lowering.SCRIPTED, lowering.OPTIMIZED, RELOADED)
    runtime = "lite interpreter, qnnpack"
    is_exact = True

    def begins(self, start: bytes) -> bool:
        return start.startswith(b"PK")

    def check(self, config: Config) -> None:
        """What it needs is torch's."""

    def lower(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> Lowered:
        return lowering.lowered(module, example, config)

    def write(self, lowered: Lowered, extra_files: Mapping[str, str], config: Config) -> Written:
        content = lowering.to_bytes(lowered.stages[lowering.OPTIMIZED], extra_files)
        asked = config.runtime_of(self.name)
        return Written(content) if asked is None else Written(*fitted(content, release(asked)))

    def float_twin(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> bytes:
        return lowering.to_bytes(lowering.twin(module, example, config))

    def check_example(self, example: tuple[Any, ...], images: Sequence[tuple[Any, ...]], config: Config) -> None:
        """Its choices go with any call."""

    def between(self, lowered: Lowered, context: Context) -> tuple[StageParity, ...]:
        few = context.images[:BETWEEN_IMAGES]
        return tuple(
            _row(stage, lowered.doubt, comparable_outputs(context.module, module, context.reference, few), context)
            for stage, module in lowered.stages.items()
        )

    def prove(self, path: Path, content: bytes, lowered: Lowered, context: Context) -> Proven:
        return Proven((read_back(self, path, content, context),))

    def other_sizes(self, lowered: Lowered) -> None:
        """TorchScript takes any size that the code in it takes."""

    def load(self, file: Path | bytes) -> Program:
        program: Program = lite_file.load_lite(file) if isinstance(file, Path) else lite_file.load_lite_bytes(file)
        return program

    def float_kernels(self, program: Program) -> str:
        return lite_file.float_kernels(program)

    def describe(
        self, path: Path, data: bytes, lowered: Lowered, example: tuple[Any, ...], float_bytes: int
    ) -> Artifact:
        return lite_file.describe(path, data, example, float_bytes)

    def unreadable(self, data: bytes, float_bytes: int) -> Artifact:
        return lite_file.unreadable(data, float_bytes)

    def extra_file(self, path: Path, name: str) -> str | None:
        try:
            return replay.extra_file(str(path), name)
        except replay.NotReplayed:
            return None

    def inspected(self, path: Path) -> None:
        allow_list.inspected(path)

    def check_operators(self, path: Path, megabytes: int | None = None) -> None:
        allow_list.operators_of(path)

    def import_runtime(self) -> None:
        """It is torch's, which is there."""

    def prepare(self, path: Path, threads: int = 1, megabytes: int | None = None) -> None:
        interpreter.prepared(path, threads)

    def open(self, path: Path) -> Program:
        return interpreter.loaded(path)

    def run(self, program: Program, example: tuple[Any, ...], path: Path) -> None:
        interpreter.ran(program, example, path)

    def advice(self, config: Config) -> str:
        return f"try --method {config.method.other.value}, or --block a mobile pass"


def _row(stage: str, doubt: str, outputs: tuple[forward.Outputs, forward.Outputs], context: Context) -> StageParity:
    """A form on the way beside the int8 module; what may be why, where they differ."""
    row = parity.same_bits(stage, *outputs, context.has_islands)
    return row if row.passed or not doubt else replace(row, problem=f"{row.problem} ({doubt})")


def read_back(target: Target, path: Path, content: bytes, context: Context) -> StageParity:
    """The ledger's last row: the file as it lies on the disk, in the target's runtime."""
    images = context.images[:RELOADED_IMAGES]
    try:
        both = comparable_outputs(context.module, target.load(path), context.reference, images)
        row = parity.same_bits(RELOADED, *both, context.has_islands)
        on_disk = path.read_bytes()
    except (RuntimeError, OSError, ValueError) as error:
        return parity.unreadable(RELOADED, error)
    if row.passed and on_disk != content:
        return replace(row, passed=False, problem="the bytes on disk are not the bytes that were written")
    return row


MOBILE = MobileTarget()
