"""`fxconv verify FILE.pte`: golden inputs in a process of its own, what is damaged, what is missing, what differs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fxconv_commands import NETWORKS, Command, assert_user_error
from fxconv_executorch import needs_executorch
from fxconv_warm import program

from benchmarks.hostile.pte import content
from fxconv import replay
from fxconv.errors import UserError
from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.xnnpack_graph import read_xnnpack
from fxconv.targets.executorch import installed
from fxconv.targets.proof import prove as proving
from fxconv.targets.proof.outputs_of_file import outputs_of_file
from fxconv.targets.proof.prove import prove

pytestmark = pytest.mark.usefixtures("warm_processes_of_its_own")


@pytest.fixture
def file(golden_pte: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(golden_pte, tmp_path / "net.pte"))


@needs_executorch
def test_a_file_proves_itself_and_says_in_which_release(command: Command, file: Path) -> None:
    run = command("verify", str(file), "--json", "proof.json")
    release = installed.installed()
    assert (run.status, run.stderr) == (0, "")
    first, *_, whose, written = run.stdout.splitlines()
    assert first.startswith(f"{file}: bit-exact under ExecuTorch {release} on ") and "3 golden inputs" in first
    assert whose.startswith("beside the file's own outputs when it was written: all values by SHA-256")
    assert written.startswith(f"written with ExecuTorch {release} on ") and written.endswith(
        "every bit is asked for there"
    )
    told = json.loads((run.folder / "proof.json").read_text())["golden"]
    assert (told["executorch"], told["torch"], told["rule"]) == (release, torch.__version__, "equal")
    assert told["passed"] is told["exact"] is True and len(told["cases"]) == 3


def one_weight_less(data: bytes) -> bytes:
    """The file with one integer of a convolution's weights changed."""
    program = read_program(memoryview(data))
    delegate = next(one for method in program.methods for one in method.delegates)
    graph = read_xnnpack(delegate.blob, program.named)
    node = next(node for node in graph.nodes if node.kind == "Conv2d")
    held = graph.by_id[node.inputs[1]].content
    assert held is not None and data.count(bytes(held)) == 1
    weights = np.frombuffer(bytes(held), "i1").copy()
    weights[np.abs(weights.astype(int)).argmax()] *= -1
    return data.replace(bytes(held), weights.tobytes())


@needs_executorch
def test_one_weight_that_was_changed_differs(command: Command, file: Path) -> None:
    file.write_bytes(one_weight_less(file.read_bytes()))
    run = command("verify", str(file))
    assert run.status == 1 and f"{file}: DIFFERS under ExecuTorch" in run.stdout
    assert run.stderr.splitlines()[-1].startswith(f"fxconv: error: {file}: does not verify: golden input 0: output 0 ")


@needs_executorch
def test_elsewhere_40_db_will_do_and_that_is_said(
    file: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = replay.replayed(str(file))
    assert told["executorch"] == installed.installed() and told["written"] == replay.place()
    other = {**told, "rule": "kernels", "exact": False, "written": {**told["written"], "executorch": "1.3.1"}}
    for case in other["cases"]:
        case["exact"], case["outputs"][0]["exact"], case["outputs"][0]["sqnr_db"] = False, False, 51.0
    monkeypatch.setattr(proving, "process_answer", lambda *given: other)
    run = command("verify", str(file))
    assert run.status == 0 and f"{file}: within 40 dB under ExecuTorch" in run.stdout
    assert "written with ExecuTorch 1.3.1 on " in run.stdout and "40 dB are asked for elsewhere" in run.stdout


@needs_executorch
def test_replay_alone_runs_a_program(golden_pte: Path, warm) -> None:
    done = warm.run(program(f"import runpy; runpy.run_path({replay.__file__!r}, run_name='__main__')", str(golden_pte)))
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, told["passed"], told["executorch"]) == (0, True, installed.installed())


def test_without_the_package_its_pin_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: Command) -> None:
    """The runtime is asked for in the process; here its answer, and what the command makes of it."""
    monkeypatch.setattr(installed, "_version", lambda package: "2.14.1" if package == "torch" else "")
    with pytest.raises(UserError, match=r'not installed; for torch 2.14: pip install "executorch==1.5.1"'):
        installed.check_runtime()
    path = tmp_path / "int8.pte"
    path.write_bytes(content("int8.pte"))
    monkeypatch.setattr(proving, "process_answer", lambda *given: installed.check_runtime())
    run = command("verify", str(path))
    assert run.status == 2 and run.stderr.count("\n") == 1
    assert "pip install" in run.stderr or "golden" in run.stderr


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (content("int8.pte")[:2000], "is damaged|points|ends|truncated|lacks"),
        (content("int8.pte")[:8] + b"\xff" * 500, "damaged|points|deceive"),
    ],
)
def test_hostile_files_are_refused_in_one_line(command: Command, tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "bad.pte"
    path.write_bytes(data)
    run = command("verify", str(path))
    assert run.status == 2 and run.stdout == ""
    assert run.stderr.startswith(f"fxconv: error: {path}: ") and run.stderr.count("\n") == 1
    with pytest.raises(UserError, match=words):
        prove(path)


@pytest.mark.parametrize("name", ["SIGFPE", "SIGABRT"])
def test_a_crash_of_the_runtime_is_one_line(
    command: Command, golden_like: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crashed(*words: object) -> None:
        raise proving.Ended(f"crashed ({name})")

    monkeypatch.setattr(proving, "answer", crashed)
    run = command("verify", str(golden_like))
    assert run.status == 2
    assert run.stderr == f"fxconv: error: {golden_like}: the process that read it crashed ({name}); it is damaged\n"


@pytest.fixture
def golden_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound program that says it has golden inputs."""
    path = tmp_path / "int8.pte"
    path.write_bytes(content("int8.pte"))
    monkeypatch.setattr(replay, "golden_of", lambda text: {})
    return path


@needs_executorch
def test_beside_its_float_model(command: Command, file: Path) -> None:
    run = command("verify", str(file), "--against", f"{NETWORKS}:tiny", "-n", "4", "--min-sqnr=-50")
    assert run.status == 0, run.stderr
    assert f"{file}: bit-exact under ExecuTorch" in run.stdout and f"{file}: like float: " in run.stdout


@needs_executorch
def test_its_outputs_are_those_of_the_runtime_here(file: Path, batches: list[torch.Tensor]) -> None:
    from fxconv.targets.executorch.runtime import load

    image = batches[0][:1]
    ((name, output),) = outputs_of_file(file, [(image,)], 60, 4096)[0]
    assert name == "output" and torch.equal(output, load(file)(image))


@needs_executorch
def test_what_it_says_of_photographs(command: Command, file: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 40), (200, 30, 30)).save(file.parent / "red.png")
    run = command("predict", str(file), str(file.parent / "red.png"), "--top", "2")
    assert run.status == 0 and "red.png" in run.stdout, run.stderr


def test_another_python_without_the_runtime_is_told(command: Command, golden_like: Path, monkeypatch) -> None:
    def failed(words: list[str], *given: object) -> dict[str, object]:
        if "check" in words:
            return {}
        raise proving.Failed("failed: No module named 'torch'")

    monkeypatch.setattr(proving, "answer", failed)
    run = command("verify", str(golden_like), "--python", sys.executable)
    assert_user_error(run, "give a Python with torch and ExecuTorch")
