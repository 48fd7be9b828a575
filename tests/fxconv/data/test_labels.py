"""Photographs whose class is known: which index a folder or a line means."""

from __future__ import annotations

import pytest
from PIL import Image

from fxconv.data.calibration_photographs import Photographs
from fxconv.data.labels import read_classes
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing

SMALL = Preprocessing(16, 16, mean=(0.0,) * 3, std=(1.0,) * 3, resize=1.0)


def photographs(folder, *names: str):
    for grey, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (grey, grey, grey)).save(path)
    return folder


def index(folder, labels=None) -> dict[str, int]:
    classes = read_classes(folder, labels)
    root = folder if folder is not None else labels.parent
    return {path.relative_to(root).as_posix(): number for path, number in classes.index.items()}


def test_neither_is_nothing():
    assert read_classes(None, None) is None


def test_folders_count_in_their_order(tmp_path):
    photographs(tmp_path, "dog/a.png", "cat/b.png", "cat/deeper/c.png", "zebra/d.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert index(tmp_path) == {"cat/b.png": 0, "cat/deeper/c.png": 0, "dog/a.png": 1, "zebra/d.png": 3}


@pytest.mark.parametrize("names", [("207_dog", "3_cat"), ("207", "3"), ("207-dog", "0003 cat")])
def test_numbers_in_front_are_the_index_when_all_folders_have_one(names, tmp_path):
    photographs(tmp_path, f"{names[0]}/a.png", f"{names[1]}/b.png")
    assert index(tmp_path) == {f"{names[0]}/a.png": 207, f"{names[1]}/b.png": 3}


@pytest.mark.parametrize("names", [("207_dog", "cat"), ("3d_models", "2d_models"), ("n02", "n01")])
def test_numbers_that_are_part_of_a_word_are_none(names, tmp_path):
    photographs(tmp_path, f"{names[0]}/a.png", f"{names[1]}/b.png")
    assert set(index(tmp_path).values()) == {0, 1}


@pytest.mark.parametrize(
    "lines",
    [
        "a.png,7\nsub/b.png,2\n",
        "file,class\na.png, 7\n\nsub/b.png, 2",
        "a.png\t7\nsub/b.png\t2\n",
        "a.png 7\nsub/b.png 2",
    ],
)
def test_lines_of_a_list(lines, tmp_path):
    photographs(tmp_path, "a.png", "sub/b.png", "unlisted.png")
    (tmp_path / "labels.csv").write_text(lines)
    assert index(None, tmp_path / "labels.csv") == {"a.png": 7, "sub/b.png": 2}


def test_names_may_hold_commas_and_blanks(tmp_path):
    photographs(tmp_path, "a, b.png", "c d.png")
    (tmp_path / "labels.csv").write_text('"a, b.png",1\nc d.png,2\n')
    assert index(None, tmp_path / "labels.csv") == {"a, b.png": 1, "c d.png": 2}


def test_the_files_of_a_list_may_lie_elsewhere(tmp_path):
    folder = photographs(tmp_path / "photographs", "a.png")
    (tmp_path / "labels.tsv").write_text("a.png\t5\n")
    assert index(folder, tmp_path / "labels.tsv") == {"a.png": 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,7\nb.png\n", r"line 2 is 'b.png'; expected a file's name, a comma and its class index, from 0"),
        ("a.png,7\na.png,dog\n", r"line 2 is 'a.png,dog'"),
        ("a.png,-1\na.png,-2\n", r"line 2 is 'a.png,-2'"),
        ("a.png,1,2\na.png,1,2", r"line 2 is 'a.png,1,2'"),
        ("gone.png,1\n", r"line 1: there is no file .*gone.png; say where it lies with --eval"),
        ("a.png,1\na.png,2\n", r"line 2: a.png has another class above"),
        ("", r"no lines of a file's name and its class index in it"),
        ("file,class\n", r"no lines of a file's name"),
    ],
)  # fmt: skip
def test_lines_that_say_nothing_are_told(text, message, tmp_path):
    photographs(tmp_path, "a.png", "b.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_classes(None, tmp_path / "labels.csv")


def test_files_that_are_no_lists_are_told(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"labels.csv: is no text"):
        read_classes(None, tmp_path / "labels.csv")
    with pytest.raises(UserError, match=r"--labels .*gone.csv: cannot be read \(No such file or directory\)"):
        read_classes(None, tmp_path / "gone.csv")


def test_folders_that_are_no_classes_are_told(tmp_path):
    with pytest.raises(UserError, match=r"--eval .*gone: no such folder"):
        read_classes(tmp_path / "gone", None)
    with pytest.raises(UserError, match=r"--eval .*: no photographs in it; make a folder for each class"):
        read_classes(tmp_path, None)
    photographs(tmp_path, "cat/a.png", "loose.png")
    with pytest.raises(UserError, match=r"loose.png lies in no folder of its class; .*--labels FILE"):
        read_classes(tmp_path, None)
    with pytest.raises(UserError, match=r"--eval .*loose.png: not a folder"):
        read_classes(tmp_path / "loose.png", None)


def test_labels_stand_in_the_order_of_the_images(tmp_path):
    photographs(tmp_path, *(f"{grey:02}/x.png" for grey in range(12)))
    classes = read_classes(tmp_path, None)
    data = classes.photographs(SMALL, 8, 4, seed=1)
    greys = [round(float(values.mean()) * 255) for (values,) in data.images()]
    assert list(data.labels) == greys
    assert data.source == f"8 of 12 labelled photographs in {tmp_path}, seed 1"


def test_a_photograph_that_cannot_be_read_takes_its_label_along(tmp_path):
    photographs(tmp_path, *(f"{grey:02}/x.png" for grey in range(6)))
    classes = read_classes(tmp_path, None)
    (tmp_path / "03" / "x.png").write_bytes(b"broken")
    data = classes.photographs(SMALL, 6, 4, seed=1)
    greys = [round(float(values.mean()) * 255) for (values,) in data.images()]
    assert list(data.labels) == greys
    assert 3 not in greys
    assert data.warnings[0].startswith("03/x.png was left out of judging: ")


def test_what_calibration_uses_is_not_judged_by(tmp_path):
    photographs(tmp_path, *(f"{grey:02}/x.png" for grey in range(12)))
    data = Photographs(tmp_path, SMALL, 5, 4, seed=0)
    judged = read_classes(tmp_path, None).photographs(SMALL, 100, 4, 0, but=data)
    assert judged.count == 7
    assert set(judged.paths).isdisjoint(data.paths)
    with pytest.raises(UserError, match="all of its photographs are used for calibration; lower --calib-count"):
        read_classes(tmp_path, None).photographs(SMALL, 100, 4, 0, but=Photographs(tmp_path, SMALL, 12, 4, 0))
