"""benchmarks/adversary.py: the attacks attack, their twins do not, and the judge sees what each of them hides."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import adversary
from benchmarks.attacks import ATTACKS, Attack
from benchmarks.attacks.attack import network
from benchmarks.attacks.images import CALIBRATION, PROBES, smooth
from benchmarks.attacks.judge import Comparison, compare, outcome
from benchmarks.attacks.worker import load, names, tried

KINDS = tuple(dict.fromkeys(attack.kind for attack in ATTACKS))
RIGHT = {"outcome": "right", "named": False, "says": "", "share": 1.0, "sqnr": 30.0, "trouble": "", "seconds": 1.0}


def first(kind: str) -> Attack:
    return next(attack for attack in ATTACKS if attack.kind == kind)


def test_there_are_more_than_a_hundred_each_with_what_must_be_named():
    assert len(ATTACKS) > 100 and len(KINDS) > 15
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert [attack.name for attack in ATTACKS if not attack.lines() and not attack.named] == []


@pytest.mark.parametrize("kind", KINDS)
def test_attacks_and_their_twins_run_on_all_that_they_are_tried_with(kind: str, tmp_path: Path) -> None:
    """And where one decides, the twin answers the same on calibration's images and otherwise on those of the judge."""
    for attack in (attack for attack in ATTACKS if attack.kind == kind):
        attacked, sound = (load(attack.write(tmp_path, is_sound)) for is_sound in (False, True))
        calibration, probes = CALIBRATION[attack.calibration](), PROBES[attack.probes]()
        with torch.no_grad():
            same = [_equal(attacked(image.clone()), sound(image.clone())) for image in calibration]
            other = [not _equal(attacked(image.clone()), sound(image.clone())) for image in probes]
        if kind.startswith(("decision", "loop")):
            assert all(same) and any(other), attack.name


def _equal(first: Any, second: Any) -> bool:
    return not isinstance(first, Tensor) or bool(torch.equal(first, second))


def scores(x: Tensor) -> Tensor:
    """A row of three an image, of which the first is loud and 1000 besides."""
    return x.std((2, 3)) * torch.tensor([100.0, 1.0, 1.0]) + torch.tensor([1000.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("floating", "file", "is_right"),
    [
        (lambda x: x, lambda x: x + 0.01, True),
        (lambda x: x, lambda x: x * 0.1, False),
        (lambda x: x + 1000, lambda x: torch.full_like(x, 1000), False),
        (lambda x: x.mean((2, 3)) + 1000, lambda x: torch.full_like(x.mean((2, 3)), 1000), False),
        (scores, lambda x: scores(x) * torch.tensor([1.0, 0.0, 0.0]), False),
        (lambda x: torch.cat([x * 640, x], 1), lambda x: torch.cat([x * 640, x * 0], 1), False),
        (lambda x: (x * 640, x), lambda x: (x * 640, x * 0), False),
        (lambda x: torch.complex(x, x), lambda x: torch.complex(x, 0 * x), False),
        (lambda x: x > 0, lambda x: x > 0.001, True),
        (lambda x: x > 0, lambda x: x > 1, False),
        (lambda x: x.argmax(1), lambda x: (-x).argmax(1), False),
        (lambda x: x, lambda x: x[:, :1], False),
        (lambda x: x, lambda x: x / x.new_zeros(()), False),
        (lambda x: x, lambda x: x.view(99), False),
    ],
    ids=[
        *("little noise", "other answers", "an offset", "an offset of scores", "faint scores", "a faint operand"),
        *("the second output", "the imaginary part", "truth values", "other truth values", "other classes"),
        *("another shape", "no numbers", "a file that fails"),
    ],
)
def test_the_judge_sees_what_is_wrong_with_a_file(floating: Any, file: Any, is_right: bool) -> None:
    assert compare(floating, file, [*smooth(20, 5).split(1), smooth(3, 6)]).is_right is is_right


def test_the_judge_passes_over_what_the_float_model_refuses_and_gives_both_memory_of_their_own() -> None:
    def writes(x: Tensor) -> Tensor:
        assert len(x) == 1
        return x.mul_(2)

    probe = smooth(1, 5)
    assert compare(writes, writes, [probe, smooth(3, 6)]) == Comparison(math.inf)
    assert torch.equal(probe, smooth(1, 5))


def test_an_attack_ends_in_one_of_five_ways() -> None:
    good, bad = Comparison(30.0), Comparison(2.0)
    assert outcome(True, good, False) == "right"
    assert outcome(True, bad, True) == "told"
    assert outcome(True, bad, False) == "silent wrong"
    assert outcome(False, None, True) == "refused"
    assert outcome(False, None, False, "Traceback") == "crashed"


def test_what_is_named_is_the_marked_line_or_what_the_kind_asks_for() -> None:
    source = network("if x.max() > 3:  # here\n    y = -y")
    attack, path = Attack("kind", "title", source, source, "others"), Path("kind_title.py")
    (line,) = attack.lines()
    for text, named in (
        (f"at kind_title.py:{line} (if", 1),
        (f"kind_title.py, line {line}", 1),
        (f"kind_title.py:{line}0", 0),
    ):
        assert len(names(attack, path, [text])) == named
    assert names(Attack("kind", "title", source, source, "others", named="channel"), path, ["a channel"]) == [
        "a channel"
    ]


@pytest.mark.parametrize(
    ("kind", "method", "ended"),
    [
        ("decision by data", "trace", "refused"),
        ("guard that never fires", "trace", "refused"),
        ("loop as long as data says", "trace", "refused"),
        ("size as a number", "auto", "right"),
        ("memory of earlier inputs", "auto", "refused"),
        ("random numbers", "auto", "refused"),
        ("code that is elsewhere", "auto", "refused"),
    ],
)
def test_one_of_a_kind_is_converted_and_judged(kind: str, method: str, ended: str, tmp_path: Path) -> None:
    found = tried(first(kind), False, method, tmp_path)
    assert (found["outcome"], found["crash"]) == (ended, "")
    if ended == "refused":
        assert found["status"] in (1, 2) and found["says"] and str(tmp_path) not in found["says"]


def test_a_file_that_is_wrong_in_silence_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = first("write into the input")
    assert tried(attack, True, "auto", tmp_path)["outcome"] == "right"
    monkeypatch.setitem(PROBES, attack.probes, lambda: [smooth(1, 70) * 50])  # no range of calibration's holds it
    found = tried(attack, True, "auto", tmp_path)
    assert found["outcome"] == "silent wrong" and found["sqnr"] < 8 and found["status"] == 0


def finished(attack: Attack, kept: adversary.Kept, *outcomes: str, **twin: Any) -> adversary.Row:
    for method, ended in zip(attack.methods, outcomes, strict=True):
        kept.add(adversary.Trial(attack, False, method), RIGHT | {"outcome": ended, "says": "a | line"})
    kept.add(adversary.Trial(attack, True, attack.methods[0]), RIGHT | twin)
    return adversary.Row.of(attack, kept)


def test_a_row_tells_what_must_not_be(tmp_path: Path) -> None:
    kept, attack = adversary.Kept(tmp_path / "found.jsonl"), ATTACKS[0]
    assert finished(attack, kept, "right", "refused").wrong == []
    assert finished(attack, kept, "silent wrong", "crashed").wrong == [
        "auto: silent wrong (30 dB)",
        "trace: crashed (a | line)",
    ]
    assert finished(attack, kept, "told", "told", share=0.5).wrong == ["twin: 50% in int8 instead of 90%"]
    assert finished(attack, kept, "right", "right", share=0.95).wrong == ["twin: 95% in int8 instead of 100%"]
    assert "warned" in finished(attack, kept, "told", "told", named=True).twins_fault
    assert finished(attack, kept, "told", "told", outcome="refused", says="no").wrong == ["twin: refused: no"]


def test_of_what_has_a_cure_half_must_be_right(tmp_path: Path) -> None:
    kept, cured = adversary.Kept(tmp_path / "found.jsonl"), next(attack for attack in ATTACKS if attack.is_cured)
    rows = [finished(cured, kept, "right", "told"), finished(ATTACKS[0], kept, "right", "right")]
    assert not ATTACKS[0].is_cured and adversary.of_the_cured(rows) == (1, 2)
    assert "1 of 2 right where there is a cure" in adversary.summary(rows)


def test_the_page_counts_by_kind_and_lists_what_must_not_be(tmp_path: Path) -> None:
    kept = adversary.Kept(tmp_path / "found.jsonl")
    rows = [finished(attack, kept, *["right"] * len(attack.methods)) for attack in ATTACKS]
    text = adversary.page(rows)
    assert "0 silent wrong, 0 crashed" in text and "## What must not be" not in text
    rows[0] = finished(ATTACKS[0], kept, "silent wrong", "refused")
    text = adversary.page(rows)
    assert f"- {ATTACKS[0].kind}, `{ATTACKS[0].title}`: auto: silent wrong (30 dB)" in text
    assert "a \\| line" in text
    kinds = [line.split(" | ") for line in text.splitlines() if line.startswith(f"| {ATTACKS[0].kind} |")]
    assert kinds[0][3:9] == ["1", "0", "0", str(int(kinds[0][2]) - 2), "1", "0"]


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[adversary.Trial] = []

    def answers(wanted: Any) -> Any:
        for trial in wanted:
            asked.append(trial)
            yield trial, RIGHT

    monkeypatch.setattr(adversary, "answers", answers)
    trials, path = adversary.trials(ATTACKS[:2]), tmp_path / "found.jsonl"
    adversary.run(trials[:4], adversary.Kept(path), 1)
    adversary.run(trials, adversary.Kept(path), 1)
    assert asked == trials and len(path.read_text().splitlines()) == len(trials) == 6
    assert trials[0] in adversary.Kept(path) and trials[0] not in adversary.Kept(path, is_anew=True)


def test_a_process_that_ends_is_a_crash_and_the_next_trial_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    ((trial, row),) = adversary.answers(iter(adversary.trials(ATTACKS[:1])))
    assert trial == adversary.trials(ATTACKS[:1])[0] and row["outcome"] == "crashed"
    assert json.loads(json.dumps(row))["says"] == "the process ended"
