"""A calibration that was saved makes other files of the same int8 module, without images."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from fxconv_commands import NETWORKS
from PIL import Image

import fxconv
from fxconv import calibration_file
from fxconv.errors import ConversionError, UserError
from fxconv.targets.proof import metadata

TINY = f"{NETWORKS}:tiny"


@pytest.fixture(scope="module")
def made(tmp_path_factory, warm):
    """A folder with photographs, weights, a file, and the calibration saved with it."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    (folder / "photographs").mkdir()
    for index in range(40):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / "photographs" / f"{index}.png")
    run = warm.command(
        folder,
        *(
            "convert",
            TINY,
            "--input-size",
            "32",
            "--calib",
            "photographs",
            "--calib-count",
            "16",
            "--preprocess",
            "unit",
        ),
        *("-o", "first.ptl", "--save-calibration", "tiny.calib", "--json", "report.json"),
    )
    assert run.status == 0, run.stderr
    shutil.rmtree(folder / "photographs")
    return folder, run


def qparams(path):
    return metadata.metadata_in(path)["digest"]["qparams"]


def test_another_file_is_written_without_photographs(made, warm):
    folder, first = made
    words = ("convert", TINY, "--calibration", "tiny.calib")
    same = warm.command(folder, *words, "-o", "same.ptl", "--json", "report.json")
    assert (same.status, same.stderr) == (0, "")
    assert (folder / "first.ptl").read_bytes() == (folder / "same.ptl").read_bytes()
    assert same.report["fidelity"] == first.report["fidelity"] and same.report["recipe"] == first.report["recipe"]
    assert same.report["preprocessing"] == first.report["preprocessing"]
    assert same.report["audit"]["operations"] == first.report["audit"]["operations"]
    assert "(saved in tiny.calib)" in same.report["calibration"]["source"]

    other = warm.command(folder, *words, "--java", "--normalize-in-graph", "-o", "java.ptl")
    assert (other.status, other.stderr) == (0, "")
    assert qparams(folder / "java.ptl") == qparams(folder / "first.ptl")
    assert metadata.metadata_in(folder / "java.ptl")["inputs"][0]["dtype"] == "uint8"


def test_what_is_settled_is_refused(made, warm):
    folder, _ = made
    for words, line in (
        ((), "names code that would run, which a file alone must not decide; look at it, and give "),
        (
            (TINY, "--observer", "minmax"),
            "--observer: is settled by the calibration that tiny.calib keeps; leave it out",
        ),
        ((TINY, "--calib", "photographs"), "--calib: is settled by --calibration tiny.calib; leave one of them out"),
        ((TINY, "--mean", "0.5"), "--mean: is settled by the calibration that tiny.calib keeps"),
        ((f"{NETWORKS}:other_tiny",), "--calibration tiny.calib: is of other weights than this model has; give those"),
    ):
        run = warm.command(folder, "convert", *words, "--calibration", "tiny.calib", "-o", "no.ptl")
        assert (run.status, run.stdout, run.stderr.count("\n")) == (2, "", 1)
        assert line in run.stderr and "no.ptl" not in run.files


def test_no_code_is_imported_because_the_file_names_it(made, tmp_path, warm):
    folder, _ = made
    content = torch.load(folder / "tiny.calib", weights_only=True)
    text = json.loads(content["text"])
    text["config"] |= {"metric": "evil.py:f", "preprocess": "evil.py:f"}
    text["inputs"]["model"] = "evil.py:f"
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\n\n\ndef f(*given):\n    return 0\n")
    torch.save(content | {"text": json.dumps(text)}, tmp_path / "evil.calib")
    run = warm.command(tmp_path, "convert", "--calibration", "evil.calib", "-o", "x.ptl")
    assert run.status == 2 and "names code that would run" in run.stderr and "give evil.py:f beside" in run.stderr
    run = warm.command(tmp_path, "convert", TINY, "--calibration", "evil.calib", "-o", "x.ptl")
    assert not (tmp_path / "ran").exists()


def test_other_files_are_refused_in_one_line(tmp_path, made):
    folder, _ = made
    (tmp_path / "text.calib").write_text("nothing")
    torch.save({"format": "another"}, tmp_path / "other.calib")
    (tmp_path / "cut.calib").write_bytes((folder / "tiny.calib").read_bytes()[:5000])
    for name in ("text.calib", "other.calib", "cut.calib"):
        assert not calibration_file.is_calibration(tmp_path / name)
        with pytest.raises(UserError, match="is no calibration that fxconv convert --save-calibration wrote"):
            calibration_file.load(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        calibration_file.load(tmp_path / "gone.calib")
    assert calibration_file.is_calibration(folder / "tiny.calib")


def test_it_is_held_to_the_same_digest(made, monkeypatch, small_model, batches, tmp_path):
    conversion = fxconv.convert(small_model, calibration=batches, recipe=("none",))
    conversion.save_calibration(tmp_path / "own.calib")
    saved = calibration_file.load(tmp_path / "own.calib")
    again = fxconv.convert(small_model, calibration=saved.images, config=saved.config, saved=saved)
    assert again.verified
    x = batches[0][:1]
    assert torch.equal(again.int8(x), conversion.int8(x))
    saved.digests["qparams"] = "0" * 64
    with pytest.raises(ConversionError, match="a scale or zero point is another one than when it was saved"):
        fxconv.convert(small_model, calibration=saved.images, config=saved.config, saved=saved)


@pytest.mark.parametrize("mode", ["dynamic", "qat"])
def test_what_has_no_ranges_to_keep_says_so(mode, tmp_path, small_model, batches):
    conversion = fxconv.convert(small_model, calibration=batches, mode=mode, **({"epochs": 1} if mode == "qat" else {}))
    with pytest.raises(UserError, match=r"--save-calibration .*: goes with --mode static"):
        conversion.save_calibration(tmp_path / "x.calib")
    assert not list(tmp_path.iterdir())


def test_random_weights_are_kept_for_calibration_settled_them(warm, tmp_path):
    words = ("--weights", "random", "--input-size", "3x32x32", "--calib-count", "8", "--recipe", "none", "--no-golden")
    run = warm.command(
        tmp_path, "convert", "squeezenet1_1", *words, "-o", "a.ptl", "--save-calibration", "c", "--json", "report.json"
    )
    assert run.status == 0, run.stderr
    again = warm.command(tmp_path, "convert", "--calibration", "c", "-o", "b.ptl")
    assert again.status == 0, again.stderr
    assert (tmp_path / "a.ptl").read_bytes() == (tmp_path / "b.ptl").read_bytes()
