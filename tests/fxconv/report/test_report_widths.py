"""Every report on screens of any width: no line is wider, no word is broken, nothing is cut."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fxconv_changed import with_artifact, with_ledger
from fxconv_commands import NETWORKS
from rich.cells import cell_len
from rich.console import Console

import fxconv
from fxconv.analysis.compare import differences
from fxconv.analysis.dry_run import rewrite_only
from fxconv.analysis.sensitivity import sensitivity
from fxconv.analysis.study import Study, Trial
from fxconv.config import Config
from fxconv.diagnostics.diagnosis import diagnose
from fxconv.environment import Environment
from fxconv.inspection import inspect, with_schemas
from fxconv.measures.runs import Runs
from fxconv.report.accuracy import print_sensitivity, print_study
from fxconv.report.bench import print_bench
from fxconv.report.comparison import print_comparison
from fxconv.report.diagnosis import print_diagnoses, print_unknown
from fxconv.report.inspection import print_inspection, print_operators
from fxconv.report.pages import pass_page
from fxconv.report.proof import print_proof
from fxconv.report.prose import print_page
from fxconv.report.runtimes import print_fit, print_fits
from fxconv.report.screen import Screen
from fxconv.report.terminal import print_dry_run, print_emitted
from fxconv.targets.mobile import releases
from fxconv.targets.mobile.op_profile import Call, Profile
from fxconv.targets.proof.bench import Bench, Benched
from fxconv.targets.proof.prove import Case, Output, Proof
from rewrites import ALTERNATIVES, DEFAULT_PASSES

WIDTHS = (40, 60, 80, 120, 200)
AS_WIDE_AS_IT_IS = 100_000
# The deepest indentation; a word with less room than this may be folded where it has parts.
INDENT = 10
LONG = Path("/data/checkpoints of a long project/mobilenet_v3_small_trained_for_two_hundred_epochs.ptl")
LOG = (
    "RuntimeError: Could not run 'aten::add.out' with arguments from the 'QuantizedCPU' backend. This could be because"
)
REPORTS = (
    *("summary", "failed summary", "full", "unfolded", "diff", "emit", "sensitivity", "study", "compare", "bench"),
    *("verify", "inspect", "runtimes", "explain", "doctor", "unknown"),
)


@pytest.fixture(scope="module")
def shown(small_conversion, small_model, batches, tmp_path_factory) -> dict[str, Callable[[Console], None]]:
    """What prints each report."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("widths") / "small.ptl"
    done = fxconv.convert(small_model, calibration=batches, output=path, golden=False)
    done = with_artifact(done, path=LONG)
    row = replace(done.ledger[-1], passed=False, problem="output 0 differs from that of the int8 module by 0.25")
    failed = with_artifact(with_ledger(done, (*done.ledger[:-1], row)), path=None)
    measured = sensitivity(small_model, batches, held_out=batches, recipe=("none",))
    trials = tuple(Trial("photographs", 100, 90, seed, 20.0 + seed, 0.9, 1.0) for seed in range(2))
    studied = Study(measured.model, Config(), f"16 photographs in {LONG.parent}", 16, trials)
    rewritten = rewrite_only(f"{NETWORKS}:tiny", "random", "3x32x32", Config())
    one, other = json.loads(done.report.json_text()), json.loads(failed.report.json_text())
    calls = (
        Call("quantized::conv2d_relu", "features_1.squeeze_excitation.conv", 0.25, 0.2),
        Call("a::b", None, 1, 0.1),
    )
    profile = Profile(calls, 0.25, 0.5, 1.02)
    files = tuple(
        Benched(name, 1_500_000, "3x224x224", Runs((2.0, 2.5), (1.0, 1.0)), 1.0, 4_200_000, profile, 1.0)
        for name in (path, LONG)
    )
    bench = Bench(files, 3, 1, 2, Environment("2.12.1", "0.27.1", "qnnpack", True))
    cases = (Case((Output(False, 1000, 64, 0.25, 31.0),), False, False, "output 0 differs"),)
    proof = Proof("2.12", "3.12", "x86_64", "kernels", "file", cases, "1.5.1", "ExecuTorch 1.3.1 on x86_64 (AVX512)")
    found = with_schemas(inspect(path))
    fits = releases.fits(found)

    def inspected(console: Console) -> None:
        print_inspection(found, console)
        print_operators(found, console)

    def runtimes(console: Console) -> None:
        print_fits(fits, console)
        for fit in fits[:3]:
            print_fit(fit, console)

    return {
        "summary": lambda console: done.report.print(console, full=False),
        "failed summary": lambda console: failed.report.print(console, full=False),
        "full": lambda console: done.report.print(console),
        "unfolded": lambda console: failed.report.print(console, unfolded=True),
        "diff": lambda console: print_dry_run(rewritten, console, "rewrote"),
        "emit": lambda console: print_emitted(LONG, rewritten, console),
        "sensitivity": lambda console: print_sensitivity(measured, console),
        "study": lambda console: print_study(studied, console),
        "compare": lambda console: print_comparison((path, LONG), (one, other), differences(one, other), console),
        "bench": lambda console: print_bench(bench, console),
        "verify": lambda console: print_proof(LONG, proof, None, console),
        "inspect": inspected,
        "runtimes": runtimes,
        "explain": lambda console: [print_page(pass_page(rule), console) for rule in DEFAULT_PASSES[:3]],
        "doctor": lambda console: print_diagnoses(diagnose(LOG), console),
        "unknown": lambda console: print_unknown(LOG, console),
    }


def printed(show: Callable[[Console], None], width: int) -> str:
    out = io.StringIO()
    show(Screen(file=out, width=width))
    return out.getvalue()


def words(page: str) -> Counter[str]:
    """What is between spaces, less the lines below titles and the colons that names of columns get."""
    return Counter(word.rstrip(":") for word in page.split() if set(word) != {"-"})


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", REPORTS)
def test_a_report(name, width, shown):
    whole, page = printed(shown[name], AS_WIDE_AS_IT_IS), printed(shown[name], width)
    assert len(whole) > 40
    too_wide = [line for line in page.splitlines() if cell_len(line) > width and len(line.split()) > 1]
    assert too_wide == []
    lost = words(whole) - words(page)
    assert [word for word in lost if cell_len(word) <= width - INDENT] == []
    assert (page.count("…"), page.count("...")) == (whole.count("…"), whole.count("..."))
    assert not [line for line in page.splitlines() if line != line.rstrip()]


def test_the_summary_is_a_dozen_lines_within_80_columns(shown):
    lines = printed(shown["summary"], 80).splitlines()
    assert lines[0] == "✓ Tiny: converted and verified"
    assert max(map(len, lines)) <= 80
    assert len(printed(shown["summary"], AS_WIDE_AS_IT_IS).splitlines()) <= 13


def test_what_is_in_metadata_is_whole(shown):
    page = " ".join(printed(shown["inspect"], 200).split())
    assert re.search(r'digest: \{"config": "[0-9a-f]{64}", "edits": "[0-9a-f]{64}", "qparams": "[0-9a-f]{64}"\}', page)


def test_a_pipe_has_whole_lines_unless_columns_says_how_wide_they_are(command, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = command("passes").stdout.splitlines()
    assert max(map(len, whole)) > 100 and len(whole) == len((*DEFAULT_PASSES, *ALTERNATIVES))
    monkeypatch.setenv("COLUMNS", "60")
    folded = command("passes").stdout.splitlines()
    assert max(map(len, folded)) <= 60 and " ".join(folded).split() == " ".join(whole).split()
