"""What of a file runs outside int8: by its runtime's choice, and because the int8 module has it in float."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from fxconv.report.terminal.files import outside_brief, outside_lines, outside_words
from fxconv.targets.artifact import Outside

OWN = (
    Outside("mean", "portable", 1, ("pool",), 80),
    Outside("upsample_bilinear2d", "float", 2, ("up", "up_1"), 4096),
)
OF_ISLANDS = (Outside("cumsum", "portable", 3, ("", "sums"), 512, True),)


def file(*outside: Outside, is_exact: bool = False) -> Any:
    return SimpleNamespace(artifact=SimpleNamespace(outside=outside), target=SimpleNamespace(is_exact=is_exact))


def conversion(islands: int) -> Any:
    return SimpleNamespace(rewritten=SimpleNamespace(islands=range(islands)))


def test_what_the_model_has_in_float_is_told_apart():
    assert outside_brief(file(*OWN), conversion(0)) == "2 float, 1 portable"
    assert outside_brief(file(*OF_ISLANDS), conversion(1)) == "of float islands 3 portable"
    assert outside_brief(file(*OWN, *OF_ISLANDS), conversion(1)) == "2 float, 1 portable; of float islands 3 portable"
    assert outside_brief(file(), conversion(0)) == "nothing"
    assert outside_brief(file(is_exact=True), conversion(2)) == "2 float islands"


def test_in_a_line_and_in_full():
    assert outside_words((*OWN, *OF_ISLANDS)) == (
        "mean in portable code, outside it; upsample_bilinear2d in float, in the delegate; of float islands: cumsum in "
        "portable code, outside it"
    )
    assert outside_words(OF_ISLANDS) == "of float islands: cumsum in portable code, outside it"
    assert outside_lines((OWN[1], replace(OF_ISLANDS[0], where=("sums",)))) == [
        "upsample_bilinear2d: 2 calls, float, in the delegate, 4,096 values (up, up_1)",
        "cumsum: 3 calls, portable code, outside it, of float islands, 512 values (sums)",
    ]
