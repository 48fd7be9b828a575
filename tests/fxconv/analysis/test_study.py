"""How much calibration, and of what."""

from __future__ import annotations

import math
from pathlib import Path

import fxconv_networks as networks
import pytest
import torch
from fxconv_commands import NETWORKS, assert_user_error
from fxconv_heads import NETWORK, landmarks, two_heads, write_files
from PIL import Image

from fxconv.analysis.study import Study, study
from fxconv.config import Config, Recipe
from fxconv.data.calibration import Batches
from fxconv.data.draws import open_sources
from fxconv.data.study_lists import SYNTHETIC
from fxconv.data.synthetic import natural_images
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing

TINY = (f"{NETWORKS}:tiny", "--input-size", "32")


def folder_of(path: Path, count: int, seed: int) -> Path:
    path.mkdir()
    for index, pixels in enumerate(natural_images(count, 32, 32, seed=seed)):
        Image.fromarray(pixels).save(path / f"{index}.png")
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("sources")
    return folder_of(home / "a", 12, 0), folder_of(home / "b", 4, 1)


def test_more_images_of_the_same_kind_are_better():
    torch.manual_seed(0)
    images, calls = torch.randn(200, 3, 32, 32), []
    images *= torch.rand(200, 1, 1, 1) * 4  # of very different contrast: one says little of the next

    def draw(count: int, seed: int) -> Batches:
        calls.append((count, seed))
        chosen = torch.randperm(160, generator=torch.Generator().manual_seed(seed))[:count]
        return Batches([images[chosen]])

    model = networks.tiny().eval()
    done = study(model, {"mine": draw}, Batches([images[160:]]), (1, 64), 4, recipe=(Recipe.none,))
    few, many = done.summaries
    assert calls == [(count, seed) for count in (1, 64) for seed in range(4)]
    assert (few.count, many.count, few.seeds, done.images) == (1, 64, 4, 40)
    assert many.sqnr_db > few.sqnr_db
    assert many.sqnr_spread < few.sqnr_spread
    assert few.worst_sqnr_db == min(trial.sqnr_db for trial in done.trials[:4])
    assert few.agreement == pytest.approx(sum(trial.agreement for trial in done.trials[:4]) / 4)


def test_the_same_draw_gives_the_same():
    images = torch.randn(20, 3, 32, 32)

    def once() -> Study:
        source = {"mine": lambda count, seed: Batches([images[seed : seed + count]])}
        return study(networks.tiny().eval(), source, Batches([images[10:]]), (4,), 1)

    torch.manual_seed(0)
    a = once()
    torch.manual_seed(0)
    b = once()
    assert a.trials[0].sqnr_db == b.trials[0].sqnr_db
    assert a.summaries[0].sqnr_spread is None
    assert math.isfinite(a.summaries[0].sqnr_db)


def test_what_is_judged_is_never_calibrated_on(folders):
    names = [str(folder) for folder in folders]
    draws, judged = open_sources([*names, SYNTHETIC], Preprocessing(32, 32), 50, Config())
    seen = {path for _ in range(3) for path in judged.paths}
    assert len(seen) == 6
    drawn = [draws[name](100, seed) for name in names for seed in range(3)]
    assert [len(each.paths) for each in drawn] == [6, 6, 6, 4, 4, 4]
    assert not seen & {path for each in drawn for path in each.paths}
    assert draws[names[0]](3, 0).paths != draws[names[0]](3, 1).paths
    made = next(iter(draws[SYNTHETIC](2, 0).images()))[0]
    assert not torch.equal(made, next(iter(draws[SYNTHETIC](2, 1).images()))[0])


def test_a_source_that_holds_what_is_judged(folders):
    whole, part = str(folders[0].parent), str(folders[0])
    draws, judged = open_sources([part, whole], Preprocessing(32, 32), 50, Config())
    assert len(judged.paths) == 6
    assert draws[whole](100, 0).count == 10


def test_by_hand(command, folders):
    a, b = map(str, folders)
    words = ("--counts", "1,8", "--sources", f"{a},{b},synthetic", "--seeds", "2", "--json", "report.json", "--quiet")
    run = command("study", *TINY, *words, "--recipe", "none")
    assert run.status == 0
    lines = run.stdout.splitlines()
    assert lines[0] == "tiny: int8 against float by what it is calibrated on; 2 draws"
    assert lines[1] == f"judged on 6 images that none is calibrated on: 6 of 6 photographs in {a}, seed 0"
    rows = [line.split() for line in lines[3:]]
    assert [row[0] for row in rows] == [a, a, b, b, "synthetic", "synthetic"]
    assert [" ".join(row[1:4]) for row in rows[1::2]][:2] == ["6 of 8", "4 of 8"]
    assert f"{a} has 6 images to calibrate on; larger counts are those" in run.stderr
    assert len(run.report["trials"]) == 12
    assert len(run.report["summaries"]) == 6
    assert run.report["judged_on"]["images"] == 6
    assert {trial["seed"] for trial in run.report["trials"]} == {0, 1}


def test_generated_images_alone(command):
    run = command("study", *TINY, "--counts", "2", "--seeds", "1", "--held-out", "4", "--recipe", "none")
    assert run.status == 0
    assert "judged on 4 images that none is calibrated on: 4 generated images" in run.stdout


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (("--counts", "1,ten"), ("--counts 1,ten: expected numbers of images with commas between",)),
        (("--counts", "0"), ("--counts 0: expected numbers",)),
        (("--sources", "nowhere"), ("--sources nowhere: no such folder; give folders, or synthetic",)),
        (("--sources", "synthetic,,x"), ("a name between the commas is empty",)),
        (("--sources", f"synthetic,{NETWORKS}"), ("is no folder of photographs",)),
        (("--sources", "synthetic,."), ("--sources .: no photographs in it",)),
    ],
)
def test_mistakes(command, words, fragments):
    assert_user_error(command("study", *TINY, *words), *fragments)


@pytest.mark.parametrize("order", ["{a},{b}", "synthetic,{b}"])
def test_no_photograph_is_written_over(command, folders, tmp_path, order):
    b = folder_of(tmp_path / "b", 3, 0)
    before = (b / "0.png").read_bytes()
    sources = order.format(a=folders[0], b=b)
    run = command("study", *TINY, "--sources", sources, "--json", str(b / "0.png"))
    assert_user_error(run, "is one of the files in --sources")
    assert (b / "0.png").read_bytes() == before


def test_nothing_to_study():
    with pytest.raises(UserError, match="at least one source, one number of images and one seed"):
        study(networks.tiny().eval(), {}, Batches([torch.rand(2, 3, 32, 32)]))


def test_one_photograph_is_too_few(tmp_path):
    folder = folder_of(tmp_path / "one", 1, 0)
    with pytest.raises(UserError, match="one photograph is too few"):
        open_sources([str(folder)], Preprocessing(32, 32), 50, Config())


def test_photographs_that_cannot_be_read_are_named_once(command, tmp_path):
    folder = folder_of(tmp_path / "c", 8, 2)
    for name in ("0.png", "1.png"):
        (folder / name).write_bytes(b"no picture")
    words = ("--counts", "8", "--sources", f"synthetic,{folder}", "--seeds", "2", "--held-out", "4", "--quiet")
    run = command("study", *TINY, *words)
    assert run.status == 0
    assert run.stderr.count("0.png was left out of calibration") == 1
    assert run.stderr.count("1.png was left out of calibration") == 1
    assert "6 of 8" in run.stdout


def test_python_studies_by_a_metric_too():
    model, images, truth = two_heads()
    sources = {"mine": lambda count, seed: Batches([images[seed : seed + count]])}
    judged = [(images[32:], truth[32:])]
    done = study(model, sources, judged, (8,), 2, metric=landmarks, recipe=(Recipe.none,))
    assert (done.metric.name, done.images, done.judged_on) == ("landmarks", 40, "40 images given from Python")
    assert done.summaries[0].metric == pytest.approx(sum(trial.metric for trial in done.trials) / 2)
    assert done.summaries[0].metric_spread > 0


def test_a_study_tabulates_the_metric(command, tmp_path):
    write_files(tmp_path / "cwd")
    done = command("study", *NETWORK, "--metric", "error.py:landmarks", "--eval", "faces.npz", "--counts", "1,8",
               "--seeds", "2", "--held-out", "30")  # fmt: skip
    assert done.status == 0, done.stderr
    report = done.report
    assert report["judged_on"]["images"] == 30
    few = report["summaries"][0]
    trials = [trial["metric"] for trial in report["trials"][:2]]
    assert few["metric"] == pytest.approx(sum(trials) / 2)
    assert few["worst_metric"] == min(trials)
    assert f"float's landmarks is {report['metric']['float']:.6g}" in done.stdout
    assert f"{few['metric']:.6g}" in done.stdout
