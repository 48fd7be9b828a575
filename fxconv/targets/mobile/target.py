"""The mobile target, .ptl: TorchScript, optimized for phones, in the lite interpreter's archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fxconv import replay
from fxconv.config import Config
from fxconv.targets.artifact import Artifact
from fxconv.targets.mobile import interpreter, lite_file, lowering
from fxconv.targets.mobile.releases import release
from fxconv.targets.mobile.releases.fitting import fitted
from fxconv.targets.target import Lowered, Program, Target, Written


class MobileTarget(Target):
    """What `Target` says, by torch's lite interpreter."""

    name, suffix = "mobile", ".ptl"

    def lower(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> Lowered:
        return lowering.lowered(module, example, config)

    def write(self, lowered: Lowered, extra_files: Mapping[str, str], config: Config) -> Written:
        content = lowering.to_bytes(lowered.stages[lowering.OPTIMIZED], extra_files)
        return Written(content) if config.runtime is None else Written(*fitted(content, release(config.runtime)))

    def float_twin(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> bytes:
        return lowering.to_bytes(lowering.twin(module, example, config))

    def load(self, file: Path | bytes) -> Program:
        program: Program = lite_file.load_lite(file) if isinstance(file, Path) else lite_file.load_lite_bytes(file)
        return program

    def float_kernels(self, program: Program) -> str:
        return lite_file.float_kernels(program)

    def describe(self, path: Path, data: bytes, example: tuple[Any, ...], float_bytes: int) -> Artifact:
        return lite_file.describe(path, data, example, float_bytes)

    def unreadable(self, data: bytes, float_bytes: int) -> Artifact:
        return lite_file.unreadable(data, float_bytes)

    def extra_file(self, path: Path, name: str) -> str | None:
        try:
            return replay.extra_file(str(path), name)
        except replay.NotReplayed:
            return None

    def prepare(self, path: Path, threads: int = 1) -> None:
        interpreter.prepared(path, threads)

    def open(self, path: Path) -> Program:
        return interpreter.loaded(path)

    def run(self, program: Program, example: tuple[Any, ...], path: Path) -> None:
        interpreter.ran(program, example, path)

    def advice(self, config: Config) -> str:
        return f"try --method {config.method.other.value}, or --block a mobile pass"


MOBILE = MobileTarget()
