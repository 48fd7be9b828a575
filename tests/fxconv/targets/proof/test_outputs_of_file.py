"""What a file returns, from a process of its own: every tensor by its name, as many images at a time as fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fxconv.errors import UserError
from fxconv.targets.mobile.lowering import to_bytes
from fxconv.targets.proof import outputs_of_file as module
from fxconv.targets.proof.outputs_of_file import outputs_of_file

pytestmark = pytest.mark.usefixtures("warm_processes_of_its_own")


class Above(nn.Module):
    """As many numbers as are above 0, and all of them."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"above": x[x > 0], "whole": x}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "above.ptl"
    path.write_bytes(to_bytes(torch.jit.script(Above())))
    return path


def drawn(count):
    return [(image,) for image in torch.randn(count, 1, 6, generator=torch.Generator().manual_seed(0))]


def check(found, images):
    assert [[name for name, _ in outputs] for outputs in found] == [["above", "whole"]] * len(images)
    for outputs, (image,) in zip(found, images, strict=True):
        assert torch.equal(outputs[0][1], image[image > 0]) and torch.equal(outputs[1][1], image)


def test_outputs_are_of_their_image_however_many_each_has(path):
    images = drawn(5)
    assert len({int((image > 0).sum()) for (image,) in images}) > 1
    check(outputs_of_file(path, images, 60, 2000), images)


@pytest.mark.parametrize("at_once", [1, 60])  # bytes: an image at a time, and two (each has 24)
def test_many_images_go_a_few_at_a_time(at_once, path, monkeypatch):
    given, some = [], module._some

    def counted(path, images, *limits):
        given.append(len(images))
        return some(path, images, *limits)

    monkeypatch.setattr(module, "AT_ONCE", at_once)
    monkeypatch.setattr(module, "_some", counted)
    images = drawn(5)
    check(outputs_of_file(path, images, 60, 2000), images)
    assert given == ([1] * 5 if at_once == 1 else [2, 2, 1])


def test_an_answer_that_is_too_large_stops_there_and_the_rest_follows(path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 1)
    assert len(module._told(path, drawn(3), 4096)["names"]) == 1
    monkeypatch.setattr(module, "AT_ONCE", 1 << 20)
    assert len(module._told(path, drawn(3), 4096)["names"]) == 3


def test_what_it_does_not_take_is_told_in_one_line(path, tmp_path):
    other = tmp_path / "linear.ptl"
    other.write_bytes(to_bytes(torch.jit.script(nn.Linear(3, 4))))
    with pytest.raises(UserError, match=r"linear\.ptl: does not run on an input of 6") as told:
        outputs_of_file(other, drawn(1), 60, 2000)
    assert "\n" not in str(told.value)


def test_too_little_memory_names_the_option(tmp_path):
    class Large(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(1 << 28) + x.sum()

    path = tmp_path / "large.ptl"
    path.write_bytes(to_bytes(torch.jit.script(Large())))
    with pytest.raises(UserError, match=r"large\.ptl: needs more than 64 MB; raise --memory"):
        outputs_of_file(path, drawn(1), 60, 64)
