"""Scores beside boxes in pixels, and a head with a large bias, all the way to the file and the report."""

from __future__ import annotations

import io

import pytest
import torch
import torch.jit.mobile
from torch import Tensor, nn

import fxconv


class Heads(nn.Module):
    """Boxes in pixels and scores from 0 to 1 in one tensor, and numbers around 1000."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.boxes, self.scores, self.count = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1), nn.Conv2d(8, 2, 1)
        with torch.no_grad():
            self.count.bias.add_(1000.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.body(x)
        return torch.cat([self.boxes(f) * 640, torch.sigmoid(self.scores(f))], 1), self.count(f)


@pytest.mark.parametrize("method", ["script", "trace"])
def test_every_channel_of_the_file_answers(method):
    torch.manual_seed(0)
    model = Heads().eval()
    data = [torch.randn(4, 3, 16, 16) * 3 for _ in range(2)]
    conversion = fxconv.convert(model, data, method=method, recipe="none")
    assert conversion.verified and conversion.artifact.int8_macs_share == 1.0
    lite = torch.jit.mobile._load_for_lite_interpreter(io.BytesIO(conversion.artifact.data))
    probe = torch.randn(1, 3, 16, 16) * 3
    with torch.no_grad():
        wanted, got = model(probe), lite(probe)
    for one, other in zip(torch.cat(wanted, 1)[0].flatten(1), torch.cat(got, 1)[0].flatten(1), strict=True):
        power, noise = (one - one.mean()).square().sum(), ((one - one.mean()) - (other - other.mean())).square().sum()
        assert 10 * torch.log10(power / noise) > 14
    islands = {
        node: each["reason"]
        for each in conversion.report.json()["quantization"]["float_islands"]
        for node in each["nodes"]
    }
    assert islands["cat"].startswith("it joins tensors of different scales")
    assert islands["count_add"].startswith("the bias of count dwarfs its products")
    assert conversion.ledger[0].rule == "within 1e-05 of the largest output" and conversion.ledger[0].passed
