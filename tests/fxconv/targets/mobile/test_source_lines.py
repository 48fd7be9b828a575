"""Artifacts say nothing of the machine they were made on, and are the same from another folder."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from fxconv_commands import REPO
from fxconv_torch import optimized
from torch import Tensor, fx, nn

from fxconv.targets.mobile import op_layers
from fxconv.targets.mobile.archive_records import Records
from fxconv.targets.mobile.source_lines import LINES, read, without_source_lines

# Run with one copy of the package each; the networks lie beside the copy, as a user's file does.
CONVERTS = """
import gc
import sys
from pathlib import Path
import torch
from torch import nn
import fxconv
import networks
from fxconv.measures import latency
from fxconv.models.preprocessing import Preprocessing

latency._SECONDS = 0.0
gc.collect()
gc.freeze()  # each conversion collects garbage several times, torch's objects among it
assert Path(fxconv.__file__).parent.parent == Path(networks.__file__).parent, fxconv.__file__

def convert(name, model, size=16, **options):
    torch.manual_seed(1)
    values = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8) / 255
    calibration = [(values - 0.5) / 0.25]
    how = Preprocessing(size, size, mean=(0.5,) * 3, std=(0.25,) * 3)
    options = {"recipe": "none", "min_sqnr": -1000.0, "preprocessing": how, **options}
    torch.manual_seed(0)
    made = model().eval()
    content = fxconv.convert(made, calibration, **options).artifact.data
    Path(sys.argv[1], f"{name}.ptl").write_bytes(content)

convert("scripted", networks.Net)
convert("traced", networks.Net, method="trace")
convert("dynamic", networks.Sequences, mode="dynamic")
convert("trained", networks.Net, mode="qat", epochs=1)
convert("older", networks.Net, runtime="pytorch_android_lite==1.10.0")
convert("pixels", networks.Net, normalize_in_graph=True)
convert("scripted part", networks.Branching)
convert("traced parts", networks.Branching, method="trace")
convert("several", networks.Several, method="trace")
convert("listed", networks.Listed, normalize_in_graph=True)
convert("peaks", networks.Heatmaps, 32, postprocess="peaks")
"""
NETWORKS = """
import torch
from torch import Tensor, nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        return self.fc((x + self.conv2(x)).mean((2, 3)))

class Sequences(Net):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(16, 4, batch_first=True)

    def forward(self, x):
        rows, _ = self.lstm(self.conv1(x).mean(1))
        return self.fc(rows[:, -1])

class Branch(nn.Module):
    def forward(self, x):
        # no graph has both branches
        if bool(x.sum() > 1e9):
            raise ValueError("too bright")
        return torch.asinh(x)

class Branching(Net):
    def __init__(self):
        super().__init__()
        self.branch = Branch()

    def forward(self, x):
        return self.fc(self.branch(self.conv2(self.branch(self.conv1(x)))).mean((2, 3)))

class Several(Net):
    def forward(self, x):
        y = self.conv1(x)
        return [{"y": y, "z": [self.conv2(y)]}]

class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))

    def forward(self, images: list[torch.Tensor]):
        return {"features": self.layers(torch.stack([image * 2 for image in images]))}

class Heatmaps(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.hm, self.wh = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.body(x)
        return {"hm": self.hm(x), "wh": self.wh(x)}
"""
NAMES = (
    "scripted",
    "traced",
    "dynamic",
    "trained",
    "older",
    "pixels",
    "scripted part",
    "traced parts",
    "several",
    "listed",
    "peaks",
)


def copied(folder: Path, lines: int) -> Path:
    """A folder with the package, all of whose files begin with so many empty lines, and the networks."""
    for package in ("fxconv", "rewrites"):
        shutil.copytree(REPO / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "networks.py").write_text(NETWORKS)
    for path in folder.rglob("*.py"):
        path.write_text("\n" * lines + path.read_text())
    return folder


def made_in(folder: Path) -> Path:
    (folder / "made").mkdir()
    (folder / "convert.py").write_text(CONVERTS)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "convert.py", "made"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "made"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The conversions from a copy of the package."""
    return made_in(copied(tmp_path_factory.mktemp("places-a"), 0))


@pytest.fixture(scope="module")
def made_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same from another copy, in which all lines stand lower, in another folder."""
    return made_in(copied(tmp_path_factory.mktemp("places-b") / "deeper" / "still", 3))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_tells_of_the_machine(name: str, made: Path) -> None:
    leaks = [str(made.parent), "places-a", sys.prefix, str(Path(torch.__file__).parent), "site-packages"]
    leaks += [str(Path.home()), "networks.py", "/torch/nn/", "forward\n"]
    leaks += [f"{package}{mark}" for package in ("fxconv", "rewrites") for mark in "/._"]
    with zipfile.ZipFile(made / f"{name}.ptl") as archive:
        for record in archive.namelist():
            content = archive.read(record)
            found = [leak for leak in leaks if leak.encode() in content or leak in record]
            assert not found or record.endswith("extra/fxconv.json"), (record, found)
        said = archive.read(next(one for one in archive.namelist() if one.endswith("fxconv.json"))).decode()
    assert not [leak for leak in leaks[:7] if leak in said]


def test_the_layers_names_stay(made: Path) -> None:
    found = op_layers.layers_by_operator(op_layers.program_of(made / "scripted.ptl"))
    assert found["quantized::conv2d_relu"] == ("conv1",)
    assert found["quantized::conv2d"] == ("conv2",)
    assert found["quantized::linear"] == ("fc",)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_runtime_loads_it_still(name: str, made: Path) -> None:
    path = made / f"{name}.ptl"
    assert torch.jit.load(str(path)).code.startswith("def forward(self")


@pytest.mark.parametrize("name", NAMES)
def test_another_folder_gives_the_same_bytes(name: str, made: Path, made_elsewhere: Path) -> None:
    one, other = ((folder / f"{name}.ptl").read_bytes() for folder in (made, made_elsewhere))
    assert {key: len(value) for key, value in Records(one).items()} == {k: len(v) for k, v in Records(other).items()}
    assert one == other


class Net(nn.Module):
    """Two layers, one called twice, of images of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.asinh(self.first(torch.tanh(self.second(torch.tanh(self.first(x.reshape(1, 3, 4, 4)))))))


@pytest.fixture
def written() -> bytes:
    graph = torch.jit.script(fx.symbolic_trace(nn.Sequential(Net()).eval()))
    return optimized(graph)._save_to_buffer_for_lite_interpreter(_extra_files={"a.txt": "b"})


def lines_of(content: bytes) -> dict[str, bytes]:
    return {name: record for name, record in Records(content).items() if name.endswith(LINES)}


def test_all_else_stays_as_torch_wrote_it(written: bytes) -> None:
    before, after = Records(written), Records(without_source_lines(written))
    own = ".data/serialization_id"
    assert list(before) == list(after)
    assert all(one == after[name] for name, one in before.items() if name != own and LINES not in name)
    with zipfile.ZipFile(io.BytesIO(without_source_lines(written))) as archive:
        for one in archive.infolist():
            names = len(one.filename.encode()) + 30
            extra = int.from_bytes(without_source_lines(written)[one.header_offset + 28 :][:2], "little")
            assert (one.header_offset + names + extra) % 64 == 0 and one.compress_type == zipfile.ZIP_STORED


def test_each_piece_of_the_text_stems_from_the_same_piece_of_the_graph(written: bytes) -> None:
    """As torch's reader looks it up: the last place at or before an offset."""
    for name, record in lines_of(without_source_lines(written)).items():
        (old_texts, old), (texts, new) = read(lines_of(written)[name]), read(record)
        assert any(place.lines for place in new) == any(place.lines for place in old)
        for offset in range(len(Records(written)[name.removesuffix(LINES)])):
            was, now = ([one for one in places if one.offset <= offset][-1] for places in (old, new))
            assert [texts[line] for line in now.lines] == [old_texts[line] for line in was.lines]
            assert (now.start, now.end, now.first) == (was.start, was.end, was.first)


def test_once_is_enough(written: bytes) -> None:
    once = without_source_lines(written)
    assert without_source_lines(once) == once


def test_an_error_still_names_the_line_of_the_graph(written: bytes) -> None:
    module = torch.jit.load(io.BytesIO(without_source_lines(written)))
    with pytest.raises(RuntimeError, match=r'File "<graph>", line \d+, in forward') as raised:
        module(torch.ones(7))
    assert 'File "code/__torch__/' in str(raised.value) and "test_source_lines.py" not in str(raised.value)
