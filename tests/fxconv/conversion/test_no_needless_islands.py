"""What is written in other words than the kernels' is int8 all the same: one network of differences, sums and casts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxconv
from rewrites import WRAPPED_PASSES, rewrite


class Words(nn.Module):
    """Between four layers: every form for which there is an exact int8 one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 1)
        self.out, self.fc = nn.Conv2d(16, 16, 3, 1, 1), nn.Linear(16, 10)
        self.register_buffer("scale", torch.linspace(0.5, 2, 16).view(1, 16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.pad(self.stem(x).relu().float(), (0, 1, 0, 1), value=float("-inf")), 3, 2)
        a, b = self.a(x), self.b(x).to(torch.float32).sigmoid()
        y = torch.stack([x - a, torch.rsub(b, a, alpha=0.5)], -1).sum(-1) + 1 / (1 + b) - 2**-b
        y = torch.addcmul(y, a, b, value=0.5) + (F.avg_pool2d(a, 3, 1, 1, count_include_pad=False) - a) / 3
        y = self.out(sum([y, -x, x.square().clamp(max=4.0), F.mish(a) / self.scale]))
        return self.fc((y * y.sum(1, keepdim=True).tanh()).mean((2, 3)))


def test_all_of_it_is_int8():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    images = F.interpolate(torch.randn(16, 3, 8, 8, generator=generator), (32, 32), mode="bilinear")
    model = Words().eval()
    conversion = fxconv.convert(model, [images], recipe="none")
    assert conversion.verified and conversion.rewritten.islands == ()
    with torch.no_grad():
        wanted, got = model(images), torch.cat([conversion.int8(image) for image in images.split(1)])
    assert rewrite(model, WRAPPED_PASSES, example=(images[:1],)).islands == ()
    assert 10 * torch.log10(wanted.square().sum() / (wanted - got).square().sum()) > 20
