"""A conversion in a notebook: text of the model's is no markup, and the colours say how it went."""

from __future__ import annotations

from dataclasses import replace

from fxconv_changed import with_ledger

from fxconv.report.html import fragment


def test_names_and_warnings_are_text(small_conversion):
    named = replace(
        small_conversion,
        model=replace(small_conversion.model, name="<script>x</script>"),
        warnings=("<b>bold</b>", *map(str, range(9))),
    )
    shown = fragment(named)
    assert "<script" not in shown and "<b>" not in shown
    assert "&lt;script&gt;x&lt;/script&gt;" in shown
    assert "<li>&lt;b&gt;bold&lt;/b&gt;</li>" in shown
    assert "<li>and 5 more in conversion.warnings</li>" in shown


def test_it_is_one_element_whose_styles_are_its_own(small_conversion):
    shown = fragment(small_conversion)
    assert shown.startswith("<div>") and shown.endswith("</div>")
    assert "<style" not in shown and "class=" not in shown and "http" not in shown


def test_a_failed_conversion_says_what_to_do(small_conversion):
    rows = tuple(replace(row, passed=row.stage != "int8") for row in small_conversion.ledger)
    failed = with_ledger(small_conversion, rows)
    shown = fragment(failed)
    assert "color: #cf222e" in shown
    assert "calibrate on more of what the model will see (calibration, calib_count)" in shown
