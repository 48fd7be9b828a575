"""Several files of one calibration on the command line: the names say the targets, and what is of one is told so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fxconv_commands import PLAIN, Command
from fxconv_executorch import needs_executorch

from fxconv.errors import ConversionError
from fxconv.targets.executorch import installed
from fxconv.targets.executorch.target import EXECUTORCH

TWO = (*PLAIN, "-o", "two.ptl", "-o", "two.pte")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """ExecuTorch, as far as names and choices are looked at."""
    monkeypatch.setattr(installed, "installed", lambda: "1.5.1")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("-o m.pte --java", "--java: is of .ptl files alone, and none is written; leave it out, or add -o FILE.ptl"),
        ("-o m.pte --block remove-dropout", "--block: is of .ptl files alone"),
        ("-o m.pte --op-list ops.yaml", "--op-list: is of .ptl files alone"),
        ("-o m.pte --method trace", "--method: is of .ptl files alone"),
        ("-o m.pte --allow-frozen-branches", "--allow-frozen-branches: is of .ptl files alone"),
        ("-o m.pte --runtime LibTorch-Lite==2.1.0", "--runtime LibTorch-Lite==2.1.0: is of .ptl files alone"),
        ("-o m.ptl --runtime executorch==1.3", "--runtime executorch==1.3.1: is of .pte files alone"),
        ("--runtime executorch==1.3", "--runtime executorch==1.3.1: is of .pte files alone"),
        ("-o m.ptl --dynamic-sizes 32:64", "--dynamic-sizes: is of .pte files alone"),
        ("-o m.pte --dynamic-sizes 64:32", "--dynamic-sizes 64:32: give the least and the most pixels of a side"),
        ("-o m.pte --dynamic-sizes 64", "--dynamic-sizes 64: give the least and the most pixels of a side"),
        ("-o m.ptl -o m.pte --postprocess peaks", "--postprocess peaks: a .pte cannot hold it: ExecuTorch has"),
        ("-o a.pte -o b.pte", "-o b.pte: is a second .pte beside a.pte; name one file of each kind"),
        ("-o a.ptl -o b.onnx", "-o b.onnx: fxconv writes .ptl or .pte only, no ONNX file; write b.ptl"),
        (
            "-o m.ptl -o m.pte --runtime executorch==1.3 --runtime executorch==1.5",
            "--runtime executorch==1.5.1: the .pte is for executorch==1.3.1 already; name one release a kind of file",
        ),
        ("-o m.pte --runtime executorch==9", "--runtime executorch==9: there is no such release of executorch; known"),
    ],
)
def test_what_is_of_another_target_only_is_refused(command: Command, there: None, words: str, line: str) -> None:
    run = command("convert", *PLAIN, *words.split())
    assert (run.status, run.files) == (2, [])
    assert run.stderr.startswith(f"fxconv: error: {line}") and run.stderr.count("\n") == 1


def test_a_missing_package_is_told_before_anything_is_done(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_version", lambda package: "2.14.1" if package == "torch" else "")
    run = command("convert", *TWO)
    assert (run.status, run.files) == (2, [])
    assert 'not installed; for torch 2.14: pip install "executorch==1.5.1"' in run.stderr


@needs_executorch
def test_two_files_of_one_calibration_in_one_report(command: Command) -> None:
    keeping = ("--save-config", "c.json", "--save-calibration", "c.cal")
    run = command("convert", *TWO, "--java", "--json", "report.json", *keeping)  # --java is of the .ptl alone
    assert run.status == 0, run.stderr
    assert run.files == ["c.cal", "c.json", "report.json", "two.pte", "two.ptl"]
    assert (run.folder / "two.pte").read_bytes()[4:6] == b"ET"
    first, second = run.report["artifacts"]
    assert {**first, **run.report["artifact"]} == first, "artifact stays the first file's"
    assert [first["path"], second["path"]] == ["two.ptl", "two.pte"]
    assert [first["target"], second["target"], first["proven"], second["proven"]] == [
        "mobile",
        "executorch",
        True,
        True,
    ]
    assert first["to_int8_db"] is None, "equal"
    assert second["kernels"] == "XNNPACK" and second["operations"] and not first["operations"]
    (heads,) = [line.split() for line in run.stdout.splitlines() if line.split() == [".ptl", ".pte"]]
    rows = {" ".join(line.split()[:2]) for line in run.stdout[run.stdout.index(".pte\n") :].splitlines()}
    assert heads and {"answers as", "SQNR to", "latency, this", "outside int8"} <= rows

    assert json.loads((run.folder / "c.json").read_text())["inputs"]["targets"] == ["mobile", "executorch"]
    ranges = command("convert", PLAIN[0], "--calibration", "c.cal", "-o", "later.pte", "--json", "report.json")
    assert ranges.status == 0, ranges.stderr
    assert ranges.report["artifacts"][0]["target"] == "executorch" and len(ranges.report["artifacts"]) == 1
    assert "later.ptl" not in ranges.files and "later.pte" in ranges.files


def test_one_target_that_refuses_leaves_nothing(command: Command, there: None, monkeypatch: pytest.MonkeyPatch) -> None:
    command("convert", *PLAIN, "-o", "two.ptl")
    before = Path("two.ptl").read_bytes()

    def refuses(self: object, *words: object) -> None:
        raise ConversionError("this target has no such operation")

    monkeypatch.setattr(type(EXECUTORCH), "check", lambda self, config: None)
    monkeypatch.setattr(type(EXECUTORCH), "lower", refuses)
    run = command("convert", *TWO, "--seed", "1")
    assert run.status == 1
    assert "this target has no such operation" in run.stderr
    assert run.files == ["two.ptl"] and Path("two.ptl").read_bytes() == before
