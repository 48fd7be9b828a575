"""Range estimation: what is counted, and the interval each method makes of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.ao.quantization import HistogramObserver

import fxconv
from fxconv.config import RangeMethod, WeightScheme
from fxconv.quantization.observers import RangeObserver, weight_observer

METHODS = list(RangeMethod)


def observer(method: RangeMethod = RangeMethod.histogram, **settings: object) -> RangeObserver:
    return RangeObserver(method, dtype=torch.quint8, quant_min=0, quant_max=255, **settings)


def seen(method: RangeMethod, *batches: Tensor, **settings: object) -> RangeObserver:
    made = observer(method, **settings)
    for batch in batches:
        assert made(batch) is batch
    return made


def ends(made: RangeObserver) -> tuple[float, float]:
    low, high = made.interval()
    return low.item(), high.item()


def squared_error(values: Tensor, low: float, high: float) -> float:
    """Of quantizing these values over this range, as a kernel does."""
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    return (torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, 255) - values).square().sum().item()


def draw(kind: str) -> Tensor:
    torch.manual_seed(3)
    images = {
        "normal": torch.randn(20, 8, 32, 32),
        "relu": torch.randn(20, 8, 32, 32).relu(),
        "long tails": torch.distributions.StudentT(3.0).sample((20, 8, 32, 32)),
        "one loud channel": torch.randn(20, 8, 32, 32) * torch.tensor([1.0] * 7 + [50.0]).view(1, -1, 1, 1),
        "far from zero": torch.randn(20, 8, 32, 32) + 100,
        "negative": -torch.rand(20, 8, 32, 32),
        "tiny": torch.randn(20, 8, 32, 32) * 1e-3,
        "rows": torch.randn(20, 10),
    }
    return images[kind]


KINDS = ["normal", "relu", "long tails", "one loud channel", "far from zero", "negative", "tiny", "rows"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [RangeMethod.histogram, RangeMethod.mse])
def test_ranges_are_as_good_as_torchs_own(method, kind):
    values = draw(kind)
    theirs = HistogramObserver()
    theirs(values)
    low, high = (end.item() for end in theirs._non_linear_param_search())
    low, high = min(low, 0.0), max(high, 0.0)
    # 2 % for what subsampling cannot see
    assert squared_error(values, *ends(seen(method, values))) <= 1.02 * squared_error(values, low, high)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_range_holds_zero_and_nothing_that_was_not_seen(method, kind):
    values = draw(kind)
    low, high = ends(seen(method, values))
    assert min(values.min().item(), 0.0) - 1e-6 * abs(low) <= low <= 0.0 <= high
    assert high <= max(values.max().item(), 0.0) * (1 + 1e-6)
    assert high > low


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_batches_do_not_matter(method, kind):
    values = draw(kind)
    single, whole = seen(method, *values.split(1)), seen(method, values)
    merged = seen(method, *values[:3].split(1))
    merged.merge(seen(method, values[3:]))
    assert torch.equal(single._histogram().counts, whole._histogram().counts)
    assert ends(single) == ends(whole) == ends(merged)


@pytest.mark.parametrize("later", ["first", "second"])
def test_what_one_sees_after_merging_is_its_own(later):
    values = draw("normal")
    first, second = seen(RangeMethod.histogram, values), seen(RangeMethod.histogram)
    second.merge(first)
    assert ends(second) == ends(first)
    left, going_on = (second, first) if later == "first" else (first, second)
    before, counts = ends(left), left._histogram().counts.clone()
    going_on(values * 50)
    assert ends(going_on) != before
    assert ends(left) == before and torch.equal(left._histogram().counts, counts)


def test_extremes_are_exact_although_values_are_left_out():
    values = torch.zeros(1, 3, 64, 64)
    values.view(-1)[5], values.view(-1)[6] = 7.25, -3.5
    low, high = ends(seen(RangeMethod.minmax, values))
    assert (low, high) == (-3.5, 7.25)
    made = seen(RangeMethod.histogram, values)
    assert (made.min_val.item(), made.max_val.item()) == (-3.5, 7.25)
    assert {-3.5, 7.25} <= set(made._histogram().values.tolist())


def test_of_a_large_image_one_value_in_seventeen_is_counted_and_stands_for_all():
    values = torch.rand(2, 3, 224, 224)
    made = seen(RangeMethod.histogram, values)
    made.catch_up()
    assert made.counts.sum().item() == pytest.approx(values.numel(), rel=1e-4)
    assert made.counts.sum().item() % 17 == 0
    rows = torch.rand(4, 1000)
    few = seen(RangeMethod.histogram, rows)
    few.catch_up()
    assert few.counts.sum().item() == rows.numel()


@pytest.mark.parametrize("scheme", WeightScheme)
def test_the_largest_weight_is_127_steps(scheme):
    # with integers from -128 it would be 127.5, and be cut by half a step
    weight = torch.tensor([[0.5, -2.54, 1.0], [0.1, 0.2, 1.27]])
    observer = weight_observer(scheme)()
    observer(weight)
    scales, zero_points = observer.calculate_qparams()
    wanted = [0.02, 0.01] if scheme is WeightScheme.per_channel else [0.02]
    assert scales.flatten().tolist() == pytest.approx(wanted) and not zero_points.any()


def test_percentile_cuts_one_in_ten_thousand_at_either_end():
    values = torch.linspace(-1, 1, 1_000_000).view(1000, 1000)
    low, high = ends(seen(RangeMethod.percentile, values))
    assert low == pytest.approx(-0.9998, abs=4e-3)
    assert high == pytest.approx(0.9998, abs=4e-3)
    assert ends(seen(RangeMethod.percentile, with_a_spike(10.0)))[1] < 1.01


def with_a_spike(height: float) -> Tensor:
    return torch.cat([torch.rand(99_999), torch.tensor([height])]).view(100, 1000)


@pytest.mark.parametrize("method", RangeMethod)
def test_no_range_cuts_off_more_than_a_twentieth_of_the_power(method):
    # one value in a hundred thousand, and nearly all of the power
    values = with_a_spike(1000.0)
    low, high = ends(seen(method, values))
    beyond = (values - values.clamp(low, high)).square().sum() / values.square().sum()
    assert beyond <= 0.0501
    if method is RangeMethod.percentile:
        assert beyond > 0.04 and high == pytest.approx(1000 * (1 - 0.05**0.5), rel=0.02)


def test_values_nobody_can_tell_apart_count_as_the_bound():
    values = torch.linspace(-30, 10, 4000).view(4, 1000)
    made = seen(RangeMethod.histogram, values, low=-3.0)
    assert made.min_val.item() == -3.0
    assert ends(made)[0] >= -3.0


@pytest.mark.parametrize("constant", [0.0, 2.5, -1e-3])
def test_a_constant_has_a_range(constant):
    scale, zero_point = seen(RangeMethod.histogram, torch.full((2, 50), constant)).calculate_qparams()
    assert math.isfinite(scale.item()) and scale.item() > 0
    found = torch.fake_quantize_per_tensor_affine(torch.tensor([constant]), scale.item(), int(zero_point), 0, 255)
    assert found.item() == pytest.approx(constant, rel=0.01, abs=1e-6)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(RuntimeError, match="infinite or NaN"):
        observer()(torch.tensor([[1.0, value]]))


def test_nothing_is_seen_in_an_empty_tensor():
    made = seen(RangeMethod.histogram, torch.empty(0, 4), torch.ones(1, 4))
    assert (made.min_val.item(), made.max_val.item()) == (1.0, 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_converts(method, small_model, batches):
    conversion = fxconv.convert(small_model, batches, observer=method, recipe=("none",))
    assert conversion.verified
    assert conversion.report.json()["config"]["observer"] == method.value


def test_images_one_by_one_or_in_batches_give_the_same_scales(small_model, batches):
    def scales(given: list[Tensor]) -> dict[str, float]:
        int8 = fxconv.convert(small_model, given, recipe=("none",)).int8
        return {path: float(part.scale) for path, part in int8.named_modules() if hasattr(part, "scale")}

    together, apart = scales(batches), scales([image for batch in batches for image in batch.split(1)])
    assert len(together) > 5
    assert together == pytest.approx(apart, rel=1e-3)


class Ailing(torch.nn.Module):
    """A layer of which a later one sees nothing but zeros, and one whose values are below the smallest steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.dead, self.faint = (torch.nn.Conv2d(3, 3, 1) for _ in range(3))
        with torch.no_grad():
            self.dead.weight.zero_()
            self.dead.bias.fill_(-1.0)
            self.faint.weight.mul_(1e-9)
            self.faint.bias.zero_()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        return x + self.dead(x).relu(), self.faint(x)


def test_ranges_that_say_little_are_named():
    torch.manual_seed(0)
    conversion = fxconv.convert(Ailing(), [torch.randn(4, 3, 8, 8)], recipe=("none",))
    found = {one.where: one.problem for one in conversion.uninformative_ranges}
    assert found["dead"] == "calibration saw nothing there but 0"
    assert found["faint"].startswith("its values are at most ")
    assert [w for w in conversion.warnings if w.startswith("the range of dead says little: calibration saw nothing")]
    assert {row["where"] for row in conversion.report.json()["quantization"]["weak_ranges"]} == set(found)


def test_healthy_ranges_are_not_named(small_conversion):
    assert small_conversion.uninformative_ranges == ()
