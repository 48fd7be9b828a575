"""Others' words in fxconv's lines have no path of the machine's in them."""

from __future__ import annotations

import pytest

from fxconv.errors import described, from_here


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Errno 2] No such file or directory: 'HERE/a/b.txt'", "[Errno 2] No such file or directory: 'a/b.txt'"),
        ("HERE/a, and HERE/b:3", "a, and b:3"),
        ("in HERE itself, and HERE/", "in HERE itself, and HERE/"),
        ("/backup/HERE/a, /other/a", "/backup/HERE/a, /other/a"),
        ('File "/opt/x/lib/python3/site-packages/torch/nn/a.py", line 3', 'File "torch/nn/a.py", line 3'),
        ("a / b, 3 / site-packages/", "a / b, 3 / site-packages/"),
    ],
)
def test_paths_from_the_current_folder_or_inside_a_package(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    text, said = text.replace("/backup/HERE", f"/backup{here}"), said.replace("/backup/HERE", f"/backup{here}")
    assert from_here(text.replace("HERE", here)) == said.replace("HERE", here)


def test_at_the_root_nothing_is_cut_off(monkeypatch):
    monkeypatch.chdir("/")
    assert from_here("of 1 /a, /b/c") == "of 1 /a, /b/c"


def test_an_exception_is_described_with_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = FileNotFoundError(2, "No such file or directory", str(tmp_path / "x.txt"))
    assert described(error) == "FileNotFoundError: [Errno 2] No such file or directory: 'x.txt'"
