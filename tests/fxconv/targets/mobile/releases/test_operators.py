"""How operators and versions are read out of a package as text."""

from __future__ import annotations

import pytest
import torch

from benchmarks.runtimes import arity, in_headers, in_library, merged, versions
from fxconv.targets.mobile.releases.operators import Arity, data


@pytest.mark.parametrize(
    ("arguments", "most", "least"),
    [
        ("", 0, 0),
        ("Tensor self", 1, 1),
        ("Tensor self, Tensor other, *, Scalar alpha=1", 3, 2),
        ("Tensor self, int[2] stride=[1, 1], *, Tensor(a!) out", 3, 2),
        ("Dict(str, t) self, str key", 2, 2),
        ("Tensor input, str mode='a, b', bool? x=None", 3, 1),
        ("str self, ...", None, 1),
    ],
)
def test_arguments_are_counted(arguments, most, least):
    assert arity(arguments) == Arity(most, least)


def test_schemas_in_a_library():
    content = (
        b"\0quantized::conv2d.new(Tensor qx, int zero_point) -> Tensor\0junk\1"
        b"aten::format(str self, ...) -> str\0see aten::add(Tensor a) -> Tensor for more\0"
        b"add.Tensor(Tensor self) -> Tensor\0prim::a(int x) -> int\0prim::a(int x, int y=2) -> int\0"
    )
    assert in_library(content) == {
        "quantized::conv2d.new": Arity(2, 2),
        "aten::format": Arity(None, 1),
        "prim::a": Arity(2, 1),  # the wider bounds of both
    }


def test_schemas_in_headers():
    old = 'STATIC_CONSTEXPR_STR_INL_EXCEPT_WIN_CUDA(schema_str, "add.out(Tensor a, *, Tensor(a!) out) -> Tensor(a!)")'
    new = "static constexpr const char* schema_str = \"gelu(Tensor self, *, str approximate='none') -> Tensor\";"
    assert in_headers([old, new]) == {"aten::add.out": Arity(2, 2), "aten::gelu": Arity(2, 1)}


def test_versions_with_upgraders_come_first():
    text = """
        constexpr uint64_t kMaxSupportedFileFormatVersion = 0xAL;
        constexpr uint64_t kMaxSupportedFileFormatVersion = 0x6L;
        constexpr uint64_t kMaxSupportedBytecodeVersion = 0x9L;
    """
    assert versions(text) == {"MaxSupportedFileFormat": 10, "MaxSupportedBytecode": 9}


def test_releases_with_the_same_bounds_stand_together():
    one, two = Arity(1, 1), Arity(2, 1)
    tables = [{"a::x": one, "a::y": one}, {"a::x": one, "a::y": one}, {"a::x": two}, {"a::x": two, "a::y": one}]
    assert merged(tables) == {"a": {"0-1 1/1,2-3 2/1": "x", "0-1 1/1,3-3 1/1": "y"}}


def test_names_too_many_are_called_by_no_file():
    """What old libraries hold besides their operators are names that this torch does not register either."""
    known = {
        f"{one.name}.{one.overload_name}" if one.overload_name else one.name for one in torch._C._jit_get_all_schemas()
    }
    for run in data()["tried"]:
        assert run["found"] == run["registered"] - len(run["not_found"])
        assert not known.intersection(run["not_registered"])
