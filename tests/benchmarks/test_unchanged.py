"""benchmarks/unchanged.py sees what changed between two files, and tells texts from the rest."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.unchanged import compared, differing, table

RECORDS = {
    "code/a.py": "y = torch.relu(x)",
    "bytecode.pkl": "RELU",
    "constants/0.storage": "1234",
    "extra/golden.json": '{"sha256": "ab"}',
    "extra/fxconv.json": '{"digest": "cd", "reason": "no kernel there", "nodes": 2}',
    ".data/serialization_id": "7",
}
REPORT = {
    "parity": [{"sqnr_db": 31.5, "rule": "at least 10 dB"}],
    "timings": {"total": 3.0},
    "artifact": {"bytes": 100, "sha256": "ef", "path": "x.ptl"},
    "passes": [{"edits": [{"before": "x = a(y)", "reason": "it is slow"}]}],
}


def written(folder: Path, records: dict[str, str], report: Any) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "x.ptl", "w") as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    (folder / "x.json").write_text(json.dumps(report))
    return folder


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with another one at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize(
    ("record", "content", "column"),
    [
        ("code/a.py", "y = torch.tanh(x)", "program"),
        ("bytecode.pkl", "TANH", "program"),
        ("code/a.py.debug_pkl", "another", "program"),
        ("constants/0.storage", "1235", "tensors"),
        ("extra/golden.json", '{"sha256": "ac"}', "golden"),
        ("extra/fxconv.json", RECORDS["extra/fxconv.json"].replace("2", "3"), "numbers"),
        ("extra/fxconv.json", RECORDS["extra/fxconv.json"].replace("cd", "ce"), "numbers"),
    ],
)
def test_a_changed_record_is_seen(record: str, content: str, column: str, tmp_path: Path) -> None:
    one = written(tmp_path / "a", RECORDS, REPORT)
    found = compared(one, written(tmp_path / "b", {**RECORDS, record: content}, REPORT), "x")
    assert getattr(found, column) and found.bytes and not found.is_unchanged
    assert not [name for name in ("program", "tensors", "golden", "numbers") if name != column and getattr(found, name)]


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("parity", 0, "sqnr_db"), 31.500000001),
        (("parity", 0, "sqnr_db"), None),
        (("artifact", "bytes"), 101),
        (("parity",), []),
        (("passes", 0, "edits", 0, "before"), "x = b(y)"),
    ],
)
def test_a_changed_number_of_the_report_is_seen(path: tuple[Any, ...], new: Any, tmp_path: Path) -> None:
    one = written(tmp_path / "a", RECORDS, REPORT)
    found = compared(one, written(tmp_path / "b", RECORDS, changed(REPORT, path, new)), "x")
    assert len(found.numbers) == 1 and not found.bytes and not found.is_unchanged
    assert "1 differ" in table({"x": found})


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("parity", 0, "rule"), "10 dB or more"),
        (("passes", 0, "edits", 0, "reason"), "it takes long"),
    ],
)
def test_a_text_may_change(path: tuple[Any, ...], new: str, tmp_path: Path) -> None:
    one = written(tmp_path / "a", RECORDS, REPORT)
    found = compared(one, written(tmp_path / "b", RECORDS, changed(REPORT, path, new)), "x")
    assert found.texts and found.is_unchanged


def test_a_text_in_the_file_may_make_it_longer(tmp_path: Path) -> None:
    said = RECORDS["extra/fxconv.json"].replace("no kernel there", "there is no kernel")
    records = {**RECORDS, "extra/fxconv.json": said, ".data/serialization_id": "8"}
    one = written(tmp_path / "a", RECORDS, REPORT)
    found = compared(one, written(tmp_path / "b", records, changed(REPORT, ("artifact", "bytes"), 103)), "x")
    assert found.texts and found.bytes and found.is_unchanged


def test_what_a_clock_says_is_passed_over(tmp_path: Path) -> None:
    one = written(tmp_path / "a", RECORDS, REPORT)
    found = compared(one, written(tmp_path / "b", RECORDS, changed(REPORT, ("timings", "total"), 4.0)), "x")
    assert found.is_unchanged and not found.texts
    assert differing({"a": 1}, {"a": True}, "x") == (["x.a: 1 -> True"], [])
