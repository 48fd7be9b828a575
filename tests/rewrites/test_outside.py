"""What the source of a module that does not trace says of the modules in it."""

import pytest
import torch
from passcheck import conv, images, model
from torch import nn

from rewrites.calls import record_calls
from rewrites.outside import Outside


class Block(nn.Module):
    """One input, a flag, a mask and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mode = conv(), "a"

    def forward(self, x, flag=False, mask=None, *, levels=()):
        return self.conv(x)


def read(forward, **parts: nn.Module) -> tuple[nn.Module, Outside]:
    """A model with this forward, and what its source says."""
    host, outside = model(forward, **parts), Outside()
    outside.add(host)
    return host, outside


def other_call(forward) -> str:
    """Which arguments of `block` the source gives in another way than the run shows."""
    host, outside = read(forward, block=Block(), blocks=nn.ModuleList([Block()]))
    call = record_calls(host, images())[host.block]
    return outside.other_call(host.block, call)


def by_keyword(self, x):
    return self.block(x) if x.sum() > -1e9 else self.block(x, flag=True)


def by_place(self, x):
    return self.block(x) if x.sum() > -1e9 else self.block(x, True)


def fewer(self, x):
    return self.block(x, mask=x) if x.sum() > -1e9 else self.block(x)


def by_another_name(self, x):
    block = self.block
    return block(x) if x.sum() > -1e9 else block(x, mask=x)


def in_a_loop(self, x):
    self.block(x)
    for block in self.blocks:
        x = block(x) if x.sum() > -1e9 else block(x, mask=x)
    return x


def by_getattr(self, x):
    return self.block(x) if x.sum() > -1e9 else getattr(self, "block")(x, mask=x)  # noqa: B009


def starred(self, x):
    given = (x,)
    return self.block(*given)


def of_another_length(self, x):
    return self.block(x, levels=[x]) if x.sum() > -1e9 else self.block(x, levels=[x, x])


@pytest.mark.parametrize(
    ("forward", "names"),
    [
        (by_keyword, "flag"), (by_place, "flag"), (fewer, "mask"), (by_another_name, "mask"), (in_a_loop, "mask"),
        (by_getattr, "mask"), (starred, "flag, levels, mask"), (of_another_length, "levels"),
    ],
)  # fmt: skip
def test_another_branch_gives_other_arguments(forward, names):
    assert other_call(forward) == names


def alike(self, x):
    return self.block(x) if x.sum() > -1e9 else self.block(x=x * 2)


def of_something_else(self, x):
    y = self.block(x)
    block = {"a": y}
    return torch.clamp(y, 0, 1).view(len(block), -1, 8, 8) if x.sum() > -1e9 else y.flip(2, 3)


@pytest.mark.parametrize("forward", [alike, of_something_else])
def test_all_branches_give_the_same(forward):
    assert other_call(forward) == ""


def test_what_forward_calls_on_itself_is_read_and_nothing_else():
    class Host(nn.Module):
        """Its block is called by a helper, through a property; training does it otherwise."""

        def __init__(self) -> None:
            super().__init__()
            self.block, self.other = Block(), Block()

        def forward(self, x):
            return self._helper(x) + self.prepared(x)

        def _helper(self, x):
            return self.block(x) if x.sum() > -1e9 else self.block(x, mask=x)

        @property
        def prepared(self):
            return lambda x: self.other(x)

        def training_step(self, x):
            self.other.mode = "b"
            return self.other(x, mask=x)

    host, outside = Host(), Outside()
    outside.add(host)
    calls = record_calls(host, images())
    assert outside.other_call(host.block, calls[host.block]) == "mask"
    assert outside.other_call(host.other, calls[host.other]) == ""
    assert outside.written(host.other) == ""


def test_source_that_cannot_be_read_may_do_anything():
    scope: dict = {}
    exec("def forward(self, x):\n    return self.block(x)", scope)
    host, outside = read(scope["forward"], block=Block(), plain=conv())
    call = record_calls(host, images())[host.block]
    assert outside.other_call(host.block, call) == "flag, levels, mask"
    assert not outside.always_gives(host.block, "flag", True)


def sets(self, x):
    self.block.mode = "b"
    return self.block(x)


def sets_by_another_name(self, x):
    for one in self.blocks:
        one.mode = "b"
    return self.block(x)


def sets_by_a_function(self, x):
    setattr(self.block, "mode", "b")  # noqa: B010
    return self.block(x)


def sets_its_own(self, x):
    self.mode = "b"
    return self.block(x)


@pytest.mark.parametrize(
    ("forward", "name"),
    [(sets, "mode"), (sets_by_another_name, "mode"), (sets_by_a_function, "mode"), (sets_its_own, "")],
)
def test_an_attribute_that_is_set(forward, name):
    host, outside = read(forward, block=Block(), blocks=nn.ModuleList())
    assert outside.written(host.block) == name


def once(self, x):
    return self.block(x, flag=True)


def twice(self, x):
    return self.block(x, flag=True) if x.sum() > 0 else self.block(x, True)


def differently(self, x):
    return self.block(x, flag=True) if x.sum() > 0 else self.block(x, flag=False)


def worked_out(self, x):
    return self.block(x, flag=x.shape[0] > 1)


@pytest.mark.parametrize(
    ("forward", "expected"), [(once, True), (twice, True), (differently, False), (worked_out, False)]
)
def test_a_value_that_is_written_in_every_branch(forward, expected):
    host, outside = read(forward, block=Block())
    assert outside.always_gives(host.block, "flag", True) is expected
    assert not outside.always_gives(host.block, "flag", 1)


def test_what_is_read_of_a_layer():
    def forward(self, x):
        x = x.to(self.block.conv.weight.dtype) * self.block.conv.stride[0]
        if self.block.conv.bias is not None and self.first.weight.size(0) > 1:
            x = x + self.first.bias.sum()
        return self.block(x) + self.block.conv(x)

    host, outside = read(forward, block=Block(), first=conv())
    found = [(part, read.place.names, read.takes_values, read.is_called) for part, read in outside.reads_of(host)]
    inner = host.block.conv
    assert (inner, ("weight", "dtype"), False, False) in found
    assert (inner, ("bias",), False, False) in found
    assert (inner, ("stride",), False, False) in found
    assert (inner, (), False, True) in found
    assert (host.first, ("weight", "size"), False, False) in found
    assert (host.first, ("bias", "sum"), True, False) in found
