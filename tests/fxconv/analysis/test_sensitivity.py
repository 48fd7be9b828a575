"""fxconv sensitivity: the ranking, what it was measured on, and the two views of it."""

from __future__ import annotations

import io
import json

import fxconv_networks as networks
import pytest
import torch
from fxconv_commands import NETWORKS, SMALL, assert_user_error
from fxconv_heads import NETWORK, OF_POINTS, OF_SCORES, landmarks, two_heads, write_files
from fxconv_outliers import HUGE, outliers
from rich.console import Console

from fxconv.analysis.sensitivity import IMAGES, Sensitivity, sensitivity
from fxconv.config import Recipe, WeightScheme
from fxconv.errors import UserError
from fxconv.report import json as report_json
from fxconv.report.accuracy import print_sensitivity


@pytest.fixture(scope="module")
def ranked() -> Sensitivity:
    model, (calibration, images) = outliers("weight")
    torch.set_num_threads(1)
    return sensitivity(model, [calibration], held_out=[images], weight_scheme=WeightScheme.per_tensor)


def page(result: Sensitivity, top: int | None = None) -> str:
    text = io.StringIO()
    print_sensitivity(result, Console(file=text, width=200, highlight=False), top)
    return text.getvalue()


def test_the_worst_layer_stands_first(ranked):
    assert ranked.layers[0].where == HUGE
    assert max(ranked.together[0], ranked.layers[0].sqnr_db) < 0 < 20 < ranked.layers[1].sqnr_db


def test_it_is_measured_on_few_images_that_calibration_did_not_see(ranked):
    assert (ranked.images, ranked.is_unseen) == (IMAGES, True)
    assert ranked.source == "100 tensors given from Python"
    assert ranked.warnings == ()


def test_tensors_without_others_serve_for_both(small_model, batches):
    result = sensitivity(small_model, batches[:1])
    assert (result.images, result.is_unseen) == (8, False)
    assert "judged on what it was calibrated on" in result.warnings[0]


def test_layers_kept_in_float_are_not_ranked(small_model, batches):
    result = sensitivity(small_model, batches[:1], keep_float=("stem.*",))
    assert "stem.conv" not in {layer.where for layer in result.layers}
    with pytest.raises(UserError, match="matches no layer"):
        sensitivity(small_model, batches[:1], keep_float=("stemm",))


def test_it_is_reproducible(ranked):
    model, (calibration, images) = outliers("weight")
    again = sensitivity(model, [calibration], held_out=[images], weight_scheme=WeightScheme.per_tensor)
    assert again.layers == ranked.layers


def test_models_of_several_graphs_are_ranked_too(batches):
    torch.manual_seed(0)
    result = sensitivity(networks.detector().eval(), batches[:1], held_out=batches[1:], config=None)
    assert "heads.logits" in {layer.where for layer in result.layers}
    assert result.together[1] is None


def test_the_table_shows_all_or_the_worst(ranked):
    text = page(ranked)
    assert "each layer quantized alone, on 16 images not used for calibration: 100 tensors given from Python" in text
    rows = text.splitlines()
    (worst,) = [row.split("  ") for row in rows if row.startswith(HUGE)]
    assert [cell.strip() for cell in worst if cell.strip()][1] == "Conv2d + ReLU"
    assert len(ranked.layers) == 6
    assert "cost less" not in text
    assert page(ranked, top=2).splitlines()[-1] == "and 4 that cost less"
    assert "third" not in page(ranked, top=2)


def test_json_has_everything(ranked):
    report = json.loads(report_json.text(report_json.sensitivity(ranked)))
    assert report["schema"] == 1
    assert report["measured_on"] == {"source": ranked.source, "images": 16, "held_out": True}
    first = report["layers"][0]
    assert (first["where"], first["kind"], first["weight_bytes"]) == (HUGE, "Conv2d + ReLU", 576)
    assert first["float_extra_bytes"] == 3 * 576
    assert set(report["all_int8"]) == {"sqnr_db", "top1_agreement"}
    assert report["recipe"] == [step.value for step in ranked.steps]
    assert report["config"]["weight_scheme"] == "per-tensor"


def test_the_command_prints_a_table_and_writes_json(command):
    run = command("sensitivity", *SMALL, "--held-out", "4", "--top", "3", "--json", "report.json")
    assert run.status == 0
    assert run.stdout.startswith("tiny: all in int8 ")
    assert "4 images not used for calibration: 4 generated images" in run.stdout
    assert "and 5 that cost less" in run.stdout
    assert "warning: judged on generated images" in run.stderr
    assert len(run.report["layers"]) == 8
    assert run.report["measured_on"]["images"] == 4
    assert run.files == ["report.json"]


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ([*SMALL, "--keep-float", "gone"], ["--keep-float gone: matches no layer"]),
        ([*SMALL, "--top", "0"], ["'--top'"]),
        ([*SMALL, "--held-out", "0"], ["'--held-out'", "(fxconv sensitivity --help)"]),
        ([*SMALL, "--calib", "gone"], ["--calib gone: no such file or folder"]),
        ([*SMALL, "--json", "gone/report.json"], ["there is no folder gone"]),
        ([f"{NETWORKS}:tinny"], ["did you mean tiny"]),
    ],
)
def test_a_mistake_is_told_in_one_line(words, fragments, command):
    assert_user_error(command("sensitivity", *words), *fragments)


def test_python_ranks_by_a_metric_too():
    model, images, truth = two_heads()
    held_out = [(images[32:], truth[32:])]
    options = {"weight_scheme": WeightScheme.per_tensor, "recipe": (Recipe.none,), "metric": landmarks}
    result = sensitivity(model, [images[:32]], held_out=held_out, **options)
    assert (result.layers[0].where, result.metric.name, result.images) == (OF_POINTS, "landmarks", 40)
    assert result.int8_metric < result.float_metric
    assert result.config.metric == "fxconv_heads:landmarks"
    heads = next(line.split() for line in page(result).splitlines() if line.startswith("layer "))
    assert heads[:4] == ["layer", "kind", "landmarks", "SQNR"]


def test_sensitivity_ranks_by_the_metric(command, tmp_path):
    write_files(tmp_path / "cwd")
    words = ("--calib-count", "8", "--metric", "error.py:landmarks", "--eval", "faces.npz")
    done = command("sensitivity", *NETWORK, *words)
    assert done.status == 0, done.stderr
    report = done.report
    values = [layer["metric"] for layer in report["layers"]]
    assert report["layers"][0]["where"] == OF_POINTS
    assert values == sorted(values)
    assert report["metric"]["name"] == "landmarks"
    assert values[0] <= values[1] < report["metric"]["float"]
    assert "layer" in done.stdout and "landmarks" in done.stdout
    # what the landmarks are not made of does not matter to them
    by_path = {layer["where"]: layer for layer in report["layers"]}
    assert by_path[OF_SCORES]["metric"] == report["metric"]["float"]
    plain = command("sensitivity", *NETWORK, "--calib-count", "8").report
    assert plain["metric"] is None
    assert {layer["metric"] for layer in plain["layers"]} == {None}
