"""What a loud channel, a loud operand and a large offset cannot hide."""

import pytest
import torch
from torch import Tensor

from fxconv.measures.channel_noise import FEWEST, PartNoise, operand_noise, part_noises
from fxconv.verification import parity

GENERATOR = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def found(wanted: list[Tensor], got: list[Tensor]) -> dict[str, PartNoise]:
    """By the part."""
    return {part.part: part for part in part_noises([[one] for one in wanted], [[one] for one in got])}


def rounded(value: Tensor, step: float) -> Tensor:
    return (value / step).round() * step


def test_scores_beside_boxes_in_pixels():
    wanted = [torch.cat([drawn(1, 4, 8, 8) * 640, drawn(1, 3, 8, 8)], 1) for _ in range(2)]
    noises = found(wanted, [rounded(one, 10.0) for one in wanted])
    assert all(noises[f"channel {index}"].sqnr_db > 30 for index in range(4))
    assert all(noises[f"channel {index}"].is_constant for index in (4, 5, 6))
    assert noises[""].sqnr_db > 30  # the whole says nothing of them
    first = part_noises([[one] for one in wanted], [[rounded(one, 10.0)] for one in wanted])[0]
    assert first.is_constant and first.words == f"{first.part} of output 0 is constant in int8, and not in float"


def test_an_offset_lends_no_power():
    wanted = [1000 + drawn(1, 10) for _ in range(8)]
    noises = found(wanted, [rounded(one, 8.0) for one in wanted])
    assert noises[""].is_constant and noises[""].sqnr_db < 5
    good = found(wanted, [rounded(one, 0.1) for one in wanted])
    assert not good[""].is_constant and good[""].sqnr_db > 25


def test_an_output_that_hardly_varies_is_told_of():
    wanted = [1000 + 0.001 * drawn(1, 10) for _ in range(8)]
    part = found(wanted, [torch.full((1, 10), 1000.0) for _ in wanted])[""]
    assert part.is_constant and part.is_slight
    assert not found([1000 + drawn(1, 10) for _ in range(8)], [torch.full((1, 10), 1000.0)] * 8)[""].is_slight


def test_an_offset_that_each_channel_has_for_itself_lends_none_either():
    offset = torch.arange(10) * 100.0
    wanted = [offset + drawn(1, 10) for _ in range(8)]
    assert found(wanted, [offset + torch.zeros(1, 10) for _ in wanted])[""].is_constant
    assert found(wanted, [offset + drawn(1, 10) for _ in wanted])[""].sqnr_db < 0


@pytest.mark.parametrize("shape", [(1, 5, 400), (1, 400, 5)], ids=["along the second", "along the third"])
def test_rows_of_boxes_and_scores(shape):
    dim = shape.index(5)
    scale = torch.tensor([600.0, 600, 1, 1, 1]).view([-1 if place == dim else 1 for place in range(3)])
    wanted = [drawn(*shape) * scale for _ in range(2)]
    words = "" if dim == 1 else " along the last dimension"
    noises = found(wanted, [rounded(one, 8.0) for one in wanted])
    assert noises[f"channel 4{words}"].sqnr_db < 5 < 30 < noises[f"channel 0{words}"].sqnr_db


def test_places_are_no_channels():
    # rows of anchors: one of them sees nothing, and its scores are the same everywhere
    wanted = [drawn(1, 40, 3) for _ in range(8)]
    for one in wanted:
        one[:, 5] = 1 + 0.01 * drawn(1, 3)
    noises = found(wanted, [rounded(one, 0.2) for one in wanted])
    assert set(noises) == {"", *(f"channel {index} along the last dimension" for index in range(3))}
    assert all(part.sqnr_db > 15 for part in noises.values())


def test_what_does_not_vary_says_nothing():
    flat = torch.ones(1, 2, 8, 8)
    flat[:, 1] += drawn(8, 8) * 1e-4
    varying = flat.clone()
    varying[:, 1] += drawn(8, 8)
    assert found([flat], [flat * 1.01]).keys() <= {""}
    assert found([varying], [varying]).keys() == {"", "channel 1"}


def test_of_few_values_many_channels_are_looked_at_together():
    scale = torch.ones(10)
    scale[3] = 1000
    wanted = [drawn(1, 10) * scale for _ in range(8)]
    noises = found(wanted, [rounded(one, 10.0) for one in wanted])
    (part,) = (part for name, part in noises.items() if name)
    assert part.is_constant and part.part.endswith(" and 4 noisier of 10") and noises[""].sqnr_db > 30
    # where all are as noisy nothing hides anything
    assert len(found(wanted, [one + scale * drawn(1, 10) for one in wanted])) == 1
    # one that is noisier than all others may be so by chance
    scale[3] = 0.001
    lone = found([one * scale for one in wanted], [one * scale + 0.01 * drawn(1, 10) for one in wanted])
    assert all(part.sqnr_db > 10 for name, part in lone.items())


def test_one_of_a_thousand_channels_is_bad_by_chance():
    wanted = [drawn(1, 1000) for _ in range(100)]
    got = [one + 0.2 * drawn(1, 1000) for one in wanted]
    for one in got:
        one[:, 7] = 0.0
    assert [part.part for part in part_noises([[one] for one in wanted], [[one] for one in got])] == [""]


def test_few_values_say_nothing():
    values = drawn(1, 2, 7)
    assert set(found([values], [values])) <= {""}
    values = drawn(1, 2, FEWEST)
    assert "channel 0" in found([values], [values])


def test_both_parts_of_a_complex_output():
    real, imaginary = drawn(1, 2, 8, 8), drawn(1, 2, 8, 8)
    wanted, got = torch.complex(real, imaginary), torch.complex(real, imaginary + 3 * drawn(1, 2, 8, 8))
    noises = found([wanted], [got])
    assert noises["the imaginary part"].sqnr_db < 0 and noises["channel 1 of the imaginary part"].sqnr_db < 0
    assert noises["channel 1 of the real part"].sqnr_db == float("inf")


def test_whole_numbers_have_no_power_but_may_be_constant():
    numbers = torch.arange(64).view(1, 1, 64)
    assert found([numbers], [numbers + 1]) == {}
    assert found([numbers], [torch.zeros_like(numbers)])[""].is_constant
    rare = torch.zeros(1, 1, 400, dtype=torch.bool)
    rare[..., :4] = True  # 1 of 100, of which int8 may have none
    assert found([rare], [torch.zeros_like(rare)]) == {}
    rare[..., :8] = True
    assert found([rare], [torch.zeros_like(rare)])[""].words == "output 0 is constant in int8, and not in float"


def test_what_hardly_varies_is_told_where_it_is_constant_and_fails_nothing():
    wanted = torch.cat([drawn(1, 1, 8, 8) * 1e5, 1000 + 0.2 * drawn(1, 1, 8, 8)], 1)
    part = found([wanted], [torch.cat([wanted[:, :1], torch.full((1, 1, 8, 8), 1000.0)], 1)])["channel 1"]
    assert part.is_constant and part.is_slight
    row = parity.like_float("int8", [[wanted]], [[wanted]], 10.0, looked_at=[part])
    assert row.passed and row.faint == (part,)


def test_sizes_that_differ_from_image_to_image():
    wanted = [drawn(2, 4), drawn(5, 4)]
    assert found(wanted, [one + 0.01 for one in wanted]) == {}  # 7 boxes are too few
    wanted = [drawn(9, 4), drawn(9, 4), drawn(2, 4)]
    assert {f"channel {index}" for index in range(4)} == set(found(wanted, wanted))


def test_what_differs_from_image_to_image_is_told_of_where_a_border_hides_it():
    frame = torch.zeros(1, 2, 8, 8)
    frame[..., 0] = 1000.0
    wanted = [frame + drawn(1, 2, 8, 8) for _ in range(8)]
    noises = found(wanted, [frame.clone() for _ in wanted])
    part = noises["what differs from image to image"]
    assert part.is_slight and part.sqnr_db == pytest.approx(0, abs=1) and noises[""].sqnr_db > 40
    assert "what differs from image to image" not in found(wanted, [one + 0.1 for one in wanted])


def test_an_operand_of_a_cat():
    wanted = [drawn(1, 3) for _ in range(8)]
    noise = operand_noise(0, "operand 1 of cat", wanted, [torch.zeros(1, 3) for _ in range(8)])
    assert noise is not None and noise.is_constant and noise.part == "operand 1 of cat"
    assert operand_noise(0, "operand 1 of cat", [torch.ones(4, 4)], [torch.ones(4, 4)]) is None


def test_values_that_are_no_numbers_are_noise():
    wanted = drawn(1, 1, 8, 8)
    got = wanted.clone()
    got[0, 0, 0, 0] = float("nan")
    assert found([wanted], [got])["channel 0"].sqnr_db == -float("inf")
