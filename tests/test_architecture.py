"""The pages for those who join name every room there is, and no file that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPO = Path(__file__).resolve().parents[1]
ROOMS = sorted(path.parent.name for path in (REPO / "fxconv").glob("*/__init__.py"))
SHORTHANDS = ("__main__", "api", "detectors", "labels")
PAGES = ("docs/architecture.md", "CONTRIBUTING.md")


def drawn(name: str) -> str:
    """The words of a drawing in docs/, which is XML that can be read."""
    texts = ElementTree.parse(REPO / "docs" / name).iter("{http://www.w3.org/2000/svg}text")
    return " | ".join(text.text or "" for text in texts)


def test_there_are_rooms():
    assert {"cli", "targets", "quantization"} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_drawn_and_has_its_line(room):
    assert f"{room}/" in drawn("architecture.svg")
    assert f"`fxconv/{room}/`" in (REPO / "docs/architecture.md").read_text()


def test_the_layers_of_page_and_drawing_are_those_that_import_linter_checks():
    contract = re.search(r"^layers = \[(.*?)^\]", (REPO / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    layers = [name for name in re.findall(r"\w+", contract[1]) if name not in {*SHORTHANDS, "replay"}]
    table = re.findall(r"^\| `fxconv/.*?\|", (REPO / "docs/architecture.md").read_text(), re.MULTILINE)
    assert re.findall(r"fxconv/(\w+)", "".join(table)) == layers
    names = re.findall(r"\b(\w+)(?=/|\.py)", drawn("architecture.svg"))
    assert [name for name in dict.fromkeys(names) if name in layers] == layers


@pytest.mark.parametrize("room", sorted(set(re.findall(r"\b(\w+)/", drawn("way_of_the_data.svg")))))
def test_the_way_of_the_data_leads_through_rooms(room):
    assert room in {*ROOMS, "rewrites"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\b[A-Z][a-z]+\w*", drawn("way_of_the_data.svg")))))
def test_the_value_types_on_the_way_are_classes(name):
    if name in {"The", "Module", "GraphModule"}:  # the title, and torch's
        return
    files = [*(REPO / "fxconv").rglob("*.py"), *(REPO / "rewrites").rglob("*.py")]
    assert any(re.search(rf"^class {name}\b", file.read_text(), re.MULTILINE) for file in files)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_and_link_on_the_page_is_there(page):
    text = (REPO / page).read_text()
    paths = set(re.findall(r"`((?:fxconv|rewrites|tests|docs|benchmarks|scripts)/[\w./]*)`", text))
    links = set(re.findall(r"\]\(([\w./]+)\)", text))
    assert len(paths) > 5 and len(links) > 3
    missing = [path for path in paths if not (REPO / path).exists() and "NAME" not in path]
    missing += [link for link in links if not (REPO / page).parent.joinpath(link).exists()]
    assert missing == []
