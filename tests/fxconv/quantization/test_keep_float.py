"""--keep-float: what a pattern names, what goes with it, and what is said of it."""

from __future__ import annotations

import json

import fxconv_networks as networks
import pytest
import torch
from fxconv_commands import PLAIN, assert_user_error
from torch import nn

import fxconv
from fxconv.errors import UserError
from fxconv.quantization.keep_float import chosen
from rewrites import rewrite


@pytest.fixture(scope="module")
def rewritten(small_model):
    return rewrite(small_model)


def kept(rewritten, *patterns) -> dict[str, str]:
    return chosen(rewritten, patterns)


def reason(pattern: str) -> str:
    return f"kept in float: --keep-float {pattern}"


def test_what_is_fused_goes_together(rewritten):
    everything = {"stem_conv", "stem_bn", "stem_relu6"}
    for pattern in ("stem.conv", "stem.bn", "stem.relu6", "stem.*", "stem"):
        assert kept(rewritten, pattern) == dict.fromkeys(everything, reason(pattern))


def test_a_pattern_is_held_against_the_original_names_too(rewritten):
    assert kept(rewritten, "block.0") == dict.fromkeys(("conv", "bn", "relu_1"), reason("block.0"))
    assert set(kept(rewritten, "block.*")) == {"conv", "bn", "relu_1"}


def test_a_pattern_is_held_against_the_names_in_the_report(rewritten):
    assert kept(rewritten, "stem_relu6") == dict.fromkeys(("stem_conv", "stem_bn", "stem_relu6"), reason("stem_relu6"))


def test_the_first_pattern_that_matches_is_the_reason(rewritten):
    assert kept(rewritten, "he*", "head") == {"head": reason("he*")}


def test_arithmetic_is_kept_as_well(rewritten):
    assert kept(rewritten, "add", "mul") == {"mul": reason("mul"), "add": reason("add")}


def test_a_pattern_that_matches_nothing_names_what_comes_near(rewritten):
    with pytest.raises(UserError, match=r"--keep-float stem.cnv: matches no layer .*; did you mean stem.conv") as error:
        kept(rewritten, "head", "stem.cnv")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"--keep-float 123: matches no layer .*; fxconv diff MODEL shows all names"):
        kept(rewritten, "123")


def test_stubs_are_no_layers(rewritten):
    with pytest.raises(UserError, match="matches no layer"):
        kept(rewritten, "quant_x")


def test_what_the_engine_refuses_keeps_the_engines_reason():
    conversion = fxconv.convert(
        networks.one_float_convolution(),
        [torch.randn(4, 3, 16, 16)],
        skip=networks.PAD_INSIDE,
        keep_float=("second",),
        min_sqnr=0.0,
    )
    (island,) = conversion.rewritten.islands
    assert island.reason == "Conv2d: quantized convolutions pad with zeros only, not 'circular'"


def test_a_kept_layer_runs_in_float_and_the_rest_in_int8(small_model, batches):
    conversion = fxconv.convert(small_model, batches, keep_float=("stem.conv",), recipe=("none",))
    assert conversion.verified
    stem = 16 * 16 * 16 * 27
    total = sum(conversion.artifact.macs.values())
    assert conversion.artifact.int8_macs_share == pytest.approx(1 - stem / total)
    assert [island.reason for island in conversion.rewritten.islands] == [reason("stem.conv")]
    assert conversion.verdict == "float by choice, verified"
    int8 = dict(conversion.int8.named_modules())
    assert type(int8["stem.conv"][0]) is nn.Conv2d
    assert ".quantized" in type(int8["conv"]).__module__


def test_everything_may_be_kept(small_model, batches):
    conversion = fxconv.convert(small_model, batches, keep_float=("*",), recipe=("none",))
    assert conversion.verified
    assert conversion.artifact.int8_macs_share == 0


def test_layers_inside_parts_are_named_by_their_whole_path(batches):
    torch.manual_seed(0)
    conversion = fxconv.convert(
        networks.detector().eval(), batches[:1], keep_float=("heads.logits", "backbone.stem.*"), recipe=("none",)
    )
    assert conversion.verified
    nodes = {node: island.reason for island in conversion.rewritten.islands for node in island.nodes}
    for node in ("backbone.stem_conv", "backbone.stem_bn", "backbone.stem_relu"):
        assert nodes[node] == reason("backbone.stem.*")
    assert nodes["heads.logits"].startswith(reason("heads.logits"))


def test_the_command_line_keeps_layers_and_says_so(command):
    run = command("convert", *PLAIN, "--keep-float", "stem.*", "--keep-float", "squeeze", "--json", "report.json")
    assert run.status == 0
    assert run.report["config"]["keep_float"] == ["stem.*", "squeeze"]
    assert {island["reason"] for island in run.report["quantization"]["float_islands"]} == {
        reason("stem.*"),
        reason("squeeze"),
    }


def test_a_dry_run_shows_what_would_be_kept(command):
    run = command("convert", *PLAIN, "--keep-float", "head", "--dry-run", "--json", "report.json")
    skips = {skip["node"]: skip["reason"] for entry in run.report["passes"] for skip in entry["skips"]}
    assert skips["head"] == reason("head")


def test_a_mistaken_pattern_is_told_in_one_line(command):
    assert_user_error(command("convert", *PLAIN, "--keep-float", "hed"), "--keep-float hed: matches no layer", "head")


def test_patterns_are_in_the_report_as_they_were_given(small_model, batches):
    report = fxconv.convert(small_model, batches[:1], keep_float=("head",), recipe=("none",)).report
    assert json.loads(report.json_text())["config"]["keep_float"] == ["head"]


def test_a_branch_that_was_merged_is_the_convolution_it_was_merged_into():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.large, self.small = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)

        def forward(self, x):
            return self.large(x) + self.small(x)

    rewritten = rewrite(Branches())
    assert list(chosen(rewritten, ["small"])) == list(chosen(rewritten, ["conv"])) == ["conv"]
