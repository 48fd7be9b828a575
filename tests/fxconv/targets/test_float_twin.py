"""The float file beside an int8 one: it may fail without the int8 one failing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from fxconv.config import Config
from fxconv.errors import ConversionError
from fxconv.targets.float_twin import FloatTwin
from fxconv.targets.mobile.target import MOBILE, MobileTarget

EXAMPLE = (torch.zeros(1, 3, 8, 8),)


def int8() -> Any:
    return lambda: nn.Flatten()


class Refusing(MobileTarget):
    def float_twin(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> bytes:
        raise ConversionError("no kernel for it")


class Failing(MobileTarget):
    """Loads what raises when it is called, or does not load."""

    def __init__(self, error: Exception, when: str) -> None:
        self.error, self.when = error, when

    def load(self, file: Any) -> Any:
        if self.when == "load":
            raise self.error

        def program(*inputs: Any) -> Any:
            raise self.error

        return program


def test_a_twin_that_is_refused_says_why_and_int8_is_measured_alone() -> None:
    twin = FloatTwin.of(Refusing(), nn.ReLU(), EXAMPLE, Config())
    assert twin == FloatTwin(b"", "no kernel for it")
    latency = twin.latency_beside(Refusing(), int8(), EXAMPLE)
    assert latency.float_problem == "no kernel for it"
    assert latency.int8_ms > 0
    assert latency.runs >= 5
    assert math.isnan(latency.float_ms)
    assert latency.float_kernels == ""


@pytest.mark.parametrize(
    ("error", "when", "told"),
    [
        (ConversionError("it does not load"), "load", "it does not load"),
        (RuntimeError("missing operator"), "load", "RuntimeError: missing operator"),
        (ValueError("not such sizes"), "call", "ValueError: not such sizes"),
    ],
)
def test_a_twin_that_does_not_run_says_why(error: Exception, when: str, told: str) -> None:
    latency = FloatTwin(b"content").latency_beside(Failing(error, when), int8(), EXAMPLE)
    assert (latency.float_problem, latency.int8_ms > 0) == (told, True)


def test_one_that_runs_is_measured_in_turn() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    twin = FloatTwin.of(MOBILE, network, EXAMPLE, Config())
    latency = twin.latency_beside(MOBILE, lambda: MOBILE.load(twin.content), EXAMPLE)
    assert (latency.float_problem, twin.problem) == ("", "")
    assert latency.float_ms > 0
    assert latency.float_kernels == MOBILE.float_kernels(MOBILE.load(twin.content))
