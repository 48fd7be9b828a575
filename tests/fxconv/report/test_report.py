"""Views of one conversion: they show what it says, in colours only where those are wanted."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from html import escape

import fxconv_networks as networks
import pytest
import torch
from fxconv_changed import with_file, with_ledger
from rich.console import Console
from torch import Tensor, nn

import fxconv
from fxconv.config import Engine
from fxconv.measures.latency import Latency
from fxconv.report import Report
from fxconv.report.json import plain
from fxconv.report.pull_request import markdown
from fxconv.report.tables import decibels
from fxconv.report.terminal import summary_rows
from fxconv.targets.mobile.lite_file import unreadable
from fxconv.verification.parity import unreadable as unreadable_row


def printed(conversion, full: bool = True, **options) -> str:
    page = io.StringIO()
    Report(conversion).print(Console(file=page, width=200, highlight=False, **options), full=full)
    return page.getvalue()


@pytest.fixture
def failed(small_conversion):
    """The small conversion, had its file been damaged on the disk."""
    row = unreadable_row("reloaded", RuntimeError("PytorchStreamReader failed"))
    unread = with_ledger(small_conversion, (*small_conversion.ledger[:-1], row))
    return with_file(unread, artifact=unreadable(b"garbage", 1000), latency=Latency(math.nan, math.nan))


def test_json_has_no_values_json_lacks():
    value = {"a": (1, 2.5, math.inf), "b": [Engine.qnnpack, math.nan], 3: None, "c": True, "d": "x"}
    assert plain(value) == {"a": [1, 2.5, None], "b": ["qnnpack", None], "3": None, "c": True, "d": "x"}


def test_bit_identical_stages_have_no_sqnr_in_json(small_conversion):
    rows = {row["stage"]: row for row in small_conversion.report.json()["parity"]}
    assert rows["reloaded"]["max_abs_diff"] == 0
    assert rows["reloaded"]["sqnr_db"] is None
    assert rows["reloaded"]["passed"] is True


def test_a_failed_conversion_is_valid_json(failed):
    report = json.loads(failed.report.json_text())
    assert report["verdict"].startswith("FAILED: reloaded against int8: the file does not load or run")
    assert report["latency"]["int8_ms"] is None
    assert report["parity"][-1]["max_abs_diff"] is None
    assert report["artifact"]["path"] is None


def test_a_failed_conversion_says_so_first_and_last(failed):
    page = printed(failed)
    assert page.startswith("✗ Tiny: FAILED: reloaded against int8: ")
    assert page.count("✗ Tiny: FAILED: ") == 2
    assert page.splitlines()[-1].split() == ["written", "nothing"]
    assert "latency, 1 thread" not in page


@pytest.mark.parametrize(
    ("kernels", "words"),
    [
        ("XNNPACK", "on XNNPACK"),
        ("aten, unpacked", "on aten, unpacked, which flatters int8"),
        ("XNNPACK and aten", "on XNNPACK and aten"),
        ("aten", "on aten"),
        ("", ""),
    ],
)
def test_floats_latency_tells_the_kernels_it_ran_on_in_every_view(kernels, words, small_conversion):
    told = with_file(small_conversion, latency=Latency(2.0, 8.0, float_kernels=kernels))
    (summary,) = [words for name, words in summary_rows(told) if name == "latency"]
    behind = f" {words}" if words else ""
    assert summary.startswith(f"2.00 ms, 0.25 times float's 8.00 ms{behind} (1 thread, this machine)")
    assert (f"- float {words}" in printed(told)) is bool(words)
    assert (f"- float {words}" in told.report.html_text()) is bool(words)
    latency = told.report.json()["latency"]
    assert {"int8_ms": 2.0, "float_ms": 8.0, "threads": 1, "float_kernels": kernels}.items() <= latency.items()
    assert latency["int8_cpu_ms"] is None


def test_json_edits_carry_their_reasons(small_conversion):
    passes = {entry["name"]: entry for entry in small_conversion.report.json()["passes"]}
    (edit,) = passes["fold-relu6"]["edits"]
    assert "ReLU6()" in edit["before"]
    assert "CappedReLU(cap=6)" in edit["after"]
    assert edit["reason"] == "the range is capped at 6; no int8 clamp runs"
    assert (passes["decompose"]["edits"], passes["decompose"]["diff"]) == ([], "")


def test_json_maps_every_key_of_the_checkpoint(small_conversion, small_model):
    key_map = small_conversion.report.json()["key_map"]
    assert set(key_map) == set(small_model.state_dict())
    assert key_map["stem.0.weight"] == "stem.conv.weight"


def test_diffs_are_coloured_on_a_terminal_only(small_conversion):
    page = printed(small_conversion, force_terminal=True, color_system="standard")
    assert "\x1b[32m+mul = self.mul(block_2, hardsigmoid)  # Mul()\x1b[0m" in page
    assert "\x1b[31m-mul = block_2 * hardsigmoid\x1b[0m" in page
    assert "\x1b" not in printed(small_conversion)


def test_no_color_leaves_no_colour(small_conversion):
    page = printed(small_conversion, force_terminal=True, color_system="standard", no_color=True)
    assert "+mul = self.mul(block_2, hardsigmoid)  # Mul()" in page
    assert not [code for code in range(30, 38) if f"\x1b[{code}m" in page]


def test_model_names_and_reasons_are_never_read_as_markup(small_conversion):
    odd = replace(
        small_conversion,
        model=replace(small_conversion.model, name="[bold]net[/bold]", weights="[red]w.pth"),
        calibration=replace(small_conversion.calibration, source="12 of 12 photographs in /data/[red]/x"),
        warnings=("[link]odd[/link]",),
    )
    page = printed(odd)
    assert page.startswith("✓ [bold]net[/bold]: converted and verified\n")
    assert "[red]w.pth" in page
    assert "photographs in /data/[red]/x" in page
    assert "[link]odd[/link]" in page


def test_the_summary_gives_the_numbers_of_the_conversion(small_conversion):
    lines = dict(line.split("  ", 1) for line in printed(small_conversion, full=False).splitlines()[1:])
    values = {key: value.strip() for key, value in lines.items()}
    artifact = small_conversion.artifact
    assert values["int8"] == "100.0 % of multiply-accumulates; 0 float islands"
    assert values["against float"].startswith(f"{small_conversion.ledger[2].sqnr_db:.1f} dB")
    assert values["size"].startswith(f"{artifact.size / 1000:.1f} kB, {artifact.size / artifact.float_bytes:.2f} times")
    assert values["calibrated on"] == "24 tensors given from Python"
    assert values["written"] == "nothing"


def test_the_summary_of_a_network_kept_in_float_says_why():
    conversion = fxconv.convert(
        networks.one_float_convolution(),
        calibration=torch.randn(2, 3, 16, 16),
        skip=networks.PAD_INSIDE,
        recipe=("none",),
    )
    (line,) = [line for line in printed(conversion, full=False).splitlines() if line.startswith("in float")]
    assert "second: " in line
    assert "quantized convolutions pad with zeros only, not 'circular'" in line


class Split(nn.Module):
    """Layers around a line that decides by numbers, in the model itself or in a module of its own."""

    def __init__(self, is_own: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.flip = Flip() if is_own else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.flip is not None:
            return self.last(self.flip(x))
        return self.last(-x if x.isnan().any() else x)


class Flip(nn.Module):
    """A layer behind such a line."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return -self.conv(x) if x.isnan().all() else self.conv(x)


@pytest.mark.parametrize(
    ("is_own", "parts", "line"),
    [
        (False, "2 (first, last)", "return self.last(-x if x.isnan().any() else x)"),
        (True, "2 (the model itself, flip.conv)", "return -self.conv(x) if x.isnan().all() else self.conv(x)"),
    ],
)
def test_the_summary_of_a_model_in_parts_says_how_many_and_which_line_made_them(is_own, parts, line):
    torch.manual_seed(0)
    conversion = fxconv.convert(Split(is_own).eval(), calibration=torch.randn(2, 3, 16, 16), recipe=("none",))
    place = conversion.rewritten.leaves[0].reason.partition("does not trace: ")[2].partition(" ")[0]
    words = f"{parts}, because {place} ({line}) does not trace"
    assert dict(summary_rows(conversion))["in parts"] == f"{words}; what is around them stays in float"
    assert "\nin parts " in printed(conversion, full=False)
    assert conversion.report.json()["tracing"]["in_parts"] == words
    assert f"Rewritten in parts: {words}." in markdown(conversion.rewritten, "Split")
    assert escape(words, quote=False) in Report(conversion).html_text()


def test_a_model_of_one_graph_has_no_parts_to_tell_of(small_conversion):
    assert "in parts" not in printed(small_conversion, full=False)
    assert small_conversion.report.json()["tracing"]["in_parts"] is None
    assert "in parts" not in markdown(small_conversion.rewritten, "Small")


def test_the_rename_table_shows_old_and_new(small_conversion):
    lines = [line.split() for line in printed(small_conversion).splitlines()]
    assert ["old", "name", "new", "name"] in lines
    assert ["stem.0", "stem.conv"] in lines


def test_the_ledger_shows_every_stage_with_its_rule(small_conversion):
    lines = printed(small_conversion).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("stage "))
    rows = [line.split() for line in lines[start + 1 : start + 7]]
    assert [row[0] for row in rows] == ["rewritten", "fused", "int8", "scripted", "optimized", "reloaded"]
    assert [row[-1] for row in rows] == ["ok"] * 6
    assert rows[0][2:4] == ["0", "exact"]


@pytest.mark.parametrize(
    ("value", "expected"), [(-0.04, "0.0 dB"), (-0.06, "-0.1 dB"), (33.84, "33.8 dB"), (float("inf"), "exact")]
)
def test_a_figure_that_rounds_to_nothing_has_no_sign(value, expected):
    assert decibels(value) == expected
