"""Photographs named one by one, and in folders."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from fxconv.data.named_photographs import named
from fxconv.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.png", "inside/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "words.txt").write_text("no photograph")
    return tmp_path


def test_files_stay_in_their_order_and_folders_are_sorted(folder):
    inside = [folder / name for name in ("a.png", "b.png", "inside/c.jpg")]
    assert named([folder]) == (inside, [])
    assert named([folder / "b.png", folder]) == ([folder / "b.png", *inside], [])
    assert named([folder / "words.txt"]) == ([folder / "words.txt"], [])  # its content decides, when it is read


def test_what_is_not_there_is_told_before_any_work(folder, tmp_path):
    with pytest.raises(UserError, match=r"gone\.png: no such file; name photographs, or folders of them"):
        named([folder / "a.png", folder / "gone.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no photographs in it; expected files of these kinds: bmp gif jpeg"):
        named([tmp_path / "empty"])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe: is no file"):
        named([tmp_path / "pipe"])
    with pytest.raises(UserError, match="no images: name photographs"):
        named([])
