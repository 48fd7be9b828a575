"""benchmarks/targets.py: what it makes of answers and of runs, what it requires, and the page made of its records."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.targets_network import answered, points_below, taken
from benchmarks.targets_table import CONTROL, NAMES, OURS, page, unmet, wilson
from fxconv.measures.runs import Runs

DOCS = Path(__file__).resolve().parents[2] / "docs"
HEAD = {"processor": "a CPU", "versions": "torch 2.14.1, executorch 1.5.1", "date": "2026-11-30"}


def timed(to_executorch: float, to_ptl: float) -> dict[str, Any]:
    ratios = {"cpu": to_executorch, "wall": 1.0, "least_cpu": to_executorch}
    return {"ms": 2.0, "cpu_ms": 1.5, "least_ms": 1.2, "to_executorch": ratios, "to_ptl": {**ratios, "cpu": to_ptl}}


def network(**changed: Any) -> dict[str, Any]:
    answers = {"agreement": 96.0, "sqnr_db": 21.6, "right": 240, "bytes": 1_234_567}
    ours = {"proven": True, "verdict": "converted and verified", "int8_share": 1.0, "outside": [], "to_int8_db": 40.0}
    files = {name: dict(answers) for name in NAMES if name not in ("float", CONTROL)}
    files |= {"float": {"agreement": 100.0, "sqnr_db": None, "right": 245}, OURS: answers | ours | changed}
    times = {name: timed(0.9, 0.2) for name in NAMES if name != "float"}
    return {"network": "resnet18", "size": 32, "weights": "CIFAR-10", "calibration": 100, "scored": 300,
            "below_ptl": {"points": 0.5, "bound": 0.6}, "files": files,
            "latency": {"files": times, "rounds": 40}}  # fmt: skip


def test_the_interval_of_a_share_is_wilsons():
    assert wilson(240, 300) == pytest.approx((75.11, 84.13), abs=0.01)
    assert wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-9)


def test_answers_are_compared_with_floats_and_with_the_classes():
    reference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = torch.tensor([[1.0, 0.0], [0.6, 0.5]])
    assert answered(reference, found, torch.tensor([0, 1])) == {
        "agreement": 50.0, "sqnr_db": pytest.approx(5.1570, abs=1e-3), "right": 1,
    }  # fmt: skip
    assert answered(reference, reference, None) == {"agreement": 100.0, "sqnr_db": None, "right": None}


def test_points_below_have_the_bound_of_the_paired_difference():
    found = points_below(torch.tensor([True, False, True, False]), torch.tensor([True, True, True, False]))
    assert found == {"points": 25.0, "bound": pytest.approx(49.0)}


def test_ratios_are_medians_round_by_round_and_of_the_least_times():
    own, other = Runs((2.0, 4.0, 9.0), (1.0, 2.0, 3.0)), Runs((4.0, 4.0, 9.0), (4.0, 4.0, 4.0))
    found = taken(own, other, own)
    assert found["to_executorch"] == {"cpu": 0.5, "wall": 1.0, "least_cpu": 0.25}
    assert found["to_ptl"]["cpu"] == 1.0
    assert "to_executorch" not in taken(own, None, own)
    assert (found["ms"], found["cpu_ms"], found["least_ms"]) == (4.0, 2.0, 2.0)


def test_nothing_is_wrong_with_what_meets_all():
    assert unmet([network()]) == []
    assert unmet([network(agreement=95.5, sqnr_db=21.4)]) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"agreement": 95.4}, "resnet18: agreement is 0.6 points below the .ptl's, 0.5 allowed"),
        ({"sqnr_db": 21.2}, "resnet18: SQNR is 0.40 dB below the .ptl's, 0.3 allowed"),
        ({"proven": False, "verdict": "FAILED: x"}, "resnet18: the .pte is not proven: FAILED: x"),
    ],
)
def test_what_a_program_lacks_beside_the_ptl_is_said(changed: dict[str, Any], said: str) -> None:
    assert unmet([network(**changed)]) == [said]


@pytest.mark.parametrize(
    ("name", "times", "said"),
    [
        ("resnet18", (1.04, 0.2), "1.040 of the latency of ExecuTorch's own recipe, 1.03 allowed"),
        ("mobilenet_v3_small", (0.97, 0.2), "0.970 of the latency of ExecuTorch's own recipe, 0.96 allowed"),
        ("mobilenet_v2", (1.0, 0.26), "0.260 of the .ptl's latency, 0.25 allowed"),
    ],
)
def test_a_program_that_is_too_slow_is_said(name: str, times: tuple[float, float], said: str) -> None:
    record = copy.deepcopy(network()) | {"network": name}
    record["latency"]["files"][OURS] = timed(*times)
    assert unmet([record]) == [f"{name}: {said}"]


def test_the_ptl_of_a_transformer_may_be_as_fast():
    record = network() | {"network": "swin_t"}
    record["latency"]["files"][OURS] = timed(1.0, 0.9)
    assert unmet([record]) == []


def test_the_page_shows_each_file_and_what_is_not_met():
    outside = [{"operator": "avg_pool2d", "how": "float", "calls": 2, "values": 1000}]
    text = page(HEAD, [network(outside=outside, agreement=90.0)])
    assert "- resnet18: agreement is 6.0 points below the .ptl's, 0.5 allowed" in text
    row = "| fxconv `.pte` | 80.0 % (75.1 to 84.1) | 90.0 % | 21.6 | 2.00 | 1.50 | 0.900 (0.900) | 0.200 (0.900) | "
    assert row + "1,234,567 |" in text
    assert "agreement 0.5 ± 0.6 points below the `.ptl`'s" in text
    assert "outside int8: avg_pool2d (float, 2 times, 1,000 values)." in text
    assert "| float, PyTorch | 81.7 % (76.9 to 85.6) | - | - | - | - | - | - | - |" in text


def test_a_file_that_does_not_load_is_told_and_has_no_answers():
    record = network()
    record["files"]["executorch.pte"] = {"bytes": 1000, "problem": "Failed to create StaticConstantPad"}
    times = record["latency"]["files"]
    del times["executorch.pte"], times[CONTROL]
    for each in times.values():
        del each["to_executorch"]
    text = page(HEAD, [record])
    assert "| ExecuTorch's recipe | - | - | - | - | - | - | - | 1,000 |" in text
    assert "ExecuTorch's recipe: does not load: Failed to create StaticConstantPad." in text
    assert "| fxconv `.pte` | 80.0 % (75.1 to 84.1) | 96.0 % | 21.6 | 2.00 | 1.50 | - | 0.200 (0.900) |" in text
    assert "the same file again" not in text and "All are met." in text


def test_random_weights_have_no_top_1():
    record = network() | {"weights": "random"}
    for file in record["files"].values():
        file["right"] = None
    text = page(HEAD, [record])
    assert "No trained weights are at hand" in text and "| fxconv `.pte` | - | 96.0 % |" in text
    assert "All are met." in text


def test_the_page_is_made_of_its_records():
    whole = json.loads((DOCS / "targets.json").read_text(encoding="utf-8"))
    assert (DOCS / "targets.md").read_text(encoding="utf-8") == page(whole, whole["networks"])
