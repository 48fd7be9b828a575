"""Pages of text on screens narrower than they were written for."""

from __future__ import annotations

import io

import pytest

from fxconv.report.prose import print_page
from fxconv.report.screen import Screen

PAGE = """fold-relu6

What it does: `nn.ReLU6` becomes an activation
that still clamps in float. It fuses like a ReLU.

- a first item that goes on
  in the next line
- a second

    y = relu6(self.conv(x) + x)

@@ -3,3 +3,3 @@
 bn = self.bn(conv)  # BatchNorm2d
-act = self.act(bn)  # ReLU6()
"""


def printed(width: int) -> str:
    out = io.StringIO()
    print_page(PAGE, Screen(file=out, width=width))
    return out.getvalue()


def test_as_it_was_written_where_there_is_room():
    assert printed(80) == PAGE


def test_paragraphs_and_items_are_folded_anew_and_code_line_by_line():
    assert printed(28) == (
        "fold-relu6\n\n"
        "What it does: `nn.ReLU6`\nbecomes an activation that\nstill clamps in float. It\nfuses like a ReLU.\n\n"
        "- a first item that goes on\n  in the next line\n- a second\n\n"
        "    y = relu6(self.conv(x) +\n      x)\n\n"
        "@@ -3,3 +3,3 @@\n bn = self.bn(conv)\n   # BatchNorm2d\n-act = self.act(bn)\n  # ReLU6()\n"
    )


@pytest.mark.parametrize("width", [20, 40, 60])
def test_no_line_is_wider(width):
    assert max(map(len, printed(width).splitlines())) <= width
