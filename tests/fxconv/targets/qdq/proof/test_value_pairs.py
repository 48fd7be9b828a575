"""Scales and zero points of values: each of the int8 module's is in the file, and no other."""

from __future__ import annotations

import numpy as np

from fxconv.targets.qdq.proof.file_numbers import FileValue, Grid
from fxconv.targets.qdq.proof.module_numbers import ModuleValue
from fxconv.targets.qdq.proof.value_pairs import value_problems

A, B, C, D = (Grid(np.float32(scale), 0) for scale in (0.1, 0.2, 0.3, 0.4))


def module(*values: tuple[str, Grid, bool]) -> list[ModuleValue]:
    return [ModuleValue(where, "Op", grid, follows, "conv" in where) for where, grid, follows in values]


def file(*values: tuple[str, Grid, tuple[Grid, ...]]) -> list[FileValue]:
    return [FileValue(grid, place, of, "Conv2d" in place) for place, grid, of in values]


NET = module(("quant", A, False), ("conv", B, False), ("flatten", B, True), ("add", C, False))
WRITTEN = (
    ("node 0 (Convert)", A, ()),
    ("node 1 (StaticTranspose)", A, (A,)),
    ("node 2 (Conv2d)", B, (A,)),
    ("node 3 (StaticReshape)", B, (B,)),
    ("node 4 (Add)", C, (B,)),
)


def test_copies_into_another_order_and_reshapes_may_be_there_or_not():
    assert value_problems(NET, file(*WRITTEN)) == []
    assert value_problems(NET, file(WRITTEN[0], WRITTEN[2], WRITTEN[4])) == []
    # the delegates of a file run in another order than the operations of the module
    assert value_problems(NET, file(WRITTEN[4], *WRITTEN[:4])) == []


def test_another_scale_has_the_name_of_the_operation():
    wrong = (*WRITTEN[:4], ("node 4 (Add)", D, (B,)))
    said = "has scale 0.400000006 and zero point 0 in the file (node 4 (Add)), scale 0.300000012 and zero point 0"
    assert value_problems(NET, file(*wrong)) == [("add", f"{said} in the int8 module")]
    moved = Grid(B.scale, 1)
    wrong = (*WRITTEN[:2], ("node 2 (Conv2d)", moved, (A,)), ("node 3 (StaticReshape)", B, (moved,)), WRITTEN[4])
    assert [where for where, _ in value_problems(NET, file(*wrong))] == ["conv"]


def test_what_one_side_lacks_is_told():
    assert value_problems(NET, file(*WRITTEN[:4])) == [
        ("add", "no value of the file has its scale 0.300000012 and zero point 0")
    ]
    more = (*WRITTEN, ("node 5 (Multiply)", D, (C,)))
    assert value_problems(NET, file(*more)) == [
        (
            "node 5 (Multiply)",
            "gives a value with scale 0.400000006 and zero point 0 that the int8 module does not have",
        )
    ]


def test_a_reshape_with_another_scale_is_told():
    wrong = (*WRITTEN[:3], ("node 3 (StaticReshape)", D, (B,)), WRITTEN[4])
    assert [where for where, _ in value_problems(NET, file(*wrong))] == ["flatten"]
