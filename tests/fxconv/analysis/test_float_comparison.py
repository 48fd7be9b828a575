"""A file beside its float model, on photographs."""

from __future__ import annotations

import json

import fxconv_networks
import numpy as np
import pytest
import torch
from fxconv_commands import PLAIN, run_here
from PIL import Image
from torch import nn

from fxconv.analysis.float_comparison import compare_with_float
from fxconv.errors import UserError
from fxconv.targets.mobile.lowering import to_bytes
from fxconv.targets.proof import metadata

MODEL = f"{fxconv_networks.__file__}:tiny"
pytestmark = pytest.mark.usefixtures("warm_processes_of_its_own")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for index in range(6):
        small = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        small.resize((60, 50)).save(folder / f"{index}.png")
    return folder


def converted(folder, *words):
    run = run_here(folder, "convert", *PLAIN, "-o", "x.ptl", *words)
    assert run.status == 0, run.stderr
    return folder / "x.ptl"


@pytest.fixture(scope="module")
def path(tmp_path_factory, photographs):
    """A file calibrated on the photographs; tests must not change it."""
    return converted(tmp_path_factory.mktemp("converted"), "--calib", str(photographs))


def test_the_file_is_like_its_model_on_photographs(command, path, photographs):
    run = command("verify", str(path), "--against", MODEL, "--photographs", str(photographs), "--json", "report.json")
    assert run.status == 0, run.stderr
    assert f"{path}: like float: " in run.stdout and "required: at least 10 dB" in run.stdout
    assert f"on 6 of 6 photographs in {photographs}, seed 0" in run.stdout
    row = run.report["against"]["row"]
    assert row["passed"] and row["images"] == 6 and row["sqnr_db"] > 10 and row["against"] == "float"


def test_pixels_in_or_not_the_numbers_are_the_same(path, photographs, tmp_path):
    plain = compare_with_float(path, MODEL, photographs)
    pixels = converted(tmp_path, "--calib", str(photographs), "--normalize-in-graph")
    assert metadata.metadata_in(pixels)["preprocessing"]["in_graph"]
    found = compare_with_float(pixels, MODEL, photographs)
    assert found.row.sqnr_db == plain.row.sqnr_db and found.notes == plain.notes


def test_another_model_fails_with_status_1(command, path, photographs, tmp_path):
    (tmp_path / "other.py").write_text(
        f"import sys; sys.path.insert(0, {str(fxconv_networks.__file__)!r}.rpartition('/')[0])\n"
        "import fxconv_networks, torch\n"
        "def other():\n    torch.manual_seed(7)\n    return fxconv_networks.tiny()\n"
        "def wide():\n    return torch.nn.Sequential(other(), torch.nn.Linear(10, 11))\n"
    )
    run = command("verify", str(path), "--against", f"{tmp_path}/other.py:other", "--photographs", str(photographs))
    assert run.status == 1 and "NOT LIKE FLOAT" in run.stdout and "does not verify: against other: SQNR" in run.stderr
    run = command("verify", str(path), "--against", f"{tmp_path}/other.py:wide", "--photographs", str(photographs))
    assert run.status == 1 and "outputs of shape [(1, 10)], not [(1, 11)]" in run.stderr


def test_other_preprocessing_in_the_file_is_told_and_used(path, photographs, tmp_path):
    text = metadata.metadata_in(path)
    text["preprocessing"]["mean"] = [0.5, 0.5, 0.5]
    other = tmp_path / "other.ptl"
    other.write_bytes(_with(path, json.dumps(text)))
    found, same = compare_with_float(other, MODEL, photographs), compare_with_float(path, MODEL, photographs)
    assert any("mean 0.5, 0.5, 0.5, not 0.485, 0.456, 0.406" in note for note in found.notes)
    assert found.row.sqnr_db < same.row.sqnr_db
    drawn, plain = (
        compare_with_float(other, MODEL),
        compare_with_float(path, MODEL),
    )  # generated images are pixels before they are tensors
    assert any("mean 0.5, 0.5, 0.5" in note and "and gets it" in note for note in drawn.notes)
    assert drawn.row.sqnr_db < plain.row.sqnr_db
    np.save(tmp_path / "floats.npy", np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32))
    as_they_are = compare_with_float(other, MODEL, tmp_path / "floats.npy")
    assert any("is given the arrays as they are: mean 0.5" in note for note in as_they_are.notes)
    assert as_they_are.row.sqnr_db == compare_with_float(path, MODEL, tmp_path / "floats.npy").row.sqnr_db


def _with(path, text):
    import io
    import zipfile

    held = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(held, "w") as archive:
        for entry in source.infolist():
            archive.writestr(entry, text if entry.filename.endswith(metadata.FILE) else source.read(entry))
    return held.getvalue()


def test_a_file_of_somebody_elses_is_compared_without_golden_inputs(command, photographs, tmp_path):
    path = tmp_path / "float.ptl"
    path.write_bytes(to_bytes(torch.jit.script(fxconv_networks.tiny().eval())))
    words = ("--against", MODEL, "--photographs", str(photographs), "--input-size", "32")
    run = command("verify", str(path), *words)
    assert run.status == 0, run.stderr
    assert "warning: " in run.stderr and "it has no golden inputs" in run.stderr
    assert "like float: " in run.stdout


def test_what_cannot_be_compared_is_told_in_one_line(command, path, photographs, tmp_path):
    run = command("verify", str(path), "--photographs", str(photographs))
    assert run.status == 2 and "--photographs goes with --against MODEL" in run.stderr
    peaks = tmp_path / "peaks.ptl"
    peaks.write_bytes(_with(path, json.dumps({**metadata.metadata_in(path), "detections": {"count": 1}})))
    with pytest.raises(UserError, match="returns detections, which the float model does not"):
        compare_with_float(peaks, MODEL, photographs)
    damaged = tmp_path / "damaged.ptl"
    damaged.write_bytes(_with(path, json.dumps({**metadata.metadata_in(path), "preprocessing": {"crop": "all"}})))
    with pytest.raises(UserError, match=r"what its fxconv\.json says of preprocessing is damaged"):
        compare_with_float(damaged, MODEL, photographs)
    other = tmp_path / "other.ptl"
    other.write_bytes(to_bytes(torch.jit.script(nn.Linear(3, 4))))
    with pytest.raises(UserError, match=r"other.ptl: does not run on an input of 3x224x224"):
        compare_with_float(other, MODEL, photographs)
    run = command("verify", str(path), "--against", "none_such")
    assert run.status == 2 and "unknown model 'none_such'" in run.stderr and run.stdout == ""
