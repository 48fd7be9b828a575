"""The ExecuTorch target, .pte: the Q/DQ form of an int8 module, lowered for the XNNPACK delegate."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from fxconv.config import Config, Method
from fxconv.errors import ConversionError, UserError, message_line
from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.found import Unreadable
from fxconv.measures.output_comparison import noises
from fxconv.models import forward
from fxconv.models.signature import in_words
from fxconv.targets.artifact import Artifact
from fxconv.targets.executorch import allow_list, contents, installed, lowering, releases, runtime
from fxconv.targets.executorch.lowering import LoweredProgram, shapes_of
from fxconv.targets.executorch.proof import running
from fxconv.targets.executorch.proof.prove import prove
from fxconv.targets.own_process import Ended
from fxconv.targets.qdq.exporting import batch_of
from fxconv.targets.qdq.form import qdq_form
from fxconv.targets.qdq.proof import rows
from fxconv.targets.target import Context, Lowered, Program, Proven, Target, Written
from fxconv.verification.audit import AUDIT_INPUTS

# The constant methods that give the texts which ride along, by their names.
TEXTS = {"fxconv.json": "fxconv_metadata", "golden.json": "fxconv_golden"}


@dataclass(frozen=True)
class _Own:
    """What a program was lowered from: the Q/DQ form before the rules, and what it became."""

    form: nn.Module
    program: LoweredProgram
    example: tuple[Any, ...]


def _told_sizes(program: LoweredProgram, asked: tuple[int, int] | None) -> tuple[str, ...]:
    """That a program takes fewer sizes than were asked for, where it does."""
    if asked is None or program.sizes is None or (program.sizes == asked and program.step == 1):
        return ()
    by = f" that {program.step} divides" if program.step > 1 else ""
    least, most = program.sizes
    return (f"--dynamic-sizes {asked[0]}:{asked[1]}: the network allows sides from {least} to {most}{by} alone",)


class ExecutorchTarget(Target):
    """What `Target` says, by ExecuTorch and its XNNPACK delegate."""

    name, suffix = "executorch", ".pte"
    stages = rows.STAGES
    runtime = "ExecuTorch, XNNPACK"
    is_exact = False

    def begins(self, start: bytes) -> bool:
        return start[4:6] == b"ET"

    def check(self, config: Config) -> None:
        installed.check()

    def check_example(self, example: tuple[Any, ...], images: Sequence[tuple[Any, ...]], config: Config) -> None:
        lowering.check_sizes(example, images, config.sizes)

    def lower(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> Lowered:
        form = qdq_form(module, example)
        asked = config.runtime_of(self.name)
        release = None if asked is None else releases.release(asked).version
        program = lowering.lower(form, example, config.sizes, release=release)
        own = _Own(form, program, example)
        versions = {"executorch": installed.installed().partition("+")[0]}
        told, fixed = _told_sizes(program, config.sizes), program.fixed_batch
        return Lowered(
            {rows.QDQ: form}, program.content, Method.trace, told, versions=versions, fixed_batch=fixed, own=own
        )

    def between(self, lowered: Lowered, context: Context) -> tuple[Any, ...]:
        return (rows.held_form(lowered.own.form, context),)

    def write(self, lowered: Lowered, extra_files: Mapping[str, str], config: Config) -> Written:
        own: _Own = lowered.own
        content = own.program.with_texts({TEXTS[name]: text for name, text in extra_files.items()})
        asked = config.runtime_of(self.name)
        if (words := allow_list.of_bytes(content)) is not None:
            raise ConversionError(f"the program {words}; ask for smaller images, or fewer sizes")
        return (
            Written(content) if asked is None else Written(content, releases.fitted(content, releases.release(asked)))
        )

    def takes(self, lowered: Lowered, image: tuple[Any, ...]) -> bool:
        return lowered.own.program.takes(image, lowered.own.example)

    def prove(self, path: Path, content: bytes, lowered: Lowered, context: Context) -> Proven:
        program: LoweredProgram = lowered.own.program
        taken = [place for place, image in enumerate(context.images) if self.takes(lowered, image)]
        if not taken:
            raise UserError(
                f"the example has a batch of {batch_of(lowered.own.example)}, and the .pte would take that alone "
                f"({program.fixed_batch}): it could not be proven, which is done image by image; give an example of one"
            )
        first = shapes_of(context.images[taken[0]])
        context = context.of([one for one in taken if shapes_of(context.images[one]) == first][:AUDIT_INPUTS])
        images = context.images
        # at the size of these images: the example, whose batch may be another, says only what the file takes
        again = partial(lowering.lower_alike, example=images[0])
        found = prove(context.module, context.floating(), program.module, path, images, again)
        outputs = found.outputs
        reference = context.reference or forward.outputs(context.module, images)
        to_int8 = min((noise.sqnr for noise in noises(reference, outputs)), default=math.inf) if outputs else -math.inf
        return Proven(rows.of_file(found, path, content, reference, context), found.operations, to_int8)

    def float_twin(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> bytes:
        return lowering.lower_alike(module, example)

    def outputs_apart(self, content: bytes, calls: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
        try:
            return running.outputs_of([content], calls)[0]
        except Ended as error:
            raise ConversionError(f"the program that was written: the process that runs it {error}") from error

    def load(self, file: Path | bytes) -> Program:
        return runtime.load(file)

    def float_kernels(self, program: Program) -> str:
        return "XNNPACK"

    def describe(
        self, path: Path, data: bytes, lowered: Lowered, example: tuple[Any, ...], float_bytes: int
    ) -> Artifact:
        return contents.described(data, lowered.own.program.placement, float_bytes)

    def unreadable(self, data: bytes, float_bytes: int) -> Artifact:
        return Artifact(None, data, hashlib.sha256(data).hexdigest(), None, (), {}, {}, {}, float_bytes)

    def other_sizes(self, lowered: Lowered) -> Sequence[tuple[int, int]]:
        """The ends of the sizes that it takes: a program takes no other size than those it was written for."""
        sides = lowered.own.program.sizes
        return () if sides is None else (sides, sides[::-1])

    def extra_file(self, path: Path, name: str) -> str | None:
        try:
            found = read_program(memoryview(path.read_bytes())).texts.get(TEXTS[name])
        except (Unreadable, OSError):
            return None
        return None if found is None else bytes(found).decode("utf-8", "replace")

    def inspected(self, path: Path) -> None:
        allow_list.inspected(path)

    def check_operators(self, path: Path, megabytes: int | None = None) -> None:
        allow_list.inspected(path, megabytes)

    def import_runtime(self) -> None:
        installed.check_runtime()

    def prepare(self, path: Path, threads: int = 1, megabytes: int | None = None) -> None:
        installed.check_runtime()
        allow_list.inspected(path, megabytes)
        runtime.set_threads(threads)

    def open(self, path: Path) -> Program:
        return runtime.load(path)

    def run(self, program: Program, example: tuple[Any, ...], path: Path) -> None:
        try:
            program(*example)
        except (RuntimeError, ValueError) as error:
            what = f"does not run on an input of {in_words(example)}"
            raise UserError(f"{path}: {what} ({message_line(error)}); give --input-size or --example") from error

    def advice(self, config: Config) -> str:
        return "write a .ptl of it, or keep the operation that differs in float (--keep-float PATTERN)"


EXECUTORCH = ExecutorchTarget()
