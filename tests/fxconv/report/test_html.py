"""The HTML report, as a file: what is in it, that it needs nothing else, and when it is refused."""

import html
import platform
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from fxconv_changed import with_artifact, with_file, with_ledger
from fxconv_commands import NETWORKS, SMALL, assert_user_error
from fxconv_networks import Islanded

import fxconv
from fxconv.errors import UserError
from fxconv.measures.judge import Judgement, Score
from fxconv.report.html.facts import facts
from fxconv.report.html.plots import ranking
from fxconv.report.tables import decibels

SECTIONS = ["summary", "accuracy", "graph", "changes", "proof", "costs", "reproduce"]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Checked(HTMLParser):
    """Collects ids and attributes, and that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[name] for name in ("src", "href", "xlink:href", "action") if name in found]
        if tag not in VOID and tag not in ("rect", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "path"):
            assert self.open.pop() == tag


def words(page: str) -> str:
    """What a page says, without its markup."""
    return html.unescape(re.sub(r"<[^>]*>", "", page))


@pytest.fixture(scope="module")
def conversion(batches):
    torch.manual_seed(0)
    return fxconv.convert(Islanded().eval(), calibration=batches, recipe=("none",), layers=True)


@pytest.fixture(scope="module")
def page(conversion) -> str:
    return conversion.report.html_text("fxconv convert 'a & b.py:net' --seed 3")


def test_it_is_well_formed_and_has_all_sections(page):
    checked = Checked()
    checked.feed(page)
    assert checked.open == []
    assert [name for name in checked.ids if name in SECTIONS] == SECTIONS
    assert len(set(checked.ids)) == len(checked.ids)


def test_it_needs_nothing_outside(page):
    checked = Checked()
    checked.feed(page)
    assert checked.links and all(link.startswith("#") for link in checked.links)
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page


def test_the_verdict_and_the_ledger_are_those_of_the_conversion(page, conversion):
    assert f'<p class="verdict good">{conversion.verdict}</p>' in page
    for row in conversion.ledger:
        assert re.search(rf'<th scope="row">{row.stage}</th><td>{row.against}</td>', page)


def test_figures_of_the_layers_are_those_of_the_survey(page, conversion):
    for layer in conversion.layers:
        if layer.sqnr_db is not None:
            assert page.count(decibels(layer.sqnr_db)) >= 3  # the chart, the table, the graph
    assert page.count('class="histogram"') == sum(layer.range is not None for layer in conversion.layers)


def test_a_float_island_is_labelled_with_its_reason(page):
    assert '<g class="node float"' in page
    assert page.count("torch.roll: the engine has no quantized kernel for it") >= 3


def test_a_click_on_a_layer_tells_what_its_range_its_audit_and_its_changes_are(conversion):
    told = {fact["layer"][0]: fact for fact in facts(conversion)}
    layer = next(layer for layer in conversion.layers if layer.name == "first")
    audited = next(op for op in conversion.audit.operations if op.where == "first")
    assert told["first"]["SQNR"][0] == decibels(layer.sqnr_db)
    assert told["first"]["scale, zero point"] == [f"{layer.range.scale:.5g}, {layer.range.zero_point}"]
    assert told["first"]["kernel audit"][0].startswith(f"ok: at most {audited.worst} step")
    assert told["quant_roll"]["changed by"] == ["quant-boundaries: second reads it in int8"]
    assert told["roll"]["in float because"] == ["torch.roll: the engine has no quantized kernel for it"]
    assert told["roll"]["operation"] == ["torch.roll"] and "range" not in told["roll"]


def test_the_layers_in_which_noise_grows_most_are_named_in_order_with_a_link_to_their_rows(page, conversion):
    listed = re.findall(r'<li><a href="#layer-(\d+)"><code>', page)
    growing = [layer for layer in conversion.layers if (layer.added or 0) > 1e-4]
    growing.sort(key=lambda layer: -layer.added)
    assert [conversion.layers[int(place)] for place in listed] == growing[:5]
    assert all(f'<tr id="layer-{place}">' in page for place in listed)


def test_the_command_and_the_choices_are_there(page):
    assert "The command\nfxconv convert 'a & b.py:net' --seed 3" in words(page)
    assert "&quot;observer&quot;: &quot;histogram&quot;" in page
    assert f"torch {torch.__version__}" in page
    assert f"Python {platform.python_version()} on {platform.system()} {platform.machine()}" in page


def test_without_a_command_the_call_is_shown_with_the_choices_that_are_not_the_usual_ones(conversion):
    told = words(conversion.report.html_text())
    assert "The call\nconversion = fxconv.convert(model, calibration, recipe=('none',)" in told
    assert "arithmetic=" not in told


def test_whatever_comes_from_outside_is_escaped(conversion):
    hostile = "<script>alert(1)</script>"
    layers = (replace(conversion.layers[1], name=hostile, path=hostile, operator=hostile), *conversion.layers[2:])
    model = replace(conversion.model, name=hostile)
    page = replace(conversion, model=model, layers=layers, warnings=(hostile,)).report.html_text(hostile)
    assert hostile not in page
    assert page.count("<script") == 2


def test_a_conversion_that_was_not_surveyed_says_so(small_conversion):
    page = small_conversion.report.html_text()
    assert "The layers were not compared in this conversion." in page


def test_a_network_of_a_thousand_layers_stays_under_two_megabytes(conversion):
    layers = [replace(layer, name=f"{layer.name}_{n}") for n in range(120) for layer in conversion.layers]
    page = replace(conversion, layers=tuple(layers)).report.html_text()
    assert len(layers) == 1080 and len(page.encode()) < 2_000_000


def test_of_a_long_ranking_the_rest_is_a_line():
    chart = ranking([(f"layer{n}", float(n)) for n in range(45)])
    assert chart.count("<rect") == 40 and "And 5 that cost less." in chart


def test_it_is_written_whole(conversion, tmp_path):
    conversion.report.write_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == conversion.report.html_text()
    with pytest.raises(UserError, match="nowhere"):
        conversion.report.write_html(tmp_path / "nowhere" / "report.html")


def test_without_ranges_there_are_no_columns_for_them(conversion):
    layers = tuple(replace(layer, range=None) for layer in conversion.layers)
    page = replace(conversion, layers=layers).report.html_text()
    assert "float values on it" in conversion.report.html_text() and "float values on it" not in page


def test_a_failed_conversion_has_a_report_that_says_so(conversion):
    ledger = (replace(conversion.ledger[0], passed=False, problem="differs by 3"), *conversion.ledger[1:])
    failed = with_ledger(conversion, ledger)
    page = failed.report.html_text()
    assert '<p class="verdict poor">FAILED: rewritten against original: differs by 3' in page
    assert f"What to do: {failed.cure}" in words(page)


def test_a_measured_sensitivity_has_its_chart(conversion):
    score = Score(1.0)
    judgement = Judgement("photographs", 8, None, score, score, ranking=(("second", 12.34), ("first", 40.0)))
    page = replace(conversion, judgement=judgement).report.html_text()
    assert "Sensitivity: what each layer costs" in page and "12.3 dB</text>" in page
    assert "Sensitivity: what each layer costs" not in conversion.report.html_text()


def test_the_command_writes_it_whole(command):
    run = command("convert", *SMALL, "-o", "tiny.ptl", "--html", "report.html")
    assert (run.status, run.files) == (0, ["report.html", "tiny.ptl"])
    page = (run.folder / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert "tiny --input-size 3x32x32 --calib-count 8 -o tiny.ptl --html report.html" in words(page)


def test_it_goes_with_a_conversion_only(command):
    run = command("convert", f"{NETWORKS}:tiny", "--input-size", "3x32x32", "--dry-run", "--html", "report.html")
    assert_user_error(run, "--html shows a conversion, and --dry-run stops before it; leave one of them out")


def test_two_conversions_differ_in_timings_alone(conversion, batches):
    torch.manual_seed(0)
    again = fxconv.convert(Islanded().eval(), calibration=batches, recipe=("none",), layers=True)
    same = {"timings": conversion.timings, "calibration": conversion.calibration}
    again = with_file(again, latency=conversion.latency)
    again = with_artifact(again, sha256=conversion.artifact.sha256)  # names of classes go on in a process
    assert replace(again, **same).report.html_text() == conversion.report.html_text()
