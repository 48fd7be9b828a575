"""The rewriting as a reviewer reads it: folded, unfolded, of one pass, for a pull request."""

from __future__ import annotations

import io
import json

import pytest
import torch
import torchvision
from fxconv_commands import NETWORKS, assert_user_error
from rich.console import Console

from fxconv.report.pull_request import markdown
from fxconv.report.review import changes, renames
from fxconv.report.rewriting import print_rewriting
from rewrites import Edit, Rewritten, rewrite

TINY = ("diff", f"{NETWORKS}:tiny", "--input-size", "32")


@pytest.fixture(scope="module")
def rewritten() -> Rewritten:
    model = torchvision.models.get_model("mobilenet_v3_small").eval()
    return rewrite(model, example=(torch.zeros(1, 3, 64, 64),))


def printed(rewritten: Rewritten, width: int = 200, terminal: bool = False, **options: object) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    print_rewriting(rewritten, console, **options)
    return file.getvalue()


def test_what_was_changed_alike_is_shown_once(rewritten):
    result = next(one for one in rewritten.results if one.name == "arithmetic-to-functional")
    squeeze, residual = changes(result)
    assert squeeze.title == "features.1.block.1 (SqueezeExcitation)"
    assert squeeze.more.startswith("and 8 more like this: features.4.block.2, features.5.block.2, ")
    assert residual.more == "and 5 more like this: features.5, features.6, features.8, features.10, features.11"
    assert [line[0] for line, _ in squeeze.lines] == ["-", "+"]
    assert squeeze.lines[0][1].startswith("torchvision/ops/misc.py:")
    assert len(changes(result, full=True)) == 15
    assert [line[0] for line, _ in changes(result, full=True)[0].lines] == [" ", "-", "+", " "]


def test_a_page_for_a_reader(rewritten):
    page = printed(rewritten)
    assert len(page.splitlines()) < 90
    assert "nothing to do: transformer-layers, " in page
    assert "and 5 more like this: features.5, features.6, features.8, features.10, features.11" in page
    assert "(torchvision/models/mobilenetv3.py:" in page
    assert len(printed(rewritten, full=True).splitlines()) > 300


def test_one_pass_alone(rewritten):
    page = printed(rewritten, only="out-of-place")
    assert page.count("\nPass ") == 1
    assert "\nPass out-of-place\n" in page


def test_one_pass_that_had_nothing_to_do(rewritten):
    assert printed(rewritten, only="fold-relu6") == "fold-relu6: nothing to do\n"
    assert markdown(rewritten, "net", only="fold-relu6").endswith("\n\nfold-relu6: nothing to do\n")


def test_a_terminal_is_never_too_narrow(rewritten):
    page = printed(rewritten, width=60, terminal=True, only="arithmetic-to-functional")
    assert max(len(line) for line in page.splitlines()) <= 60
    assert "      (torchvision/ops/misc.py:" in page


def test_renames_of_one_pattern_are_one_row(rewritten):
    edits = next(one for one in rewritten.results if one.name == "fusable-names").edits
    found = {one.before: one for one in renames(edits)}
    assert found["features.1.block.0.0"].after == "features_1.depthwise.conv"
    assert len(found["features.1.block.0.0"].others) == 10
    assert found["features.1.block.1.*"].after == "features_1.squeeze_excitation.*"
    assert sum(1 + len(one.others) for one in found.values()) == len(edits)
    assert [(one.before, one.after) for one in renames(edits, full=True)] == [(e.before, e.after) for e in edits]


def test_a_rename_keeps_its_last_word():
    edit = Edit("rename", "a", "a.b.c", "d.b.c", "because")
    assert [(one.before, one.after) for one in renames([edit])] == [("a.*", "d.*")]


def test_markdown_for_a_pull_request(rewritten):
    page = markdown(rewritten, "mobilenet_v3_small")
    assert page.startswith("# mobilenet_v3_small: ")
    assert page.count("```diff\n") == page.count("\n```\n")
    assert "**`features.3 (InvertedResidual)`**: the plain operator has no quantized kernel" in page
    assert "| `features.1.block.0.0` | `features_1.depthwise.conv` | and 10 more |" in page


def test_swin_t_is_read_in_one_sitting():
    model = torchvision.models.get_model("swin_t").eval()
    done = rewrite(model, example=(torch.zeros(1, 3, 224, 224),))
    assert len(printed(done, width=10_000).splitlines()) < 200


def test_by_hand(command):
    run = command(*TINY, "--pass-only", "arithmetic-to-functional", "--format", "markdown")
    assert run.status == 0
    assert run.stdout.startswith("# tiny: ")
    assert run.stdout.count("\n## ") == 1
    run = command(*TINY, "--pass-only", "arithmetic-to-functional", "--format", "json")
    (only,) = json.loads(run.stdout)["passes"]
    assert only["name"] == "arithmetic-to-functional"
    (hunk,) = only["hunks"]
    assert hunk["kind"] == "Tiny" or hunk["module"] == ""
    assert [line[0] for line in hunk["lines"] if line[0] != " "] == ["-", "-", "+", "+"]
    run = command(*TINY, "--full")
    assert " block_2 = self." in run.stdout


def test_mistakes(command):
    assert_user_error(command(*TINY, "--pass-only", "out-of-plaec"), "unknown pass 'out-of-plaec'; did you mean")
    assert_user_error(
        command(*TINY, "--pass-only", "out-of-place", "--skip", "out-of-place"),
        "pass 'out-of-place' does not run in this conversion",
    )
