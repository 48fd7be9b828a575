"""Objects in files of the user's own: as part of a package, by two colons, and what is said when there are none."""

from __future__ import annotations

import sys

import pytest

from fxconv.errors import UserError
from fxconv.models.user_code import object_at


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for path in ("package_of_mine", "package_of_mine/models", "loose"):
        (tmp_path / path).mkdir()
        if path != "loose":
            (tmp_path / path / "__init__.py").write_text("")
        (tmp_path / path / "numbers_of_mine.py").write_text("four = 4\n")
        (tmp_path / path / "net.py").write_text("from .numbers_of_mine import four\n\n\ndef net():\n    return four\n")
    (tmp_path / "above.py").write_text("from ..numbers_of_mine import four\n")
    (tmp_path / "plain.py").write_text("def net():\n    return 3\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("package_of_mine")]:
        del sys.modules[name]


@pytest.mark.parametrize("spec", ["package_of_mine/net.py:net", "package_of_mine/models/net.py:net"])
def test_a_file_that_imports_from_its_package_is_a_part_of_it(spec, folder):
    before = list(sys.path)
    net = object_at(spec, "model")
    assert net() == 4
    assert net.__module__ == spec.removesuffix(".py:net").replace("/", ".")
    assert sys.path == before


def test_two_colons_are_one(folder):
    assert object_at("plain.py::net", "model")() == 3


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            "loose/net.py:net",
            "loose/net.py: imports .numbers_of_mine from its package, and is in none: put an __init__.py beside it, or "
            "type loose.net:NAME here",
        ),
        ("plain.py:", "model plain.py:: expected FILE.py:NAME or PACKAGE.MODULE:NAME"),
        ("plain.py:met", "model plain.py:met: plain.py has no 'met'; did you mean net?"),
        ("loose:met", None),
    ],
)
def test_what_is_said(spec, line, folder):
    with pytest.raises(UserError) as error:
        object_at(spec, "model")
    assert line is None or str(error.value) == line


def test_another_package_of_the_same_name(folder, tmp_path, monkeypatch):
    object_at("package_of_mine/net.py:net", "model")
    other = tmp_path / "other" / "package_of_mine"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (other / "net.py").write_text((folder / "package_of_mine" / "net.py").read_text())
    with pytest.raises(UserError, match="another package is imported as package_of_mine already; rename its folder"):
        object_at(str(other / "net.py") + ":net", "model")


def test_a_pass_alone_names_the_passes_in_it(folder):
    (folder / "mine.py").write_text("class Mine(RewritePass):\n    pass\n")
    from fxconv.models import python_file

    with pytest.raises(UserError, match=r"^--pass mine.py: expected FILE.py:NAME or .*, such as mine.py:Mine$"):
        object_at("mine.py", "--pass", python_file.passes)
