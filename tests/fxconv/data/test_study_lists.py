"""What --sources and --counts of a study say."""

from __future__ import annotations

import pytest

from fxconv.data.study_lists import check_sources, parse_counts, parse_sources
from fxconv.errors import UserError


def test_lists_with_commas():
    assert parse_counts("1, 10,10,100") == (1, 10, 100)
    assert parse_sources("a, b ,a") == ("a", "b")


@pytest.mark.parametrize("text", ["", "0", "ten", "1,,2", "-1", "1.5", "²"])
def test_counts_that_are_none(text):
    with pytest.raises(UserError, match="expected numbers of images with commas between, such as 1,10,100"):
        parse_counts(text)


def test_sources_that_are_none(tmp_path):
    check_sources(("synthetic",))
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("gone", "no such folder; give folders, or synthetic"),
        ("file", "is no folder of photographs"),
        ("empty", "no photographs in it"),
    ):
        with pytest.raises(UserError, match=words):
            check_sources((str(tmp_path / name),))
    with pytest.raises(UserError, match="a name between the commas is empty"):
        parse_sources("a,,b")
