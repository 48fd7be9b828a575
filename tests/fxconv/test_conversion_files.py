"""A conversion with several files from Python: each proven in its own runtime, saved by its name."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fxconv_changed import with_file
from fxconv_executorch import needs_executorch
from rich.console import Console
from torch import nn

import fxconv
from fxconv.errors import ConversionError, UserError

pytestmark = needs_executorch


def test_each_file_is_proven_in_its_own_runtime(both_targets):
    assert both_targets.verified and both_targets.proven
    assert [file.target.name for file in both_targets.files] == ["mobile", "executorch"]
    assert [file.proven for file in both_targets.files] == [True, True]
    mobile, executorch = both_targets.files
    assert both_targets.artifact is mobile.artifact and both_targets.latency is mobile.latency
    assert mobile.to_int8_db == math.inf and executorch.to_int8_db > 25
    assert [row.stage for row in executorch.ledger] == list(executorch.target.stages)
    assert {op.problem for op in executorch.operations} == {""} and len(executorch.operations) > 3
    assert executorch.artifact.int8_macs_share == mobile.artifact.int8_macs_share == 1


def test_the_float_twin_runs_on_the_kernels_of_the_same_runtime(both_targets):
    assert both_targets.files[1].latency.float_kernels == "XNNPACK"
    assert both_targets.files[1].artifact.float_bytes > both_targets.files[1].artifact.size


def test_a_float_twin_that_does_not_run_is_no_fault_of_the_file(tmp_path):
    # ExecuTorch has no kernel for an average pool over a volume; the int8 file has other operations for it
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(3, 8, 3), nn.ReLU(), nn.AvgPool3d(2), nn.Flatten(), nn.Linear(64, 5)).eval()
    clips = [torch.randn(4, 3, 6, 6, 6) for _ in range(2)]
    found = fxconv.convert(network, clips, output=tmp_path / "m.pte", recipe=("none",))
    assert found.verified and (tmp_path / "m.pte").exists()
    assert "avg_pool3d" in found.latency.float_problem and found.latency.int8_ms > 0
    console = Console(width=200, record=True, file=io.StringIO())
    found.report.print(console, full=False)
    assert "ms; float's is not known: " in console.export_text()
    assert '"float_ms": null' in found.report.json_text() and "s is not known: " in found.report.html_text()


def test_any_file_that_fails_fails_the_conversion(both_targets):
    executorch = both_targets.files[1]
    rows = executorch.ledger
    for place in range(len(rows)):
        broken = replace(executorch, ledger=(*rows[:place], replace(rows[place], passed=False), *rows[place + 1 :]))
        failed = replace(both_targets, files=(both_targets.files[0], broken))
        assert not failed.verified and not broken.proven
        assert failed.cure
    short = replace(executorch, ledger=rows[:-1])
    assert not replace(both_targets, files=(both_targets.files[0], short)).verified


def test_a_file_is_saved_under_a_name_of_its_kind(both_targets, tmp_path):
    saved = both_targets.save(tmp_path / "m.pte").save(tmp_path / "m.ptl")
    assert [file.artifact.path for file in saved.files] == [tmp_path / "m.ptl", tmp_path / "m.pte"]
    assert (tmp_path / "m.pte").read_bytes() == both_targets.files[1].artifact.data
    failed = with_file(both_targets, ledger=())
    with pytest.raises(ConversionError):
        failed.save(tmp_path / "other.pte")
    assert not (tmp_path / "other.pte").exists()


def test_a_kind_that_was_not_asked_for_is_not_saved(small_conversion, tmp_path):
    with pytest.raises(UserError, match=r"m.pte: this conversion made .ptl alone; ask for targets=\('mobile', 'exec"):
        small_conversion.save(tmp_path / "m.pte")
    assert not list(tmp_path.iterdir())


def test_an_unknown_target_is_refused_with_those_there_are(small_model, batches):
    with pytest.raises(UserError, match=r"'tflite': there is no such target; known are mobile \(.ptl\), executorch"):
        fxconv.convert(small_model, calibration=batches, targets=("tflite",))


def test_a_program_takes_what_the_model_takes_and_several_at_once(both_targets, batches):
    file = both_targets.files[1]
    program = file.target.load(file.artifact.data)
    whole = program(batches[0])
    each = torch.cat([program(row[None]) for row in batches[0]])
    assert torch.equal(whole, each)
    moved = batches[0].contiguous(memory_format=torch.channels_last)
    assert torch.equal(program(moved), whole), "another memory format changes nothing"
    with torch.no_grad():
        noise = (whole - both_targets.int8(batches[0])).square().sum()
        assert 10 * torch.log10(whole.square().sum() / noise) > 25


def test_the_reports_show_both(both_targets):
    told = both_targets.report.json()
    assert [one["target"] for one in told["artifacts"]] == ["mobile", "executorch"]
    assert told["artifact"].items() <= told["artifacts"][0].items()
    page = both_targets.report.html_text()
    assert "The files side by side" in page and "Operations of the .pte" in page


def test_a_file_with_a_name_is_written_beside_one_without(
    small_model: torch.nn.Module, batches: list[torch.Tensor], tmp_path: Path
) -> None:
    named = tmp_path / "net.pte"
    done = fxconv.convert(small_model, calibration=batches, recipe="none", targets="mobile", output=named)
    assert [file.target.name for file in done.files] == ["executorch", "mobile"]
    assert [file.artifact.path for file in done.files] == [named, None]
    assert list(tmp_path.iterdir()) == [named]
