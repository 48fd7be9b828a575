"""Operations that a rule of lowering writes as a layer, and the numbers such a layer must have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fxconv_proofs import Made, made
from torch import Tensor, nn

from fxconv.targets.executorch.lowering import lower
from fxconv.targets.executorch.proof import file_numbers
from fxconv.targets.executorch.rules import RULES
from fxconv.targets.qdq.proof import constants, module_numbers
from fxconv.targets.qdq.proof.made_layers import made_layers
from fxconv.targets.qdq.proof.module_ranges import ranges_of
from fxconv.targets.qdq.ruling import apply_to_graphs


class Averaging(nn.Module):
    """Average pools as a module and as a function, and a batch norm that is an operation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.AvgPool2d(2), nn.BatchNorm2d(8)
        self.norm.running_mean, self.norm.running_var = torch.linspace(-1, 1, 8), torch.linspace(0.5, 2, 8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.stem(x)))
        x = F.relu(self.norm(x))
        return self.last(F.avg_pool2d(x, 3, 2, 1))


@pytest.fixture(scope="module")
def averaging() -> Made:
    return made(Averaging)


def test_their_numbers_are_those_of_the_operations(averaging: Made) -> None:
    ruled = apply_to_graphs(averaging.qdq, averaging.images[0], RULES, False)
    found = made_layers(averaging.int8, ruled)
    assert list(found) == ["pool", "norm", "avg_pool2d"]
    pool, norm, function = found.values()
    assert (pool.weight == 1).all() and pool.weight.size == 8 * 4 and pool.scales == np.float32(0.25)
    assert (function.weight == 1).all() and function.scales == np.float32(1 / 9) and not function.bias.any()
    float_norm = Averaging().norm
    factor = (float_norm.running_var.double() + float_norm.eps).rsqrt()  # type: ignore[union-attr]
    assert np.allclose(norm.weight * norm.scales, factor.numpy(), rtol=1e-6)
    assert np.allclose(norm.bias, (-float_norm.running_mean.double() * factor).numpy())  # type: ignore[union-attr]


class Divided(nn.Module):
    """An average pool whose sums are divided by a number of its own: computed in float in the int8 module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.avg_pool2d(self.stem(x), 2, divisor_override=3))


def test_an_average_over_a_divisor_of_its_own() -> None:
    divided = made(Divided)
    ruled = apply_to_graphs(divided.qdq, divided.images[0], RULES, False)
    (pool,) = made_layers(divided.int8, ruled).values()
    assert pool.weight.size == 8 * 4 and pool.scales == np.float32(1 / 3)


def test_a_file_has_them_and_a_wrong_one_is_told_by_name(averaging: Made, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    program = lower(averaging.qdq, averaging.images[0], largest_batch=1)
    ranges = ranges_of(averaging.int8, averaging.images[0])
    wanted = module_numbers.numbers_of(averaging.int8, program.module, ranges)
    rows = constants.compare(wanted, file_numbers.numbers_of(program.content))
    assert [row.problem for row in rows if row.problem] == []
    assert [row.where for row in rows][:5] == ["stem", "pool", "norm", "avg_pool2d", "last"]
    scale = np.float32(1 / 9).tobytes()
    faulty = program.content.replace(scale, np.float32(1 / 8).tobytes(), 1)
    assert faulty != program.content
    told = constants.compare(wanted, file_numbers.numbers_of(faulty))
    assert [row.where for row in told if row.problem] == ["avg_pool2d"]
