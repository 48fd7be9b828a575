"""Progress for callers in Python: a line below a notebook's cell, bars on a terminal, lines on request."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from fxconv.report import progress


class Notebook:
    """IPython's display module, as far as it is used; `shown` is what the cell's output showed."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    @staticmethod
    def HTML(text: str) -> str:
        return text

    def display(self, text: str, display_id: bool) -> SimpleNamespace:
        assert display_id
        self.shown.append(text)
        return SimpleNamespace(update=self.shown.append)


@pytest.fixture
def notebook(monkeypatch) -> Notebook:
    module = Notebook()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return module


def test_a_notebook_shows_one_line_and_takes_it_away(notebook, monkeypatch):
    monkeypatch.setattr(progress, "_OFTEN", 0.0)
    with progress.shown(None) as show:
        show("calibration", 40, 100)
        show("<lowering>", 0, 1)
    assert notebook.shown == [
        "",
        '<progress value="40" max="100"></progress> calibration: 40 of 100',
        "<progress></progress> &lt;lowering&gt;",
        "",
    ]


def test_a_notebook_is_not_told_of_every_image(notebook, monkeypatch):
    monkeypatch.setattr(progress, "_OFTEN", 1e9)
    with progress.shown(None) as show:
        for done in range(100):
            show("calibration", done, 100)
        show("audit", 0, 1)
    assert len(notebook.shown) == 4  # the empty line, a line a step, the empty line


def test_the_line_goes_where_a_conversion_fails(notebook):
    with pytest.raises(ValueError), progress.shown(None) as show:
        show("calibration", 0, 1)
        raise ValueError
    assert notebook.shown[-1] == ""


def test_a_notebook_may_be_silent(notebook):
    with progress.shown(False) as show:
        show("calibration", 0, 1)
    assert notebook.shown == []


def test_scripts_are_silent_and_say_a_line_a_step_on_request(capsys):
    assert not progress.is_watched()
    for wanted in (None, False):
        with progress.shown(wanted) as show:
            show("calibration", 0, 1)
    assert capsys.readouterr() == ("", "")
    with progress.shown(True) as show:
        for done in range(3):
            show("calibration", done, 3)
        show("audit", 0, 1)
    assert capsys.readouterr() == ("", "calibration\naudit\n")


def test_a_terminal_shows_bars_on_stderr(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.shown(True) as show:
        show("calibration", 1, 3)
    out, err = capsys.readouterr()
    assert (out, "calibration" in err) == ("", True)


def test_somebody_who_types_on_a_terminal_watches(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert not progress.is_watched()
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert progress.is_watched()
