"""The numbers of a file beside those of the int8 module: what differs is told, with the operation's name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fxconv_proofs import Made, Many, Parts, made

from fxconv.targets.qdq.proof import module_numbers
from fxconv.targets.qdq.proof.constants import compare
from fxconv.targets.qdq.proof.file_numbers import FileConstant, FileLayer, FileNumbers, FileTensor, FileValue, Grid
from fxconv.targets.qdq.proof.held_numbers import HeldNumbers
from fxconv.targets.qdq.proof.module_numbers import ModuleConstant, ModuleLayer, ModuleNumbers, ModuleValue
from fxconv.targets.qdq.proof.module_ranges import ranges_of

GIVEN, GIVES = Grid(np.float32(0.5), 3), Grid(np.float32(0.25), -128)
SCALES = np.array([0.1, 0.2], np.float32)
LAYER = ModuleLayer("body.conv", np.array([1, -2, 3, 4]), SCALES, np.array([0.5, -1.0]), GIVEN, GIVES)
# 0.5 / (0.1 * 0.5) and -1 / (0.2 * 0.5)
IN_FILE = FileLayer("Conv2d", "node 1 of delegate 0 (Conv2d)", np.array([1, -2, 3, 4]), SCALES, np.array([10, -10]),
                    SCALES * np.float32(0.5), GIVEN, GIVES)  # fmt: skip


def file_of(*layers: FileLayer, tensors: tuple[FileTensor, ...] = (), problems: tuple[str, ...] = ()) -> FileNumbers:
    return FileNumbers(layers, (), (), tensors, problems)


def tensor(values: np.ndarray, place: str = "node 3 of delegate 0 (Conv2d)") -> FileTensor:
    return FileTensor("float32", values, place)


def compared(file: FileNumbers, *layers: ModuleLayer) -> list[HeldNumbers]:
    return list(compare(ModuleNumbers(layers or (LAYER,), (), ()), file))


def test_a_layer_whose_numbers_are_all_the_modules():
    layer, values = compared(file_of(IN_FILE))
    assert layer == HeldNumbers("body.conv", "4 weight integers, 2 scales, bias, input and output ranges")
    assert values.problem == ""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"weight": np.array([1, -2, 3, 5])},
            "one of its weight integers is not the int8 module's: at 3 the file has 5, the module 4",
        ),
        (
            {"scales": np.array([0.1, 0.3], np.float32), "bias_scales": np.array([0.05, 0.15], np.float32)},
            "the weight scale of channel 1 is 0.300000012 in the file, 0.200000003 in the int8 module",
        ),
        (
            {"bias": np.array([10, -9])},
            "the bias integer of channel 1 is -9 in the file, -10.00 in the int8 module",
        ),
        (
            {"bias": None},
            "the bias integer of channel 0 is 0 in the file, 10.00 in the int8 module",
        ),
        (
            {"bias_scales": SCALES},
            "the scales of its bias are not those of its input times its weights",
        ),
        (
            {"gives": Grid(np.float32(0.25), -127)},
            "gives its output with scale 0.25 and zero point -127 in the file, with scale 0.25 and zero point -128 "
            "in the int8 module",
        ),
        (
            {"given": None},
            "reads its input with no scale, in float in the file, with scale 0.5 and zero point 3 in the int8 module",
        ),
    ],
    ids=["weight", "scale", "bias", "no bias", "scale of the bias", "output", "float"],
)  # fmt: skip
def test_one_number_that_differs_is_told_with_the_layers_name(change, problem):
    layer, _ = compared(file_of(replace(IN_FILE, **change)))
    assert (layer.where, layer.problem) == ("body.conv", problem)


def test_a_bias_is_the_nearest_integer_and_no_other():
    half = replace(LAYER, bias=np.array([0.524, -1.0]))
    assert [row.problem for row in compared(file_of(IN_FILE), half)] == ["", ""]
    more = replace(LAYER, bias=np.array([0.526, -1.0]))
    assert compared(file_of(IN_FILE), more)[0].problem.startswith("the bias integer of channel 0 is 10 in the file")


def test_a_folded_hard_sigmoid_has_a_sixth_of_the_scales_and_half_a_unit_more():
    folded = replace(LAYER, folded="act", divisor=6)
    sixth = (SCALES.astype(np.float64) / 6).astype(np.float32)
    # (bias + 3) / (scale * 0.5)
    file = replace(IN_FILE, scales=sixth, bias=np.array([70, 20]), bias_scales=sixth * np.float32(0.5))
    layer, _ = compared(file_of(file), folded)
    assert (layer.note, layer.problem) == ("act is folded into it: scales over 6, bias with a half more", "")
    assert "weight scale of channel 0" in compared(file_of(IN_FILE), folded)[0].problem


def test_layers_of_the_same_shape_are_told_apart_by_their_weights():
    other = replace(LAYER, where="other", weight=np.array([9, 9, 9, 9]))
    other_in_file = replace(IN_FILE, weight=np.array([9, 9, 9, 8]), place="node 2")
    first, second, _ = compared(file_of(other_in_file, IN_FILE), LAYER, other)
    assert (first.where, first.problem) == ("body.conv", "")
    assert second.where == "other" and "the file has 8, the module 9" in second.problem


def test_one_layer_called_twice_stands_twice_in_the_file_each_with_its_own_input():
    again = replace(LAYER, given=Grid(np.float32(1.0), 0))
    twice = replace(IN_FILE, given=again.given, bias=np.array([5, -5]), bias_scales=SCALES)
    assert [row.problem for row in compared(file_of(twice, IN_FILE), LAYER, again)] == ["", "", ""]
    assert compared(file_of(IN_FILE, IN_FILE), LAYER, again)[1].problem


def test_what_only_one_side_has_is_told():
    assert compared(file_of())[0].problem == "no layer of the file has its weights"
    extra = replace(IN_FILE, weight=np.array([7]), place="node 9")
    rows = compared(file_of(IN_FILE, extra))
    assert [(row.where, row.problem) for row in rows if row.problem] == [
        ("node 9", "is a layer of the file that the int8 module does not have")
    ]
    crossed = compared(file_of(IN_FILE, problems=("delegate 1: reads with a what was given with b",)))[-1]
    assert (crossed.where, crossed.problem) == ("delegate 1", "delegate 1: reads with a what was given with b")


def test_a_layer_in_float_has_its_integers_times_their_scales():
    in_float = replace(LAYER, shape=(2, 2))
    weights = tensor(np.array([[0.1, 0.6], [-0.2, 0.8]], np.float32))  # in another order of the dimensions
    # 10 and -10 steps of 0.05 and 0.1, of which the kernels make these integers
    bias = tensor(np.array([0.51, -1.0], np.float32))
    layer, _ = compared(file_of(tensors=(weights, bias)), in_float)
    assert (layer.note, layer.problem) == ("in float in the file: its integers times their scales", "")
    moved = tensor(np.array([[0.1, -0.2], [0.8, 0.6]], np.float32))
    assert compared(file_of(tensors=(moved, bias)), in_float)[0].problem == "no layer of the file has its weights"


def test_a_layer_in_float_has_its_own_bias():
    in_float = replace(LAYER, shape=(2, 2))
    weights = tensor(np.array([[0.1, -0.2], [0.6, 0.8]], np.float32))
    wrong = tensor(np.array([0.5, -1.1], np.float32))
    layer, _ = compared(file_of(tensors=(weights, wrong)), in_float)
    assert layer.problem == "the bias of channel 1 is -1.10000002 in the file, -1 in the int8 module"
    elsewhere = tensor(np.array([0.5, -1.0], np.float32), "node 9 of delegate 0 (Conv2d)")
    layer, other, _ = compared(file_of(tensors=(weights, elsewhere)), in_float)
    assert layer.problem == "the file does not have its bias"
    assert other == HeldNumbers(
        elsewhere.place, "a constant", "",
        "reads a constant that the int8 module does not have: float32 of shape (2,)",
    )  # fmt: skip
    without = replace(in_float, bias=np.zeros(1))
    assert [row.problem for row in compared(file_of(tensors=(weights,)), without)] == ["", ""]


def test_a_constant_has_its_integers_scale_and_zero_point():
    module = ModuleNumbers((), (), (ModuleConstant("positions", GIVEN, np.array([1, 2])),))

    def found(grid: Grid, *integers: int) -> str:
        constant = FileConstant(grid, "a constant of delegate 0", np.array(integers))
        return compare(module, FileNumbers((), (), (constant,), (), ()))[0].problem

    assert found(GIVEN, 1, 2) == ""
    assert found(GIVEN, 1, 3) == "one of its integers is not the int8 module's: at 1 the file has 3, the module 2"
    assert found(GIVES, 1, 2).startswith("the file has it with scale 0.25 and zero point -128")
    assert found(GIVEN, 1) == "no constant of the file has its integers"


@pytest.fixture(scope="module")
def many() -> Made:
    return made(Many)


@pytest.fixture(scope="module")
def parts() -> Made:
    return made(Parts)


def numbers(given: Made) -> ModuleNumbers:
    return module_numbers.numbers_of(given.int8, given.qdq, ranges_of(given.int8, given.images[0]))


def test_the_numbers_of_an_int8_module(many):
    found = numbers(many)
    assert [layer.where for layer in found.layers] == [
        "stem", "depth", "squeeze", "excite", "shared", "shared", "grouped", "up", "head",
    ]  # fmt: skip
    stem = many.int8.stem
    layer = found.layers[0]
    assert np.array_equal(layer.weight, stem.weight().int_repr().numpy().ravel())
    assert np.array_equal(layer.scales, stem.weight().q_per_channel_scales().float().numpy())
    assert layer.gives == Grid(np.float32(stem.scale), stem.zero_point - 128)
    quant = many.int8.quant_x
    assert layer.given == Grid(np.float32(float(quant.scale)), int(quant.zero_point) - 128)
    assert np.allclose(layer.bias_steps() * layer.scales * layer.given.scale, stem.bias().detach().numpy())
    # the two calls of one layer read different values and give the same range
    first, second = (layer for layer in found.layers if layer.where == "shared")
    assert first.given != second.given and first.gives == second.gives
    assert len([value for value in found.values if value.where == "chunk"]) == 2
    assert {value.where for value in found.values if value.follows} >= {"max_pool2d", "flatten", "chunk"}


def test_the_numbers_of_a_part_that_is_called_twice_stand_there_twice(parts):
    found = numbers(parts)
    assert [layer.where for layer in found.layers] == [
        "body.conv_0", "body.conv_2", "body.conv_0", "body.conv_2", "head.linear",
    ]  # fmt: skip


def test_a_value_that_the_form_does_not_have_is_not_asked_for(many):
    graph = many.form()
    (node,) = (node for node in graph.graph.nodes if node.meta.get("int8") == ("excite", 0))
    said = node.meta.pop("int8")
    try:
        found = numbers(many)
    finally:
        node.meta["int8"] = said
    layer = next(layer for layer in found.layers if layer.where == "excite")
    assert (layer.folded, layer.divisor) == ("hardsigmoid", 6)
    assert layer.gives == Grid(np.float32(1 / 256), -128)
    assert "excite" not in {value.where for value in found.values}


def test_values_of_the_module_all_of_which_the_file_has():
    module = ModuleNumbers((), (ModuleValue("add", "Add", GIVEN, False, False),), ())
    found = compare(module, FileNumbers((), (FileValue(GIVEN, "node 0 (Add)", ()),), (), (), ()))
    assert found == (HeldNumbers("all int8 values", "scale and zero point of 1 values"),)
    wrong = compare(module, FileNumbers((), (FileValue(GIVES, "node 0 (Add)", ()),), (), (), ()))
    assert wrong[-1].where == "add"


def test_a_layer_that_ranges_its_input_at_every_call_has_its_weights_and_its_bias_in_float():
    layer = replace(LAYER, given=None, gives=None)
    bias = np.array([0.5, -1.0], np.float32)
    in_file = replace(IN_FILE, bias=None, given=None, gives=None, float_bias=bias)
    row, _ = compared(file_of(in_file), layer)
    assert (row.problem, row.note) == ("", "its input is ranged at every call")
    row, _ = compared(file_of(replace(in_file, float_bias=None)), layer)
    assert row.problem == "the file does not have its bias"
    row, _ = compared(file_of(replace(in_file, given=GIVEN)), layer)
    assert row.problem == (
        "reads its input with scale 0.5 and zero point 3 in the file, with no scale, in float in the int8 module"
    )
    row, _ = compared(file_of(replace(in_file, scales=SCALES * 2)), layer)
    assert row.problem.startswith("the weight scale of channel 0 is 0.2")


def test_the_bias_of_such_a_layer_is_its_own_and_not_another_layers():
    first = replace(LAYER, where="a", given=None, gives=None)
    second = replace(first, where="b", weight=np.array([9, 9, 9, 9]), bias=np.array([2.0, 3.0]))
    one = replace(IN_FILE, bias=None, given=None, gives=None, float_bias=np.array([0.5, -1.0], np.float32))
    other = replace(one, weight=second.weight, float_bias=np.array([2.0, 3.0], np.float32))
    assert [row.problem for row in compared(file_of(one, other), first, second)] == ["", "", ""]
    # both are in the file, each in the other's layer
    crossed = replace(one, float_bias=other.float_bias), replace(other, float_bias=one.float_bias)
    assert [row.problem for row in compared(file_of(*crossed), first, second)] == [
        "the bias of channel 0 is 2 in the file, 0.5 in the int8 module",
        "the bias of channel 0 is 0.5 in the file, 2 in the int8 module",
        "",
    ]
