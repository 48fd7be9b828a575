"""Torch's notices about what fxconv is built on stay with fxconv; what the user's own code says is heard."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fxconv_commands import REPO, without_progress
from torch import Tensor, nn

import fxconv
from fxconv.analysis.sensitivity import sensitivity
from fxconv.quantization import static, torch_notices
from fxconv.quantization.torch_notices import without_notices
from fxconv.targets.proof.prove import prove

CATEGORIES = (DeprecationWarning, FutureWarning, UserWarning)
AS_ERRORS = [word for category in CATEGORIES for word in ("-W", f"error::{category.__name__}")]
QUINT8 = "torch.quantize_per_tensor, torch.quantize_per_channel and other functions are deprecated"


class Net(nn.Module):
    """One layer of each kind of mode, and words of its own where it is told some."""

    def __init__(self, words: str = "", category: type[Warning] = UserWarning) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.words, self.category = words, category

    def forward(self, x: Tensor) -> Tensor:
        if self.words:
            warnings.warn(self.words, self.category, stacklevel=1)
        return self.linear(torch.relu(self.conv(x)).mean((2, 3)))


class Heatmap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x)))


@pytest.fixture
def always() -> Iterator[None]:
    """Torch says each time what it says once in a process otherwise."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def images() -> list[Tensor]:
    return [torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]


def converted(model: nn.Module, **options: str | int) -> fxconv.Conversion:
    return fxconv.convert(model.eval(), images(), recipe="none", **options)


ACTIONS = {
    "static": lambda: converted(Net(), method="script"),
    "trace": lambda: converted(Net(), method="trace"),
    "wrap": lambda: converted(Net(), arithmetic="wrap"),
    "7 bits": lambda: converted(Net(), engine="x86"),
    "peaks": lambda: converted(Heatmap(), postprocess="peaks"),
    "dynamic": lambda: converted(Net(), mode="dynamic"),
    "qat": lambda: converted(Net(), mode="qat", epochs=1),
    "own loop": lambda: fxconv.finish(fxconv.prepare_qat(Net().eval(), images(), recipe="none")),
    "sensitivity": lambda: sensitivity(Net().eval(), images(), recipe="none"),
}


@pytest.mark.parametrize("what", ACTIONS)
def test_nothing_is_heard_of_torchs_deprecations(what, always):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        done = ACTIONS[what]()
    assert [str(one.message) for one in heard] == []
    assert getattr(done, "verified", True)


@pytest.mark.parametrize("what", ["static", "trace", "dynamic", "qat"])
def test_who_turns_warnings_into_errors_gets_the_same_conversion(what, always):
    """Of an error in scripting `auto` makes a trace, so how it was made is compared, too."""
    with warnings.catch_warnings():
        for category in CATEGORIES:
            warnings.simplefilter("error", category)
        done = ACTIONS[what]()
    assert done.verified
    assert done.config.method == ("trace" if what == "trace" else "script")
    assert not [line for line in done.warnings if "scripted" in line]


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_the_model_says_is_heard(category):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        converted(Net("it works on small images only", category))
    assert {(one.category, str(one.message)) for one in heard} == {(category, "it works on small images only")}


def test_what_the_model_says_may_be_an_error():
    with warnings.catch_warnings(), pytest.raises(fxconv.errors.UserError, match="it works on small images only"):
        warnings.simplefilter("error", FutureWarning)
        converted(Net("it works on small images only", FutureWarning))


@pytest.mark.parametrize("words", [QUINT8, "`torch.jit.script` is deprecated", "torch.ao.quantization is deprecated"])
def test_torchs_own_words_are_heard_from_a_module_of_the_users(words):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with without_notices():
            warnings.warn(words, FutureWarning, stacklevel=1)
    assert [str(one.message) for one in heard] == [words]


def test_other_words_of_torchs_are_heard():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with without_notices():
            warnings.warn_explicit("`torch.lu` is deprecated", UserWarning, "functional.py", 1, "torch.functional")
    assert [str(one.message) for one in heard] == ["`torch.lu` is deprecated"]


def test_the_filters_are_put_back():
    before = list(warnings.filters)
    with pytest.raises(KeyError), without_notices():
        assert warnings.filters != before
        raise KeyError
    assert warnings.filters == before


def test_without_it_torch_is_heard(always):
    """That the tests above could fail: the eager functions say that they are deprecated, and who calls them."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        static.prepare(nn.Sequential(nn.Conv2d(1, 1, 1)))
    assert "torch.ao.quantization is deprecated" in str(heard[0].message)


# -- other processes -----------------------------------------------------------------------------------

BENCH = """
import sys, warnings
from pathlib import Path
from fxconv.targets.proof.bench import bench
warnings.simplefilter("error")
print(len(bench([Path(sys.argv[1])], runs=2, warm_up=1, operators=True).files))
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with room for golden inputs."""
    path = tmp_path_factory.mktemp("notices") / "net.ptl"
    converted(nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))).save(path)
    return path


def process(*words: str, **surroundings: str) -> subprocess.CompletedProcess[str]:
    """A new one: what torch says once in a process has not been said in it."""
    known = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])}
    known.pop("TORCH_CPP_LOG_LEVEL", None)
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env={**known, **surroundings})


def test_files_are_measured_without_a_word(artifact):
    """Past Python, too: where the lite interpreter is the first to make a quantized tensor, torch writes to stderr."""
    done = process("-c", BENCH, str(artifact))
    assert (done.stderr, done.stdout.strip(), done.returncode) == ("", "1", 0)


@pytest.fixture(scope="module")
def dynamic_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose layers are ranged at run time."""
    path = tmp_path_factory.mktemp("notices") / "dynamic.ptl"
    converted(nn.Sequential(nn.Flatten(), nn.Linear(432, 256), nn.ReLU(), nn.Linear(256, 4)), mode="dynamic").save(path)
    return path


@pytest.mark.parametrize("kind", ["artifact", "dynamic_artifact"])
def test_golden_inputs_run_without_a_word(kind, request):
    path = request.getfixturevalue(kind)
    done = process(*AS_ERRORS, str(REPO / "fxconv" / "replay.py"), str(path))
    assert (done.stderr, done.returncode) == ("", 0)


def test_they_do_in_another_python_whose_warnings_are_errors(artifact, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert prove(artifact, python=sys.executable).passed


MODES = """
import sys
from pathlib import Path
import torch
from torch import nn
import fxconv
from fxconv.targets.proof.bench import bench
images = [torch.randn(2, 3, 8, 8)]
for mode in ("dynamic", "static"):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 2))
    made = fxconv.convert(model.eval(), images, mode=mode, recipe="none", min_sqnr=-100.0)
    made.save(f"{sys.argv[1]}/{mode}.ptl")
    bench([Path(f"{sys.argv[1]}/{mode}.ptl")], "8", runs=2, warm_up=0)
    made.int8(images[0])
    print(mode, made.verified)
"""


def test_dynamic_layers_are_converted_and_run_without_a_word(tmp_path):
    """The kernels of qnnpack say once that they ignore reduce_range, past Python, on stderr."""
    done = process("-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning", "-c", MODES, str(tmp_path))
    assert (done.stderr, done.stdout.split()) == ("", ["dynamic", "True", "static", "True"])


def test_what_is_caused_leaves_the_engine_alone():
    torch.backends.quantized.engine = "onednn"
    torch_notices._cause_those_of_dynamic_layers.cache_clear()
    with without_notices():
        assert torch.backends.quantized.engine == "onednn"


@pytest.mark.parametrize("words", [("--mode", "dynamic"), ("--mode", "qat", "--epochs", "1")], ids=["dynamic", "qat"])
def test_the_command_line_says_its_own_words_only(words, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    more = ("--input-size", "12", "--calib-count", "4", "--recipe", "none", "--min-sqnr", "-100")
    done = process("-m", "fxconv", "convert", f"{tmp_path / 'net.py'}:net", "-o", f"{tmp_path}/n.ptl", *more, *words)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("warning: ")] == []


def test_the_command_line_with_warnings_as_errors(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
    )
    words = (
        "--input-size",
        "12",
        "--calib-count",
        "4",
        "--recipe",
        "none",
        "--method",
        "script",
        "--preprocess",
        "unit",
    )
    done = process(*AS_ERRORS, "-m", "fxconv", "convert", f"{tmp_path / 'net.py'}:net", *words)
    assert done.returncode == 0, done.stderr
    assert without_progress(done.stderr).splitlines() == [
        "warning: calibrated on generated images; photographs (--calib DIR) give better ranges"
    ]
