"""The graphs' code after each pass, for whoever looks for the pass that went wrong."""

from __future__ import annotations

import ast

import pytest
from fxconv_commands import NETWORKS, assert_user_error

from fxconv.quantization.dump import VARIABLE
from rewrites import DEFAULT_PASSES

TINY = ("diff", f"{NETWORKS}:tiny", "--input-size", "32")


def test_a_file_for_each_pass_in_their_order(command, tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "dump"
    monkeypatch.setenv(VARIABLE, str(folder))
    assert command(*TINY).status == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{number:02}-{rule.name}.py" for number, rule in enumerate(DEFAULT_PASSES, 1)]
    texts = {name[3:-3]: (folder / name).read_text() for name in names}
    for text in texts.values():
        ast.parse(text)
    assert " * " in texts["numeric-padding"]
    assert " * " not in texts["arithmetic-to-functional"]
    assert texts["arithmetic-to-functional"].startswith("# after arithmetic-to-functional: 2 edits, 0 skips\n")


@pytest.mark.parametrize("named", ["file", "file/below"])
def test_what_is_no_folder(command, tmp_path, monkeypatch, named):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv(VARIABLE, str(tmp_path / named))
    assert_user_error(command(*TINY), f"{VARIABLE}={tmp_path / named}: ")
    assert (tmp_path / "file").read_text() == "mine"
