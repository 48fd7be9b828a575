"""Calibration runs in channels_last where the model leaves the layout to torch, elsewhere in the order it expects."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fxconv.config import Config, Recipe
from fxconv.data.calibration import Batches
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.quantization import static
from fxconv.quantization.calibrate import CalibrationStatistics, observe_images
from rewrites import rewrite


class Plain(nn.Module):
    """Two convolutions; what lies between them is each test's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x).relu()))


class Viewing(Plain):
    """A view that only contiguous values have."""

    def between(self, x: Tensor) -> Tensor:
        return x.view_as(x.flatten(1)).view_as(x)


class Striding(Plain):
    """Reads its values as they lie in memory: other ones in another layout, and no error."""

    def between(self, x: Tensor) -> Tensor:
        return torch.as_strided(x, x.shape, (x.numel() // x.shape[0], 144, 12, 1)) * 0.5


BATCHES = [torch.rand(4, 3, 14, 14, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def layouts(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> tuple[list[bool], CalibrationStatistics]:
    """Whether each batch that the first layer got lay in channels_last, and what was seen."""
    model, found = model.eval(), []
    observe = static.observe

    def observing(*args: object) -> nn.Module:
        observed = observe(*args)
        layer = observed.get_submodule("first")
        layer.register_forward_pre_hook(
            lambda _, args: found.append(args[0].is_contiguous(memory_format=torch.channels_last))
        )
        return observed

    monkeypatch.setattr(static, "observe", observing)
    rewritten = rewrite(model, example=(BATCHES[0][:1],))
    config = Config(recipe=(Recipe.none,))
    signature = InputSignature.of(model)
    clock = Clock(lambda *_: None)
    _, seen = observe_images(model, rewritten, signature, Batches(BATCHES), False, config, clock)
    return found, seen


def test_images_go_through_in_channels_last(monkeypatch):
    found, seen = layouts(Plain(), monkeypatch)
    assert found == [True] * 3
    assert seen.calibration.images == 12
    assert all(batch.is_contiguous() for batch in BATCHES)


def test_a_model_that_needs_its_values_contiguous_has_them(monkeypatch):
    found, seen = layouts(Viewing(), monkeypatch)
    assert found[0] is True and found[-3:] == [False] * 3  # what failed is run once more, to see why
    assert seen.calibration.images == 12


def test_a_model_that_reads_memory_as_it_lies_is_left_its_layout(monkeypatch):
    found, _ = layouts(Striding(), monkeypatch)
    assert found == [False] * 3


def test_ranges_do_not_depend_on_the_layout(monkeypatch):
    _, last = layouts(Plain(), monkeypatch)
    monkeypatch.setattr("fxconv.quantization.calibrate.leaves_the_layout", lambda _: False)
    found, contiguous = layouts(Plain(), monkeypatch)
    assert found == [False] * 3
    assert last.observers.keys() == contiguous.observers.keys() and len(last.observers) >= 3
    for path, observer in last.observers.items():
        for one, other in zip(observer.interval(), contiguous.observers[path].interval(), strict=True):
            assert torch.isclose(one, other, rtol=1e-3), path


@pytest.mark.parametrize("size", [1, 3, 4, 11])
def test_images_go_through_four_at_a_time_however_they_come(size, monkeypatch):
    sizes = []
    observe = static.observe

    def observing(*args: object) -> nn.Module:
        observed = observe(*args)
        observed.get_submodule("first").register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        return observed

    monkeypatch.setattr(static, "observe", observing)
    model, batch = Plain().eval(), torch.cat(BATCHES)
    rewritten = rewrite(model, example=(batch[:1],))
    clock, config = Clock(lambda *_: None), Config(recipe=(Recipe.none,))
    given = Batches(batch[:11].split(size))
    _, seen = observe_images(model, rewritten, InputSignature.of(model), given, False, config, clock)
    assert sizes == [4, 4, 3] and seen.calibration.images == 11
    sizes.clear()
    other = torch.rand(3, 3, 20, 20)
    observe_images(model, rewritten, InputSignature.of(model), Batches([batch[:6], other, other]), False, config, clock)
    assert sizes == [4, 2, 4, 2]
    sizes.clear()
    observe_images(model, rewritten, InputSignature.of(model), Batches([batch[:6]]), True, config, clock)
    assert sizes == [1] * 6


def test_calibration_goes_on_where_another_stopped():
    model = Plain().eval()
    rewritten = rewrite(model, example=(BATCHES[0][:1],))
    signature, data, config = InputSignature.of(model), Batches(BATCHES), Config(recipe=(Recipe.bias_correction,))

    def run(*given: object) -> CalibrationStatistics:
        clock = Clock(lambda *_: None)
        return observe_images(model, rewritten, signature, data, False, config, clock, (), (), *given)[1]

    whole, first = run(), run(5)
    both = run(None, first)
    assert (first.calibration.images, both.calibration.images) == (5, 12)
    assert both.calibration.float_seconds == pytest.approx(first.calibration.float_seconds * 12 / 5)
    for path, observer in whole.observers.items():
        assert torch.equal(observer.counts, both.observers[path].counts)
        assert observer.interval() == both.observers[path].interval()
    assert whole.means.keys() == both.means.keys() and len(whole.means) == 2
    for path, mean in whole.means.items():
        torch.testing.assert_close(mean, both.means[path])
