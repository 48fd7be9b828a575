"""The summary: the verdict first, with its mark and colour, then the most telling lines."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from fxconv_changed import with_artifact, with_ledger

from fxconv.measures.fidelity import Fidelity
from fxconv.report.html.page import page
from fxconv.report.screen import Screen
from fxconv.report.terminal import detail_rows, print_summary, summary_rows


class Stream(io.StringIO):
    """A stream that says which letters it can take."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding


def printed(conversion, encoding="utf-8", **options) -> str:
    out = Stream(encoding)
    print_summary(conversion, Screen(file=out, width=80, **options))
    return out.getvalue()


@pytest.fixture
def verdicts(small_conversion):
    """A good one, one that is in float, and one that failed."""
    row = replace(small_conversion.ledger[-1], passed=False, problem="differs")
    return {
        "good": small_conversion,
        "float": with_artifact(small_conversion, macs={"aten::conv2d": 10}),
        "bad": with_ledger(small_conversion, (*small_conversion.ledger[:-1], row)),
    }


@pytest.mark.parametrize(
    ("name", "mark", "plain", "colour"), [("good", "✓", "ok", 32), ("float", "!", "!", 33), ("bad", "✗", "x", 31)]
)
def test_the_verdict_comes_first_with_its_mark_and_colour(name, mark, plain, colour, verdicts):
    conversion = verdicts[name]
    assert printed(conversion).startswith(f"{mark} Tiny: {conversion.verdict[:20]}")
    coloured = printed(conversion, force_terminal=True, color_system="standard")
    assert coloured.startswith(f"\x1b[1;{colour}m{mark}\x1b[0m \x1b[1mTiny\x1b[0m: \x1b[1;{colour}m")
    for encoding in ("ascii", "latin-1", "cp1252"):
        assert printed(conversion, encoding).startswith(f"{plain} Tiny: ")


def test_no_color_and_pipes_are_honoured(small_conversion, monkeypatch):
    assert "\x1b" not in printed(small_conversion)
    monkeypatch.setenv("NO_COLOR", "1")
    page = printed(small_conversion, force_terminal=True, color_system="standard")
    assert not [code for code in range(30, 38) if f";{code}m" in page or f"[{code}m" in page]


def test_the_most_telling_comes_first(small_conversion):
    assert [name for name, _ in summary_rows(small_conversion)] == [
        *("fidelity", "against float", "int8", "size", "latency", "audit"),
        *("weights", "calibrated on", "preprocessing", "rewritten", "written"),
    ]


def test_the_rest_is_in_the_report_and_the_page(small_conversion):
    rows = dict(detail_rows(small_conversion))
    assert list(rows)[-3:] == ["lowered", "golden inputs", "time"]
    assert rows["lowered"] == "scripted, optimized, reloaded: bit for bit the int8 module"
    out = io.StringIO()
    small_conversion.report.print(Screen(file=out, width=200))
    for words in rows.values():
        assert words in out.getvalue()
    assert rows["lowered"] in page(small_conversion)


@pytest.mark.parametrize(("grade", "colour"), [("good", 32), ("fair", 33), ("poor", 31)])
def test_a_grade_has_its_colour(grade, colour, small_conversion):
    told = replace(
        small_conversion,
        fidelity=Fidelity(images=16, measure="same top-1", same=10, asked=16, sqnr_db=0.7, grade=grade),
    )
    assert dict(summary_rows(told))["fidelity"] == f"{grade}: 10 of 16 same top-1, 0.7 dB; 16 unseen images"
    assert f"\x1b[{colour}m{grade}\x1b[0m: 10 of 16" in printed(told, force_terminal=True, color_system="standard")
