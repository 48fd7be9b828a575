"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import fxconv_networks as networks
import numpy as np
import pytest
import torch
from fxconv_commands import NETWORKS, PLAIN, REPO, Run, run_here, run_process
from fxconv_torch import needs_xnnpack
from PIL import Image
from torch.jit.mobile import _load_for_lite_interpreter

import fxconv
from fxconv.data.synthetic import natural_images
from fxconv.quantization import static
from fxconv.targets.mobile.target import MobileTarget

REPORT_KEYS = {
    "model": {"name", "weights", "parameters", "input_size"},
    "environment": {"torch", "torchvision", "engine", "xnnpack"},
    "quantization": {"mode", "int8_ops", "float_ops", "float_islands", "quantize_nodes", "dequantize_nodes"},
    "calibration": {"source", "images", "seconds", "float_seconds"},
    "artifact": {
        *("path", "bytes", "float_bytes", "bytecode_version", "operators"),
        *("int8_macs_share", "sha256"),
    },
    "latency": {
        *("int8_ms", "float_ms", "threads", "float_kernels", "int8_cpu_ms", "float_cpu_ms", "runs", "busy"),
        "float_problem",
        *("int8_p10_ms", "int8_p90_ms", "float_p10_ms", "float_p90_ms", "ratio", "cpu_ratio", "believed_ratio"),
    },
}


# -- commands that succeed -----------------------------------------------------------------------------

TWENTY = (f"{NETWORKS}:tiny", "--input-size", "3x32x32", "--calib-count", "20")


@pytest.fixture(scope="module")
def small_process(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The small network converted by a process of its own, without --report."""
    folder = tmp_path_factory.mktemp("small")
    return run_process(folder, "convert", *TWENTY, "-o", "tiny.ptl", "--json", "report.json")


@pytest.fixture(scope="module")
def real_network(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A real network converted in this process, with --report and the default name of its file."""
    words = ("--weights", "random", "--input-size", "64", "--calib-count", "4", "--recipe", "none")
    folder = tmp_path_factory.mktemp("mobilenet")
    return run_here(folder, "convert", "MobileNet-V3-small", *words, "--report", "--json", "report.json")


@pytest.mark.parametrize("process", ["small_process", "real_network"])
def test_a_command_leaves_the_artifact_and_the_report_and_nothing_else(process, request):
    run = request.getfixturevalue(process)
    assert run.status == 0, run.stderr
    artifact = Path(run.report["artifact"]["path"]).name
    assert run.files == sorted([artifact, "report.json"])


def test_the_artifact_takes_the_resolved_name_of_the_model(real_network):
    assert "mobilenet_v3_small.ptl" in real_network.files


@pytest.mark.parametrize(
    ("process", "artifact", "size", "shape"),
    [
        ("small_process", "tiny.ptl", 32, (1, 10)),
        ("real_network", "mobilenet_v3_small.ptl", 64, (1, 1000)),
    ],
)
def test_the_artifact_loads_and_runs_as_a_phone_would_run_it(process, artifact, size, shape, request):
    run = request.getfixturevalue(process)
    torch.backends.quantized.engine = "qnnpack"
    module = _load_for_lite_interpreter(str(run.folder / artifact))
    out = module(torch.randn(1, 3, size, size))
    assert tuple(out.shape) == shape
    assert out.isfinite().all()
    assert out.std() > 0


@pytest.mark.parametrize("process", ["small_process", "real_network"])
def test_the_json_report_has_every_key_of_the_schema(process, request):
    report = request.getfixturevalue(process).report
    assert report["schema"] == 1
    for section, keys in REPORT_KEYS.items():
        assert keys <= set(report[section]), section
    assert [row["stage"] for row in report["parity"]] == [
        "rewritten",
        "fused",
        "int8",
        "scripted",
        "optimized",
        "reloaded",
    ]
    for row in report["parity"]:
        assert {"stage", "max_abs_diff", "sqnr_db", "top1_agreement"} <= set(row)
    for entry in report["passes"]:
        assert {"name", "edits", "skips", "diff"} <= set(entry)
    timings = report["timings"]
    assert list(timings)[:2] == ["importing", "loading"] and all(seconds > 0 for seconds in timings.values())
    assert sum(seconds for step, seconds in timings.items() if step != "total") <= timings["total"]
    random, assumed = ["random weights amplify rounding"], ["preprocessing is assumed"]
    before, after = (random, []) if process == "real_network" else ([], assumed)
    for words, warning in zip([*before, "generated images", *after], report["warnings"], strict=True):
        assert words in warning


def test_the_json_report_says_what_was_asked_and_what_came_out(small_process):
    report = small_process.report
    assert report["model"] == {
        "name": "tiny",
        "weights": "as the factory made them",
        "parameters": sum(p.numel() for p in networks.tiny().parameters()),
        "input_size": [3, 32, 32],
    }
    assert report["config"]["calib_count"] == 20
    assert report["config"]["engine"] == "qnnpack"
    assert report["calibration"]["images"] == 20
    assert report["artifact"]["bytes"] == (small_process.folder / "tiny.ptl").stat().st_size
    assert report["artifact"]["int8_macs_share"] == 1.0
    assert (report["quantization"]["quantize_nodes"], report["quantization"]["dequantize_nodes"]) == (1, 1)
    assert report["quantization"]["float_islands"] == []
    assert report["quantization"]["int8_ops"]["quantized::linear"] == 1
    assert report["latency"]["threads"] == 1


def test_a_real_network_is_converted_and_verified(real_network):
    report = real_network.report
    assert report["verdict"] == "converted and verified" and report["verified"] is True
    assert report["model"]["weights"] == "random, seed 0"
    assert report["artifact"]["int8_macs_share"] >= 0.9
    rows = {row["stage"]: row for row in report["parity"]}
    assert rows["rewritten"]["max_abs_diff"] == 0
    assert rows["int8"]["sqnr_db"] >= 10
    assert [rows[stage]["max_abs_diff"] for stage in ("scripted", "optimized", "reloaded")] == [0, 0, 0]


def test_without_report_about_a_dozen_lines_are_printed_the_most_telling_first(small_process):
    lines = small_process.stdout.splitlines()
    assert lines[0] == "✓ tiny: converted and verified"
    assert 8 <= len(lines) <= 13
    assert [line.split("  ")[0] for line in lines[1:]] == [
        *("fidelity", "against float", "int8", "size", "latency", "audit"),
        *("weights", "calibrated on", "preprocessing", "rewritten", "written"),
    ]


def test_the_result_goes_to_stdout_and_warnings_to_stderr(small_process):
    assert small_process.stderr.splitlines() == [
        "warning: calibrated on generated images; photographs (--calib DIR) give better ranges",
        "warning: preprocessing is assumed, for nothing says how tiny was trained to see images: resized to cover "
        "37x37, cropped to 32x32, bilinear, from 0 to 1, less 0.485, 0.456, 0.406, over 0.229, 0.224, 0.225; if that "
        "is wrong, so are the ranges: give --preprocess (torchvision, timm, unit, raw or FILE.py:FUNCTION), or --mean "
        "and --std",
    ]
    assert "warning" not in small_process.stdout


@pytest.mark.parametrize("process", ["small_process", "real_network"])
def test_pipes_get_no_escape_codes(process, request):
    run = request.getfixturevalue(process)
    assert "\x1b" not in run.stdout + run.stderr


def test_the_full_report_has_every_section(real_network):
    printed = real_network.stdout
    titles = [a for a, b in zip(printed.splitlines(), printed.splitlines()[1:], strict=False) if b and set(b) == {"-"}]
    for title in (
        *("Asked for", "Pass arithmetic-to-functional", "Pass fusable-names", "Operators before and after"),
        *("Int8 and float domains", "Parity ledger", "Size and latency"),
        *("Calibration", "Timings", "Warnings", "Other facts", "Verdict"),
    ):
        assert title in titles
    assert any(title.startswith("Rewriting: rewrote ") for title in titles)


def test_the_full_report_shows_diffs_with_reasons_renames_and_operators(real_network):
    printed = real_network.stdout
    assert "\nPass arithmetic-to-functional\n" in printed
    assert "features.3 (InvertedResidual): the plain operator has no quantized kernel\n-" in printed
    assert "the plain operator has no quantized kernel" in printed
    assert "\n-" in printed and "\n+" in printed
    (rename,) = [line.split() for line in printed.splitlines() if line.startswith("features.1.block.0.0 ")]
    assert " ".join(rename[2:]) == "and 10 more like this"
    assert not any(part.isdigit() or part == "block" for part in rename[1].split("."))
    (row,) = [line for line in printed.splitlines() if " quantized::conv2d " in line]
    assert row.split()[-1] == "int8"
    assert "1 quantize, 1 dequantize, 0 float islands" in printed


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("quiet", "shown"), [([], True), (["--quiet"], False)])
def test_progress_is_shown_on_stderr_of_a_terminal_only(quiet, shown, command, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        run = command("convert", *PLAIN, *quiet)
    assert run.status == 0
    assert ("starting" in screen.getvalue()) is shown
    assert "photographs (--calib DIR) give better" in screen.getvalue()
    assert run.stdout.startswith("✓ tiny: converted and verified\n")


def test_an_error_is_one_line_in_a_pipe_and_folded_between_words_on_a_terminal(command, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    whole = command("explain", "no-such-pass").stderr
    assert whole.count("\n") == 1 and len(whole) > 41
    screen = Screen()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        assert command("explain", "no-such-pass").status == 2
    folded = screen.getvalue()
    assert folded.split() == whole.split() and max(map(len, folded.splitlines())) <= 40


def test_paths_are_told_as_they_were_given(command, tmp_path):
    folder = tmp_path / "cwd"
    (folder / "photos").mkdir()
    for index, pixels in enumerate(natural_images(4, 32, 32, seed=0)):
        Image.fromarray(pixels).save(folder / "photos" / f"{index}.png")
    (folder / "net.py").write_text("from torch import nn\n\n\ndef net():\n    return nn.Conv2d(3, 3, 1)\n")
    words = ("--input-size", "32", "--calib", "photos", "--calib-count", "4", "--recipe", "none", "--report")
    run = command("convert", "net.py:net", *words, "-o", "n.ptl", "--json", "report.json", "--html", "n.html")
    assert run.status == 0, run.stderr
    assert run.stdout.endswith("written        n.ptl\n") and "4 of 4 photographs in photos" in run.stdout
    for told in (run.stdout, run.stderr, (folder / "report.json").read_text(), (folder / "n.html").read_text()):
        assert str(tmp_path) not in told


# -- rewriting alone -----------------------------------------------------------------------------------


def test_diff_shows_the_rewriting_and_writes_nothing(command):
    run = command("diff", f"{NETWORKS}:tiny", "--input-size", "3x32x32")
    assert run.status == 0, run.stderr
    assert run.stderr == ""
    assert "-mul = block_2 * hardsigmoid  (fxconv_networks.py:" in run.stdout
    assert "+mul = self.mul(block_2, hardsigmoid)  # Mul()\n" in run.stdout
    assert "computes exactly what the original does" in run.stdout
    assert run.files == []


def test_a_dry_run_says_what_would_be_rewritten_and_writes_nothing(command):
    run = command("convert", *PLAIN, "--dry-run")
    assert run.status == 0
    assert "Rewriting: would rewrite " in run.stdout
    assert run.stderr == ""
    assert run.files == []


@pytest.mark.parametrize("words", [("diff",), ("convert", "--dry-run")])
def test_rewriting_alone_needs_no_calibration(words, command, monkeypatch):
    def calibrated(*_):
        raise AssertionError("a dry run has nothing to calibrate")

    monkeypatch.setattr(static, "observe", calibrated)
    assert command(words[0], f"{NETWORKS}:tiny", *words[1:], "--input-size", "32").status == 0


def test_diff_until_a_pass_stops_there(command):
    run = command("diff", f"{NETWORKS}:tiny", "--input-size", "32", "--until", "fold-relu6", "--json", "report.json")
    assert run.report["passes"][-1]["name"] == "fold-relu6"
    assert "QuantStub" not in run.stdout


def test_a_skipped_pass_does_not_run(command):
    run = command("diff", f"{NETWORKS}:tiny", "--input-size", "32", "--skip", "fold-relu6", "--json", "report.json")
    assert run.status == 0
    assert "fold-relu6" not in [entry["name"] for entry in run.report["passes"]]


# -- what there is -------------------------------------------------------------------------------------


def test_models_lists_names_and_aliases(command):
    lines = command("models").stdout.splitlines()
    assert {"mobilenet_v3_small", "resnet18", "mobilenet_v3 (means mobilenet_v3_large)"} <= set(lines)
    assert not [line for line in lines if line.startswith("quantized_")]


def test_passes_lists_them_in_order_a_line_each(command):
    lines = command("passes").stdout.splitlines()
    names = [line.split()[1] for line in lines]
    assert names.index("functional-to-module") < names.index("arithmetic-to-functional") < names.index("fold-relu6")
    assert lines[0].startswith(" 1  ")
    assert lines[-1].startswith(" -  wrap-arithmetic ") and lines[-1].endswith("(on request)")


def test_explain_prints_the_page_and_an_example(command):
    page = command("explain", "fold-relu6").stdout
    assert page.startswith("fold-relu6\n")
    assert "Why: the engine's quantized clamp returns scrambled values" in page
    assert "-act = self.act(bn)  # ReLU6()\n+act = self.act(bn)  # CappedReLU(cap=6)\n" in page


def test_help_does_not_import_torch():
    helps = [["--help"], ["-h"], ["convert", "--help"], ["diff", "--help"], []]
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "from fxconv.cli.app import main\n"
        f"for words in {helps!r}:\n"
        "    sys.argv = ['fxconv', *words]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        print('status', end.code, 'torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *pages, last = done.stdout.split("status 0 False False\n")
    assert (len(pages), last) == (len(helps), "")
    assert all("Usage: fxconv" in page for page in pages)
    assert done.stderr == ""


# -- verification --------------------------------------------------------------------------------------


def test_a_file_swapped_before_it_is_read_back_is_never_shipped(command, batches, monkeypatch):
    other = fxconv.convert(networks.other_tiny(), calibration=batches)
    assert other.verified
    Path("tiny.ptl").write_bytes(b"the artifact of last week")
    load = MobileTarget.load

    def load_after_a_swap(self: MobileTarget, file: Path | bytes):
        if isinstance(file, Path):
            file.write_bytes(other.artifact.data)
        return load(self, file)

    monkeypatch.setattr(MobileTarget, "load", load_after_a_swap)
    run = command("convert", *PLAIN, "-o", "tiny.ptl")
    assert run.status == 1
    assert run.stdout.startswith("✗ tiny: FAILED: reloaded against int8: ")
    assert run.stderr.splitlines()[-1].endswith(
        "tiny.ptl was not written; the file there is from before; try --method trace, or --block a mobile pass"
    )
    assert run.files == ["tiny.ptl"]
    assert Path("tiny.ptl").read_bytes() == b"the artifact of last week"


def test_a_file_damaged_before_it_is_read_back_is_never_shipped(command, monkeypatch):
    load = MobileTarget.load

    def load_after_damage(self: MobileTarget, file: Path | bytes):
        if isinstance(file, Path):
            file.write_bytes(b"garbage")
        return load(self, file)

    monkeypatch.setattr(MobileTarget, "load", load_after_damage)
    run = command("convert", *PLAIN, "--json", "report.json")
    assert run.status == 1
    assert "reloaded against int8: the file does not load or run: " in run.stderr
    assert run.files == ["report.json"]
    assert run.report["artifact"]["path"] is None
    assert run.report["parity"][-1]["sqnr_db"] is None


def test_too_little_sqnr_fails_and_writes_nothing(command):
    run = command("convert", *PLAIN, "--min-sqnr", "90")
    assert run.status == 1
    assert run.stdout.startswith("✗ tiny: FAILED: int8 against original: SQNR ")
    assert run.stderr.splitlines()[-1].endswith(
        "required: at least 90 dB; tiny.ptl was not written; "
        "calibrate on more of what the model will see (--calib, --calib-count), or accept it (--min-sqnr)"
    )
    assert run.files == []


# -- choices -------------------------------------------------------------------------------------------

OWN_PASS = '''
from torch import nn
from rewrites import Editor, RewritePass


class LeakReLU(RewritePass):
    """ReLU becomes a leaky one without a leak."""

    name = "leak-relu"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if node.op == "call_module" and type(editor.graph_module.get_submodule(node.target)) is nn.ReLU:
                editor.replace_module(node, nn.LeakyReLU(0.0), "to see a pass of one's own at work")

    @staticmethod
    def example() -> nn.Module:
        return nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
'''


def test_a_pass_of_the_users_own_runs(command):
    Path("mine.py").write_text(OWN_PASS)
    run = command("convert", *PLAIN, "--pass", "mine.py:LeakReLU", "--report", "--json", "report.json")
    assert run.status == 0, run.stderr
    own = next(entry for entry in run.report["passes"] if entry["name"] == "leak-relu")
    assert len(own["edits"]) == 2
    assert "to see a pass of one's own at work" in run.stdout
    assert run.report["quantization"]["int8_ops"]["quantized::leaky_relu"] == 2


def test_a_trace_records_the_example(command, tmp_path):
    path = tmp_path / "example.npy"
    np.save(path, np.ones((3, 32, 32), np.float32))
    run = command("convert", *PLAIN, "--method", "trace", "--example", str(path), "--json", "report.json")
    assert run.status == 0, run.stderr
    assert run.report["config"]["method"] == "trace"
    assert run.report["verdict"] == "converted and verified"


@needs_xnnpack
def test_java_blocks_the_prepacked_operators(command):
    words = (f"{NETWORKS}:one_float_convolution", "--input-size", "16", "--calib-count", "4", "--json", "report.json")
    words = (*words, "--skip", *networks.PAD_INSIDE)
    plain = command("convert", *words).report
    java = command("convert", *words, "--java").report
    assert [op for op in plain["artifact"]["operators"] if op.startswith("prepacked::")]
    assert not [op for op in java["artifact"]["operators"] if op.startswith("prepacked::")]


def test_a_network_the_engine_keeps_in_float_is_told_apart(command):
    words = (f"{NETWORKS}:one_float_convolution", "--input-size", "16", "--calib-count", "4")
    run = command("convert", *words, "--skip", *networks.PAD_INSIDE, "--report")
    assert run.status == 0
    assert run.stdout.startswith("! one_float_convolution: float by engine, verified\n")
    assert "quantized convolutions pad with zeros only, not 'circular'" in run.stdout


def test_photographs_of_a_folder_calibrate(command, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png"):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "c.jpg").write_bytes(b"not a photograph")
    run = command("convert", *PLAIN, "--calib", str(tmp_path), "--json", "report.json")
    assert run.status == 0, run.stderr
    assert run.report["calibration"]["images"] == 2
    assert run.report["calibration"]["source"].startswith("2 of 3 photographs in ")
    assert run.stderr.startswith("warning: c.jpg was left out of calibration: ")


def test_the_same_command_writes_the_same_bytes_elsewhere_under_another_name(small_process, tmp_path, monkeypatch):
    """In a process that has no folder for temporary files, too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    again = run_process(tmp_path, "convert", *TWENTY, "-o", "again.ptl", "--json", "report.json")
    assert again.status == 0, again.stderr
    assert again.report["verdict"] == "converted and verified"
    assert (tmp_path / "again.ptl").read_bytes() == (small_process.folder / "tiny.ptl").read_bytes()
