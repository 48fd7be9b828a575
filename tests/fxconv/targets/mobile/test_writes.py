"""What a program writes in place, and that the pass which goes wrong on it is left out."""

import pytest
import torch
from fxconv_torch import needs_xnnpack
from torch import nn

from fxconv.config import Config
from fxconv.targets.mobile import lowering
from fxconv.targets.mobile.writes import told, writes_in_place


class Written(nn.Module):
    """A part of a convolution's result is set before the next reads it (pytorch/pytorch#81651)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        y = self.first(x)
        y[:, 0] = 0
        return self.last(y)


class Doubled(Written):
    def forward(self, x):
        y = self.first(x)
        part = y[:, 1:]
        y.mul_(2)
        return self.last(y) + part.sum()


class Unwritten(Written):
    """Its ReLUs change what nobody else reads, and the branch that writes is never taken."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.other, self.norm = nn.ReLU(inplace=True), nn.ReLU(), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.norm(self.first(x))
        return self.last(self.relu(self.first(x)) + self.other(y) + y)


@pytest.mark.parametrize(("kind", "operator"), [(Written, "aten::copy_"), (Doubled, "aten::mul_")])
def test_a_program_that_writes_is_not_prepacked(kind, operator):
    net, image = kind().eval(), torch.randn(2, 3, 9, 9)
    scripted = torch.jit.script(net)
    optimized = lowering.optimize(scripted, Config())
    assert [one.partition(" ")[0] for one in writes_in_place(optimized)] == [operator]
    assert "prepacked::" not in str(optimized.graph)
    assert torch.equal(optimized(image.clone()), net(image.clone()))


@needs_xnnpack
def test_other_programs_are():
    net, image = Unwritten().eval(), torch.randn(2, 3, 9, 9)
    optimized = lowering.optimize(torch.jit.script(net), Config())
    assert "prepacked::" in str(optimized.graph)
    assert torch.allclose(optimized(image), net(image), atol=1e-5)


@needs_xnnpack
def test_the_message_names_the_write_and_the_pass():
    lowered = lowering.lowered(Written().eval(), (torch.randn(1, 3, 9, 9),), Config())
    assert lowered.doubt == told(("aten::copy_ (`y[:, 0] = 0`)",)) and lowered.doubt in lowered.warnings
    assert "insert-fold-prepack-ops is left out" in lowered.doubt
