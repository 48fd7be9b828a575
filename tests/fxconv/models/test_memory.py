"""Models that remember what they were called with: refused, even with one image; those with caches are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fxconv_commands import assert_user_error
from torch import Tensor, nn

from fxconv.errors import UserError
from fxconv.models import memory, preconditions


class Net(nn.Module):
    """A convolution, and what the test does with its input and output; `inner` is a child to keep things in."""

    shared: Any = None

    def __init__(self, does: Callable[[Any, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.inner, self.does = nn.Conv2d(3, 4, 3, padding=1), nn.Identity(), does
        self.last: Any = None
        self.calls = 0
        self.seen: list[Any] = []
        self.inner.known = {}
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Any:
        return self.does(self, x, self.conv(x))


def last_frame(net: Net, x: Tensor, y: Tensor) -> Tensor:
    before = x if net.last is None else net.last
    net.last = x
    return y + net.conv(x - before)


def last_frame_of_its_size(net: Net, x: Tensor, y: Tensor) -> Tensor:
    before = net.last if net.last is not None and net.last.shape == x.shape else x
    net.last = x
    return y + net.conv(x - before)


def a_buffer_in_place(net: Net, x: Tensor, y: Tensor) -> Tensor:
    net.mean.mul_(0.9).add_(x.mean((0, 2, 3)), alpha=0.1)
    return y * net.mean.sum()


def a_list(net: Net, x: Tensor, y: Tensor) -> Tensor:
    net.seen.append(x.mean())
    return y + sum(net.seen) / len(net.seen)


def a_dict_of_a_child(net: Net, x: Tensor, y: Tensor) -> Tensor:
    before = net.inner.known.get("x", x)
    net.inner.known["x"] = x
    return y + before.mean()


def every_second_call(net: Net, x: Tensor, y: Tensor) -> Tensor:
    net.calls += 1
    return y if net.calls % 2 else -y


def every_third_call(net: Net, x: Tensor, y: Tensor) -> Tensor:
    net.calls += 1
    return y if net.calls % 3 else -y


def from_the_third_call_on(net: Net, x: Tensor, y: Tensor) -> Tensor:
    net.calls += 1
    return y if net.calls < 3 else -y


def first_input(net: Net, x: Tensor, y: Tensor) -> Tensor:
    if net.last is None:
        net.last = x.mean()
    return y - net.last


REMEMBERING = {
    last_frame: "self.last",
    last_frame_of_its_size: "self.last",
    a_buffer_in_place: "self.mean",
    a_list: "self.seen",
    a_dict_of_a_child: "self.inner.known",
    every_second_call: "self.calls",
    every_third_call: "self.calls",
    from_the_third_call_on: "self.calls",
    first_input: "self.last",
}


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("does", REMEMBERING, ids=lambda does: does.__name__)
def test_what_is_remembered_is_named(does, images, batches):
    with pytest.raises(UserError) as refused:
        preconditions.reference(Net(does).eval(), [(batches[0][row : row + 1],) for row in range(images)])
    assert "gives different outputs for the same input (they differ by up to " in str(refused.value)
    assert f"it remembers earlier inputs or calls, in {REMEMBERING[does]};" in str(refused.value)


def shared_by_the_class(net: Net, x: Tensor, y: Tensor) -> Tensor:
    before = x if Net.shared is None else Net.shared
    Net.shared = x
    return y + before.mean()


def test_what_is_remembered_outside_of_the_model_is_refused_too(batches):
    Net.shared = None
    try:
        with pytest.raises(UserError, match="different outputs for the same input"):
            preconditions.reference(Net(shared_by_the_class).eval(), [(batches[0][:1],)])
    finally:
        Net.shared = None


def cached_by_size(net: Net, x: Tensor, y: Tensor) -> Tensor:
    if net.last is None or net.last.shape != x.shape[2:]:
        net.last = torch.linspace(0, 1, x.shape[2] * x.shape[3]).view(x.shape[2:])
    return y + net.last


def cached_in_a_dict(net: Net, x: Tensor, y: Tensor) -> Tensor:
    key = tuple(x.shape)
    if key not in net.inner.known:
        net.inner.known[key] = torch.ones(x.shape[2:]) / x.shape[2]
    return y * net.inner.known[key]


def kept_for_others(net: Net, x: Tensor, y: Tensor) -> Tensor:
    net.seen.clear()
    net.seen.append(y)
    net.last, net.calls = y, net.calls + 1
    net.mean += 1
    return y + net.seen[0]


def of_some_values(net: Net, x: Tensor, y: Tensor) -> Tensor:
    assert x.max() > 2.5, "an image of that contrast"
    net.last = x
    return y


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("does", [cached_by_size, cached_in_a_dict, kept_for_others, of_some_values])
def test_what_makes_no_difference_may_be_kept(does, images, batches):
    net, given = Net(does).eval(), [(batches[0][row : row + 1].clone(),) for row in range(images)]
    for (image,) in given:
        image[0, 0, 0, 0] = 2.6
    found = preconditions.reference(net, given)
    assert len(found) == images and net.last is None and net.calls == 0 and net.seen == [] and net.inner.known == {}
    with torch.no_grad():
        assert all(torch.equal(net(image), answer) for (image,), (answer,) in zip(given, found, strict=True))


def test_a_draw_is_told_from_a_memory(batches):
    def drawn(net: Net, x: Tensor, y: Tensor) -> Tensor:
        net.last = y
        return y + torch.rand(())

    with pytest.raises(UserError, match=r"switch off what draws random numbers"):
        preconditions.reference(Net(drawn).eval(), [(batches[0][:1],)])


def test_another_input_is_of_the_same_kind():
    image, label, mask = torch.rand(1, 3, 4, 4), torch.arange(3), torch.tensor([True, False])
    other = memory.another(([image, image[:, :, :2]], label, mask, torch.tensor(2.0), 7))
    assert [value.shape for value in other[0]] == [(1, 3, 4, 4), (1, 3, 2, 4)]
    assert not torch.equal(other[0][0], image) and other[0][0].min() >= 0 and other[0][0].max() <= 1
    assert other[1] is label and other[2] is mask and other[3] == 1.625 and other[4] == 7
    assert not torch.equal(memory.another((torch.zeros(1, 3, 2, 2),))[0], torch.zeros(1, 3, 2, 2))


class OfLists(nn.Module):
    """Takes a list of images, and keeps the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), None

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        before, self.last = self.last, images[0]
        return [self.conv(image if before is None else (image + before) / 2) for image in images]


def test_of_a_list_of_images():
    with pytest.raises(UserError, match=r"it remembers earlier inputs or calls, in self\.last"):
        preconditions.reference(OfLists().eval(), [([torch.rand(3, 8, 8)],)])


REMEMBERING_NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3, padding=1), None

    def forward(self, x):
        before = x if self.last is None else self.last
        self.last = x
        return self.conv(x) + self.conv(x - before)
"""


def test_on_the_command_line_with_one_image(command):
    Path("net.py").write_text(REMEMBERING_NET)
    run = command("convert", "net.py:Net", "--input-size", "16", "--calib-count", "1")
    assert_user_error(run, "it remembers earlier inputs or calls, in self.last;")
