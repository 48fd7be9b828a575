"""The notebooks run from the first cell to the last in a kernel of their own, and show what they say."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
# What the outputs of each must say, and the files that it leaves behind.
SAID = {
    "first_conversion": (
        ["converted and verified", "(True, True, ", "calibrated on generated images", "24 images given from Python"],
        ["has no keyword 'calibration_count'; did you mean"],
        {"resnet18.ptl"},
    ),
    "own_model": (
        ["of 256 images of a DataLoader", "converted and verified", "hundredths; in float:"],
        ["(saved in spotter.calib)"],
        {"spotter.calib", "spotter-java.ptl"},
    ),
    "reading_a_report": (
        ["arithmetic-to-functional", "reloaded against int8", "steps; failed: []"],
        ["'verdict'"],
        {"report.html"},
    ),
}


def test_there_are_three():
    assert sorted(SAID) == NAMES


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_kept_without_outputs(name):
    """What stands there would be stale with the next change, and hides what a commit changes."""
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read(name)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    text = "\n".join(str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs)
    said, more, files = SAID[name]
    for words in (*said, *more):
        assert words in text, words
    assert "\x1b" not in "".join(output.get("text", "") for output in outputs if output.get("name") == "stderr")
    assert {path.name for path in tmp_path.iterdir()} == files
    pages = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert any("converted and verified" in page for page in pages)
    assert not any("<script" in page for page in pages)
