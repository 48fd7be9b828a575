"""What a forward leaves on its modules is taken back, whatever it is kept in, and whether it ends or fails."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from typing import Any

import pytest
import torch
from torch import nn

from rewrites.surroundings import unchanged


class Notes:
    """An object of the user's, that is no module."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.count = 0


class Sealed(OrderedDict[str, int]):
    """Lets nobody add to it, as the outputs of transformers do not."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError


class Untidy(nn.Module):
    """Writes wherever there is room, and fails at the end if told so."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.seen: list[Any] = [1]
        self.memo: dict[str, Any] = {"outer": {"inner": [0]}}
        self.groups: defaultdict[str, list[int]] = defaultdict(list)
        self.recent: deque[int] = deque([1, 2], maxlen=2)
        self.names = {"a"}
        self.pair: tuple[list[int], int] = ([], 1)
        self.notes = Notes()
        self.sealed = Sealed(a=1)
        self.hidden = [nn.ReLU()]
        self.calls, self.fails = 0, False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.latest = x
        self.seen.append(x)
        self.memo["outer"]["inner"].append(x)
        self.memo["new"] = {}
        self.groups["b"].append(1)
        self.recent.append(3)
        self.names.add("b")
        self.pair[0].append(1)
        self.notes.lines.append(x)
        self.notes.count += 1
        self.hidden[0].flag = True
        self.conv.register_forward_hook(lambda *_: None, with_kwargs=True, always_call=True)
        self.conv.register_forward_pre_hook(lambda *_: None, with_kwargs=True)
        self.register_buffer("late", x)
        self.added = nn.Linear(1, 1)
        if self.fails:
            raise KeyError("told so")
        return self.conv(x)


def looked_at(model: Untidy) -> str:
    hooks = {name: len(value) for name, value in vars(model.conv).items() if "hook" in name and value is not None}
    own = {name: value for name, value in vars(model).items() if not name.startswith("_")}
    return repr((own, vars(model.notes), vars(model.hidden[0]), hooks, list(model._modules), list(model._buffers)))


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_taken_back(fails):
    model = Untidy().eval()
    model.fails = fails
    before = looked_at(nn.Sequential(model)[0])
    for _ in range(2):
        try:
            with unchanged(nn.Sequential(model)):
                model(torch.zeros(1, 1, 1, 1))
        except KeyError:
            assert fails
        assert looked_at(model) == before
    assert model.recent.maxlen == 2 and type(model.groups) is defaultdict and model.sealed == {"a": 1}


def test_it_is_seen_while_it_lasts():
    model = Untidy().eval()
    with unchanged(model):
        model(torch.zeros(1, 1, 1, 1))
        assert model.calls == 1 and len(model.conv._forward_hooks) == 1 and len(model.seen) == 2


def test_what_contains_itself_has_an_end():
    model = nn.Identity()
    model.loop, model.parents = [], {}
    model.loop.append(model.loop)
    model.parents["self"] = model
    with unchanged(model):
        model.loop.append(1)
    assert len(model.loop) == 1


def test_classes_and_modules_of_pythons_stay_what_they_are():
    model = nn.Identity()
    model.kind, model.library = Notes, torch
    with unchanged(model):
        Notes.marked = True
    assert Notes.marked
    del Notes.marked
