"""The float model as a file of the same target, beside which int8's size and latency are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fxconv.config import Config
from fxconv.errors import ConversionError, UserError, described, message_line
from fxconv.measures.latency import Latency, measure, measure_alone
from fxconv.targets.target import Program, Target


@dataclass(frozen=True)
class FloatTwin:
    """The bytes of the float file; none, and why, where the target refuses the float model.

    What an int8 file computes says nothing of whether the float one runs: there are operations that a runtime has in
    int8 alone, or that are written otherwise for int8.
    """

    content: bytes
    problem: str = ""

    @staticmethod
    def of(target: Target, module: nn.Module, example: tuple[Any, ...], config: Config) -> FloatTwin:
        """The twin that `module` becomes with these choices; `example` are the tensors of one call."""
        try:
            return FloatTwin(target.float_twin(module, example, config))
        except (ConversionError, UserError) as error:
            return FloatTwin(b"", _why(error))

    def latency_beside(self, target: Target, load: Callable[[], Program], example: tuple[Any, ...]) -> Latency:
        """How long one call of the file that `load` gives takes, in turn with the twin's where that runs."""
        if self.problem:
            return measure_alone(load(), example, self.problem)
        try:
            program = target.load(self.content)
            with torch.no_grad():
                program(*example)
        except (ConversionError, UserError, RuntimeError, ValueError) as error:
            return measure_alone(load(), example, _why(error))
        return replace(measure(load(), program, example), float_kernels=target.float_kernels(program))


def _why(error: Exception) -> str:
    """What an error says, and of what type it is where it is not fxconv's own."""
    return message_line(error) if isinstance(error, (ConversionError, UserError)) else described(error)
