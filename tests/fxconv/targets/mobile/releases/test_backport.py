"""Files in older bytecode: what they compute, what they hold, and that two runs write the same bytes."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import pytest
import torch
from fxconv_commands import REPO
from fxconv_torch import optimized
from torch import Tensor, nn
from torch.jit.mobile import _get_model_bytecode_version, _load_for_lite_interpreter

import fxconv
from fxconv.inspection import inspect
from fxconv.targets.mobile.releases import check, release
from fxconv.targets.mobile.releases.backport import backported

OLD, NEW = release("pytorch_android_lite==1.10.0"), release("pytorch_android_lite==2.1.0")
EXTRAS = {"labels.txt": "cat\ndog", "fxconv.json": '{"mean": [0.5]}'}


class Net(nn.Module):
    """Two convolutions with equal biases, which torch keeps as one tensor, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)
        with torch.no_grad():
            self.first.bias.zero_()
            self.second.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3)))


def lite(module: nn.Module, extras: dict[str, str] | None = None) -> bytes:
    return optimized(torch.jit.script(module.eval()))._save_to_buffer_for_lite_interpreter(_extra_files=extras or {})


def records(content: bytes) -> dict[str, zipfile.ZipInfo]:
    return {one.filename: one for one in zipfile.ZipFile(io.BytesIO(content)).infolist()}


@pytest.fixture(scope="module")
def written() -> bytes:
    torch.manual_seed(0)
    return lite(Net(), EXTRAS)


@pytest.fixture(scope="module")
def older(written) -> bytes:
    return backported(written, OLD)


def test_it_computes_the_same_bits(written, older):
    assert _get_model_bytecode_version(io.BytesIO(written)) == 8
    assert _get_model_bytecode_version(io.BytesIO(older)) == 7
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    expected = _load_for_lite_interpreter(io.BytesIO(written))(x)
    assert torch.equal(_load_for_lite_interpreter(io.BytesIO(older))(x), expected)
    assert torch.equal(torch.jit.load(io.BytesIO(older))(x), expected)


def test_the_release_loads_it(older, tmp_path):
    (tmp_path / "older.ptl").write_bytes(older)
    found = inspect(tmp_path / "older.ptl")
    assert found.problems == () and check(found, OLD).loads and check(found, NEW).loads


def test_extra_files_are_kept_in_their_order(written, older):
    names = [name for name in records(written) if "/extra/" in name]
    assert [name for name in records(older) if "/extra/" in name] == names and len(names) == 2
    extras = dict.fromkeys(EXTRAS, "")
    torch.jit.load(io.BytesIO(older), _extra_files=extras)
    assert {name: text.decode() for name, text in extras.items()} == EXTRAS


def test_weights_are_written_once_and_numbered(written, older):
    def stored(content: bytes) -> list[tuple[str, int]]:
        return sorted((name, one.file_size) for name, one in records(content).items() if "/constants/" in name)

    assert stored(older) == stored(written)
    assert [name for name, _ in stored(older)] == [f"archive/constants/{n}.storage" for n in range(5)]


def test_the_archive_is_as_torchs_reader_wants_it(older):
    for name, one in records(older).items():
        assert one.compress_type == zipfile.ZIP_STORED
        begin = (
            one.header_offset
            + 30
            + sum(
                int.from_bytes(older[place : place + 2], "little")
                for place in (one.header_offset + 26, one.header_offset + 28)
            )
        )
        assert begin % 64 == 0, name
    assert zipfile.ZipFile(io.BytesIO(older)).read("archive/version") == b"3\n"


class Halves(nn.Module):
    """Divides whole numbers, which before format 4 was to round down."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.div(x, 2)


def test_the_format_which_says_what_operators_mean_is_kept():
    content = torch.jit.script(Halves().eval())._save_to_buffer_for_lite_interpreter()
    older = backported(content, OLD)
    assert zipfile.ZipFile(io.BytesIO(older)).read("archive/version") == b"4\n"
    assert _load_for_lite_interpreter(io.BytesIO(older))(torch.tensor([1, 3])).tolist() == [0.5, 1.5]


def test_lines_of_source_which_1_10_cannot_read_are_left_out(written, older):
    assert any(name.endswith(".debug_pkl") for name in records(written))
    assert not any(name.endswith(".debug_pkl") for name in records(older))


def test_another_process_writes_the_same_bytes(written, older, tmp_path):
    (tmp_path / "new.ptl").write_bytes(written)
    code = (
        "import sys\nfrom pathlib import Path\nfrom fxconv.targets.mobile.releases import release\n"
        "from fxconv.targets.mobile.releases.backport import backported\n"
        "sys.stdout.buffer.write(backported(Path(sys.argv[1]).read_bytes(), release(sys.argv[2])))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "new.ptl"), OLD.name]
    done = subprocess.run(command, cwd=REPO, capture_output=True, check=True)
    assert done.stdout == older


def test_what_the_release_reads_stays_as_it_is(written, older):
    assert backported(written, NEW) is written
    assert backported(older, OLD) is older
    assert backported(written, release("LibTorch==1.10.0")) is not written  # its lite interpreter's range is the same


def test_a_quantized_artifact_is_written_older_and_verified(tmp_path):
    torch.manual_seed(0)
    data = [torch.randn(4, 3, 12, 12)]
    path = tmp_path / "net.ptl"
    conversion = fxconv.convert(Net().eval(), data, recipe="none", min_sqnr=-1000.0, runtime=OLD.name, output=path)
    assert conversion.verified and conversion.artifact.bytecode_version == 7
    assert path.read_bytes() == conversion.artifact.data
    assert [row.stage for row in conversion.ledger][-1] == "reloaded" and conversion.ledger[-1].max_abs_diff == 0
    assert conversion.runtime is not None
    assert conversion.runtime.notes[0].startswith("its bytecode is written in version 7")
    assert check(inspect(path), OLD).loads
