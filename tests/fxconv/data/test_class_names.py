"""Which list --labels named, and the names in it."""

from __future__ import annotations

import pytest
import torch

from fxconv.config import Config
from fxconv.data.class_names import check_names, class_counts, read_names, sorted_files
from fxconv.data.source import open_source
from fxconv.errors import UserError
from fxconv.models import loading


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "tench\ngreat white shark\nclass 3\n",
        "0,tench\n1,great white shark\n2,class 3\n",
        "0: tench\n1: great white shark\n2: class 3",
    ],
)
def test_names_stand_a_line_each_with_or_without_their_index(tmp_path, text):
    file = written(tmp_path / "names.txt", text)
    assert sorted_files([file], None) == (None, file)
    assert read_names(file) == ("tench", "great white shark", "class 3")


def test_numbers_that_are_no_indices_belong_to_the_names(tmp_path):
    assert read_names(written(tmp_path / "names.txt", "7 up\n3 musketeers\n")) == ("7 up", "3 musketeers")
    assert read_names(written(tmp_path / "names.txt", "\ufeffa\nb\n\n")) == ("a", "b")


@pytest.mark.parametrize(
    "text", ["cat.jpg,0\ndog.jpg,1\n", "file,index\nother name,3\n", '"a, b.png",7\n', "cat.JPG 0\n"]
)
def test_a_list_of_photographs_is_one_by_their_suffix_or_because_they_are_there(tmp_path, text):
    (tmp_path / "other name").touch()
    file = written(tmp_path / "list.csv", text)
    assert sorted_files([file], None) == (file, None)


def test_the_folder_of_photographs_decides(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "one").touch()
    file = written(tmp_path / "list.txt", "one 1\ntwo 2\n")
    assert sorted_files([file], folder) == (file, None)
    assert sorted_files([file], None) == (None, file)


def test_one_of_each_kind(tmp_path):
    photographs = written(tmp_path / "list.csv", "cat.jpg,0\n")
    names = written(tmp_path / "names.txt", "cat\ndog\n")
    assert sorted_files([names, photographs], None) == (photographs, names)
    with pytest.raises(UserError, match=r"names.txt has the names of classes already; give one list of each kind"):
        sorted_files([names, names], None)
    with pytest.raises(UserError, match=r"list.csv has the classes of photographs already"):
        sorted_files([photographs, photographs], None)


def test_a_wrong_list_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"line 2 is empty, and every line is a class"):
        read_names(written(tmp_path / "names.txt", "a\n\nb\n"))
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\)"):
        read_names(tmp_path / "gone.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no text"):
        read_names(tmp_path / "binary")


def test_as_many_names_as_classes():
    scores, maps, boxes = torch.zeros(1, 3), torch.zeros(1, 5, 8, 8), torch.zeros(7)
    assert class_counts([scores, maps, boxes]) == [3, 5]
    check_names(("a", "b", "c"), [scores, maps])
    check_names(("a",), [boxes])
    with pytest.raises(UserError, match=r"^--labels: 2 names for a model of 3 or 5 classes; give as many"):
        check_names(("a", "b"), [scores, maps])


def test_torchvisions_own_weights_bring_the_names_they_were_trained_with(tmp_path):
    published = tmp_path / "squeezenet1_1-b8a52dc0.pth"  # the name that torchvision gives the file
    torch.save(loading.load("squeezenet1_1", "random").module.state_dict(), published)
    source = open_source("squeezenet1_1", str(published), "64", None, None, Config(calib_count=2))
    assert source.class_names is not None and len(source.class_names) == 1000
    assert source.class_names[0] == "tench"
    renamed = published.rename(tmp_path / "mine.pth")
    assert open_source("squeezenet1_1", str(renamed), "64", None, None, Config(calib_count=2)).class_names is None
    names = written(tmp_path / "names.txt", "\n".join(f"class {index}" for index in range(1000)))
    source = open_source("squeezenet1_1", "random", "64", None, None, Config(calib_count=2), names=names)
    assert source.class_names is not None and source.class_names[999] == "class 999"
