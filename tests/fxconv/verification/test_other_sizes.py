"""Whether an artifact holds at other input sizes than the one it was made with."""

from __future__ import annotations

import math
from functools import partial

import fxconv_networks as networks
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxconv
from fxconv.config import Method
from fxconv.verification.other_sizes import _HALVES, SizeCheck, _resized, _shared


def test_the_sizes_tried():
    image = torch.randn(1, 3, 224, 192)
    assert _resized(image, partial(_shared, (0.75, 1.25))).shape == (1, 3, 160, 256)
    assert _resized(image, partial(_shared, (1.25, 1.0))).shape == (1, 3, 288, 192)


@pytest.mark.parametrize("side", [32, 64, 96, 100])
def test_a_small_image_has_another_size_too(side):
    image = torch.randn(1, 3, side, side)
    sizes = {tuple(_resized(image, partial(_shared, shares)).shape[2:]) for shares in ((0.75, 1.25), (1.25, 1.0))}
    assert len(sizes) == 2 and (side, side) not in sizes
    assert all(extent % 32 == 0 for size in sizes for extent in size)


def test_what_is_no_image_stays():
    whole, rows = torch.zeros(1, 3, 64, 64, dtype=torch.int64), torch.randn(4, 8)
    assert (
        _resized(whole, partial(_shared, (2.0, 1.0))) is whole and _resized(rows, partial(_shared, (2.0, 1.0))) is rows
    )
    assert _resized(torch.randn(1, 5, 3, 64, 64), partial(_shared, (2.0, 1.0))).shape == (1, 5, 3, 128, 64)


def test_a_warning_is_a_sentence():
    assert SizeCheck((64, 32), "").warning == ""
    assert SizeCheck((64, 32), "it fails (RuntimeError)").warning == (
        "the artifact is for the example's input size only: at 64x32 it fails (RuntimeError)"
    )
    decided = SizeCheck((64, 32), "it fails", "decided at net.py:7 (x)")
    assert decided.warning.endswith("at 64x32 it fails; decided at net.py:7 (x)")


@pytest.mark.parametrize(("side", "between"), [(32, 48), (64, 112), (96, 144), (224, 336), (300, 464)])
def test_a_side_between_two_multiples(side, between):
    value = _resized(torch.zeros(1, 3, side, side), partial(_shared, _HALVES))
    assert value.shape[-2:] == (between, between)


def test_what_pads_to_a_multiple_is_seen_where_the_side_is_none():
    conversion = converted(lambda y, x: y * 2 if x.shape[3] % 32 else y)
    assert [check.size for check in conversion.sizes if check.problem] == [(112, 112)]
    assert any("at 112x112 it computes something else" in warning for warning in conversion.warnings)


class Halved(nn.Module):
    """Two convolutions; between them something by the size of the image."""

    def __init__(self, between) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, padding=1), between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x), x))


def converted(between, **options: object) -> fxconv.Conversion:
    torch.manual_seed(0)
    return fxconv.convert(Halved(between).eval(), [torch.randn(4, 3, 64, 64)], recipe=("none",), **options)


def test_a_graph_that_decides_nothing_by_size_is_not_tried():
    conversion = converted(lambda y, x: F.interpolate(y, size=x.shape[2:]))
    assert conversion.verified and conversion.rewritten.fixed == () and conversion.sizes == ()


def test_a_decision_that_holds_at_other_sizes():
    conversion = converted(lambda y, x: y * 2 if x.shape[2] > 8 else y)
    assert conversion.verified
    assert [entry.code for entry in conversion.rewritten.fixed] != []
    assert conversion.sizes == (SizeCheck((32, 96), ""), SizeCheck((96, 64), ""), SizeCheck((112, 112), ""))
    assert not [words for words in conversion.warnings if "input size only" in words]


def test_a_decision_that_does_not_hold_at_other_sizes():
    conversion = converted(lambda y, x: y * 2 if x.shape[2] > 40 else y)
    assert conversion.verified
    first, second, third = conversion.sizes
    assert first.size == (32, 96) and first.problem.startswith("it computes something else than the model (SQNR")
    assert second == SizeCheck((96, 64), "") and third == SizeCheck((112, 112), "")
    assert first.warning in conversion.warnings
    assert "test_other_sizes.py:" in first.decided and "if x.shape[2] > 40" in first.decided


def test_a_table_made_for_one_size():
    conversion = converted(lambda y, x: y + y.new_ones(y.shape[2], y.shape[3]))
    assert conversion.verified
    assert [check.problem for check in conversion.sizes] == ["it fails (RuntimeError)"] * 3


def test_a_model_that_takes_one_size_only_is_not_tried():
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(4 * 16 * 16, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).flatten(1)) if x.shape[2] > 4 else x

    torch.manual_seed(0)
    conversion = fxconv.convert(Flat().eval(), [torch.randn(4, 3, 32, 32)], recipe=("none",))
    assert conversion.verified and conversion.rewritten.fixed and conversion.sizes == ()


def test_a_detector_holds_at_other_sizes():
    torch.manual_seed(0)
    conversion = fxconv.convert(networks.detector().eval(), [torch.randn(4, 3, 64, 64)], recipe=("none",))
    assert conversion.verdict == "converted and verified"
    assert conversion.sizes == (SizeCheck((32, 96), ""), SizeCheck((96, 64), ""), SizeCheck((112, 112), ""))


def test_a_traced_model_with_sizes_of_the_example_in_it():
    class Grid(networks.Detector):
        """Makes a grid in Python, of as many places as the example has."""

        def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
            found = super().forward(images)
            rows = [number / 10 for number in range(int(images.shape[2]))]
            return [{**one, "rows": torch.tensor(rows)} for one in found]

    torch.manual_seed(0)
    conversion = fxconv.convert(Grid().eval(), [torch.randn(4, 3, 64, 64)], recipe=("none",))
    assert conversion.verified
    problems = [check.problem for check in conversion.sizes]
    assert [problem.partition(" (")[0] for problem in problems] == ["tracing has fixed what depends on the size"] * 3


class Rooted(nn.Module):
    """Scales by a root of its width, which Python computes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * math.sqrt(x.shape[-1])


@pytest.mark.parametrize("method", [Method.script, Method.trace])
def test_what_only_a_trace_fixes(method):
    torch.manual_seed(0)
    done = fxconv.convert(Rooted().eval(), [torch.rand(8, 3, 64, 64)], method=method, recipe=("none",))
    assert done.verified
    if method is Method.script:
        assert done.sizes == ()
        assert not any("size" in warning for warning in done.warnings)
        return
    narrow, wide, large = done.sizes
    assert narrow.size == (32, 96)
    assert narrow.problem.startswith("tracing has fixed what depends on the size")
    assert wide == SizeCheck((96, 64), "") and large.problem.startswith("tracing has fixed")
    assert narrow.warning in done.warnings
    assert any("tracing took decisions once" in warning for warning in done.warnings)
