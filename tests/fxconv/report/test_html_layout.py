"""Where the layers of the graph stand, and the lanes of its arcs."""

import pytest

from fxconv.measures.layer_survey import Layer
from fxconv.report.html.layout import ROW, Island, lanes, rows


def layer(name: str, domain: str = "int8", part: str = "", reason: str = "") -> Layer:
    return Layer(name, "", "Conv2d", domain, (), part, "", "", "", (), reason, None, None, None)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], []),
        ([(0, 2)], [(0, 2, 0)]),
        pytest.param([(0, 2), (2, 4)], [(0, 2, 0), (2, 4, 0)], id="one behind the other share a lane"),
        pytest.param([(0, 5), (1, 3)], [(1, 3, 0), (0, 5, 1)], id="the short one is inside"),
        pytest.param([(0, 2), (0, 2)], [(0, 2, 0)], id="once is enough"),
    ],
)
def test_lanes(pairs, expected):
    assert lanes(pairs) == expected


def test_a_chain_has_a_row_a_layer():
    laid = rows([layer("a"), layer("b")])
    assert (laid.tops, laid.headings, laid.islands) == ((0, ROW), (), ())


def test_a_row_is_left_above_a_float_island_for_its_reason():
    laid = rows([layer("a"), layer("b", "float", reason="why"), layer("c", "float", reason="why"), layer("d")])
    assert laid.tops == (0, 2 * ROW, 3 * ROW, 4 * ROW)
    assert laid.islands == (Island("why", ROW, 4 * ROW),)


def test_layers_in_float_for_other_reasons_are_islands_of_their_own():
    laid = rows([layer("a", "float", reason="one"), layer("b", "float", reason="two")])
    assert [island.reason for island in laid.islands] == ["one", "two"]


def test_float_without_a_reason_is_no_island():
    assert rows([layer("a", "float")]).islands == ()


def test_each_part_of_a_model_has_a_heading():
    laid = rows([layer("a", part="one"), layer("b", part="two")])
    assert laid.tops == (ROW, 3 * ROW)
    assert [words.split(":")[0] for _, words in laid.headings] == ["one", "two"]
