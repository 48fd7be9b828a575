"""Files and folders that options name: one line where they are not there, nothing where they are."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from fxconv.data.given_files import check_array, check_artifact, check_folder, check_images, check_labels
from fxconv.errors import UserError

CHECKS = {
    "images": (partial(check_images, option="--calib"), "--calib gone: no such file or folder; check the name"),
    "array": (partial(check_array, option="--example"), "--example gone: no such file; check the name"),
    "folder": (partial(check_folder, option="--eval"), "--eval gone: no such folder"),
    "text": (check_labels, "--labels gone: cannot be read (No such file or directory); check the name"),
    "artifact": (check_artifact, "gone: no such file; give a .ptl or .pte"),
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("file", "x.npz"):
        (tmp_path / name).write_text("")


@pytest.mark.parametrize("kind", CHECKS)
def test_what_is_not_there_is_told_in_one_line(kind):
    check, words = CHECKS[kind]
    with pytest.raises(UserError, match=f"^{re.escape(words)}$"):
        check(Path("gone"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("images", "folder"), ("images", "file"), ("images", "x.npz:images"), ("array", "x.npz:images"), ("array", "file"),
     ("folder", "folder"), ("text", "file"), ("artifact", "file")],
)  # fmt: skip
def test_what_is_there_passes(kind, name):
    CHECKS[kind][0](Path(name))


def test_one_kind_is_not_another():
    with pytest.raises(UserError, match="--eval file: not a folder"):
        check_folder(Path("file"), "--eval")
    with pytest.raises(UserError, match="folder: not a file; give a"):
        check_artifact(Path("folder"))
    with pytest.raises(UserError, match="--labels folder: is a folder; --eval takes it"):
        check_labels(Path("folder"))


def test_what_is_not_named_is_not_looked_for():
    check_images(None, "--calib")
    check_array(None, "--example")
    check_folder(None, "--eval")
