"""Nothing that is written replaces what was read: inputs, photographs among them, passes, and imported modules."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from fxconv_commands import NETWORKS, SMALL, assert_user_error
from PIL import Image

from fxconv.cli.paths import check_distinct, code_file
from fxconv.data.staged_file import StagedFile, write_whole
from fxconv.errors import UserError

PASS = '''
import helper_of_the_pass
import rewrites
import torch

class Mine(rewrites.RewritePass):
    """Does nothing."""

    name = "mine"

    def run(self, editor):
        pass

    @staticmethod
    def example():
        return torch.nn.ReLU()
'''


@pytest.fixture
def mine(tmp_path):
    """A pass of one's own, and what it imports."""
    (tmp_path / "mine.py").write_text(PASS)
    (tmp_path / "helper_of_the_pass.py").write_text("")
    yield tmp_path / "mine.py"
    sys.modules.pop("helper_of_the_pass", None)


def linked_name(file, how):
    return file if how == "as it is" else file.parent / "elsewhere" / f"other{file.suffix}"


def linked(file, how):
    """Another name for a file."""
    place = linked_name(file, how)
    if how == "as it is":
        return place
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(file) if how == "a symbolic link" else os.link(file, place)
    return place


HOW = ("as it is", "a symbolic link", "a hard link")
CONVERT, DIFF = ("--html", "--json", "--save-config", "--op-list", "-o"), ("--json", "--emit")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("verb", "option"), [*(("convert", one) for one in CONVERT), *(("diff", one) for one in DIFF)])
def test_a_pass_is_not_written_over(command, mine, verb, option, how):
    model, *words = SMALL if verb == "convert" else SMALL[:3]
    run = command(verb, model, *words, "--pass", f"{mine}:Mine", option, str(linked(mine, how)))
    assert_user_error(run, option, "is the same file as --pass", "choose another name")
    assert mine.read_text() == PASS and "helper_of_the_pass" not in sys.modules  # found before anything is imported


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("verb", "option"), [("convert", "--html"), ("convert", "--op-list"), ("diff", "--json")])
def test_a_module_that_is_imported_is_not_written_over(command, mine, verb, option, how):
    helper = mine.parent / "helper_of_the_pass.py"
    helper.write_text("# precious\n")
    words = SMALL if verb == "convert" else SMALL[:3]
    run = command(verb, *words, "--pass", f"{mine}:Mine", option, str(linked(helper, how)))
    assert run.status == 2 and (verb == "diff" or not run.stdout)  # what was found out is printed all the same
    words = f"{linked_name(helper, how)}: is the module helper_of_the_pass, which is imported here; choose another name"
    assert run.stderr.count("\n") == 1 and words in run.stderr
    assert helper.read_text() == "# precious\n"


def test_a_module_that_is_imported_is_found_before_the_conversion(command, mine, monkeypatch):
    def convert(*_, **__):
        raise AssertionError("the conversion began")

    import fxconv.conversion

    monkeypatch.setattr(fxconv.conversion, "convert", convert)
    helper = mine.parent / "helper_of_the_pass.py"
    run = command("convert", *SMALL, "--pass", f"{mine}:Mine", "-o", "x.ptl", "--json", str(helper))
    assert_user_error(run, "--json", "is the module helper_of_the_pass")


def test_whoever_writes_from_python_is_told_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "module_of_a_model.py").write_text("")
    write_whole(tmp_path / "module_of_a_model.py", "x = 1\n")  # nobody has imported it
    module = importlib.import_module("module_of_a_model")
    places = [place for place in (module.__file__, module.__cached__) if Path(place).exists()]
    assert module.__file__ in places
    for place in places:
        with pytest.raises(UserError, match="is the module module_of_a_model, which is imported here"):
            write_whole(Path(place), "")
    del sys.modules["module_of_a_model"]
    with StagedFile(tmp_path / "module_of_a_model.py", b"") as staged:
        importlib.import_module("module_of_a_model")  # since then
        with pytest.raises(UserError, match="is the module module_of_a_model"):
            staged.commit()
    assert (tmp_path / "module_of_a_model.py").read_text() == "x = 1\n"
    del sys.modules["module_of_a_model"]


def test_what_names_code_is_found_without_running_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package" / "inner").mkdir(parents=True)
    for name in ("package/__init__.py", "package/inner/__init__.py", "package/inner/net.py", "alone.py"):
        (tmp_path / name).write_text("raise SystemExit")
    assert code_file("package.inner.net:net") == tmp_path / "package/inner/net.py"
    assert code_file("package.inner:net") == tmp_path / "package/inner/__init__.py"
    assert code_file("alone:net") == tmp_path / "alone.py"
    assert str(code_file("some/file.py:net")) == "some/file.py"
    for none in ("package.gone:net", "gone:net", "mobilenet_v3_small", "detector:mobilenet_v3_small", "sys:path", ":x"):
        assert code_file(none) is None
    assert "package" not in sys.modules


@pytest.fixture
def inputs(tmp_path):
    """Files of every kind that a conversion reads, by the option that names each."""
    (tmp_path / "photographs" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "photographs" / "a" / "x.png")
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 32, 32), np.float32))
    (tmp_path / "classes.txt").write_text("\n".join(map(str, range(10))))
    (tmp_path / "choices.json").write_text(json.dumps({}))
    (tmp_path / "x.pth").write_bytes(b"")
    (tmp_path / "list.csv").write_text("file,index\nphotographs/a/x.png,1\n")
    photographs = tmp_path / "photographs"
    return {
        "--calib": (photographs, photographs / "a" / "x.png"),
        "--eval": (photographs, photographs / "a" / "x.png"),
        "--train": (photographs, photographs / "a" / "x.png"),
        "--example": (tmp_path / "x.npy", tmp_path / "x.npy"),
        "--labels": (tmp_path / "classes.txt", tmp_path / "classes.txt"),
        "--labels ": (tmp_path / "list.csv", photographs / "a" / "x.png"),
        "--config": (tmp_path / "choices.json", tmp_path / "choices.json"),
        "--weights": (tmp_path / "x.pth", tmp_path / "x.pth"),
    }


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "given", ["--calib", "--eval", "--train", "--example", "--labels", "--labels ", "--config", "--weights"]
)
def test_no_input_is_written_over(command, inputs, given, how):
    place, file = inputs[given]
    before = file.read_bytes()
    mode = ("--mode", "qat") if given == "--train" else ()
    target = linked(file, how)
    for option in ("--html", "-o"):
        run = command("convert", *SMALL, *mode, given.strip(), str(place), option, str(target))
        assert_user_error(run, f"{option} {target}: is ", "choose another name")
    assert file.read_bytes() == before


def test_a_photograph_that_is_a_link_in_its_folder(tmp_path):
    (tmp_path / "photographs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "album.png")
    (tmp_path / "photographs" / "x.png").symlink_to(tmp_path / "album.png")
    with pytest.raises(UserError, match=r"-o .*album.png: is one of the files in --calib"):
        check_distinct({"-o": tmp_path / "album.png"}, {"--calib": tmp_path / "photographs"})
    (tmp_path / "photographs" / "notes.html").write_text("")
    check_distinct({"--html": tmp_path / "photographs" / "notes.html"}, {"--calib": tmp_path / "photographs"})


def test_verify_leaves_the_model_it_compares_with(command, tmp_path):
    (tmp_path / "net.py").write_text(NETWORKS.read_text())
    (tmp_path / "x.ptl").write_bytes(b"")
    net = str(tmp_path / "net.py")
    run = command("verify", str(tmp_path / "x.ptl"), "--against", f"{net}:tiny", "--json", net)
    assert_user_error(run, f"--json {net}: is the same file as --against")
