"""Ranges by what reads them: the same values, and another range where the next layer listens to something else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, RangeMethod, Recipe
from fxconv.quantization import static
from fxconv.quantization.observers import RangeObserver
from fxconv.quantization.passes import selected
from fxconv.quantization.recipes.reader_ranges import _cut_of_an_image, search_ranges
from rewrites import rewrite


class Listening(nn.Module):
    """Channel 0 is `largest` at one place, the others below 1; the layer behind listens to it, or does not."""

    def __init__(self, listens: bool, largest: float = 10.0) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 4, 1)
        with torch.no_grad():
            self.first.weight.copy_(torch.diag(torch.tensor([largest, 1.0]))[:, :, None, None])
            self.first.bias.zero_()
            self.last.bias.zero_()
            self.last.weight[:, 0] = 1.0 if listens else 0.0
            self.last.weight[:, 1] = 0.01 if listens else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


def images(count: int = 4) -> list[Tensor]:
    """A channel that is 1 at one place of the first image and 0 elsewhere, and one between 0 and 1."""
    found = torch.rand(count, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    found[:, 0] = 0
    found[0, 0, 5, 5] = 1.0
    return list(found.split(1))


def observed(model: nn.Module, config: Config) -> nn.Module:
    module = static.observe(rewrite(model.eval(), selected(config)).module, config)
    with torch.no_grad():
        for image in images():
            module(image)
    return module


def test_the_range_is_that_of_the_reader() -> None:
    found = [search_ranges(observed(Listening(listens), Config()), [(x,) for x in images()]) for listens in (0, 1)]
    path = "first.activation_post_process"
    assert found[0][path] is RangeMethod.percentile and found[1][path] is not RangeMethod.percentile


def test_a_range_that_loses_what_it_should_hold_is_none() -> None:
    path = "first.activation_post_process"
    model = Listening(False, 200.0)
    assert search_ranges(observed(model, Config()), [(x,) for x in images()]).get(path) is not RangeMethod.percentile
    done = fxconv.convert(model, images(8), recipe=(Recipe.reader_ranges,), min_sqnr=-100.0)
    assert done.verified, done.verdict


def test_nothing_is_counted_and_no_hook_stays() -> None:
    module = observed(Listening(True), Config())
    watched = static.observers(module)
    hooks = {name: (len(part._forward_hooks), len(part._forward_pre_hooks)) for name, part in module.named_modules()}
    for observer in watched.values():
        observer.catch_up()
    before = {path: observer.counts.clone() for path, observer in watched.items()}
    search_ranges(module, [(x * 100,) for x in images()])
    for path, observer in watched.items():
        observer.catch_up()
        assert torch.equal(observer.counts, before[path]) and not observer.is_resting
    after = {name: (len(part._forward_hooks), len(part._forward_pre_hooks)) for name, part in module.named_modules()}
    assert after == hooks


def test_without_a_histogram_there_is_nothing_to_choose() -> None:
    assert search_ranges(observed(Listening(True), Config(observer=RangeMethod.minmax)), [(images()[0],)]) == {}


class InPlace(nn.Module):
    """What writes into what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(torch.cat([self.act(x + x.mean((2, 3), keepdim=True)), x], 1)[:, :2])


@pytest.mark.parametrize("model", [Listening(True), InPlace()])
def test_the_outputs_stay_what_they_are_while_it_runs(model: nn.Module) -> None:
    module = observed(model, Config())
    seen = list[Tensor]()
    module.get_submodule("last").register_forward_hook(lambda part, args, output: seen.append(output.clone()))
    with torch.no_grad():
        module(images()[0])
    search_ranges(module, [(images()[0],)])
    assert all(torch.equal(each, seen[0]) for each in seen)


def test_it_pays_where_the_reader_does_not_listen() -> None:
    rows = []
    for recipe in ((Recipe.none,), (Recipe.reader_ranges,)):
        done = fxconv.convert(Listening(False), images(8), recipe=recipe)
        assert done.verified, done.verdict
        rows.append({row.stage: row for row in done.ledger}["int8"].sqnr_db)
    assert rows[1] > rows[0] + 3


def test_one_loud_image_is_not_cut_where_images_have_few_values() -> None:
    # three values in 36000 of all images, a hundredth of their power, but nearly all that one image has
    made = torch.Generator().manual_seed(0)
    given = torch.randn(60, 600, 1, 1, generator=made)
    given[0] *= 0.05
    given[0, :3] = 12.0
    observer = RangeObserver(method=RangeMethod.percentile, dtype=torch.quint8, quant_min=0, quant_max=255)
    assert _cut_of_an_image(observer, given, -6.0, 6.0) == pytest.approx(0.25, abs=0.01)
    assert _cut_of_an_image(observer, given[1:], -6.0, 6.0) == 0
    assert _cut_of_an_image(observer, given.repeat(1, 20, 1, 1), -6.0, 6.0) == 0  # of many the whole is judged
