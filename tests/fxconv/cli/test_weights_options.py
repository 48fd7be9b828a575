"""--weights-key and --weights-prefix, on the commands that load a model."""

from __future__ import annotations

import json

import fxconv_networks as networks
import pytest
import torch
from fxconv_commands import NETWORKS, PLAIN, assert_user_error

from fxconv.models import loading


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of Lightning's kind, with an average beside the weights, and a loss."""
    state = networks.tiny().state_dict()
    average = {f"net.{key}": value * 2 for key, value in state.items()} | {"loss.weight": torch.ones(1)}
    torch.save({"state_dict": state, "ema": average, "epoch": 3}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_a_conversion_says_what_it_took(command, checkpoint):
    words = ("--weights", str(checkpoint), "--weights-key", "ema", "--weights-prefix", "net.")
    run = command("convert", *PLAIN, *words, "--min-sqnr", "0", "--json", "report.json")
    assert run.status == 0, run.stderr
    said = f"{checkpoint}, its ema, 'net.' stripped, 1 other left out"
    assert run.report["model"]["weights"] == said
    assert f"weights        {said}\n" in run.stdout


def test_a_misfit_names_the_options(command, checkpoint):
    run = command(
        "diff", f"{NETWORKS}:tiny", "--input-size", "32", "--weights", str(checkpoint), "--weights-key", "ema"
    )
    assert_user_error(run, "; its names under net. fit: --weights-prefix net.")


def test_a_dry_run_and_a_ranking_take_them(command, checkpoint):
    words = ("--weights", str(checkpoint), "--weights-key", "ema", "--weights-prefix", "net.")
    dry = command("convert", *PLAIN, *words, "--dry-run", "--json", "dry.json")
    assert dry.status == 0, dry.stderr
    assert json.loads((dry.folder / "dry.json").read_text())["model"]["weights"].endswith("1 other left out")
    ranked = command("sensitivity", *PLAIN[:-2], *words, "--held-out", "2", "--top", "1", "--json", "ranked.json")
    assert ranked.status == 0, ranked.stderr
    assert json.loads((ranked.folder / "ranked.json").read_text())["model"]["weights"].endswith("1 other left out")


def test_the_other_that_fits_is_a_warning(checkpoint, tmp_path):
    state = networks.tiny().state_dict()
    torch.save({"model": state, "model_ema": state}, tmp_path / "x.pth")
    loaded = loading.load(f"{NETWORKS}:tiny", str(tmp_path / "x.pth"), "32")
    assert loaded.weights == f"{tmp_path / 'x.pth'}, its model"
    assert loaded.warnings == (
        f"{tmp_path / 'x.pth'}: its model is taken; model_ema fits, too: --weights-key model_ema",
    )
