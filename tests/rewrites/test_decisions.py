"""What a forward decided by its buffers while it was traced, and which checkpoints are refused for it."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rewrites import Rewritten, rewrite

IMAGE = torch.rand(1, 3, 4, 4)
BUFFERS = {
    "flag": torch.tensor(True),
    "count": torch.tensor(2),
    "limit": torch.tensor(2),
    "scale": torch.tensor(0.5),
    "strides": torch.tensor([1.0, 2.0, 4.0]),
    "mask": torch.tensor([True, False, True]),
}
OTHERS = {
    "flag": torch.tensor(False),
    "count": torch.tensor(1),
    "limit": torch.tensor(3),
    "scale": torch.tensor(0.25),
    "strides": torch.tensor([4.0, 2.0, 1.0]),
    "mask": torch.tensor([False, False, True]),
}
Way = Callable[[nn.Module, Tensor], Tensor]


class Net(nn.Module):
    """A convolution, and what is done with it by the numbers in a buffer."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.way = way
        for name, value in BUFFERS.items():
            self.register_buffer(name, value.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, self.conv(x))


def rewritten(model: nn.Module) -> Rewritten:
    return rewrite(model.eval(), example=(IMAGE,))


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(IMAGE)


def with_other(model: nn.Module, *names: str) -> nn.Module:
    """A copy with other weights, and other values of these buffers."""
    other = copy.deepcopy(model)
    nn.init.normal_(other.conv.weight)
    for name in names:
        getattr(other, name).copy_(OTHERS[name])
    return other


def by_truth(net, x):
    return x if net.flag else x.relu()


def by_loop(net, x):
    for _ in range(int(net.count)):
        x = x.relu() - 0.1
    return x


def by_numbers(net, x):
    for stride in net.strides:
        x = x + float(stride)
    return x


def by_list(net, x):
    return x * sum(net.strides.tolist()[:2])


def by_array(net, x):
    return x * float(net.strides.numpy()[0])


def by_item(net, x):
    return x * net.scale.item()


def by_arithmetic(net, x):
    return x if net.count + 1 > 2 else x.relu()


def by_comparison(net, x):
    return x if net.count == net.limit else x.relu()


def by_equality(net, x):
    return x if torch.equal(net.count, net.limit) else x.relu()


def by_any_of_several(net, x):
    return x if net.mask[:2].any() else x.relu()


def by_text(net, x):
    return x if str(net.count.item()) == "2" else x.relu()


def by_index(net, x):
    return [x, x.relu(), x.sigmoid()][net.count]


DECIDED = [
    (by_truth, "flag"), (by_loop, "count"), (by_numbers, "strides"), (by_list, "strides"), (by_array, "strides"),
    (by_item, "scale"), (by_arithmetic, "count"), (by_comparison, "limit"), (by_equality, "count"),
    (by_any_of_several, "mask"), (by_text, "count"), (by_index, "count"),
]  # fmt: skip


@pytest.mark.parametrize(("way", "buffer"), DECIDED, ids=lambda value: getattr(value, "__name__", value))
def test_a_checkpoint_by_which_the_forward_goes_another_way_is_refused_before_it_is_loaded(way, buffer):
    model = Net(way)
    found, other = rewritten(model), with_other(model, buffer)
    assert not torch.equal(outputs(found.module), outputs(other))
    before = copy.deepcopy(found.module.state_dict())
    with pytest.raises(ValueError, match=rf"test_decisions\.py:\d+ was decided by [a-z, ]*\b{buffer}\b.* rewrite that"):
        found.load_state_dict(other.state_dict())
    after = found.module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    found.load_state_dict(model.state_dict())  # what was looked into was a copy
    assert torch.equal(outputs(found.module), outputs(model))


@pytest.mark.parametrize("way", [way for way, _ in DECIDED])
def test_other_weights_and_buffers_that_nobody_reads_load(way):
    model = Net(way)
    names = set(OTHERS) - set(way.__code__.co_names)
    other, found = with_other(model, *names), rewritten(model)
    found.load_state_dict(other.state_dict())
    assert torch.equal(outputs(found.module), outputs(other))


def test_the_refusal_says_the_line_the_buffer_and_the_way_out():
    line = by_truth.__code__.co_firstlineno + 1
    with pytest.raises(ValueError) as refused:
        rewritten(Net(by_truth)).load_state_dict(with_other(Net(by_truth), "flag").state_dict())
    code, place = "return x if net.flag else x.relu()", f"test_decisions.py:{line}"
    assert str(refused.value).startswith(f"`{code}` at ") and f"{place} was decided by flag when" in str(refused.value)
    assert str(refused.value).endswith("load it into the original model and rewrite that")


def test_another_number_that_decides_alike_loads():
    model = Net(by_arithmetic)
    other, found = with_other(model), rewritten(model)
    other.count.fill_(7)
    found.load_state_dict(other.state_dict())
    assert torch.equal(outputs(found.module), outputs(other))


def test_what_stays_in_the_graph_follows_the_checkpoint():
    model = Net(lambda net, x: x * net.scale + net.strides.sum())
    other, found = with_other(model, "scale", "strides"), rewritten(model)
    found.load_state_dict(other.state_dict())
    assert torch.equal(outputs(found.module), outputs(other))
    assert found.module.meta["reads"] == ()


def test_a_shape_is_no_number():
    model = Net(lambda net, x: x if len(net.strides) + net.mask.shape[0] + net.conv.weight.shape[0] > 9 else x.relu())
    other, found = with_other(model, *OTHERS), rewritten(model)
    found.load_state_dict(other.state_dict())
    assert torch.equal(outputs(found.module), outputs(other))


def test_numbers_that_are_none_are_the_same():
    def way(net, x):
        return x if net.scale.item() > 1 else x.relu()

    model = Net(way)
    model.scale.fill_(float("nan"))
    other, found = with_other(model), rewritten(model)
    found.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="was decided by scale"):
        found.load_state_dict(with_other(model, "scale").state_dict())


def test_what_a_forward_wrote_into_a_buffer_before_it_decided_is_written_again():
    def way(net, x):
        net.count.add_(1)
        return x if net.count > 2 else x.relu()

    model = Net(way)
    state = copy.deepcopy(model.state_dict())
    found = rewritten(model)
    found.load_state_dict(state)
    assert torch.equal(found.module.state_dict()["count"], state["count"])
    with pytest.raises(ValueError, match="was decided by count"):
        found.load_state_dict(with_other(model, "count").state_dict())


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.register_buffer("flag", torch.tensor(True))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if self.flag else x


def refused(model: nn.Module, found: Rewritten, key: str) -> str:
    state = copy.deepcopy(model.state_dict())
    found.load_state_dict(state)
    state[key].fill_(False)
    with pytest.raises(ValueError) as error:
        found.load_state_dict(state)
    return str(error.value)


def test_of_modules_that_share_a_line_the_refusal_names_the_one():
    model = nn.Sequential(Gated(), nn.Sequential(Gated(), Gated()))
    assert "was decided by 1.1.flag when" in refused(model, rewritten(model), "1.1.flag")


def test_a_module_may_be_called_as_python_calls_something():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleDict({"for": Gated(), "None": Gated()})

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks["None"](self.blocks["for"](x))

    assert "was decided by blocks.for.flag when" in refused(Named(), rewritten(Named()), "blocks.for.flag")


def test_a_decision_in_a_part_of_a_model_that_is_no_graph_is_one():
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Gated(), nn.Sequential(Gated(), Gated())

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            while x.sum() > 1e9:
                x = x / 2
            return self.second(x)

    found = rewritten(Loop())
    assert set(found.graphs) == {"first", "second"}
    assert "was decided by second.1.flag when" in refused(Loop(), found, "second.1.flag")


def test_a_module_that_stays_whole_decides_for_itself():
    class Whole(Gated):
        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return x if self.flag and x.sum() < 1e9 else x.relu()

    model = nn.Sequential(nn.Conv2d(3, 3, 1), Whole())
    other, found = copy.deepcopy(model), rewritten(model)
    other[1].flag.fill_(False)
    found.load_state_dict(other.state_dict())
    assert torch.equal(outputs(found.module), outputs(other))
    assert [leaf.path for leaf in found.leaves] == ["1"]


def test_a_parameter_decides_nothing_once():
    class Scaled(Gated):
        def __init__(self) -> None:
            super().__init__()
            self.alpha = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if self.alpha > 0 else x

    model = nn.Sequential(nn.Conv2d(3, 3, 1), Scaled())
    other, found = copy.deepcopy(model), rewritten(model)
    nn.init.constant_(other[1].alpha, -1.0)
    found.load_state_dict(other.state_dict())
    assert torch.equal(outputs(found.module), outputs(other))
    assert [leaf.path for leaf in found.leaves] == ["1"]


def test_buffers_that_are_in_no_checkpoint_keep_their_values():
    class Kept(Gated):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("limit", torch.tensor(2), persistent=False)
            self.register_buffer("count", torch.tensor(2))

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x) if self.limit > 1 else x
            return x if self.count == self.limit else x.relu()

    model = Kept()
    found, state = rewritten(model), copy.deepcopy(model.state_dict())
    found.load_state_dict(state)
    state["count"].fill_(3)
    with pytest.raises(ValueError, match="was decided by count when"):
        found.load_state_dict(state)


def test_one_that_lacks_the_buffer_and_one_of_another_shape_are_refused_as_ever():
    model = Net(by_item)
    state, found = model.state_dict(), rewritten(model)
    with pytest.raises(RuntimeError, match="size mismatch for scale"):
        found.load_state_dict({**state, "scale": torch.ones(2)})
    del state["scale"]
    with pytest.raises(KeyError, match="scale"):
        found.load_state_dict(state)


def test_a_copy_of_the_graph_knows_what_was_decided():
    assert len(copy.deepcopy(rewritten(Net(by_truth)).module).meta["reads"]) == 1
