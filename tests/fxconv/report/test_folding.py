"""Where lines end: between words, and in words that have parts where they must."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.text import Text

from fxconv.report.folding import folded, widest_word


def lines(words: str, width: int, hanging: str = "  ") -> list[str]:
    return [line.plain for line in folded(Text(words), width, hanging)]


CASES = {
    "what fits stays as it is": ("a  b c", 6, ["a  b c"]),
    "between words": ("one two three four", 9, ["one two", "  three", "  four"]),
    "spaces at the end are left out": ("one two   ", 8, ["one two"]),
    "a figure keeps its unit": ("all of it takes 10.2 MB", 20, ["all of it takes", "  10.2 MB"]),
    "so do shares": ("agree on 100 % of images", 12, ["agree on", "  100 % of", "  images"]),
    "a comment keeps its sign": ("+y = relu(x)  # ReLU()", 16, ["+y = relu(x)", "  # ReLU()"]),
    "a path behind a folder": ("in /data/images/photographs/of", 18, ["in", "  /data/images/", "  photographs/of"]),
    "a dotted name behind a part": ("torch.ao.nn.quantized.Conv2d", 14, ["torch.ao.nn.", "  quantized.", "  Conv2d"]),
    "any other name behind an underscore": ("features_1_block_0_scale", 13, ["features_1_", "  block_0_", "  scale"]),
    "an operator": ("quantized::conv2d_relu", 14, ["quantized::", "  conv2d_relu"]),
    "the next word goes on a new line": ("a/longname/b c", 11, ["a/longname/", "  b c"]),
    "what has no parts stays whole": ("see 0123456789abcdef now", 8, ["see", "  0123456789abcdef", "  now"]),
    "an option stays whole": ("give --calib DIR", 9, ["give", "  --calib", "  DIR"]),
    "indentation stays": ("    a b c", 7, ["    a b", "  c"]),
    "wide letters": ("日本 日本 日本", 10, ["日本 日本", "  日本"]),
    "nothing": ("", 5, [""]),
}


@pytest.mark.parametrize(("words", "width", "expected"), CASES.values(), ids=CASES)
def test_where_a_line_ends(words, width, expected):
    assert lines(words, width) == expected


@pytest.mark.parametrize("width", range(8, 60))
def test_no_letter_is_lost_or_added(width):
    words = "in /data/photo graphs/x.jpg: features_1.conv (Conv2d) takes 3 % of 10.5 ms; see docs/a-page.md"
    made = lines(words, width)
    assert "".join("".join(made).split()) == "".join(words.split())
    assert all(cell_len(line) <= width or len(line.split()) == 1 for line in made)


def test_styles_go_with_their_words():
    text = Text.assemble(("one two", "bold"), " three ", ("four", "red"))
    first, second = folded(text, 9)[:2]
    assert [(first.plain[s.start : s.end], s.style) for s in first.spans] == [("one two", "bold")]
    assert second.plain == "  three"


def test_the_widest_word():
    assert widest_word(Text("a bbb 12 MB")) == 5
    assert widest_word(Text("")) == 0
