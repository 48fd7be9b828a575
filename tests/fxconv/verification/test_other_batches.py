"""Artifacts that hold for other batches than one image, and those that do not, which say so."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

import fxconv
from fxconv.config import Method
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.signature import InputSignature
from fxconv.verification.other_batches import BatchCheck, _of_rows
from fxconv.verification.other_inputs import OtherInputs

FINE = (BatchCheck(3, ""), BatchCheck(2, ""))


def test_rows_are_the_images_and_then_made_of_the_first():
    images = [(torch.rand(1, 3, 4, 4), torch.tensor([number])) for number in range(2)]
    rows, labels = _of_rows([*images, images[0], (torch.rand(1, 3, 8, 8), torch.tensor([9]))], 4)
    assert rows.shape == (4, 3, 4, 4) and labels.tolist() == [0, 1, 0, 0]
    assert torch.equal(rows[:2], torch.cat([images[0][0], images[1][0]]))
    assert len({tuple(row.flatten().tolist()) for row in rows}) == 4
    assert all(row.sort()[0].tolist() == rows[0].flatten().sort()[0].tolist() for row in rows[2:].flatten(1))


def test_a_larger_batch_of_a_batch():
    (rows,) = _of_rows([(torch.rand(4, 3, 4, 4),)], 6)
    assert rows.shape == (6, 3, 4, 4) and len({tuple(row.flatten().tolist()) for row in rows}) == 6
    assert _of_rows([(rows,)], 1)[0].shape == (1, 3, 4, 4)


def test_a_warning_is_a_sentence():
    assert BatchCheck(3, "").warning == ""
    assert BatchCheck(3, "it fails (RuntimeError)", "decided at net.py:7 (len(x))").warning == (
        "the artifact is for the example's batch only: at a batch of 3 it fails (RuntimeError); decided at net.py:7 "
        "(len(x))"
    )


def decided(fixed=(), leaves=(), is_traced=False) -> str:
    lines = [SimpleNamespace(place=place, code="x") for place in fixed]
    found = [SimpleNamespace(reason=f"does not trace: {place}: no", path="head") for place in leaves]
    rewritten = SimpleNamespace(fixed=lines, leaves=found)
    return OtherInputs(nn.Identity(), rewritten, nn.Identity(), InputSignature(("x",)), dict, is_traced).decided


def test_the_lines_that_decided_are_named_as_far_as_they_are_known():
    assert decided(["net.py:1"]) == "decided at net.py:1 (x)"
    assert decided([f"net.py:{line}" for line in range(5)]).endswith("net.py:2 (x) and 2 more")
    assert decided(["net.py:1"], is_traced=True) == "of the lines that decided are known net.py:1 (x)"
    assert decided(leaves=["net.py:9 (y)", ""]).endswith("is not known; these do not trace: net.py:9 (y), head")
    assert decided(is_traced=True) == "which line decided is not known"


class Net(nn.Module):
    """Two convolutions and a classifier; before it something by the size of the batch."""

    def __init__(self, between) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, padding=1), between
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(F.adaptive_avg_pool2d(self.second(self.first(x)), 2), x))


def converted(between, images: int = 4, **options: object) -> fxconv.Conversion:
    torch.manual_seed(0)
    return fxconv.convert(Net(between).eval(), [torch.randn(images, 3, 64, 64)], recipe=("none",), **options)


def by_int(y: Tensor, x: Tensor) -> Tensor:
    rows, channels, height, width = [int(extent) for extent in y.size()]
    return y.view(rows, channels * height * width)


def by_a_condition(y: Tensor, x: Tensor) -> Tensor:
    return -y.flatten(1) if x.shape[0] > 1 else y.flatten(1)


def by_an_even_number(y: Tensor, x: Tensor) -> Tensor:
    return y.flatten(1) if x.shape[0] % 2 else -y.flatten(1)


WRONG = {
    by_int: (3, "it fails (RuntimeError)", "[int(extent) for extent in y.size()]"),
    by_a_condition: (3, "it computes something else than the model (SQNR", "if x.shape[0] > 1"),
    by_an_even_number: (2, "it computes something else than the model (SQNR", "if x.shape[0] % 2"),
}


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("between", WRONG, ids=lambda between: between.__name__)
def test_a_batch_that_a_line_has_decided(between, images):
    conversion = converted(between, images)
    assert conversion.verified
    check, (batch, problem, line) = conversion.batches[-1], WRONG[between]
    assert check.batch == batch and check.problem.startswith(problem)
    assert "test_other_batches.py:" in check.decided and line in check.decided
    assert check.warning in conversion.warnings and f"at a batch of {batch} " in check.warning
    assert conversion.report.json()["other_batches"][-1]["batch"] == batch
    assert not any(check.problem for check in conversion.sizes)


def by_its_size(y: Tensor, x: Tensor) -> Tensor:
    return y.view(y.size(0), -1)


def by_the_height(y: Tensor, x: Tensor) -> Tensor:
    return y.flatten(1) * 2 if x.shape[2] > 8 else y.flatten(1)


@pytest.mark.parametrize(("between", "found"), [(by_its_size, ()), (by_the_height, FINE)])
def test_a_batch_that_is_free(between, found):
    conversion = converted(between)
    assert conversion.verified and conversion.batches == found
    assert not [words for words in conversion.warnings if "batch" in words]
    json.dumps(conversion.report.json())
    console = Console(width=200)
    with console.capture() as shown:
        conversion.report.print(console, full=False)
    assert ("holds for 3 and 2 too" in shown.get()) is bool(found)


class OfOne(nn.Module):
    """Refuses several images at a time, whatever their size, and decides by their height."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[0] == 1, "one image at a time"
        return self.conv(x) * 2 if x.shape[2] > 40 else self.conv(x)


def test_a_batch_that_float_refuses_does_not_keep_sizes_from_being_tried():
    torch.manual_seed(0)
    conversion = fxconv.convert(OfOne().eval(), [torch.randn(1, 3, 64, 64)], recipe=("none",))
    assert conversion.verified and conversion.batches == ()
    assert [check.size for check in conversion.sizes if check.problem] == [(32, 96)]


class OfOneHeight(OfOne):
    """Takes images of one size, and one smaller one, and gives each batch by its number."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] != 32, "not so small"
        return self.conv(x) * (2 if x.shape[0] > 1 else 1)


def test_a_size_that_float_refuses_does_not_keep_the_others_from_being_tried():
    torch.manual_seed(0)
    conversion = fxconv.convert(OfOneHeight().eval(), [torch.randn(1, 3, 64, 64)], recipe=("none",))
    assert [check.size for check in conversion.sizes] == [(96, 64), (112, 112)]
    assert [check.batch for check in conversion.batches if check.problem] == [3]


def test_with_normalization_in_the_graph():
    torch.manual_seed(0)
    options = {"normalize_in_graph": True, "preprocessing": Preprocessing(64, 64)}
    images = [torch.randn(2, 3, 64, 64)]
    wrong = fxconv.convert(Net(by_a_condition).eval(), images, recipe=("none",), **options)
    right = fxconv.convert(Net(by_the_height).eval(), images, recipe=("none",), **options)
    assert [check.batch for check in wrong.batches if check.problem] == [3] and right.batches == FINE


def test_what_only_a_trace_fixes():
    conversion = converted(lambda y, x: y.flatten(1) * math.sqrt(x.shape[0]), 1, method=Method.trace)
    assert conversion.verified
    assert [check.batch for check in conversion.batches if check.problem] == [3]
    assert conversion.batches[0].problem.startswith("tracing has fixed what depends on the batch")


class OfTwo(nn.Module):
    """Takes two images, and joins them by their batch."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        both = torch.cat([self.left(left), self.right(right)], 1)
        return both.view(int(left.shape[0]), 8, -1)


def test_of_several_inputs():
    torch.manual_seed(0)
    pair = [(torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32))]
    conversion = fxconv.convert(OfTwo().eval(), pair, recipe=("none",))
    assert conversion.verified
    assert [check.batch for check in conversion.batches if check.problem] == [3]


class OfLists(nn.Module):
    """Takes a list of images, each by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        return [self.conv(image[None]) if image.shape[1] > 8 else image for image in images]


def test_a_list_of_images_is_one_image_to_an_artifact():
    torch.manual_seed(0)
    conversion = fxconv.convert(OfLists().eval(), [torch.randn(2, 3, 32, 32)], recipe=("none",))
    assert conversion.verified and conversion.batches == ()
