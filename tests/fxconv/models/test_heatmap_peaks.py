"""Peaks of heatmaps: equal scores on purpose, every shape of plateau, and the same in the lite interpreter."""

from __future__ import annotations

import io
import itertools

import pytest
import torch
from fxconv_torch import optimized
from torch import Tensor
from torch.jit.mobile import _load_for_lite_interpreter
from torch.nn import functional

from fxconv.models.detectors import HeatmapPeaks

LOW, STEP = -8.0, 0.125


def heatmap(*rows: str, high: float = 2.0, higher: float = 3.0) -> Tensor:
    """Logits `[1, 1, H, W]` drawn in characters: # high, ^ higher, all else low."""
    level = {"#": high, "^": higher}
    return torch.tensor([[[[level.get(cell, LOW) for cell in row] for row in rows]]])


def cells(found: Tensor, stride: int = 4) -> list[tuple[int, int]]:
    """(row, column) of the valid detections of one image, in reading order."""
    return sorted((int(y) // stride, int(x) // stride) for x, y, _, _, valid in found[0].tolist() if valid)


SHAPES = {
    "two side by side": (("....", ".##.", "...."), [(1, 1)]),
    "one above the other": (("...", ".#.", ".#.", "..."), [(1, 1)]),
    "a diagonal pair": (("....", "..#.", ".#..", "...."), [(1, 2)]),
    "an L": ((".....", ".#...", ".#...", ".###.", "....."), [(1, 1)]),
    "a ring": ((".....", ".###.", ".#.#.", ".###.", "....."), [(1, 1)]),
    "a ring around a lower cell and one apart": ((".......", ".###...", ".#.#...", ".###..#"), [(1, 1), (3, 6)]),
    "beside a higher cell": ((".....", ".##^.", "....."), [(1, 3)]),
    "a long one beside a higher cell at its end": (("........", "^######.", "........"), [(1, 0)]),
    "an L, a higher cell at its corner": (("^....", ".#...", ".#...", ".###."), [(0, 0)]),
    "two that touch the border": (("##..#", "#...#", ".....", "....."), [(0, 0), (0, 4)]),
    "all of it": (("###", "###"), [(0, 0)]),
    "a spiral": (
        ("######", ".....#", "####.#", "#..#.#", "#.##.#", "#....#", "######"),
        [(0, 0)],
    ),
    "nothing": (("...", "..."), []),
}  # fmt: skip


@pytest.mark.parametrize("sigmoid", ["first", "last"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_plateau_is_one_detection_at_its_first_cell_unless_a_neighbour_is_higher(name: str, sigmoid: str) -> None:
    rows, wanted = SHAPES[name]
    found = HeatmapPeaks(k=20, sigmoid=sigmoid)(heatmap(*rows))
    assert cells(found) == wanted
    assert not found[found[..., 4] == 0].any()


def by_hand(logits: Tensor, threshold: float) -> list[tuple[int, int]]:
    """Plateaus of one heatmap by a search of the graph, cell by cell."""
    height, width = logits.shape[2:]
    values, seen, found = logits[0, 0], set[tuple[int, int]](), []
    for start in itertools.product(range(height), range(width)):
        if start in seen or values[start].sigmoid() <= threshold:
            continue
        plateau, waiting, is_peak = {start}, [start], True
        while waiting:
            row, column = waiting.pop()
            for near in itertools.product(range(row - 1, row + 2), range(column - 1, column + 2)):
                if not (0 <= near[0] < height and 0 <= near[1] < width):
                    continue
                is_peak &= bool(values[near] <= values[start])
                if values[near] == values[start] and near not in plateau:
                    plateau.add(near)
                    waiting.append(near)
        seen |= plateau
        found += [min(plateau)] if is_peak else []
    return sorted(found)


@pytest.mark.parametrize("levels", [2, 3, 6, 40])
def test_random_heatmaps_of_few_levels_against_a_search_cell_by_cell(levels: int) -> None:
    for seed in range(12):
        logits = torch.randint(levels, (1, 1, 13, 17), generator=torch.Generator().manual_seed(seed)) * 0.2 - 0.5
        assert cells(HeatmapPeaks(0.4, k=300)(logits)) == by_hand(logits, 0.4)


def strict(logits: Tensor, threshold: float) -> list[tuple[int, int]]:
    """Cells higher than all their neighbours."""
    padded = functional.pad(logits[0, 0], (1, 1, 1, 1), value=-torch.inf)
    around = padded.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2)
    others = torch.cat([around[..., :4], around[..., 5:]], 2).amax(2)
    return sorted(map(tuple, ((logits[0, 0] > others) & (logits[0, 0].sigmoid() > threshold)).nonzero().tolist()))


@pytest.mark.parametrize("ties", ["index", "noise", "keep"])
@pytest.mark.parametrize("sigmoid", ["first", "last"])
def test_without_ties_all_are_the_strict_maximum(ties: str, sigmoid: str) -> None:
    order = torch.randperm(20 * 30, generator=torch.Generator().manual_seed(1)).view(1, 1, 20, 30)
    logits = (order - 300) * 0.01
    found = HeatmapPeaks(0.5, 100, ties, step=0.01, sigmoid=sigmoid)(logits)
    assert cells(found) == strict(logits, 0.5) and len(cells(found)) > 10


def test_keep_finds_all_cells_of_a_plateau() -> None:
    assert len(cells(HeatmapPeaks(ties="keep")(heatmap(*SHAPES["a ring"][0])))) == 8
    assert cells(HeatmapPeaks(ties="keep")(heatmap(*SHAPES["beside a higher cell"][0]))) == [(1, 1), (1, 3)]


@pytest.mark.parametrize("name", ["two side by side", "one above the other", "a diagonal pair"])
def test_noise_leaves_one_of_a_pair_and_never_beats_a_step(name: str) -> None:
    rows, _ = SHAPES[name]
    quantized = torch.quantize_per_tensor(heatmap(*rows), STEP, 128, torch.quint8)
    chosen = set()
    for seed in range(20):
        peaks = HeatmapPeaks(ties="noise", seed=seed)
        found = cells(peaks(quantized))
        assert len(found) == 1 and torch.equal(peaks(quantized), peaks(quantized))
        chosen.update(found)
    assert len(chosen) == 2
    one_step_up = heatmap(".....", ".#^#.", ".....", higher=2.0 + STEP)
    for seed in range(20):
        assert cells(HeatmapPeaks(ties="noise", step=STEP, seed=seed)(one_step_up)) == [(1, 2)]


def test_noise_is_white_and_within_half_a_step() -> None:
    peaks = HeatmapPeaks(ties="noise", step=STEP, seed=3)
    noise = peaks.noise(torch.zeros(1, 1, 200, 300))[0, 0]
    assert noise.abs().max() < 0.5 and abs(noise.mean().item()) < 0.01
    assert noise.var().item() == pytest.approx(1 / 12, rel=0.02)
    for shifted in (noise.roll(1, 0), noise.roll(1, 1), noise.roll((1, 1), (0, 1))):
        assert abs((noise * shifted).mean().item()) < 0.002
    assert not torch.equal(
        noise, HeatmapPeaks(ties="noise", step=STEP, seed=4).noise(torch.zeros(1, 1, 200, 300))[0, 0]
    )


def test_noise_needs_a_step() -> None:
    with pytest.raises(RuntimeError, match="step"):
        HeatmapPeaks(ties="noise")(heatmap("#"))


def test_a_score_at_the_threshold_does_not_count() -> None:
    peaks = HeatmapPeaks(0.5)
    assert cells(peaks(heatmap("...", ".#.", high=0.0))) == []
    assert cells(peaks(heatmap("...", ".#.", high=0.01))) == [(1, 1)]


def test_rows_are_pixels_score_class_and_the_best_come_first() -> None:
    logits = torch.full((2, 3, 6, 8), LOW)
    logits[0, 2, 4, 1], logits[0, 1, 0, 7], logits[1, 0, 3, 3] = 1.0, 2.0, 3.0
    found = HeatmapPeaks(k=3, stride=4)(logits)
    score = torch.tensor([1.0, 2.0, 3.0]).sigmoid().tolist()
    wanted = [[[28, 0, score[1], 1, 1], [4, 16, score[0], 2, 1], [0] * 5], [[12, 12, score[2], 0, 1], [0] * 5, [0] * 5]]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_more_rows_than_cells_and_fewer_than_peaks() -> None:
    assert HeatmapPeaks(k=9)(heatmap("#.")).shape == (1, 9, 5)
    checkered = heatmap(*["#.#.#.#.", "........"] * 4)
    found = HeatmapPeaks(k=5)(checkered)
    # of equal scores the first in reading order
    assert cells(found) == [(0, 0), (0, 2), (0, 4), (0, 6), (2, 0)]


def test_values_that_are_no_numbers_are_no_peaks() -> None:
    logits = heatmap("....", ".#..", "....", "....", "...#")
    logits[0, 0, 1, 2] = torch.nan
    assert (4, 3) in cells(HeatmapPeaks()(logits)) and (1, 2) not in cells(HeatmapPeaks()(logits))


@pytest.mark.parametrize("ties", ["index", "noise", "keep"])
def test_it_runs_in_the_lite_interpreter(ties: str) -> None:
    peaks = HeatmapPeaks(0.3, 10, ties, step=STEP).eval()
    content = optimized(torch.jit.script(peaks))._save_to_buffer_for_lite_interpreter()
    lite = _load_for_lite_interpreter(io.BytesIO(content))
    for rows, _ in SHAPES.values():
        assert torch.equal(lite(heatmap(*rows)), peaks(heatmap(*rows)))


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.0}, {"threshold": -0.1}, {"k": 0}, {"ties": "first"}, {"sigmoid": "no"}, {"step": 0.0}]
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HeatmapPeaks(**wrong)  # type: ignore[arg-type]
