"""Which ExecuTorch programs of anybody's may be run."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from benchmarks.hostile import made
from benchmarks.hostile.formats import executorch_of, flatbuffer_of
from benchmarks.hostile.pte import NAMES, content
from benchmarks.hostile.pte.places import places
from fxconv.errors import UserError
from fxconv.inspection import Kind
from fxconv.inspection.executorch_program import read_program
from fxconv.targets.executorch.allow_list import inspected, refused


@pytest.fixture
def written(tmp_path):
    def write(data: bytes):
        (tmp_path / "net.pte").write_bytes(data)
        return tmp_path / "net.pte"

    return write


@pytest.mark.parametrize("name", NAMES)
def test_what_executorch_wrote_may_be_run(written, name):
    assert inspected(written(content(name))).kind is Kind.EXECUTORCH


def changed(name: str, field: str, value: int) -> bytes:
    """A program with the first number of that field another."""
    data = bytearray(content(name))
    place = next(one for one in places(bytes(data)) if one.name == field)
    struct.pack_into(f"<{place.form}", data, place.begin, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "place in the arena",
            1 << 20,
            "its method forward has a tensor (value 1) that reaches beyond the memory planned",
        ),
        ("dims", 1 << 31, "larger than the memory it may have"),
        ("filter_id", 99, "has a Conv2d of values that are not there"),
        ("kernel_height", 60000, "has a Conv2d whose weight is of another size than it says"),
        ("zero point", 4000, "with a zero point that is none"),
        ("number of externals", 1 << 30, "takes or returns values that are not there"),
    ],
)
def test_a_field_that_lies_is_refused_in_one_line(written, field, value, words):
    with pytest.raises(UserError) as refusal:
        inspected(written(changed("int8.pte", field, value)))
    text = str(refusal.value)
    assert text.startswith(f"{written(content('int8.pte'))}: not run, because ") and words in text and "\n" not in text


def test_other_backends_and_kernels_are_refused(written):
    with pytest.raises(UserError, match="hands work to QnnBackend"):
        inspected(written(executorch_of([], ["QnnBackend"])))
    with pytest.raises(UserError, match=r"calls aten::save.out, which is not known to do nothing but compute"):
        inspected(written(executorch_of([("aten::save", "out")], [])))


def test_a_delegate_that_cannot_be_read_is_refused(written):
    with pytest.raises(UserError, match="no XNNPACK graph of a version known here"):
        inspected(written(executorch_of([], ["XnnpackBackend"])))


def test_a_newer_schema_is_refused(written):
    with pytest.raises(UserError, match="it is of schema version 7, which is not known here"):
        inspected(written(flatbuffer_of({0: struct.pack("<I", 7), 1: [{0: "forward"}]}, b"ET12")))


def test_memory_above_the_limit_is_refused(written):
    with pytest.raises(UserError, match="of memory, more than the 0 MB it may have"):
        inspected(written(content("int8.pte")), megabytes=0)


def test_no_program_is_refused(tmp_path):
    (tmp_path / "net.pte").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(UserError, match="zip archive"):
        inspected(tmp_path / "net.pte")
    (tmp_path / "net.tflite").write_bytes(struct.pack("<I", 24) + b"TFL3" + bytes(30))
    with pytest.raises(UserError, match=r"is no ExecuTorch program \(a TensorFlow Lite model\); give a .pte"):
        inspected(tmp_path / "net.tflite")


def test_two_methods_of_one_name_are_refused():
    found = read_program(memoryview(content("int8.pte")))
    twice = replace(found, methods=(found.methods[0], found.methods[0]))
    assert next(refused(twice)) == "it has no methods, or two of one name"


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_field_says_it_is_a_line(written, seed):
    files = {name: content(name) for name in NAMES}
    for kind in ("ExecuTorch programs with a field that lies", "ExecuTorch programs damaged"):
        try:
            inspected(written(made(kind, seed, files)))
        except UserError as error:
            assert "\n" not in str(error)
