"""What the tests of fxconv share: small networks, the command line in this process and as one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fxconv_commands as commands
import fxconv_networks as networks
import pytest
import torch
from fxconv_commands import Command, Run
from fxconv_executorch import with_golden
from fxconv_warm import Warm, warm_processes

import fxconv
from fxconv.cli import app
from fxconv.conversion import Conversion
from fxconv.measures import latency
from fxconv.targets import own_process


@pytest.fixture(autouse=True, scope="session")
def quick_latency() -> Iterator[None]:
    """Latencies are printed and never judged here, so the fewest runs will do."""
    seconds, latency._SECONDS = latency._SECONDS, 0.0
    yield
    latency._SECONDS = seconds


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread and a fixed seed; the number of threads and the engine are put back afterwards."""
    engine, threads = torch.backends.quantized.engine, torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.backends.quantized.engine = engine
    torch.set_num_threads(threads)


@pytest.fixture
def own_signals() -> Iterator[None]:
    """As `fxconv_commands.own_signals`, around a test."""
    with commands.own_signals():
        yield


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own_signals: None
) -> Command:
    """`command("convert", "tiny")`: the whole command line in this process, in an empty folder.

    Importing torch takes seconds, so only some of the commands are run as processes of their own.
    """
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*words: str) -> Run:
        monkeypatch.setattr(sys, "argv", ["fxconv", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            app.main()
        printed = capsys.readouterr()
        return Run(int(exit_.value.code or 0), printed.out, printed.err, folder)

    return run


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process that has imported torch, to fork from."""
    with warm_processes() as process:
        yield process


@pytest.fixture
def warm_processes_of_its_own(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fxconv gives to a process of its own goes to one that need not import torch."""
    stand_in = SimpleNamespace(run=warm.run, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(own_process, "subprocess", stand_in)


@pytest.fixture(scope="session")
def batches() -> list[torch.Tensor]:
    """Three batches of eight inputs for the small networks."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, 3, 32, 32, generator=generator) for _ in range(3)]


@pytest.fixture(scope="session")
def small_model() -> torch.nn.Module:
    """The small network with seeded weights, in eval mode; tests must not change it."""
    torch.manual_seed(0)
    return networks.tiny().eval()


@pytest.fixture(scope="session")
def small_conversion(small_model: torch.nn.Module, batches: list[torch.Tensor]) -> Conversion:
    """The small network converted through the Python interface."""
    return fxconv.convert(small_model, calibration=batches)


@pytest.fixture(scope="session")
def both_targets(small_model: torch.nn.Module, batches: list[torch.Tensor]) -> Conversion:
    """The small network as a .ptl and a .pte of one calibration; lowering takes seconds. Needs ExecuTorch."""
    return fxconv.convert(small_model, calibration=batches, targets=("mobile", "executorch"))


@pytest.fixture(scope="session")
def golden_pte(
    small_conversion: Conversion, batches: list[torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small network as a .pte with golden inputs, lowered once; tests copy it. Needs ExecuTorch."""
    path = tmp_path_factory.mktemp("golden") / "net.pte"
    path.write_bytes(with_golden(small_conversion, batches[0]))
    return path
