"""What a pass changed, by module, with reasons and the model's own lines, alike changes in one shape."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from rewrites import Hunk, PassResult, rewrite


class Block(nn.Module):
    """Adds what it is given to a product with a number of heads."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.conv, self.heads = nn.Conv2d(8, 8, 1), heads

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x))
        y = y.view(1, self.heads, -1, 8, 8).flatten(1, 2)
        return x + y


class Net(nn.Module):
    """Two blocks that differ in a number, and a dropout between them and a head that reads what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Block(2), Block(4)
        self.drop, self.head = nn.Dropout(), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.second(self.first(x))))


def results() -> dict[str, PassResult]:
    done = rewrite(Net().eval(), example=(torch.zeros(1, 8, 8, 8),))
    return {result.name: result for result in done.results}


def by_module(result: PassResult) -> dict[str, list[Hunk]]:
    found: dict[str, list[Hunk]] = {}
    for hunk in result.hunks:
        found.setdefault(hunk.module, []).append(hunk)
    return found


def line_of(code: str) -> str:
    """`test_review.py:N` of the line of this file that holds the code."""
    lines, first = inspect.getsourcelines(Block)
    return f":{first + next(index for index, line in enumerate(lines) if code in line)}"


def test_a_change_lies_in_the_module_that_wrote_it_and_names_its_line():
    found = by_module(results()["arithmetic-to-functional"])
    assert list(found) == ["first", "second"]
    (hunk,) = found["first"]
    assert hunk.kind == "Block"
    assert hunk.reasons == ("the plain operator has no quantized kernel",)
    changed = [(line, source) for line, source in zip(hunk.lines, hunk.sources, strict=True) if line[0] != " "]
    (removed, at), (added, again) = changed
    assert removed == "-add = x + flatten"
    assert added == "+add = self.first.add(x, flatten)  # Add()"
    assert at.endswith("test_review.py" + line_of("x + y"))
    assert again == ""


@pytest.mark.parametrize("name", ["arithmetic-to-functional", "functional-to-module", "view-to-reshape"])
def test_blocks_that_differ_in_names_and_untouched_numbers_are_changed_alike(name):
    first, second = results()[name].hunks
    assert (first.module, second.module) == ("first", "second")
    assert first.lines != second.lines
    assert first.shape == second.shape


def test_a_number_that_changes_is_part_of_the_change():
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Hardtanh(-1, 1), nn.Hardtanh(0, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).permute(0, 1, 2, 3))

    done = {result.name: result for result in rewrite(Padded().eval()).results}
    first, second = done["float-settings"].hunks
    assert first.shape != second.shape


def test_lines_that_only_read_another_name_are_echoes():
    (hunk,) = results()["drop-inference-noops"].hunks
    lines = [line for index, line in enumerate(hunk.lines) if index not in hunk.echoes and line[0] != " "]
    assert lines == ["-drop = self.drop(add_1)  # Dropout(p=0.5, inplace=False)"]
    echoes = [hunk.lines[index] for index in hunk.echoes]
    assert echoes == ["-head = self.head(drop)  # Conv2d", "+head = self.head(add_1)  # Conv2d"]


def test_every_hunk_of_a_network_has_a_reason_or_is_nothing_but_echoes():
    model = torchvision.models.get_model("shufflenet_v2_x0_5").eval()
    done = rewrite(model, example=(torch.zeros(1, 3, 64, 64),))
    hunks = [hunk for result in done.results for hunk in result.hunks]
    assert len(hunks) > 20
    for hunk in hunks:
        changed = [index for index, line in enumerate(hunk.lines) if line[0] != " "]
        assert hunk.reasons or set(changed) == set(hunk.echoes)
        assert len(hunk.sources) == len(hunk.lines)
    files = {source.split(":")[0] for hunk in hunks for source in hunk.sources if source}
    assert files == {"torchvision/models/shufflenetv2.py"}


def test_the_lines_are_those_of_the_diff():
    for result in results().values():
        shown = [line for hunk in result.hunks for line in hunk.lines if line[0] in "+-"]
        plain = [line for line in result.diff.splitlines()[2:] if line[0] in "+-"]
        if result.hunks:
            assert sorted(shown) == sorted(plain)
        else:
            assert all(edit.kind == "rename" for edit in result.edits)


def test_torchs_own_modules_have_no_line_of_the_model():
    plain = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Dropout(), nn.Conv2d(8, 4, 1)).eval()
    hunks = [hunk for result in rewrite(plain).results for hunk in result.hunks]
    assert hunks
    assert not [source for hunk in hunks for source in hunk.sources if source]
