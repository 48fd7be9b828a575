"""Zip archives that are damaged or lie are refused before anything is unpacked."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import pytest
import torch

from benchmarks.hostile.archives import (
    overlapping,
    records_of,
    two_counts,
    two_directories,
    two_long_directories,
    zip_of,
)
from fxconv.errors import UserError
from fxconv.inspection import inspect
from fxconv.inspection.archive import _TWO_DIRECTORIES

STATE = {"data.pkl": b"\x80\x02}.", "version": b"3\n", "extra/a": b"text"}


@pytest.fixture
def refusal(tmp_path):
    """What `inspect` says of these bytes, without the name of the file."""

    def refused(data: bytes) -> str:
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(UserError) as error:
            inspect(tmp_path / "file")
        return str(error.value).removeprefix(f"{tmp_path / 'file'}: ")

    return refused


def entry(data: bytes, number: int = 0) -> int:
    """Where an entry of the directory is."""
    place = data.index(b"PK\x01\x02")
    for _ in range(number):
        place = data.index(b"PK\x01\x02", place + 1)
    return place


def changed(data: bytes, place: int, form: str, value: int) -> bytes:
    found = bytearray(data)
    struct.pack_into(form, found, place, value)
    return bytes(found)


def test_these_are_right_before_they_are_changed(tmp_path):
    for squeezed in (False, True):
        (tmp_path / "file").write_bytes(zip_of(STATE, squeezed))
        assert [extra.text for extra in inspect(tmp_path / "file").extras] == ["text"]
    assert records_of(zip_of(STATE, True)) == STATE


def test_truncated(refusal, tmp_path):
    torch.save({"a": torch.ones(9)}, tmp_path / "net.pth")
    data = (tmp_path / "net.pth").read_bytes()
    assert refusal(data[:-30]) == (
        f"is truncated: its zip directory is missing (it ends after {len(data) - 30:,} bytes); copy it again"
    )


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../../x", "..\\x", "C:x", "a\0b"])
def test_names_that_lead_out(refusal, name):
    assert "leads out of it; do not unpack it" in refusal(zip_of({**STATE, name: b""}, root=""))


def test_a_name_twice(refusal):
    assert "holds archive/version twice" in refusal(zip_of([*STATE.items(), ("version", b"4")]))


def test_overlapping_records(refusal):
    assert "overlaps what follows it" in refusal(overlapping("data.pkl", 50))


def test_a_size_no_compression_reaches(refusal):
    data = zip_of(STATE, squeezed=True)
    assert "says it unpacks to 1,000,000 bytes, which it cannot" in refusal(
        changed(data, entry(data) + 24, "<I", 1_000_000)
    )


def test_a_size_that_is_not_so(refusal):
    data = zip_of({**STATE, "extra/a": b"a" * 5000}, squeezed=True)
    assert "unpacks to another size than it says" in refusal(changed(data, entry(data, 2) + 24, "<I", 4000))


def test_a_bomb(refusal):
    data = zip_of({**STATE, "code/a.py": bytes(300 << 20)}, squeezed=True)
    assert len(data) < 1 << 20
    assert "unpacks to 314,572," in refusal(data)


def test_more_records_than_any_model_has(refusal):
    data = zip_of(STATE)
    end = data.index(b"PK\x05\x06")
    long = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**6, 10**6, end - entry(data), entry(data))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert "lists 1,000,000 records" in refusal(data[:end] + long + locator + last)


def test_a_long_form_that_fits(tmp_path):
    data = zip_of([(f"data/{number}", b"") for number in range(70_000)] + list(STATE.items()))
    (tmp_path / "file").write_bytes(data)
    assert next(part.records for part in inspect(tmp_path / "file").parts if part.name == "structure") == 1


def test_a_record_that_is_elsewhere(refusal):
    data = zip_of(STATE)
    assert "is not where its zip directory says" in refusal(data.replace(b"archive/version", b"archive/Version", 1))


def test_encrypted(refusal):
    data = zip_of(STATE)
    assert refusal(changed(data, entry(data) + 8, "<H", 1)) == "is encrypted; unpack it with its password first"


def test_a_directory_that_begins_elsewhere(refusal):
    data = zip_of(STATE)
    assert refusal(changed(data, len(data) - 6, "<I", entry(data) - 1)) == _TWO_DIRECTORIES
    assert refusal(changed(data, len(data) - 6, "<I", entry(data) + 1)) == "its zip directory is damaged; copy it again"


@pytest.mark.parametrize("made", [two_directories, two_long_directories, two_counts])
def test_two_directories_of_which_readers_take_one_each(refusal, tmp_path, made):
    shown, hidden = {**STATE, "extra/a": b"shown"}, {**STATE, "extra/a": b"inner" * 20}
    if made is two_counts:
        del shown["extra/a"]
    data = made(shown, hidden)
    (tmp_path / "file").write_bytes(data)
    assert torch._C.PyTorchFileReader(str(tmp_path / "file")).get_record("extra/a") == b"inner" * 20
    if made is not two_counts:
        assert zipfile.ZipFile(tmp_path / "file").read("archive/extra/a") == b"shown"
    assert refusal(data) == _TWO_DIRECTORIES


@pytest.mark.parametrize(("place", "form"), [(-14, "<H"), (-12, "<H"), (-10, "<I"), (-6, "<I")])
def test_a_short_form_that_says_something_else_than_the_long_one(refusal, tmp_path, place, form):
    torch.save({"a": torch.ones(9)}, tmp_path / "net.pth")
    data = (tmp_path / "net.pth").read_bytes()
    assert data[-42:-38] == b"PK\x06\x07"  # torch writes both
    assert refusal(changed(data, len(data) + place, form, 1)) == _TWO_DIRECTORIES


def test_two_numbers_of_records(refusal):
    data = zip_of(STATE)
    assert refusal(changed(data, len(data) - 14, "<H", 2)) == _TWO_DIRECTORIES


def test_nothing_in_it(refusal):
    assert refusal(zip_of({})).startswith("is a zip archive that torch did not write (nothing in it)")


def test_names_of_which_torch_takes_one_for_the_other(refusal, tmp_path):
    other = zip_of({**STATE, "Extra/A": b"other"})
    assert "holds archive/Extra/A twice, and readers differ" in refusal(other)
    (tmp_path / "file").write_bytes(zip_of({"DATA.PKL": b"\x80\x02}.", "bytecode.pkl": b"\x80\x02).", "version": b"3"}))
    assert torch._C.PyTorchFileReader(str(tmp_path / "file")).get_record("data.pkl") == b"\x80\x02}."
    assert "holds DATA.PKL, which torch takes for data.pkl" in refusal((tmp_path / "file").read_bytes())


def test_a_file_that_begins_as_two_kinds_do(refusal):
    data = zip_of(STATE)
    assert "begins as two kinds of file do" in refusal(data[:4] + b"PTMF" + data[8:])


def test_a_record_packed_otherwise_than_its_header_says(refusal):
    data = zip_of(STATE)
    assert "is not where its zip directory says" in refusal(changed(data, 8, "<H", 8))


def test_bytes_behind_it_are_a_problem(tmp_path):
    (tmp_path / "file").write_bytes(zip_of(STATE) + b"more")
    assert inspect(tmp_path / "file").problems == ("4 bytes follow the archive",)


@pytest.fixture
def weights(tmp_path) -> Path:
    torch.save({"a": torch.ones(50)}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_changed_weights_are_a_problem(weights):
    data = weights.read_bytes()
    ones = torch.ones(50).numpy().tobytes()
    weights.write_bytes(data.replace(ones, ones[:-4] + b"\0\0\0\x41"))
    assert inspect(weights).problems == (
        "damaged: data/0 does not match its checksum; torch loads it all the same, copy it again",
    )
    assert torch.load(weights)["a"][-1] == 8  # as it says


def test_weights_saved_without_checksums_are_none(tmp_path):
    before = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        torch.save({"a": torch.ones(50)}, tmp_path / "net.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert zlib.crc32(torch.ones(50).numpy().tobytes()) != 0
    assert not inspect(tmp_path / "net.pth").problems


def test_a_missing_record(refusal, weights):
    records = records_of(weights.read_bytes())
    del records["data/0"]
    assert refusal(zip_of(records)) == "lacks data/0, the values of a; copy it again"
