"""The HTML report, as a file: what is in it, that it needs nothing else, and when it is refused."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from fxconv_commands import NETWORKS, SMALL, assert_user_error
from test_survey import Islanded

import fxconv
from fxconv.judge import Judgement, Score
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
        assert re.search(rf"<td>{row.stage}</td><td>{row.against}</td>", page)


def test_figures_of_the_layers_are_those_of_the_survey(page, conversion):
    for layer in conversion.layers:
        if layer.sqnr_db is not None:
            assert page.count(decibels(layer.sqnr_db)) >= 3  # the chart, the table, the graph
    assert page.count('class="histogram"') == sum(layer.range is not None for layer in conversion.layers)


def test_a_float_island_is_labelled_with_its_reason(page):
    assert '<g class="node float"' in page
    assert page.count("torch.roll: the engine has no quantized kernel for it") >= 3


def test_the_command_and_the_choices_are_there(page):
    assert "fxconv convert &#x27;a &amp; b.py:net&#x27; --seed 3" in page
    assert "&quot;observer&quot;: &quot;histogram&quot;" in page
    assert f"torch {torch.__version__}" in page


def test_without_a_command_the_call_is_shown(conversion):
    assert '<h3>The call</h3>\n<pre tabindex="0">fxconv.convert(' in conversion.report.html_text()


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
    assert "tiny --input-size 3x32x32 --calib-count 8 -o tiny.ptl --html report.html" in page


def test_it_goes_with_a_conversion_only(command):
    run = command("convert", f"{NETWORKS}:tiny", "--input-size", "3x32x32", "--dry-run", "--html", "report.html")
    assert_user_error(run, "--html shows a conversion, and --dry-run stops before it; leave one of them out")


def test_two_conversions_differ_in_timings_alone(conversion, batches):
    torch.manual_seed(0)
    again = fxconv.convert(Islanded().eval(), calibration=batches, recipe=("none",), layers=True)
    same = {"timings": conversion.timings, "latency": conversion.latency, "calibration": conversion.calibration}
    same["artifact"] = replace(again.artifact, sha256=conversion.artifact.sha256)  # names of classes go on in a process
    assert replace(again, **same).report.html_text() == conversion.report.html_text()
