"""The ledger's first row where float32 rounds: what float64 tells of rounding and of another meaning."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.models import forward
from fxconv.verification.parity import StageParity
from fxconv.verification.same_function import same_function


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def row(of: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], tolerance: float) -> StageParity:
    """`other` as the rewritten form of `of`."""
    model, images = Function(of), [(torch.linspace(-1, 1, 101),)]
    rewritten: Any = SimpleNamespace(module=Function(other), tolerance=tolerance)
    return same_function(model, rewritten, forward.outputs(model, images), images)


def there_and_back(x: Tensor) -> Tensor:
    """The same function, but for a rounding to a few 10,000ths in float32 and to nothing in float64."""
    return (x + 4096) - 4096


def test_rounding_passes_in_float64() -> None:
    found = row(lambda x: x, there_and_back, 1e-5)
    assert found.passed and found.problem == ""
    assert found.max_abs_diff > 1e-5
    assert found.rule == "within 1e-12 of the largest output in float64"


def test_without_a_tolerance_float32_decides() -> None:
    found = row(lambda x: x, there_and_back, 0.0)
    assert not found.passed and found.rule == "equal"


def test_another_function_fails_in_float64_too() -> None:
    found = row(lambda x: x, lambda x: x * 1.0001, 1e-5)
    assert not found.passed
    assert found.problem.count("SQNR 80.0 dB") == 2 and "; in float64 SQNR" in found.problem
    assert found.rule == "within 1e-05 of the largest output, or within 1e-12 of the largest output in float64"
