"""Pickles are read, and nothing they say is done."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict

import pytest
import torch

from fxconv.inspection import Kind, inspect
from fxconv.inspection.found import Unreadable
from fxconv.inspection.inert import Call, Dict, read_pickle


class Writes:
    """Unpickled, it writes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def plain(value):
    """An inert value as Python has it, calls as tuples."""
    if isinstance(value, Dict):
        return {plain(key): plain(one) for key, one in value.items}
    if isinstance(value, Call):
        return value.path, plain(value.arguments)
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_in_every_protocol(protocol):
    value = {"a": [1, -2, 3.5, None, True, 1 << 40], "b": ("x", b"y", "ü"), 3: {"c": [[], {}, ()]}, "d": "a" * 300}
    value["again"] = value["a"]
    found = read_pickle(pickle.dumps(value, protocol)).value
    if protocol < 3:  # bytes are a call there
        value["b"] = ("x", ("_codecs.encode", ("y", "latin1")), "ü")
    assert plain(found) == value
    assert found.get("again") is found.get("a")


def test_a_call_is_put_down_and_not_made():
    pickled = read_pickle(pickle.dumps(OrderedDict(a=1)))
    assert pickled.value.path == "collections.OrderedDict" and pickled.value.items == [("a", 1)]
    assert pickled.names == ("collections.OrderedDict",)


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_bare_pickle_is_not_run(tmp_path, protocol):
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Writes(f"{tmp_path}/written"), max(protocol, 2)))
    found = inspect(tmp_path / "bad.pkl")
    assert dict(found.facts)["class"] == "posix.system"
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
def test_code_beside_tensors_is_not_run(tmp_path, new):
    content = {"w": torch.ones(3), "bad": [Writes(f"{tmp_path}/written")]}
    torch.save(content, tmp_path / "bad.pth", _use_new_zipfile_serialization=new)
    found = inspect(tmp_path / "bad.pth")
    assert found.kind is Kind.CHECKPOINT
    assert dict(found.facts)["needs the code of"] == "posix.system"
    assert found.problems == (
        "loading it runs code it names: torch.load needs weights_only=False, fxconv --unsafe-load",
    )
    assert not (tmp_path / "written").exists()
    torch.load(tmp_path / "bad.pth", weights_only=False)
    assert (tmp_path / "written").exists()  # it would have been


def test_a_list_in_itself():
    value: list[object] = [1]
    value.append(value)
    found = read_pickle(pickle.dumps(value)).value
    assert found[0] == 1 and found[1] is found


def test_where_it_ends():
    first = pickle.dumps("first")
    data = first + pickle.dumps("second")
    assert read_pickle(data).end == len(first)
    assert read_pickle(data, len(first)).value == "second"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "a damaged pickle"),
        (b"\x80\x02", "a damaged pickle"),
        (b"\x80\x02.", "a damaged pickle"),
        (b"\x80\x02K\x01a.", "a damaged pickle"),
        (b"\x80\x02K\x01K\x02a.", "a damaged pickle"),
        (b"\x80\x02h\x05.", "a damaged pickle"),
        (b"\x80\x02t.", "a damaged pickle"),
        (b"\x80\x02\x85.", "a damaged pickle"),
        (b"\xff\xff.", "a damaged pickle"),
        (b"\x80\x02X\xff\xff\xff\xffabc.", "a damaged pickle"),
        (b"\x80\x02K\x01K\x02\x93.", "a damaged pickle"),
        (b"\x80\x05\x97.", "values lie in another file"),
        (b"\x80\x02\x8b" + (50_000).to_bytes(4, "little") + b"\x01" * 50_000 + b".", "a pickled number of"),
        (b"\x80\x02" + b"N0" * 600_000 + b"N.", "a pickle of more than 1,000,000 steps"),
    ],
)
def test_damaged(data, words):
    with pytest.raises(Unreadable, match=words):
        read_pickle(data)
