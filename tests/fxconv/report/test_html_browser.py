"""The HTML report in headless Chromium: skipped where there is none, unless FXCONV_NEEDS_BROWSER=1 says it must run."""

import os
import shutil

import pytest
import torch
from fxconv_networks import Islanded

import fxconv

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDED = os.environ.get("FXCONV_NEEDS_BROWSER") == "1"

pytestmark = pytest.mark.skipif(not CHROMIUM and not NEEDED, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def report(batches, tmp_path_factory):
    torch.manual_seed(0)
    conversion = fxconv.convert(Islanded().eval(), calibration=batches, recipe=("none",), layers=True)
    path = tmp_path_factory.mktemp("html") / "report.html"
    path.write_text(conversion.report.html_text("fxconv convert net.py:net"))
    return path, conversion


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "FXCONV_NEEDS_BROWSER=1, and no Chromium is installed"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser, report):
    """The report, opened; whatever goes wrong while a test uses it fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    troubles, requests = [], []
    opened.on("console", lambda message: troubles.append(message.text))
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(report[0].as_uri())
    yield opened
    assert troubles == []
    assert requests == [report[0].as_uri()]
    opened.close()


def test_all_sections_are_shown(page, report):
    assert page.title() == f"Islanded: {report[1].verdict}"
    for name in ("summary", "accuracy", "graph", "changes", "proof", "costs", "reproduce"):
        assert page.locator(f"section#{name} h2").is_visible()


def test_a_click_on_a_layer_tells_of_it(page, report):
    page.locator(".node.float").click()
    told = page.locator("#detail").inner_text()
    assert "torch.roll: the engine has no quantized kernel for it" in told
    page.locator(".node", has_text="second").last.click()
    assert "changed by" in page.locator("#detail").inner_text()


def test_the_table_and_the_graph_lead_to_each_other(page):
    page.locator("#layer-2 a").click()
    assert "ConvReLU2d" in page.locator("#detail").inner_text()
    assert page.evaluate("document.activeElement.id") == "node-2"
    page.locator("#detail a").click()
    assert page.evaluate("document.querySelector(':target').id") == "layer-2"
    assert page.locator("#layer-2 .histogram").is_visible()


def test_tab_and_enter_open_a_layer_without_a_mouse(page):
    page.locator("#graph-view").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList.contains('node')")
    page.keyboard.press("Enter")
    assert "input" in page.locator("#detail").inner_text()


def test_a_bar_of_the_chart_leads_to_its_row(page):
    page.locator('.chart a[href="#layer-2"] rect').click()
    assert page.evaluate("document.querySelector(':target').id") == "layer-2"


def test_dragging_moves_the_graph_and_opens_nothing(page):
    for _ in range(6):
        page.locator("#zoom-in").click()
    box = page.locator("#graph-view").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 150, steps=4)
    page.mouse.up()
    assert page.evaluate("document.querySelector('#graph-view').scrollTop") > 100
    assert page.locator("#detail").inner_text() == "No layer is chosen."


def test_the_reason_of_a_float_island_stands_in_the_graph(page):
    reason = page.locator(".island text")
    assert reason.text_content() == "float: torch.roll: the engine has no quantized kernel for it"
    frame, node = page.locator(".island rect").bounding_box(), page.locator(".node.float").bounding_box()
    assert frame["y"] < node["y"] and node["y"] + node["height"] <= frame["y"] + frame["height"] + 1


def test_the_keyboard_reaches_every_layer(page, report):
    page.locator(".node").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    told = page.locator("#detail").inner_text()
    assert "ConvReLU2d" in told and "int8" in told
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert "output" in page.locator("#detail").inner_text()
    assert page.locator('.node[tabindex="0"]').count() == 1


def test_the_graph_zooms_by_buttons_and_keys(page):
    width = page.locator("#graph-drawing").bounding_box()["width"]
    page.locator("#zoom-in").click()
    assert page.locator("#graph-drawing").bounding_box()["width"] == pytest.approx(1.25 * width, rel=0.01)
    page.locator("#graph-view").focus()
    page.keyboard.press("0")
    assert page.locator("#graph-drawing").bounding_box()["width"] == pytest.approx(width, rel=0.01)
    page.keyboard.press("-")
    assert page.locator("#graph-drawing").bounding_box()["width"] == pytest.approx(width / 1.25, rel=0.01)


def ground(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_it_follows_the_system_and_the_button(page):
    page.emulate_media(color_scheme="light")
    light = ground(page)
    page.emulate_media(color_scheme="dark")
    dark = ground(page)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)")
    page.locator("#theme").click()
    assert ground(page) == light
    page.locator("#theme").click()
    assert ground(page) == dark


def test_paper_is_white_whatever_the_screen_was(page):
    page.emulate_media(color_scheme="dark")
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert ground(page) == "rgb(20, 24, 29)"
    page.emulate_media(color_scheme="dark", media="print")
    assert ground(page) == "rgb(255, 255, 255)"


def test_on_paper_there_are_no_controls_and_all_of_the_graph(page):
    page.emulate_media(media="print")
    for name in ("#theme", "nav", ".zoom", "#detail"):
        assert not page.locator(name).is_visible()
    assert page.evaluate(
        "document.querySelector('#graph-view').scrollHeight <= document.querySelector('#graph-view').clientHeight + 1"
    )


@pytest.mark.parametrize("width", [400, 860, 1280])
def test_the_page_itself_never_scrolls_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_headings_labels_and_the_skip_link_are_there(page):
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("h1").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the summary"
    assert page.evaluate(
        "[...document.querySelectorAll('svg[role=img], .node')].every((one) => one.getAttribute('aria-label'))"
    )
    assert page.evaluate("[...document.querySelectorAll('table')].every((one) => one.caption)")
