"""--save-config and --config: the choices of a conversion as a file."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args

import pytest
from fxconv_commands import REPO, SMALL, assert_user_error

from fxconv.config import Arithmetic, Config, Engine, Method, MobilePass, RangeMethod, Recipe, WeightScheme
from fxconv.config_file import _TYPES, chosen, read, reproducing, text
from fxconv.errors import UserError
from fxconv.wording import at_command_line

OUTLIERS = REPO / "tests" / "fxconv" / "fxconv_outliers.py"
UNUSUAL = Config(
    engine=Engine.onednn,
    arithmetic=Arithmetic.wrap,
    weight_scheme=WeightScheme.per_tensor,
    observer=RangeMethod.percentile,
    min_sqnr=12.5,
    seed=3,
    calib_count=7,
    batch_size=2,
    passes=("mine.py:Mine",),
    skip=("decompose",),
    until="fusable-names",
    method=Method.trace,
    block=(MobilePass.remove_dropout, MobilePass.fuse_add_relu),
    java=True,
    keep_float=("features_0.*", "head"),
    max_drop=1.5,
    held_out=50,
    runtime="LibTorch==2.1.0",
)


def written(tmp_path, content: object):
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_every_choice_survives(tmp_path):
    defaults = Config()
    for field in dataclasses.fields(Config):  # or this test says nothing of a new one
        assert field.name not in ("engine", "seed") or getattr(UNUSUAL, field.name) != getattr(defaults, field.name)
    assert read(written(tmp_path, text(UNUSUAL)), {"passes": UNUSUAL.passes}) == UNUSUAL
    assert read(written(tmp_path, text(defaults)), {}) == defaults
    assert set(json.loads(text(defaults))) == {"schema", *(field.name for field in dataclasses.fields(Config))}


def test_what_a_file_leaves_out_is_as_without_it(tmp_path):
    assert read(written(tmp_path, {"seed": 5}), {}) == Config(seed=5)
    assert read(written(tmp_path, {}), {}) == Config()


def test_whole_numbers_are_numbers(tmp_path):
    assert read(written(tmp_path, {"min_sqnr": 12}), {}).min_sqnr == 12.0


def test_the_command_line_goes_before_the_file(tmp_path):
    path = written(tmp_path, text(UNUSUAL))
    given = {"seed": 9, "keep_float": (), "java": False, "calib_count": 100, "passes": ("other.py:Other",)}
    assert chosen(path, given, {"seed", "keep_float", "passes"}.__contains__) == dataclasses.replace(
        UNUSUAL, seed=9, keep_float=(), passes=("other.py:Other",)
    )
    del given["passes"]
    assert chosen(None, given, lambda field: False) == Config(seed=9)


def test_a_budget_is_not_searched_for_again():
    chosen = dataclasses.replace(UNUSUAL, max_drop=None, recipe=(Recipe.bias_correction,))
    assert reproducing(UNUSUAL, (Recipe.bias_correction,)) == chosen
    assert reproducing(UNUSUAL, ()) == dataclasses.replace(chosen, recipe=(Recipe.none,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sed": 1}, "unknown key 'sed'; did you mean 'seed'?"),
        ({"zzzzzz": 1}, "unknown key 'zzzzzz'; known are mode,"),
        ({"seed": "1"}, "'seed' is \"1\"; expected a whole number"),
        ({"seed": 1.5}, "'seed' is 1.5; expected a whole number"),
        ({"seed": True}, "'seed' is true; expected a whole number"),
        ({"seed": None}, "'seed' is null; expected a whole number"),
        ({"seed": -1}, "--seed -1: give a whole number of at least 0"),
        ({"calib_count": 0}, "--calib-count 0: give a whole number of at least 1"),
        ({"java": 1}, "'java' is 1; expected true or false"),
        ({"min_sqnr": "loud"}, "'min_sqnr' is \"loud\"; expected a number"),
        ({"max_drop": 101}, "--max-drop 101: give percentage points from 0 to 100"),
        ({"engine": "gpu"}, "'engine' is \"gpu\"; expected one of 'qnnpack', 'x86', 'onednn'"),
        ({"engine": ["x86"]}, "'engine' is [\"x86\"]; expected one of"),
        ({"keep_float": "head"}, "'keep_float' is \"head\"; expected a list, such as []"),
        ({"keep_float": [1]}, "'keep_float' is 1; expected text in quotes"),
        ({"block": ["nothing"]}, "'block' is \"nothing\"; expected one of 'conv-bn-fusion'"),
        (
            {"passes": ["mine.py:Mine", "my package:Own"]},
            "names code that would run, which a file alone must not decide; look at it, and give "
            "--pass mine.py:Mine --pass 'my package:Own' beside --config",
        ),
        (
            {"metric": "my own.py:f"},
            "names code that would run, which a file alone must not decide; look at it, and give "
            "--metric 'my own.py:f' beside --config",
        ),
        ("7" * 10_000, "is not JSON; --save-config writes such a file"),
        ({"schema": 2}, "is of schema 2, this fxconv reads 1"),
        ([], "holds no JSON object"),
        ("{", "is not JSON (line 1: "),
    ],
)
def test_a_mistake_in_a_file_is_told_in_one_line(content, message, tmp_path):
    path = written(tmp_path, content)
    with pytest.raises(UserError) as error, at_command_line():
        read(path, {})
    assert str(error.value).startswith(f"--config {path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# Of these none is imported, opened or looked up: patterns, names that fxconv knows, and literals for what is named
# (`refuse_addresses` has those by which transformers would fetch code).
_WORDS = {"skip", "until", "keep_float", "runtime", "model_arg", "resize", "crop", "dynamic_sizes"}


def test_no_other_choice_of_a_file_is_a_name_of_code_or_of_a_file():
    """A new one has to be looked at: what it names must not be imported because a file says so."""
    assert _WORDS | {"passes", "preprocess", "metric"} == {
        name for name, kind in _TYPES.items() if kind is str or str in get_args(kind)
    }


MARKING = """
import pathlib
pathlib.Path({mark!r}).write_text("ran")

import rewrites
import torch

class Mine(rewrites.RewritePass):
    \"\"\"Does nothing.\"\"\"

    name = "mine"

    def run(self, editor):
        pass

    @staticmethod
    def example():
        return torch.nn.ReLU()
"""


@pytest.mark.parametrize("spec", ["mine.py:Mine", "mine:Mine", "./mine.py:Mine", "package.mine:Mine"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_config_alone_runs_no_code(command, tmp_path, monkeypatch, spec, more):
    mark = tmp_path / "mark"
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "package").mkdir()
    for place in (tmp_path / "mine.py", tmp_path / "package" / "mine.py"):
        place.write_text(MARKING.format(mark=str(mark)))
    spec = spec.replace("./", f"{tmp_path}/")
    path = written(tmp_path, {"passes": [spec]})
    run = command("convert", *SMALL, "--config", str(path), *more)
    assert_user_error(run, f"--config {path}: names code that would run", f"--pass {spec} beside --config")
    assert not mark.exists()


@pytest.mark.parametrize("spec", ["mine.py:Mine", "mine:Mine", "package.mine:Mine"])
def test_a_config_alone_runs_no_metric(command, tmp_path, monkeypatch, spec):
    mark = tmp_path / "mark"
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "package").mkdir()
    for place in (tmp_path / "mine.py", tmp_path / "package" / "mine.py"):
        place.write_text(MARKING.format(mark=str(mark)))
    run = command("convert", *SMALL, "--config", str(written(tmp_path, {"metric": spec})))
    assert_user_error(run, "names code that would run", f"--metric {spec} beside --config")
    assert not mark.exists()


def test_the_command_line_may_name_it(command, tmp_path):
    mark = tmp_path / "mark"
    (tmp_path / "mine.py").write_text(MARKING.format(mark=str(mark)))
    path = written(tmp_path, {"passes": [f"{tmp_path}/mine.py:Gone"], "until": "decompose"})
    named = f"{tmp_path}/mine.py:Other"
    run = command("convert", *SMALL, "--config", str(path), "--pass", named)
    assert_user_error(
        run, f"--pass {named}: {tmp_path}/mine.py has no 'Other'"
    )  # what the command line says, not the file
    assert mark.exists()


def test_files_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(UserError, match=r"--config .*gone.json: cannot be read \(No such file or directory\)"):
        read(tmp_path / "gone.json", {})
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"is not JSON; --save-config writes such a file"):
        read(tmp_path / "binary.json", {})


def test_mistakes_on_the_command_line(command, tmp_path):
    path = written(tmp_path, {"sed": 1})
    assert_user_error(command("convert", *SMALL, "--config", str(path)), f"--config {path}: unknown key 'sed'")
    path = written(tmp_path, {"keep_float": ["gone"]})
    assert_user_error(command("convert", *SMALL, "--config", str(path)), "--keep-float gone: matches no layer")
    assert_user_error(
        command("convert", *SMALL, "--config", str(path), "--save-config", str(path)),
        f"--save-config {path}: is the same file as --config",
    )
    assert_user_error(command("convert", *SMALL, "--save-config", "gone/c.json"), "there is no folder gone")


def test_a_saved_config_gives_the_same_bytes_again(tmp_path, warm):
    model = (f"{OUTLIERS}:weight_outlier", "--input-size", "3x12x12")
    run = warm.command(
        tmp_path,
        *("convert", *model, "--calib-count", "32", "--weight-scheme", "per-tensor", "--max-drop", "10"),
        *("--held-out", "60", "--save-config", "config.json", "-o", "first.ptl", "--json", "report.json"),
    )
    assert run.status == 0, run.stderr
    first = run.report
    assert "second.conv" in {layer["where"] for layer in first["judgement"]["kept"]}
    assert "kept in float" in run.stdout
    saved = json.loads((tmp_path / "config.json").read_text())
    kept = [layer["where"] for layer in first["judgement"]["kept"]]
    assert saved["keep_float"] == first["config"]["keep_float"] == kept
    assert (saved["max_drop"], saved["weight_scheme"], saved["calib_count"]) == (None, "per-tensor", 32)

    again = warm.command(
        tmp_path, "convert", *model, "--config", "config.json", "-o", "second.ptl", "--json", "report.json"
    )
    assert again.status == 0, again.stderr
    assert again.report["artifact"]["sha256"] == first["artifact"]["sha256"]
    assert (tmp_path / "first.ptl").read_bytes() == (tmp_path / "second.ptl").read_bytes()
    assert again.report["judgement"] is None


def test_a_budget_that_cannot_be_met_ends_with_status_1_and_leaves_nothing(command):
    run = command(
        *("convert", f"{OUTLIERS}:hopeless", "--input-size", "3x12x12", "--calib-count", "16", "--held-out", "40"),
        *("--max-drop", "1", "--min-sqnr", "0", "-o", "x.ptl", "--save-config", "c.json", "--json", "report.json"),
    )
    assert run.status == 1
    assert "--max-drop 1 cannot be met: top-1 agreement with float is" in run.stderr
    assert run.stdout == ""
    assert run.files == []


def test_a_model_without_class_scores_is_told_in_one_line(command):
    words = ("convert", str(REPO / "tests" / "fxconv" / "fxconv_networks.py") + ":one_float_convolution")
    run = command(*words, "--input-size", "3x16x16", "--calib-count", "4", "--max-drop", "1")
    assert run.status == 2
    assert run.stderr.splitlines()[-1].startswith(
        "fxconv: error: the model's outputs (1, 4, 16, 16) are no class scores"
    )
    assert run.files == []
