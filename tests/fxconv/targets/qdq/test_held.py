"""A Q/DQ form held against its int8 module: what is planted in it is found, by the operation's name."""

import pytest
import torch
from torch import fx, nn

import fxconv
from fxconv.quantization.engine import engine
from fxconv.targets.qdq.form import qdq_form
from fxconv.targets.qdq.held import held


@pytest.fixture(autouse=True)
def qnnpack():
    with engine("qnnpack"):
        yield


@pytest.fixture(scope="module")
def int8(small_model, batches) -> nn.Module:
    return fxconv.convert(small_model, calibration=batches, recipe=("none",)).int8


@pytest.fixture
def form(int8, batches) -> nn.Module:
    return qdq_form(int8, (batches[0][:1],))


@pytest.fixture(scope="module")
def images(batches):
    return [(batches[0][place : place + 1],) for place in range(4)]


def quantize_of(form: nn.Module, name: str) -> fx.Node:
    """The quantize node of an int8 node's value."""
    return next(node for node in form.graph.nodes if node.meta.get("int8", ("",))[0] == name)


def set_everywhere(form: nn.Module, name: str, place: int, change) -> None:
    """Change the scale or zero point of a value, where it is quantized and where it is read."""
    written = quantize_of(form, name)
    for node in (written, *written.users):
        node.args = tuple(change(value) if at == place else value for at, value in enumerate(node.args))
    form.recompile()


def test_nothing_is_wrong_with_what_nothing_was_planted_in(form, int8, images):
    found = held(form, int8, images)
    assert found.problem == "" and found.worst <= 1 and found.inputs == 4
    values = [node.name for node in int8.graph.nodes if node.op.startswith("call_") and "dequant" not in node.name]
    assert [row.where for row in found.operations] == [_where(int8, name) for name in values]
    assert all(row.values > 0 for row in found.operations)
    # from end to end, on its own values
    assert torch.equal(torch.cat([each[0] for each in found.outputs]), torch.cat([form(*image) for image in images]))


def test_one_integer_of_a_weight(form, int8, images):
    form.get_buffer("head.weight")[3, 5] += 40 if form.get_buffer("head.weight")[3, 5] < 0 else -40
    (failed,) = held(form, int8, images).failed
    assert failed.where == "head"
    assert failed.problem.startswith("1 of 160 integers of its weight differ from the int8 module's, the worst by 40")


def test_one_integer_of_a_bias(form, int8, images):
    form.get_buffer("head.bias")[3] += 1
    (failed,) = held(form, int8, images).failed
    assert failed.where == "head"
    assert failed.problem == "1 of 10 integers of its bias differ from the int8 module's, the worst by 1"


def test_one_scale_doubled(form, int8, images):
    name = _second(form)
    set_everywhere(form, name, 1, lambda scale: 2 * scale)
    found = held(form, int8, images)
    assert found.failed[0].where == _where(int8, name)
    assert found.failed[0].problem.startswith("is quantized with scale ")
    assert found.failed[0].off > 0.001


def _second(form: nn.Module) -> str:
    return [node.meta["int8"][0] for node in form.graph.nodes if "int8" in node.meta][2]


def _where(int8: nn.Module, name: str) -> str:
    node = next(node for node in int8.graph.nodes if node.name == name)
    return str(node.target) if node.op == "call_module" else node.name


def test_one_zero_point_moved_by_nine(form, int8, images):
    name = _second(form)
    set_everywhere(form, name, 2, lambda zero_point: zero_point + 9)
    found = held(form, int8, images)
    assert found.failed[0].where == _where(int8, name) and "zero point" in found.failed[0].problem
    assert found.failed[0].off > 0.001


def test_one_reader_with_another_scale(form, int8, images):
    name = _second(form)
    reader = next(iter(quantize_of(form, name).users))
    reader.args = (reader.args[0], 2 * reader.args[1], *reader.args[2:])
    form.recompile()
    found = held(form, int8, images)
    assert _where(int8, name) in [row.where for row in found.failed]
    assert any(row.problem.startswith("is read with scale ") for row in found.failed)


def test_another_operation(form, int8, images):
    """What is computed counts, and not only with which numbers."""
    mul = next(node for node in form.graph.nodes if node.target is torch.mul)
    mul.target = torch.add
    form.recompile()
    (failed,) = held(form, int8, images).failed
    assert failed.where == _where(int8, mul.meta["int8_source"])
    assert "of its values are more than 2 steps from the float operation's" in failed.problem


def test_a_value_that_is_not_quantized(form, int8, images):
    """An operation of the int8 module that the form leaves in float."""
    name = _second(form)
    written = quantize_of(form, name)
    for reader in list(written.users):
        reader.replace_all_uses_with(written.args[0])
        form.graph.erase_node(reader)
    form.graph.erase_node(written)
    form.recompile()
    found = held(form, int8, images)
    assert found.failed[0].where == _where(int8, name)
    assert found.failed[0].problem == "has no operation in the Q/DQ form"
