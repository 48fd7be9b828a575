"""What is known of error messages: from torch's own exceptions, and from the logs of others."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from fxconv_commands import REPO, assert_user_error
from fxconv_executorch_provocations import BY_EXECUTORCH, BY_TORCH
from fxconv_provocations import PROVOKED

from fxconv.cli.app import app
from fxconv.config import Engine, Method, MobilePass, Mode, WeightScheme
from fxconv.diagnostics import diagnosis
from fxconv.diagnostics.diagnosis import closer, cure_of, diagnose, known, last_error
from fxconv.diagnostics.known_errors import BY_NAME, KNOWN_ERRORS, Place
from fxconv.environment import has_xnnpack
from fxconv.quantization.passes import ALL_PASSES
from fxconv.report.pages import doctor_markdown

LOGCAT = """\
2024-12-19 17:55:53.534  7148-7148  AndroidRuntime  E  FATAL EXCEPTION: main
2024-12-19 17:55:53.534  7148-7148  AndroidRuntime  E  Process: org.pytorch.demo, PID: 7148
2024-12-19 17:55:53.534  7148-7148  AndroidRuntime  E  com.facebook.jni.CppException: Lite Interpreter verson number \
does not match. The model version must be between 3 and 5But the model version is 7 ()
2024-12-19 17:55:53.534  7148-7148  AndroidRuntime  E    at org.pytorch.LiteModuleLoader.load(LiteModuleLoader.java:29)
"""


def names(text: str) -> list[str]:
    return [one.known_error.name for one in diagnose(text)]


@pytest.mark.parametrize(
    ("name", "program"),
    [pytest.param(name, program, id=name) for name, programs in PROVOKED.items() for program in programs],
)
def test_the_real_exception(name, program):
    torch.backends.quantized.engine = "qnnpack"
    with pytest.raises(Exception) as caught:
        program()
    assert names(str(caught.value)) == [name]


def test_there_are_rows_with_evidence():
    assert len(KNOWN_ERRORS) >= 60
    assert len(BY_NAME) == len(KNOWN_ERRORS)
    elsewhere = "xnnpack-not-built" if has_xnnpack() else "padding-in-words"  # by another torch than this
    assert {row.name for row in KNOWN_ERRORS if row.provoked} == {*PROVOKED, elsewhere, *BY_TORCH, *BY_EXECUTORCH}
    assert elsewhere not in PROVOKED
    for row in KNOWN_ERRORS:
        assert row.threads or row.provoked, row.name
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", thread) for thread in row.threads), row.name
        assert row.evidence
    assert {row.place for row in KNOWN_ERRORS} == set(Place)


@pytest.mark.parametrize("row", KNOWN_ERRORS, ids=lambda row: row.name)
def test_an_example_is_known_as_its_own_row_only(row):
    (found,) = diagnose(row.example)
    assert found.known_error is row
    assert found.number == 1
    for words in (found.cause, found.cure):
        assert words
        assert "{" not in words
        assert not words.endswith(".")


def test_a_message_broken_into_lines_is_found():
    for row in KNOWN_ERRORS:
        assert row.name in names(row.example.replace(" ", "\n   ")), row.name


def test_what_a_cure_names_exists():
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    options = {word for command in commands.values() for option in command.params for word in option.opts}
    passes = {rule.name for rule in ALL_PASSES}
    values = {
        "--engine": {one.value for one in Engine},
        "--method": {one.value for one in Method},
        "--mode": {one.value for one in Mode},
        "--block": {one.value for one in MobilePass},
        "--weight-scheme": {one.value for one in WeightScheme},
    }
    seen_options, seen_passes = set(), set()
    for row in KNOWN_ERRORS:
        cure = f"{row.cause} {row.cure}"
        for option, value in re.findall(r"(?<![\w-])(--[a-z][a-z-]*)(?: ([a-z][a-z-]*))?", cure):
            seen_options.add(option)
            assert option in options, (row.name, option)
            assert option not in values or not value or value in values[option], (row.name, option, value)
        for command in re.findall(r"fxconv ([a-z]+)", cure):
            assert command in commands, (row.name, command)
        for listed in re.findall(r"pass(?:es)? ([a-z0-9]+(?:-[a-z0-9]+)*(?: and [a-z0-9]+(?:-[a-z0-9]+)+)?)", cure):
            for name in listed.split(" and "):
                if "-" in name or name == "decompose":
                    seen_passes.add(name)
                    assert name in passes, (row.name, name)
        for page in re.findall(r"docs/\w+\.md", cure):
            assert (REPO / page).is_file(), (row.name, page)
    assert {"--java", "--keep-float", "--unsafe-load", "--calib", "--batch-size"} <= seen_options
    assert {"quant-boundaries", "factor-conv3d", "numeric-padding", "decompose"} <= seen_passes


def test_the_log_of_a_phone():
    (found,) = diagnose(LOGCAT)
    assert found.number == 3
    assert "CppException: Lite Interpreter verson number" in found.line
    assert found.cause == "the file has bytecode version 7, and the PyTorch in the app reads 3 to 5"
    assert "pytorch_android_lite:2.1.0" in found.cure and "--runtime pytorch_android_lite==1.10.0" in found.cure


@pytest.mark.parametrize(
    ("text", "name", "named"),
    [
        (
            "Could not run 'aten::add_.Tensor' with arguments from the 'QuantizedCPUTensorId' backend",
            "no-quantized-kernel", "aten::add_.Tensor",
        ),
        (
            "Could not run aten::mul.out with arguments from the QuantizedCPU backend",
            "no-quantized-kernel", "aten::mul.out",
        ),
        (
            "Could not run \u2018quantized::linear\u2019 with arguments from the \u2018CPU\u2019 backend",
            "int8-layer-given-float", "quantized::linear",
        ),
        ("\x1b[31mRuntimeError: operator \x1b[1mtorchvision::nms does not exist\x1b[0m", "torchvision-mismatch", ""),
        ("[enforce fail at inline_container.cc:208] . file not found: archive/constants.pkl", "no-program", ""),
        (
            "couldn't find DSO to load: libpytorch_jni.so caused by: dlopen failed",
            "jni-library-missing", "libpytorch_jni.so is not in",
        ),
        ("Expected IValue type 2, actual type 7", "output-type", "7"),
        ("libfbjni.so: UNALIGNED (212)", "page-size", ""),
        (
            "Following ops cannot be found. Check fburl.com/missing_ops for the fix.{torchvision::roi_align, "
            "torchvision::nms, } ()",
            "torchvision-operators-missing", "torchvision::roi_align",
        ),
        (
            "(conv): QuantizedConv2d(1, 2, kernel_size=(5, 5), scale=1.1920928955078125e-07, zero_point=14)",
            "never-calibrated", "",
        ),
    ],
)  # fmt: skip
def test_as_others_pasted_it(text, name, named):
    assert names(text)[0] == name
    assert named in diagnose(text)[0].cause


def test_all_messages_of_a_log_the_most_telling_first():
    text = "\n".join(
        (
            BY_NAME["input-channels"].example,
            "Could not run 'aten::add.out' with arguments from the 'QuantizedCPU' backend",
            "noise",
            "Could not run 'aten::mul.out' with arguments from the 'QuantizedCPU' backend",
            "Could not run 'aten::add.out' with arguments from the 'QuantizedCPU' backend",
            "PytorchStreamReader failed locating file bytecode.pkl: file not found ()",
        )
    )
    found = diagnose(text)
    assert [(one.known_error.name, one.number) for one in found] == [
        ("no-bytecode", 6),
        ("no-quantized-kernel", 2),
        ("no-quantized-kernel", 4),
        ("input-channels", 1),
    ]
    assert [one.named["op"] for one in found[1:3]] == ["aten::add.out", "aten::mul.out"]


@pytest.mark.parametrize(
    ("operator", "fragment"),
    [
        ("aten::add.out", "pass arithmetic-to-functional"),
        ("aten::add_.Tensor", "pass out-of-place and arithmetic-to-functional"),
        ("aten::silu.out", "replaces nn.SiLU by what has a kernel (pass decompose)"),
        ("aten::relu6", "(pass fold-relu6)"),
        ("aten::max_pool3d", "(pass factor-pool3d)"),
        (
            "aten::_softmax.out",
            "keeps nn.Softmax in float (pass quant-boundaries): the plain operator has no quantized",
        ),
        ("aten::thnn_conv2d_forward", "a convolution that was left in float was given int8 values"),
        ("aten::hardswish_", "runs nn.Hardswish in int8 where the kernel table allows it, once it is out of place"),
        ("aten::frobnicate", "the kernel table has no row for frobnicate"),
    ],
)
def test_the_cure_for_the_very_operator(operator, fragment):
    text = f"Could not run '{operator}' with arguments from the 'QuantizedCPU' backend"
    (found,) = closer(diagnose(text))
    assert fragment in found.cure
    assert found.cure != diagnose(text)[0].cure


def test_without_a_torch_that_works_the_cure_for_all_operators_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "fxconv.diagnostics.operator_cures", None)
    text = BY_NAME["no-quantized-kernel"].example
    assert closer(diagnose(text)) == diagnose(text)


def test_hostile_texts_come_to_an_end():
    pieces = ["a", "'", "[", "Could not run '", "ops cannot be found[", "ops cannot be found" + "[" * 160 + "{" * 400]
    pieces += [
        "Variable 'a' previously had type ",
        "Weights only load failed",
        "did not find fuser method for: (",
        "_Z",
    ]
    pieces += [
        "types other than custom c++ classes ",
        "Input type (",
        "\u202e\x00",
        "\n",
        "Got <class '",
        "expected input[",
    ]
    pieces += ["Weights only load failed Unsupported ", "ops cannot be found[", "Zz_", "failed to create QNNPACK "]
    program = (
        "from fxconv.diagnostics.diagnosis import diagnose\n"
        f"for piece in {pieces!r}: diagnose(piece * (300_000 // len(piece)))"
    )
    # A pattern that explodes takes years; this takes two seconds.
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPO, timeout=120)


def test_what_is_quoted_cannot_move_the_cursor():
    text = "\x1b]0;title\x07\u202e size mismatch for \x08key\x1b[2J.weight: copying a param with shape " + "x" * 1000
    (found,) = diagnose(text.replace("\x08", ""))
    assert found.line.isprintable()
    assert len(found.line) < 250
    assert last_error("\x1b[2J\x07boom\u202e").isprintable()


def test_of_a_long_log_the_end_is_read():
    message = BY_NAME["no-bytecode"].example
    assert names("x\n" * diagnosis.LONGEST + message) == ["no-bytecode"]
    assert names(message + "x\n" * diagnosis.LONGEST) == []


def test_nothing_is_made_up():
    for text in (
        "",
        "everything is fine",
        "ValueError: too many values to unpack",
        "AttributeError: 'X' object has no attribute 'y'",
    ):
        assert diagnose(text) == []
        assert known(text) is None
        assert cure_of(text, "otherwise") == "otherwise"


def test_the_command(command):
    run = command("doctor", BY_NAME["not-an-archive"].example)
    assert run.status == 0
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert lines[0] == "line 1: PytorchStreamReader failed reading zip archive: failed finding central directory"
    assert [line.split()[0] for line in lines[1:]] == ["cause", "cure", "seen"]
    assert "pytorch/pytorch#31620" in lines[3]


def test_words_without_quotes_and_several_messages(command):
    run = command(
        "doctor",
        "Conv",
        "and",
        "BN",
        "both",
        "must",
        "be",
        "in",
        "the",
        "same",
        "mode",
        "Fusion",
        "only",
        "for",
        "eval!",
    )
    assert run.status == 0
    assert run.stdout.splitlines()[0] == "2 messages known, the most telling first"


def test_a_file_in_any_encoding(command):
    for encoding in ("utf-8", "utf-16"):
        Path("crash.log").write_bytes(LOGCAT.encode(encoding) + b"\xff\xfe"[: encoding == "utf-8"])
        run = command("doctor", "crash.log")
        assert run.status == 0
        assert run.stdout.startswith("line 3: ")
    assert command("doctor", "crash.log", "crash.log").stdout.count("cause") == 1


def test_what_is_piped_in(command, monkeypatch):
    for words in ((), ("-",)):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(LOGCAT.encode()), isatty=lambda: False))
        assert command("doctor", *words).stdout.startswith("line 3: ")


def test_an_unknown_text(command):
    run = command("doctor", "Traceback:\n  in f\nMyError: the flux is low\nbye")
    assert run.status == 1
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert lines[0] == f"not known: none of the {len(KNOWN_ERRORS)} messages of docs/doctor.md"
    assert lines[1] == "what looks like the error: MyError: the flux is low"
    assert "FXCONV_DUMP" in run.stdout
    assert f"torch {torch.__version__.partition('+')[0]}" in lines[-1]


def test_mistakes(command, monkeypatch, tmp_path):
    assert_user_error(command("doctor", "carsh.log"), "carsh.log: no such file, and no message that is known")
    assert_user_error(command("doctor", str(tmp_path)), "not a file")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b" \n"), isatty=lambda: False))
    assert_user_error(command("doctor"), "nothing to look up")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert_user_error(command("doctor"), "nothing to look up")
    assert_user_error(command("doctor", ""), "nothing to look up")


def test_torch_is_not_imported():
    program = (
        "import sys, fxconv.cli.app, fxconv.diagnostics.diagnosis as d\n"
        "assert d.closer(d.diagnose('Fusion only for eval!'))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout == "False\n"


def test_the_page_is_that_of_the_table():
    page = (REPO / "docs" / "doctor.md").read_text()
    assert page == doctor_markdown()
    assert page.count("\n### ") == len(KNOWN_ERRORS)
    assert f"from a table of {len(KNOWN_ERRORS)}" in " ".join((REPO / "CHANGELOG.md").read_text().split())
