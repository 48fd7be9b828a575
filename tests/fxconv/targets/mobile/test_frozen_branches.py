"""Numbers of a tensor that Python gets while a trace runs, by every way to ask for them, and what is no such thing."""

from __future__ import annotations

import copy
import importlib.util
import math
import warnings

import numpy as np
import pytest
import torch
import torchvision
from torch import equal, nn

from fxconv.targets.mobile.frozen_branches import FrozenBranches, watched

HERE = "tests/fxconv/targets/mobile/test_frozen_branches.py"
IMAGE = torch.linspace(0.1, 1.0, 48).reshape(1, 3, 4, 4)


class Asking(nn.Module):
    """A module that does what it is given, with weights, buffers and a plain tensor to ask."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.given, self.conv, self.plain = forward, nn.Conv2d(3, 3, 1), torch.ones(2)
        self.register_buffer("table", torch.arange(3.0))

    def forward(self, x):
        return self.given(self, x)


def seen_in(forward) -> FrozenBranches:
    module = Asking(forward).eval()
    with warnings.catch_warnings(), torch.no_grad(), watched() as found:
        warnings.simplefilter("ignore")
        torch.jit.trace(module, (IMAGE.clone(),), check_trace=False, strict=False)
    return found


@torch.jit.script
def doubled_sum(x):
    return x.sum() * 2


def written_by_index(m, x):
    y = torch.zeros(3)
    y[0] = x.sum()
    return x if y[0] > 0 else -x


def written_through_a_view(m, x):
    y = torch.zeros(3)
    y[1:][0].copy_(x.sum())
    return x if y.sum() > 0 else -x


def written_through_a_part(m, x):
    y = torch.zeros(2)
    first, _ = y.unbind(0)
    first.add_(x.sum())
    return x if y.sum() > 0 else -x


FROZEN = {
    "bool": lambda m, x: x if x.sum() > 0 else -x,
    "not": lambda m, x: x if not x.any() else -x,
    "and": lambda m, x: x if x.any() and m.training else -x,
    "int": lambda m, x: x * int(x.sum()),
    "float": lambda m, x: x * float(x.sum()),
    "complex": lambda m, x: x * abs(complex(x.sum())),
    "index of a list": lambda m, x: x * [1, 2][(x.sum() > 0).long()],
    "range": lambda m, x: x * len(range(x.sum().long())),
    "item": lambda m, x: x * x.sum().item(),
    "tolist": lambda m, x: x * x.flatten().tolist()[0],
    "numpy": lambda m, x: x * float(x.detach().numpy().sum()),
    "np.asarray": lambda m, x: x * float(np.asarray(x).sum()),
    "np.float32": lambda m, x: x * float(np.float32(x.sum())),
    "dlpack": lambda m, x: x * torch.from_dlpack(x),
    "in a tensor": lambda m, x: x if 1.0 in x else -x,
    "in a tuple": lambda m, x: x if x.sum() in (1, 2) else -x,
    "torch.equal": lambda m, x: x if torch.equal(x, x) else -x,
    "equal, imported": lambda m, x: x if equal(m.plain[0], x[0, 0, 0, 0]) else -x,
    "Tensor.equal": lambda m, x: x if x.equal(x + 1) else -x,
    "torch.allclose": lambda m, x: x if torch.allclose(x, x) else -x,
    "Tensor.allclose": lambda m, x: x if x.allclose(x) else -x,
    "torch.is_nonzero": lambda m, x: x if torch.is_nonzero(x.sum()) else -x,
    "Tensor.is_nonzero": lambda m, x: x if x.sum().is_nonzero() else -x,
    "math": lambda m, x: x * math.floor(x.sum()),
    "max of Python": lambda m, x: x * max(x.sum(), x.mean()),
    "sorted": lambda m, x: x * sorted([x.sum(), x.mean()])[0],
    "any of Python": lambda m, x: x if any(x.flatten()[:2] > 2) else -x,
    "data": lambda m, x: x * x.data,
    "deepcopy": lambda m, x: x * copy.deepcopy(x),
    "torch.tensor": lambda m, x: x * torch.tensor([x.sum(), 1.0])[0],
    "torch.as_tensor": lambda m, x: x * torch.as_tensor([x.sum(), 1.0])[0],
    "torch.Tensor": lambda m, x: x * torch.Tensor([x.sum()])[0],
    "new_tensor": lambda m, x: x * x.new_tensor([x.sum(), 1.0])[0],
    "behind a script": lambda m, x: x if doubled_sum(x) > 0 else -x,
    "written by index": written_by_index,
    "written through a view": written_through_a_view,
    "written through a part": written_through_a_part,
    "filled": lambda m, x: x if torch.full((2,), x.sum())[0] > 0 else -x,
    "how many of a mask": lambda m, x: x * len(x[x > 0]),
    "how many nonzero": lambda m, x: x if (x > 0).nonzero().shape[0] > 5 else -x,
    "how many of where": lambda m, x: x if torch.where(x > 0)[0].numel() > 5 else -x,
    "how many selected": lambda m, x: x if x.masked_select(x > 0).size(0) else -x,
    "how many unique": lambda m, x: x * len(x.unique()),
    "how many repeated": lambda m, x: x * len(m.plain[:1].repeat_interleave((x.sum() > 0).long().reshape(1))),
    "how long a range": lambda m, x: x * len(torch.arange(x.sum().long())),
    "how long a slice": lambda m, x: x * len(x.flatten()[: x.sum().long()]),
    "how many boxes": lambda m, x: x * len(torchvision.ops.nms(x[0, 0], x[0, 0, :, 0], 0.5)),
    "the shape of some": lambda m, x: x if x[x > 0].shape == x.shape else -x,
    "a loop over some": lambda m, x: x * sum(one for one in x[x > 0]),
    "some, split": lambda m, x: x * len(torch.split(x[x > 0], 1)),
}


@pytest.mark.parametrize("name", FROZEN)
def test_numbers_of_an_input_in_python_are_frozen(name):
    found = seen_in(FROZEN[name])
    assert len(found.branches) == 1 and found.branches[0].startswith(f"{HERE}:")
    assert (found.checks, found.texts) == ([], [])
    assert found.warnings[0].startswith("frozen, as the example took them: ")


FINE = {
    "a branch by a size": lambda m, x: x if x.shape[2] > 5 else -x,
    "a size": lambda m, x: x * int(x.shape[2]),
    "the length": lambda m, x: x * len(x),
    "how many values": lambda m, x: x if x.numel() > 3 else -x,
    "max of sizes": lambda m, x: x * max(x.shape[2], x.shape[3]),
    "the same shapes": lambda m, x: x if x.shape[-2:] == (x + 1).shape[-2:] else -x,
    "a loop over rows": lambda m, x: sum(row for row in x),
    "parts": lambda m, x: sum(x.chunk(2, 2)),
    "a buffer": lambda m, x: x if m.table.sum() > 0 else -x,
    "item of a buffer": lambda m, x: x * m.table.sum().item(),
    "a view of a buffer": lambda m, x: x if m.table[:2].add(1).sum() > 0 else -x,
    "a weight": lambda m, x: x * float(m.conv.weight.abs().max()),
    "a plain tensor": lambda m, x: x if m.plain.sum() > 0 else -x,
    "data of a weight": lambda m, x: x * m.conv.weight.data.sum(),
    "zeros like it": lambda m, x: x if torch.zeros_like(x).sum() > 0 else -x,
    "new ones": lambda m, x: x if x.new_ones(3).sum() > 0 else -x,
    "of its type": lambda m, x: x if m.plain.type_as(x).sum() > 0 else -x,
    "of its shape": lambda m, x: x if m.plain[0].expand_as(x).sum() > 0 else -x,
    "a constant written": lambda m, x: x * float(torch.zeros(3).fill_(2)[0]),
    "a range as long": lambda m, x: x * int(torch.arange(x.shape[2]).sum()),
    "repeated": lambda m, x: x * len(x.repeat_interleave(2, 1)),
    "where, of three": lambda m, x: x * len(torch.where(x > 0, x, -x)),
    "itself as a tensor": lambda m, x: x * torch.as_tensor(x),
    "a slice as long as it says": lambda m, x: x[:, : (x.sum() > 0).long() + 1],
    "how many, in the file": lambda m, x: x * x[x > 0].shape[0],
    "the text of a size": lambda m, x: x * len(f"{x.shape[2]}"),
    "torchvision's own branches": lambda m, x: x[0, 0][
        torchvision.ops.batched_nms(x[0, 0], x[0, 0, :, 0], torch.zeros(4), 0.5)
    ],
}


@pytest.mark.parametrize("name", FINE)
def test_what_depends_on_no_number_of_an_input_is_not(name):
    assert seen_in(FINE[name]) == FrozenBranches()


def test_a_text_of_numbers_is_told_apart():
    found = seen_in(lambda m, x: x * len(f"{x.sum():.0f}{x.mean()!r}"))
    assert (found.branches, found.checks, len(found.texts)) == ([], [], 1)
    assert found.warnings[0].startswith("made once, while tracing: the text of the numbers in a tensor at ")


def test_each_line_is_told_once_and_of_many_three():
    def forward(m, x):
        for _ in range(2):
            x = x if x.sum() > 0 else -x
        x = x if x.sum() > 1 else -x
        x = x if x.sum() > 2 else -x
        return x if x.sum() > 3 else -x

    found = seen_in(forward)
    assert len(found.branches) == 4
    first = forward.__code__.co_firstlineno + 2
    assert found.branches[0] == f"{HERE}:{first} (x = x if x.sum() > 0 else -x)"
    assert found.warnings[0].endswith("(x = x if x.sum() > 2 else -x) and 1 more")


def test_a_line_of_a_traced_graph_is_named_by_its_code():
    class Scaled(nn.Module):
        def forward(self, x):
            return x * x.max().item()

    graph = torch.fx.symbolic_trace(Scaled())
    (place,) = seen_in(lambda m, x: graph(x)).branches
    assert place.startswith("the graph that was traced (item = ")


SOURCE = """
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x
"""


@pytest.mark.parametrize("folder", ["torch", "site-packages/torchvision/torch", "plain"])
def test_torch_is_known_by_its_folder_not_by_a_name(folder, tmp_path):
    path = tmp_path / folder / "net.py"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("net", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.Net()
    (place,) = seen_in(lambda m, x: net(x)).branches
    assert place.endswith("net.py:6 (return x if x.sum() > 0 else -x)")
