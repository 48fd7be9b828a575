"""The rounded module: what it computes, and what of it is trained."""

from __future__ import annotations

import fxconv_networks as networks
import torch
from fxconv_trainings import NONE, images
from torch import Tensor, nn

import fxconv
from fxconv.models import forward
from fxconv.quantization import engine


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_it_rounds_as_int8_does():
    # an average keeps the steps of what it averages in int8, and those of nothing here
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16), nn.ReLU(), nn.Conv2d(16, 4, 1)
    model, x = nn.Sequential(*layers).eval(), images(16)
    module = fxconv.prepare_qat(model, [x], recipe=NONE)
    with engine.engine("qnnpack"):
        int8 = forward.outputs(module.quantized.int8, [(x,)])[0][0]
    rounded, plain = module(x).detach(), model(x).detach()
    off, all_of_it = (int8 - rounded).square().mean(), (int8 - plain).square().mean()
    assert off < all_of_it / 4


def test_every_weight_and_bias_is_trained_and_the_model_is_left_alone():
    model = networks.tiny().eval()
    before = weights(model)
    module = fxconv.prepare_qat(model, [images(8)])
    assert not {id(parameter) for parameter in module.parameters()} & {id(one) for one in model.parameters()}
    module(images(4)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_train_and_eval_compute_the_same():
    module, x = fxconv.prepare_qat(networks.tiny().eval(), [images(8)]), images(4)
    trained = module.train()(x)
    assert module.training
    assert torch.equal(trained, module.eval()(x))
    assert torch.equal(module.train()(x), trained)


def test_weights_that_are_shared_stay_so():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x)))

    module = fxconv.prepare_qat(Tied().eval(), [images(8)], recipe=NONE)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(images(4)).square().mean().backward()
    optimizer.step()
    found = {path: weight for path, weight in module.trained().weights.items() if path.endswith("weight")}
    first, second = found.values()
    assert torch.equal(first, second)
    assert fxconv.finish(module).verified


def test_a_state_dict_carries_the_training():
    model, x = networks.tiny().eval(), images(8)
    module, other = (fxconv.prepare_qat(model, [x], recipe=NONE) for _ in range(2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.1)
    assert not torch.equal(module(x), other(x))
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(x), other(x))
