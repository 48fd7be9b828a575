"""Requests to stop and readers that go away: one line, the right exit status, nothing half-written, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from fxconv_commands import PLAIN, REPO, SMALL, Run, without_progress
from PIL import Image

import fxconv
from fxconv.cli import signals, terminal
from fxconv.data import staged_file
from fxconv.data.staged_file import StagedFile
from fxconv.verification import parity

OLD = b"the artifact of last week"
# Every step a conversion announces; `test_these_are_all_stages` keeps the list complete.
STAGES = (
    *("loading", "reading images", "rewriting", "verification", "calibration", "conversion", "audit"),
    *("fidelity", "recipe", "lowering", "latency"),
)


@pytest.fixture
def old(command) -> Path:
    """An artifact the user has already, under the name the commands below write."""
    path = Path("tiny.ptl")
    path.write_bytes(OLD)
    return path


def at_step(monkeypatch: pytest.MonkeyPatch, name: str, action) -> list[str]:
    """Do something whenever a conversion announces the step `name`; the list of all steps grows as it runs."""
    seen: list[str] = []

    @contextmanager
    def bars(quiet, phases):
        def show(step, done, total):
            seen.append(step)
            if step == name:
                action()

        yield show

    monkeypatch.setattr(terminal, "_bars", bars)
    return seen


def assert_stopped(run: Run, status: int, word: str) -> None:
    """The status, one line, and the user's file as it was."""
    assert run.status == status
    errors = [line for line in run.stderr.splitlines() if not line.startswith("warning: ")]
    assert errors == [f"fxconv: error: {word}; what was not finished was not written"]
    assert run.files == ["tiny.ptl"]
    assert (run.folder / "tiny.ptl").read_bytes() == OLD


def test_these_are_all_stages(command, monkeypatch):
    seen = at_step(monkeypatch, "", lambda: None)
    assert command("convert", *SMALL).status == 0
    assert set(seen) == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_at_every_stage(stage, command, old, monkeypatch):
    torch.backends.quantized.engine = "onednn"
    torch.set_num_threads(2)
    at_step(monkeypatch, stage, lambda: signal.raise_signal(signal.SIGINT))
    assert_stopped(command("convert", *SMALL, "--json", "report.json"), 130, "interrupted")
    assert (torch.backends.quantized.engine, torch.get_num_threads()) == ("onednn", 2)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_ctrl_c_at_every_stage_from_python(stage, small_model, batches, tmp_path):
    (tmp_path / "x.ptl").write_bytes(OLD)
    torch.backends.quantized.engine = "onednn"
    torch.set_num_threads(2)

    def progress(step, done, total):
        if step == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fxconv.convert(small_model, batches, output=tmp_path / "x.ptl", progress=progress)
    assert (torch.backends.quantized.engine, torch.get_num_threads()) == ("onednn", 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x.ptl": OLD}


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")]
)
def test_other_requests_to_stop(number, status, word, command, old, monkeypatch):
    at_step(monkeypatch, "calibration", lambda: signal.raise_signal(number))
    assert_stopped(command("convert", *PLAIN), status, word)


def test_a_request_that_was_ignored_from_the_start_stays_ignored(command, old, monkeypatch):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    at_step(monkeypatch, "calibration", lambda: signal.raise_signal(signal.SIGHUP))
    assert command("convert", *PLAIN).status == 0
    assert old.read_bytes() != OLD


@pytest.mark.parametrize("becomes", [None, RuntimeError("the interpreter failed")])
def test_an_interruption_that_a_library_swallows_or_renames_is_one(becomes, command, old, monkeypatch):
    same = parity.same_bits

    def swallowing(*arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if becomes is not None:
                raise becomes from None
        return same(*arguments)

    monkeypatch.setattr(parity, "same_bits", swallowing)
    assert_stopped(command("convert", *PLAIN), 130, "interrupted")


def test_an_interruption_in_a_destructor_is_not_printed_and_not_lost(command, old, monkeypatch):
    class Fragile:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    at_step(monkeypatch, "conversion", lambda: Fragile())
    assert_stopped(command("convert", *PLAIN), 130, "interrupted")


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_trouble_while_the_file_is_written(step, error, command, old, monkeypatch):
    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        if step == "write":
            write = StagedFile._write

            def half(self, data):
                write(self, data[: len(data) // 2])
                if data:  # whether a file can be made at all is tried before, with an empty one
                    raise error

            patch.setattr(StagedFile, "_write", half)
        elif step == "fsync":
            fsync = os.fsync
            patch.setattr(staged_file.os, "fsync", lambda file: fail() if file.tell() else fsync(file))
        else:
            patch.setattr(Path, "replace", fail)
        run = command("convert", *PLAIN, "-o", "tiny.ptl")
    if isinstance(error, KeyboardInterrupt):
        assert_stopped(run, 130, "interrupted")
        return
    assert run.status == 2
    assert run.stderr.splitlines()[-1] == (
        "fxconv: error: tiny.ptl: cannot be written (No space left on device); free some space there or write elsewhere"
    )
    assert run.files == ["tiny.ptl"]
    assert old.read_bytes() == OLD


def test_a_report_that_cannot_be_written_spares_the_artifact_and_says_so(command, monkeypatch):
    fsync = os.fsync

    def full(file):
        if ".report.json." in str(file.name) and file.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(staged_file.os, "fsync", full)
    run = command("convert", *PLAIN, "--json", "report.json")
    assert run.status == 2
    assert run.stderr.splitlines()[-1] == (
        "fxconv: error: --json report.json: cannot be written (No space left on device); free some space there or "
        "write elsewhere; tiny.ptl is written and verified"
    )
    assert run.stdout.startswith("✓ tiny: converted and verified\n")
    assert run.files == ["tiny.ptl"]


def test_an_artifact_beside_the_photographs_is_replaced(command):
    for index in range(2):
        Image.new("RGB", (40, 40), (index, 9, 99)).save(f"{index}.png")
    for _ in range(2):  # the second run finds the first one's artifact in the folder it reads
        assert command("convert", *PLAIN, "--calib", ".", "-o", "tiny.ptl", "--min-sqnr", "-1000").status == 0


def test_photographs_in_the_calibration_folder_are_never_replaced(command, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "a.png").write_bytes(OLD)
    run = command("convert", *PLAIN, "--calib", str(folder), "-o", str(folder / "a.png"))
    assert run.status == 2
    assert f"a.png: is one of the files in --calib {folder}; choose another name" in run.stderr
    os.link(folder / "a.png", "linked.ptl")  # another name for the same file, on the other side
    run = command("convert", *PLAIN, "--weights", str(folder / "a.png"), "-o", "linked.ptl")
    assert "linked.ptl: is the same file as --weights" in run.stderr
    assert (folder / "a.png").read_bytes() == OLD


def test_an_archive_of_arrays_is_never_replaced(command):
    np.savez("inputs.npz", x=np.zeros((4, 3, 32, 32), np.float32))
    before = Path("inputs.npz").read_bytes()
    run = command("convert", *PLAIN, "--calib", "inputs.npz:x", "-o", "inputs.npz")
    assert "-o inputs.npz: is the same file as --calib; choose another name" in run.stderr
    assert Path("inputs.npz").read_bytes() == before


# -- processes -----------------------------------------------------------------------------------------

SIGNALLING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.path.insert(0, {repo!r})
sys.argv = ["fxconv", *{words!r}]
sys.meta_path.insert(0, Finder())
from fxconv.cli.app import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "torch", "torch.nn", "torch.fx", "torchvision", "fxconv.conversion"])
def test_ctrl_c_while_python_imports(module, tmp_path, own_signals):
    program = SIGNALLING.format(module=module, repo=str(REPO), words=["convert", *PLAIN, "-o", "x.ptl"])
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, without_progress(done.stderr)) == (
        130,
        "fxconv: error: interrupted; what was not finished was not written\n",
    )
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
sys.path.insert(0, {repo!r})
from fxconv.cli import app
from fxconv.targets import float_twin

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

float_twin.measure = killed
sys.argv = ["fxconv", *{words!r}]
app.main()
"""


def test_what_a_killed_process_leaves_is_hidden_and_cleared_by_the_next(command, old):
    words = ["convert", *PLAIN, "-o", "tiny.ptl"]
    done = subprocess.run([sys.executable, "-c", KILLED.format(repo=str(REPO), words=words)], check=False)
    assert done.returncode == -signal.SIGKILL
    left, kept = sorted(path.name for path in Path.cwd().iterdir())
    assert left.startswith(".tiny.ptl.") and left.endswith(".part")
    assert (kept, old.read_bytes()) == ("tiny.ptl", OLD)
    run = command(*words)
    assert run.files == ["tiny.ptl"]
    assert old.read_bytes() != OLD


def shell(line: str, folder: Path) -> Run:
    """A command line in which `fxconv` is this checkout's, run by bash; its status is that of the first command."""
    script = f'fxconv() {{ "{sys.executable}" "{REPO}/cli.py" "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", script],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr, folder)


def test_a_reader_that_goes_away_is_no_trouble(tmp_path):
    run = shell("fxconv models | true", tmp_path)
    assert (run.status, run.stdout, run.stderr) == (141, "", "")


def test_a_reader_that_goes_away_does_not_stop_a_conversion(tmp_path):
    run = shell(f"fxconv convert {' '.join(PLAIN)} --quiet --report --json report.json 2>&1 | true", tmp_path)
    assert (run.status, run.stderr) == (141, "")
    assert run.files == ["report.json", "tiny.ptl"]
    assert run.report["verdict"] == "converted and verified"


def test_closed_streams_are_no_trouble(tmp_path):
    run = shell(f"fxconv convert {' '.join(PLAIN)} --json report.json <&- >&- 2>&-", tmp_path)
    assert (run.status, run.stdout, run.stderr) == (0, "", "")
    assert run.report["artifact"]["bytes"] == (tmp_path / "tiny.ptl").stat().st_size


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_an_output_that_cannot_be_written_is_told(tmp_path):
    run = shell("fxconv models > /dev/full", tmp_path)
    assert run.status == 2
    assert run.stderr.startswith("fxconv: error: the output cannot be written (No space left on device); check where")


def test_every_request_has_a_word_and_a_status(own_signals):
    stops = signals.Stops()
    stops.listen()
    for name, word in signals._WORDS.items():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.Signals[name])
        assert (stops.word, stops.status) == (word, 128 + signal.Signals[name])
        with pytest.raises(KeyboardInterrupt):
            stops.check()
        stops.received = None
    stops.end()
    signal.raise_signal(signal.SIGINT)  # the work is over: nothing happens
    assert stops.received is None


def test_a_character_the_terminal_lacks_is_escaped(tmp_path):
    script = "from fxconv.cli import streams; streams.print_anything(); print('caf\\u00e9')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "caf\\xe9\n")
