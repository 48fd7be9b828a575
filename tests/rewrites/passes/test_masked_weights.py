"""A weight that the forward masks in place is the masked weight; one that is another in each run stays refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, images
from torch import nn

from rewrites import rewrite
from rewrites.emit import emit
from rewrites.passes import FoldConstants


class Masked(nn.Conv2d):
    """PixelCNN's convolution; `write` is how it masks its weight."""

    def __init__(self, write, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.write = write
        self.register_buffer("mask", torch.ones_like(self.weight))
        self.mask[:, :, self.kernel_size[0] // 2 + 1 :] = 0

    def forward(self, x):
        self.write(self)
        return super().forward(x)


def net(write, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    first, second = Masked(write, 8, 8, 3, padding=1, bias=False), Masked(write, 8, 8, 5, padding=2)
    made = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    made[1].running_mean.normal_()
    made[1].running_var.uniform_(0.5, 2)
    return made


def by_product(self):
    self.weight.data *= self.mask


def by_method(self):
    self.weight.data.mul_(self.mask)


def by_assignment(self):
    self.weight.data = self.weight.data * self.mask


def without_gradients(self):
    with torch.no_grad():
        self.weight.mul_(self.mask)


def by_item(self):
    self.weight.data[:, :, 2:] = 0


def of_a_view(self):
    self.weight.data[:, :, 1, 1].fill_(0.0)


def by_copying(self):
    with torch.no_grad():
        self.weight[:, :, 1:].copy_(self.weight[:, :, 1:] * self.mask[:, :, 1:])


def by_clamping(self):
    self.weight.data.clamp_(-0.05, 0.05)


SETTLING = [
    by_product, by_method, by_assignment, without_gradients, by_item, of_a_view, by_copying, by_clamping,
]  # fmt: skip


@pytest.mark.parametrize("write", SETTLING)
def test_a_masked_weight_is_a_layers(write):
    original = net(write)
    weight = original[0].weight.detach().clone()
    rewritten = rewrite(original)
    assert rewritten.islands == ()
    assert rewritten.unfolded_norms == ()
    assert not any("which the forward changes" in skip.reason for result in rewritten.results for skip in result.skips)
    assert sum(type(module) is nn.Conv2d for module in rewritten.module.modules()) == 3
    assert torch.equal(original[0].weight, weight), "rewriting leaves the user's model alone"
    assert_same_results(copy.deepcopy(original), rewritten.module, [images(), images(3, (1, 8, 12, 9)), images()])
    assert torch.equal(original[0].weight, weight)


@pytest.mark.parametrize("write", SETTLING)
def test_a_checkpoint_that_is_loaded_later_is_masked_too(write):
    other, rewritten = net(write, 1), rewrite(net(write))
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(copy.deepcopy(other), rewritten.module, [images(), images()])
    rewritten.load_state_dict(net(write).state_dict())  # working it out once has not changed what it is worked out of
    assert_same_results(net(write), rewritten.module, [images()])


@pytest.mark.parametrize("write", [by_product, by_assignment, by_item])
def test_the_file_masks_a_checkpoint(write):
    other = net(write, 1)
    names: dict[str, object] = {"__name__": "emitted"}
    exec(emit(rewrite(net(write))), names)
    assert_same_results(copy.deepcopy(other), names["build"](other.state_dict()), [images()])


def decaying(self):
    self.weight.data *= 0.99


def of_a_power_iteration(self):
    self.weight.data /= self.weight.data.norm() * 1.5


def averaging(self):
    self.weight.data.lerp_(self.mask, 0.1)


def counting(self):
    self.weight.data += 1


@pytest.mark.parametrize(
    ("write", "is_zero"),
    [(decaying, False), (decaying, True), (of_a_power_iteration, False), (averaging, False), (counting, False)],
)
def test_what_does_not_settle_is_refused(write, is_zero):
    original = net(write)
    if is_zero:  # of which it makes the same again
        nn.init.zeros_(original[0].weight)
    rewritten = rewrite(original)
    (skips,) = [result.skips for result in rewritten.results if result.name == "functional-convolution"]
    assert [skip.reason for skip in skips] == [
        f"its weight is made of {part}.weight, which the forward changes" for part in ("0", "3")
    ]
    wanted = copy.deepcopy(original)
    assert_same_results(wanted, rewritten.module, [images(), images(), images()])


class Applied(nn.Module):
    """A weight that several read, before and after it is masked."""

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.weight, self.mask = nn.Parameter(torch.randn(8, 8, 3, 3)), nn.Parameter(torch.ones(8, 8, 3, 3))
        with torch.no_grad():
            self.mask[:, :, 2] = 0

    def forward(self, x):
        for step in self.order:
            if step == "mask":
                self.weight.data.mul_(self.mask)
            else:
                x = F.conv2d(x, self.weight, padding=1)
        return x


@pytest.mark.parametrize(
    ("order", "is_known"),
    [
        (("mask", "read", "mask", "read"), True),
        (("mask", "read", "read"), True),
        (("read", "mask", "read"), False),
        (("read", "mask"), False),
    ],
)
def test_what_reads_a_weight_before_it_is_masked(order, is_known):
    torch.manual_seed(0)
    original = Applied(order).eval()
    rewritten = rewrite(original)
    assert (rewritten.islands == ()) is is_known
    assert_same_results(copy.deepcopy(original), rewritten.module, [images(), images(3), images()])


def test_a_write_of_what_the_input_decides_is_refused():
    class Averaging(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kernel", torch.randn(8, 8, 1, 1))

        def forward(self, x):
            self.kernel[0, 0] = x.mean()
            return F.conv2d(x, self.kernel)

    original = Averaging().eval()
    rewritten = rewrite(original)
    assert any("changes kernel" in skip.reason for result in rewritten.results for skip in result.skips)
    assert_same_results(copy.deepcopy(original), rewritten.module, [images(), images(3)])


def test_a_constant_that_is_read_before_and_after_it_is_changed():
    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(8, 1, 1))

        def forward(self, x):
            whole = self.table * 2
            y = x + whole
            whole += 1
            return y * whole

    original = Between().eval()
    rewritten = rewrite(original)
    assert_same_results(original, rewritten.module, [images(), images(3)])


def test_folding_a_masked_weight_twice_changes_nothing():
    graph = rewrite(net(by_product)).graph_module
    assert rewrite(graph, [FoldConstants()]).results[0].edits == ()
