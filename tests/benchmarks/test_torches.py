"""benchmarks/torches.py: what it makes of others' answers, and the section of docs/runtimes.md made of its records."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.torches import CONTROL, in_ratio, judged, parts, said_on_arm64
from fxconv.report.torches_page import latency_apart, noise, short, size_apart, sqnr_apart, torches_markdown, unmet

EQUAL = {"exact": True, "passed": True, "sqnr_db": None, "problem": ""}
LACKING = (
    "does not run under torch 2.14.1+cu130 (RuntimeError: Following ops cannot be found. Check fburl.com/missing_ops "
    "for the fix.{prepacked::linear_clamp_run, prepacked::conv2d_clamp_run, } ())"
)


def file(**changed: Any) -> dict[str, Any]:
    made = {
        "proven": True, "bytes": 1_000_000, "sqnr_db": 25.0, "unseen_sqnr_db": 24.0, "islands": 0, "float_ops": {},
        "prepacked": [], "other_parts": [], "replays": {"2.12.1": EQUAL, "2.14.1": EQUAL, "2.1.0": EQUAL},
        "arm64": None,
    }  # fmt: skip
    return {**copy.deepcopy(made), **changed}


def network(**later: Any) -> dict[str, Any]:
    return {
        "network": "a_network", "options": [], "input": "64", "weights": "seeded",
        "files": {"2.12.1": file(), "2.14.1": file(**later)},
        "latency": {"ms": {"2.12.1": 4.0}, "ratio": {"2.14.1": 1.01, CONTROL: 0.996}, "rounds": 60},
    }  # fmt: skip


def kernel(torch: str, otherwise: int = 0, digest: str = "ab") -> dict[str, Any]:
    return {"torch": torch, "quantized_otherwise": otherwise, "layer_norm": digest}


def page(*networks: dict[str, Any], kernels: Sequence[dict[str, Any]] = ()) -> str:
    torches = [
        {"torch": "2.12.1", "torchvision": "0.27.1", "xnnpack": True},
        {"torch": "2.14.1", "torchvision": "0.29.1", "xnnpack": False},
    ]
    head = {"date": "2026-11-30", "processor": "a CPU", "torches": torches, "old": ["2.1.0"]}
    return torches_markdown({**head, "kernels": kernels, "networks": list(networks)})


def outputs(*rows: tuple[bool, float | None]) -> dict[str, Any]:
    """A line of fxconv/replay.py, of one case."""
    told = [{"exact": exact, "sqnr_db": decibels} for exact, decibels in rows]
    exact = all(row["exact"] for row in told)
    return {"passed": exact, "exact": exact, "problem": "case 0: output 0 differs", "cases": [{"outputs": told}]}


@pytest.mark.parametrize(
    ("told", "decibels", "problem"),
    [
        (outputs((True, None), (True, None)), None, ""),
        (outputs((False, 50.0), (True, None), (False, 41.5)), 41.5, ""),
        # boxes in another number: no distance, though another output has one
        (outputs((False, 50.0), (False, None)), None, "case 0: output 0 differs"),
    ],
)
def test_a_replay_is_as_far_off_as_its_worst_output(told, decibels, problem):
    assert (judged(told)["sqnr_db"], judged(told)["problem"]) == (decibels, problem)
    assert judged(told)["exact"] is told["exact"]


def test_a_replay_that_does_not_run_keeps_its_reason():
    assert judged({"passed": None, "error": LACKING}) == {"error": LACKING}
    assert short(LACKING) == "has no `prepacked::conv2d_clamp_run`, `prepacked::linear_clamp_run`"
    asserted = (
        'does not run under torch 2.14.1+cu130 (RuntimeError: isGenericDict() ASSERT FAILED at "/a/b.h":21, say ())'
    )
    assert short(asserted) == "`RuntimeError: isGenericDict() ASSERT FAILED`"
    assert short("does not run under torch 2.1.0 (ValueError: odd)") == "`ValueError: odd`"
    assert short("took too long") == "took too long"


@pytest.mark.parametrize(
    ("status", "stdout", "found"),
    [
        (0, "x.ptl: bit-exact under torch 2.1.0 on arm64 (qemu), 3 golden inputs\n", EQUAL),
        (
            0,
            "x.ptl: passes under torch 2.1.0 on arm64 (qemu), 3 golden inputs\n"
            "not bit for bit: sums of its float layers come in another order there; at least 44.2 dB\n",
            {**EQUAL, "exact": False, "sqnr_db": 44.2},
        ),
        (2, "x.ptl: does not run under torch 2.1.0 (it says why)\n", {"error": "x.ptl: does not run under torch 2.1.0 "
         "(it says why)"}),
        (2, "", {"error": "verify_arm64: error: needs qemu"}),
        (0, "", {"error": "verify_arm64: error: needs qemu"}),
    ],
)  # fmt: skip
def test_the_sentences_of_verify_arm64(status, stdout, found):
    assert said_on_arm64(status, stdout, "verify_arm64: error: needs qemu\n") == found


def test_a_file_that_fails_on_arm64_is_not_taken_for_one_that_passes():
    told = "x.ptl: NOT the same under torch 2.1.0 on arm64 (qemu), 3 golden inputs: case 0: output 0 differs\n"
    found = said_on_arm64(1, told, "")
    assert not found["exact"] and not found["passed"] and found["problem"].endswith("case 0: output 0 differs")


def test_ratios_are_taken_round_by_round():
    # the second round is slow for all, so that only ratios within a round say anything
    taken = {"a": [[1.0, 1.0, 9.0], [10.0], [1.0]], "b": [[1.1], [11.0], [1.1]], CONTROL: [[1.0], [10.0], [2.0]]}
    found = in_ratio(taken, "a")
    assert found["ratio"] == {"b": 1.1, CONTROL: 1.0}
    assert (found["ms"]["a"], found["rounds"]) == (1.0, 3)


def test_numbers_of_classes_and_weights_make_no_difference():
    def records(number: str, *weights: bytes) -> dict[str, bytes]:
        return {
            f"code/__torch__/fx/___torch_mangle_{number}.py": f"class __torch__.___torch_mangle_{number}.Net".encode(),
            "bytecode.pkl": number.encode(),
            "extra/fxconv.json": number.encode(),
            **{f"constants/{place}": weight for place, weight in enumerate(weights)},
        }

    assert parts(records("9", b"v", b"w")) == parts(records("100", b"w", b"v"))
    assert parts(records("9", b"v", b"w"))["weights"] != parts(records("9", b"v", b"v"))["weights"]
    other = records("9", b"v") | {"code/__torch__/fx/___torch_mangle_9.py": b"class Another"}
    assert parts(records("9", b"v"))["code"] != parts(other)["code"]


def test_what_is_required_of_a_network():
    assert unmet(network()) == []
    assert unmet(network(proven=False)) == ["a_network: not proven on torch 2.14.1"]
    assert unmet(network(error="it stopped")) == ["a_network: 2.14.1: it stopped"]
    (size,) = unmet(network(bytes=1_030_000))
    assert "sizes are 3.0% apart" in size
    (sqnr,) = unmet(network(unseen_sqnr_db=23.5))
    assert "SQNRs are 0.50 dB apart" in sqnr
    slow = network()
    slow["latency"]["ratio"]["2.14.1"] = 0.95
    (latency,) = unmet(slow)
    assert "latencies are 5.0% apart" in latency and "control 0.4%" in latency


def test_how_far_apart_two_torches_are():
    found = network(bytes=990_000, sqnr_db=25.1, unseen_sqnr_db=24.0)
    assert size_apart(found) == pytest.approx(0.01)
    assert sqnr_apart(found) == pytest.approx(0.1)
    assert latency_apart(found) == pytest.approx(0.01) and noise(found) == pytest.approx(0.004)


def test_files_that_fare_alike_share_a_row():
    assert "| a_network | 2.12.1, 2.14.1 | equal | equal | equal |  |" in page(network())


def test_the_page_says_what_differs():
    off = {**EQUAL, "exact": False, "sqnr_db": 28.2}
    runs = {"2.12.1": EQUAL, "2.14.1": {"error": LACKING}, "2.1.0": off}
    text = page(network(replays=runs, islands=2, prepacked=["prepacked::linear_clamp_run"]))
    assert "Files that are int8 throughout: all 3 runs give the same bits." in text
    assert "1 of 2 runs give the same bits. The others are at least 28.2 dB (a_network) from them." in text
    assert "| a_network | 2.14.1 | equal | has no `prepacked::conv2d_clamp_run`, " in text
    assert (
        "1 run does not come to an end (a_network): has no" in text and "`--java` leaves float layers unpacked" in text
    )


def test_the_page_says_which_runs_verify_refuses():
    off = {**EQUAL, "exact": False, "sqnr_db": 28.2}
    assert "`fxconv verify`" not in page(network(replays={"2.1.0": off}))
    assert "says of 1 that they are not the same (a_network)." in page(
        network(replays={"2.1.0": {**off, "passed": False}})
    )


def test_a_network_that_one_torch_does_not_convert_is_said_to():
    text = page(network(), {**network(error="it stopped"), "network": "another"})
    assert "another: it stopped" in text
    assert "1 of 1 are proven on all 2." in text


def test_latency_that_was_not_measured_leaves_its_cells_empty():
    text = page({**network(), "latency": None})
    assert "ratios to it" not in text and "| 25.0 | 0.00 |  |  |  |" in text


def test_the_page_names_the_kernels_that_compute_otherwise():
    text = page(network(), kernels=[kernel("2.12.1"), kernel("2.13.0", otherwise=8), kernel("2.1.0", digest="cd")])
    assert "that of 2.13.0 8, the others none" in text
    assert "another order in 2.12.1 and 2.13.0, and in another in 2.1.0." in text
    assert "quantize_per_tensor" not in page(network(), kernels=[kernel("2.12.1"), kernel("2.14.1")])
