"""Writes into a part of a tensor: new tensors with the same values, for images of any size and number."""

import copy
from collections import Counter

import pytest
import torch
from passcheck import conv, model, tensors
from torch import fx, nn

from rewrites import DEFAULT_PASSES, memory, rewrite, run_pass
from rewrites.diff import graph_lines
from rewrites.memory import aliases, changes_in_place

SHAPES = ((2, 8, 8, 8), (1, 8, 8, 8), (3, 8, 11, 7), (1, 8, 6, 5))


def forward_of(write):
    def forward(self, x):
        y = self.conv(x)
        return self.last(write(self, x, y))

    return forward


def network(write):
    torch.manual_seed(0)
    parts = {"index": torch.tensor([6, 1, 3]), "anchors": torch.tensor([2.0, 3.0])}
    return model(forward_of(write), conv=conv(), other=conv(8, 4), last=conv(), relu=nn.ReLU(inplace=True), **parts)


def rewritten(net, example):
    """The model after all passes, held against the original on images of other sizes and numbers."""
    made = rewrite(copy.deepcopy(net), example=(torch.randn(example),))
    for shape in SHAPES:
        image = torch.randn(shape) * 2
        with torch.no_grad():
            wanted, got = tensors(net(image.clone())), tensors(made.module(image.clone()))
        for one, other in zip(wanted, got, strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other), shape
    return made


def left(made):
    graphs = made.graphs.values()
    return [node.name for graph in graphs for node in graph.graph.nodes if changes_in_place(graph, node)]


def case(write, islands=0):
    return pytest.param(write, islands, id=write.__name__)


def a_number(self, x, y):
    y[:, 0] = 0
    return y


def what_was_there(self, x, y):
    y[:, 0:4] = torch.sigmoid(y[:, 0:4])
    return y


def another_layer(self, x, y):
    y[:, 0:4] = torch.sigmoid(self.other(x))
    return y


def the_last_channel(self, x, y):
    y[:, -1] = 0.5 * y[:, 4]
    y[:, -3:-1] = 1
    return y


def the_middle_of_the_image(self, x, y):
    y[:, :, 1:-1, 1:-1] = 0.5
    y[:, :, 0] = x[:, :, 1]
    y[..., -2:] = x[..., :2]
    return y


def every_other_row(self, x, y):
    y[:, 2:4, ::2] *= 2
    return y


def places_by_size(self, x, y):
    half = y.shape[2] // 2
    y[:, :, :half] = 0
    y[:, :, half] = 1
    return y


def a_value_that_is_broadcast(self, x, y):
    y[:, 0:4] = x.mean((2, 3), keepdim=True)[:, :4]
    y[:, 4] = x[:1, 0]
    y[0] = 1
    return y


def axes_that_come_and_go(self, x, y):
    y[:, None, 0:2] = x[:, None, 2:4]
    y[:, 1, 2, 3] = 7
    y[0, 1] = 2
    return y


def other_types(self, x, y):
    y[:, 0] = x[:, 0] > 0
    y[:, 1] = x[:, 1].double()
    y += x.double()
    return y


def nothing_at_all(self, x, y):
    y[:, 4:2] = 5
    y[:, 8:] = 3
    y[:, :, 100:] = 1
    return y


def half_of_a_chunk(self, x, y):
    a, b = y.chunk(2, 1)
    a.mul_(2)
    return y + torch.cat((b, a), 1)


def both_halves_of_a_split(self, x, y):
    a, b = y.split([3, 5], 1)
    a.mul_(2)
    b.add_(1)
    return y


def a_view_written_twice(self, x, y):
    part = y[:, :4]
    part.mul_(2)
    part.add_(1)
    part[:, 1].zero_()
    return y


def views_that_overlap(self, x, y):
    one, other = y[:, :4], y[:, 2:6]
    one.mul_(2)
    other.add_(1)
    one.relu_()
    return y + other.mean((1, 2, 3), keepdim=True)


def views_in_other_dims(self, x, y):
    flat = y.view(y.size(0), -1)
    flat += 1
    turned = y.permute(0, 2, 3, 1)
    turned[..., :2] = 0
    y.flatten(2)[:, 3].mul_(2)
    y.transpose(2, 3)[:, :, 0] = 1
    return y


def turned_and_read_again(self, x, y):
    y = y + x
    y.permute(0, 2, 3, 1)[..., :2] = 0
    y.transpose(1, 3)[:, :, 0] = 1
    y.movedim(1, -1)[..., 3].mul_(2)
    return y


def named_parts(self, x, y):
    y.select(1, 3).mul_(2)
    y.narrow(1, 4, 2).add_(1)
    y.unbind(1)[7].zero_()
    return y


def through_a_module(self, x, y):
    self.relu(y[:, :4])
    return y


def copied_and_filled(self, x, y):
    y[:, :2].copy_(x[:, 4:6])
    y[:, 2:4].fill_(0.3)
    other = torch.relu(y)
    other.copy_(x)
    other[:, 0] = 1
    return y + other + x


def through_out(self, x, y):
    into = torch.empty_like(y)
    torch.add(x, y, out=into)
    torch.sigmoid(into[:, :4], out=into[:, :4])
    return into


def a_stack_filled_in_a_loop(self, x, y):
    out = x.new_zeros(x.shape[0], 8, x.shape[2], x.shape[3])
    for at in range(8):
        out[:, at] = y[:, at] * (at + 1)
    return out


def halves_filled_in_a_loop(self, x, y):
    out = torch.zeros(x.size(0), 8, x.size(2), x.size(3))
    for at in range(2):
        out[:, at * 4 : (at + 1) * 4] = self.other(x + at)
    return out


def a_part_of_zeros(self, x, y):
    out = torch.zeros_like(x)
    out[:, 2:4] = y[:, 2:4]
    return out


def channels_shifted_in_time(self, x, y):
    count, channels, height, width = y.shape
    clip = y.view(1, count, channels, height, width)
    out = torch.zeros_like(clip)
    out[:, :-1, :2] = clip[:, 1:, :2]
    out[:, 1:, 2:4] = clip[:, :-1, 2:4]
    out[:, :, 4:] = clip[:, :, 4:]
    return out.view(count, channels, height, width)


def one_channel_from_the_last(self, x, y):
    for at in range(1, 4):
        y[:, at] += y[:, at - 1]
    return y


def boxes(self, x, y):
    y = y.permute(0, 2, 3, 1).sigmoid()
    y[..., 0:2] = (y[..., 0:2] * 2 - 0.5) * 4
    y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * self.anchors
    return x + y.permute(0, 3, 1, 2)


def by_a_mask(self, x, y):
    y[y < 0] = 0
    mask = x > 0
    y[mask] = x[mask]
    y[x[:, 0, 0, 0] > 0] = 1.0
    return y


def by_indices(self, x, y):
    y[:, [0, 2, 5]] = 3.0
    y[:, self.index] = x[:, :3]
    y.index_fill_(1, self.index, 0.0)
    y.index_copy_(1, self.index, x[:, :3])
    y.masked_fill_(y > 1, 0.0)
    return y


def a_tensor_made_of_numbers(self, x, y):
    scale = torch.ones(8)
    before = y.permute(0, 2, 3, 1) + scale
    scale[0] = x.mean()
    scale[1:3].mul_(2)
    return before.permute(0, 3, 1, 2) * scale.view(1, 8, 1, 1)


def a_view_read_before(self, x, y):
    scale = torch.ones(8)
    before = y + scale.view(1, 8, 1, 1)
    scale[0] = x.mean()
    return before * scale.view(1, 8, 1, 1)


WRITES = [
    case(a_number), case(what_was_there), case(another_layer), case(the_last_channel), case(the_middle_of_the_image),
    case(every_other_row, 1), case(places_by_size), case(a_value_that_is_broadcast, None),
    case(axes_that_come_and_go, None),
    case(other_types, None), case(nothing_at_all), case(half_of_a_chunk), case(both_halves_of_a_split),
    case(a_view_written_twice), case(views_that_overlap), case(views_in_other_dims), case(turned_and_read_again),
    case(named_parts),
    case(through_a_module), case(copied_and_filled, None), case(through_out), case(a_stack_filled_in_a_loop),
    case(halves_filled_in_a_loop), case(a_part_of_zeros), case(channels_shifted_in_time, None),
    case(one_channel_from_the_last), case(boxes, None), case(by_a_mask, None), case(by_indices, None),
]  # fmt: skip


@pytest.mark.parametrize("example", [(2, 8, 8, 8), (1, 8, 8, 8)], ids=["two images", "one image"])
@pytest.mark.parametrize(("write", "islands"), WRITES)
def test_the_values_are_the_same_at_other_sizes(write, islands, example):
    made = rewritten(network(write), example)
    assert left(made) == [] and made.leaves == ()
    if islands is not None:
        assert len(made.islands) == islands, [island.reason for island in made.islands]


def test_a_tensor_that_the_forward_made_of_numbers():
    made = rewritten(network(a_tensor_made_of_numbers), (2, 8, 8, 8))
    assert left(made) == [] and made.leaves == ()


def test_memory_shared_with_a_tensor_that_was_read_is_not_seen():
    (leaf,) = rewritten(network(a_view_read_before), (2, 8, 8, 8)).leaves
    assert "shares memory with another that was" in leaf.reason


def test_parts_that_are_all_written_are_joined_once():
    made = rewritten(network(halves_filled_in_a_loop), (1, 8, 8, 8))
    assert [line for line in graph_lines(made.graph_module) if "cat" in line] == [
        "setitem_1 = self.cat([other, other_1])  # Cat(dim=1)"
    ]


def test_a_part_assigned_to_itself_is_written_once():
    made = rewritten(network(one_channel_from_the_last), (2, 8, 8, 8))
    assert sum("self.cat" in line for line in graph_lines(made.graph_module)) == 1


def test_reads_what_is_decided_by_a_number_written():
    # The tensor was made of numbers; what is written into it is not known while tracing.
    def forward(self, x):
        total = torch.zeros(x.shape[0])
        total[0] = x.mean()
        return self.conv(x) if total[0] > 0 else self.last(x)

    net = model(forward, conv=conv(), last=conv())
    made = rewrite(copy.deepcopy(net), example=(torch.randn(1, 8, 8, 8),))
    for image in (torch.rand(1, 8, 8, 8), -torch.rand(1, 8, 8, 8)):
        assert torch.equal(made.module(image), net(image))


def test_a_tensor_of_the_models_own_is_not_taken_for_one_of_the_forward():
    def forward(self, x):
        self.count.add_(x.mean())
        return self.conv(x) + self.count

    net = model(forward, conv=conv())
    net.count = torch.zeros(1)  # no buffer: the model keeps it all the same
    (leaf,) = rewrite(net, example=(torch.randn(1, 8, 8, 8),)).leaves
    assert leaf.reason.endswith("a tensor that the model keeps between calls is written into")


def test_the_callers_image_stays_as_it_was():
    def forward(self, x):
        x[:, 0] = x[:, 0] * 0.5 - 0.03
        x[:, 2].sub_(0.1)
        return self.conv(x)

    net = model(forward, conv=conv())
    made = rewritten(net, (2, 8, 8, 8))
    image = torch.randn(2, 8, 8, 8)
    kept = image.clone()
    made.module(image)
    assert left(made) == [] and torch.equal(image, kept)
    words = [edit.reason for result in made.results for edit in result.edits]
    assert "x is not changed in place: the caller's tensor stays as it was, and is observed once" in words


def test_a_network_without_writes_has_no_edits():
    net = model(lambda self, x: self.last(torch.relu(self.conv(x))[:, :8]), conv=conv(), last=conv())
    made = rewrite(net, example=(torch.randn(1, 8, 8, 8),))
    assert [result.edits for result in made.results if result.name == "out-of-place"] == [()]


# -- writes that stay ----------------------------------------------------------------------------------


def through_a_reshape(self, x, y):
    y.transpose(1, 2).reshape(y.shape[0], -1)[:, ::2] = 5
    return y


def through_a_copy_and_a_reshape(self, x, y):
    y.permute(0, 2, 3, 1).contiguous()[..., 0] = 0
    flat = y.reshape(y.shape[0], -1)
    flat[:, 0] = 100
    return y


def through_a_diagonal(self, x, y):
    y.diagonal(0, 2, 3).mul_(0.5)
    return y


STAYING = (through_a_reshape, through_a_copy_and_a_reshape, through_a_diagonal)


@pytest.mark.parametrize("write", STAYING, ids=lambda write: write.__name__)
def test_a_layer_behind_a_write_that_stays_is_int8_and_a_second_run_changes_nothing(write):
    made = rewritten(network(write), SHAPES[0])
    assert left(made)
    assert not any("last" in island.nodes for island in made.islands)
    for graph in made.graphs.values():
        again = {rule.name: run_pass(graph, rule).edits for rule in DEFAULT_PASSES}
        assert not any(again.values()), again


def test_a_layer_between_two_writes_that_stay_reads_the_value_itself():
    def between(self, x, y):
        through_a_diagonal(self, x, y)
        first = self.other(y)
        through_a_diagonal(self, x, y)
        return y + first.mean(1, keepdim=True)

    made = rewritten(network(between), SHAPES[0])
    assert len(left(made)) == 2
    assert any("other" in island.nodes for island in made.islands)


# -- many writes ---------------------------------------------------------------------------------------


def windows_added_to_a_canvas(self, x, y):
    canvas = torch.zeros(y.shape)
    for top in range(0, y.shape[2] - 3, 2):
        for at in range(0, y.shape[3] - 3, 2):
            canvas[:, :, top : top + 4, at : at + 4] += torch.tanh(y[:, :, top : top + 4, at : at + 4])
    return canvas


def test_each_reader_of_what_is_written_many_times_is_told_of_once():
    net, image = network(windows_added_to_a_canvas), torch.randn(1, 8, 12, 12)
    made = rewrite(net, example=(image,))
    assert left(made) == []
    with torch.no_grad():
        assert torch.equal(net(image), made.module(image))
    (result,) = [one for one in made.results if one.name == "out-of-place"]
    told = Counter(edit.node for edit in result.edits if "in place" in edit.reason and edit.before and edit.after)
    assert len(told) > 25 and max(told.values()) <= 2  # who it reads, and what it becomes itself


def test_changes_of_tensors_that_nobody_asks_about_are_not_looked_into(monkeypatch):
    looked = []

    def counted(*arguments):
        looked.append(arguments)
        return aliases(*arguments)

    monkeypatch.setattr(memory, "aliases", counted)

    def forward(self, x, asked):
        asked[:1].mul_(2)
        x.add_(1)
        y = torch.relu(x)
        y[:, 0].zero_()
        return y + asked.sum()

    graph_module = fx.symbolic_trace(model(forward))
    asked = next(node for node in graph_module.graph.nodes if node.target == "asked")
    ((change, shared),) = memory.changes_touching(graph_module, {asked})
    assert change.target == "mul_" and asked in shared and len(looked) == 1
