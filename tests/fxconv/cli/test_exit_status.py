"""The three kinds of trouble on the command line: one line each, never mixed; the traceback when asked for."""

from __future__ import annotations

import errno
import operator
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fxconv_commands import PLAIN, REPO, SMALL, assert_user_error, run_process

import rewrites.passes
from fxconv.cli.exit_status import outcome_of
from fxconv.diagnostics.known_errors import BY_NAME
from fxconv.errors import ConversionError, InternalError, UserError, described, message_line, one_line, stage
from fxconv.models import forward
from fxconv.targets.mobile import optimizing

REPORT = (
    "; this is a fault of fxconv's: run again with --traceback, and report what it prints together with the model and "
    "fxconv --version"
)
HEAD = "import traceback\nfrom torch import nn\nfrom rewrites import RewritePass\n\n\n"
# True in the conversion itself, once the model has been loaded, tried and traced.
LATE = """
def late():
    stack = "".join(traceback.format_stack())
    return "fxconv/conversion.py" in stack and "forward.py" in stack


"""
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        {line}
        return self.conv(x)
"""
OWN_PASS = '''
class Mine(RewritePass):
    """A pass."""

    name = "mine"

    def run(self, editor):
        for node in editor.nodes():
            {line}

    @staticmethod
    def example():
        return nn.ReLU()
'''


def net(line: str) -> str:
    """A command line's MODEL whose forward holds this line."""
    Path("net.py").write_text(HEAD + LATE + NET.format(line=line))
    return "net.py:Net"


def own_pass(line: str) -> str:
    """A command line's PASS whose run holds this line."""
    Path("mine.py").write_text(HEAD + OWN_PASS.format(line=line))
    return "mine.py:Mine"


def broken_lowering(monkeypatch):
    """A fault in fxconv's own code: the call in optimizing.py raises TypeError."""
    monkeypatch.setattr(optimizing, "in_own_unit", operator.neg)
    return PLAIN


def broken_pass(monkeypatch):
    """A fault in a pass of fxconv's: it raises at the first node that calls a layer or a function."""
    monkeypatch.setattr(rewrites.passes.drop_inference_noops, "callee", {}.__getitem__)
    return PLAIN


def failed_check(monkeypatch):
    return (*PLAIN, "--min-sqnr", "99")


def mistake(monkeypatch):
    return ("resnet",)


def wrong_usage(monkeypatch):
    return (*PLAIN, "--fast")


def model_that_fails_late(monkeypatch):
    return (net("if late(): raise ValueError('first\\nsecond')"), "--input-size", "16", "--calib-count", "4")


def model_that_exits(monkeypatch):
    return (net("if late(): raise SystemExit(0)"), "--input-size", "16", "--calib-count", "4")


def out_of_memory(monkeypatch):
    words = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
    return (net(f'if late(): raise RuntimeError("{words}")'), "--input-size", "16", "--calib-count", "4")


def pass_that_raises(monkeypatch):
    return (*PLAIN, "--pass", own_pass("raise ValueError('first\\nsecond')"))


def pass_that_breaks_the_graph(monkeypatch):
    return (*PLAIN, "--pass", own_pass("node.append(next(iter(editor.graph.nodes)))"))


def too_deep(monkeypatch):
    Path("net.py").write_text(
        HEAD + "def Net():\n    net = nn.Conv2d(3, 4, 3)\n    for _ in range(900):\n        net = nn.Sequential(net)\n"
        "    return net\n"
    )
    return ("net.py:Net", "--input-size", "16", "--calib-count", "4")


LINES = {
    mistake: (2, "unknown model 'resnet'; did you mean "),
    wrong_usage: (2, "no such option: --fast"),
    failed_check: (1, f"{SMALL[0]}: FAILED: int8 against original: SQNR "),
    broken_lowering: (1, "INTERNAL ERROR in lowering: TypeError: bad operand type for unary -: "),
    broken_pass: (1, "INTERNAL ERROR in pass drop-inference-noops at node "),
    model_that_fails_late: (2, "the code in net.py, line 21 (if late(): raise ValueError('first\\nsecond')), failed "
                               "with ValueError: first on an input of 3x16x16; mend it there"),
    model_that_exits: (2, "the code in net.py, line 21 (if late(): raise SystemExit(0)), ends the process; mend it"),
    pass_that_raises: (2, "--pass: pass mine failed at node x, mine.py:14 (raise ValueError('first\\nsecond')): "
                          "ValueError: first; mend the pass, or leave it out"),
    pass_that_breaks_the_graph: (2, "--pass: pass mine failed at node "),
    out_of_memory: (2, "out of memory in verification; set a smaller --batch-size or --input-size"),
    too_deep: (2, "the model is nested too deeply for Python, or calls itself without end; make it less deep"),
}  # fmt: skip


@pytest.mark.parametrize("traced", [False, True], ids=["", "--traceback"])
@pytest.mark.parametrize("kind", LINES, ids=lambda kind: kind.__name__)
def test_every_kind_is_one_line_and_its_traceback_when_asked_for(kind, traced, command, monkeypatch):
    words, (status, line) = kind(monkeypatch), LINES[kind]
    run = command("convert", *words, *(["--traceback"] if traced else []))
    lines = [text for text in run.stderr.splitlines() if not text.startswith("warning: ")]
    assert run.status == status, run.stderr
    assert lines[-1].startswith(f"fxconv: error: {line}")
    assert (("INTERNAL ERROR" in lines[-1]), lines[-1].endswith(REPORT)) == (("broken" in kind.__name__),) * 2
    if traced:
        assert lines[0] == "Traceback (most recent call last):" or "direct cause" in run.stderr
    else:
        assert len(lines) == 1
    assert not [name for name in run.files if not name.endswith((".py", "__pycache__"))]


def test_a_fault_of_a_pass_names_pass_and_node(command, monkeypatch):
    (line,) = command("diff", *broken_pass(monkeypatch)[:3]).stderr.splitlines()
    assert line == (
        "fxconv: error: INTERNAL ERROR in pass drop-inference-noops at node stem_0: TypeError: dict.__getitem__() "
        f"takes exactly one argument (2 given){REPORT}"
    )


def test_a_fault_outside_of_conversions_says_where(command, monkeypatch):
    monkeypatch.setattr("fxconv.report.pages.pass_page", {}.__getitem__)
    run = command("explain", "fold-relu6")
    assert run.status == 1
    assert run.stderr.startswith("fxconv: error: INTERNAL ERROR in the command line: KeyError: ")
    assert run.stderr.endswith(f"{REPORT}\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("16 GB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
    ],
    ids=repr,
)
def test_too_little_memory_wherever_it_shows(error):
    wrapped = ConversionError("the engine refuses to run the int8 model")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        assert outcome_of(raised).status == 2
        assert outcome_of(raised).line.startswith("out of memory")
        assert outcome_of(raised).line.endswith("; set a smaller --batch-size or --input-size")


def test_a_fault_says_what_is_known_of_such_errors():
    end = outcome_of(InternalError("lowering", RuntimeError("ENTER is not supported in mobile module.")))
    assert end.status == 1
    row = BY_NAME["with-block-on-phone"]
    assert "; of such errors is known: the model's code has a with-block or another construct (ENTER)" in end.line
    assert f"; {row.cure}; this is a fault of fxconv's" in end.line


def test_an_installation_that_cannot_work_is_for_the_user_to_mend():
    end = outcome_of(InternalError("loading", RuntimeError("operator torchvision::nms does not exist")))
    row = BY_NAME["torchvision-mismatch"]
    assert (end.status, end.line) == (2, f"{row.cause}; {row.cure}")


@pytest.mark.parametrize("words", [("--version",), ("convert", "--version")])
def test_the_versions_a_report_needs(words, command):
    run = command(*words)
    if words == ("--version",):
        assert run.status == 0
        assert [line.split()[0] for line in run.stdout.splitlines()] == ["fxconv", "torch", "torchvision", "Python"]
        assert torch.__version__.startswith(run.stdout.splitlines()[1].split()[1])
    else:
        assert_user_error(run, "no such option: --version")


def test_the_versions_need_no_torch():
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r}); sys.argv = ['fxconv', '--version']\n"
        "from fxconv.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    print('status', end.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "status 0 False"
    assert done.stderr == ""


TALKING = """
import logging, sys, warnings
from torch import nn

warnings.warn("a library is about to change")
logging.getLogger("library").warning("a library has something to say")


def net():
    warnings.warn("again", FutureWarning)
    return nn.Conv2d(3, 4, 3, stride=2)
"""


def test_what_libraries_say_beside_does_not_show(tmp_path):
    (tmp_path / "net.py").write_text(TALKING)
    run = run_process(
        tmp_path, "convert", "net.py:net", "--input-size", "16", "--calib-count", "4", "--preprocess", "unit"
    )
    assert run.status == 0, run.stderr
    assert run.stderr.splitlines() == [
        "warning: calibrated on generated images; photographs (--calib DIR) give better ranges"
    ]


def test_a_kernel_that_refuses_leaves_no_traceback_of_torchs(command, monkeypatch):
    """A GraphModule prints the traceback itself before it raises, when an operator called from the graph fails."""
    net_file = Path("net.py")
    net_file.write_text(
        HEAD + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 4, 3)\n\n    def forward(self, x):\n        y = self.conv(x)\n"
        "        return y.reshape(-1, 4, 196)\n"
    )
    outputs = forward.outputs

    def smaller(module, images):
        if not isinstance(module, torch.fx.GraphModule):
            return outputs(module, images)
        return outputs(module, [(image[0][:, :, :8],) for image in images])

    monkeypatch.setattr(forward, "outputs", smaller)
    run = command("convert", "net.py:Net", "--input-size", "16", "--calib-count", "4")
    assert run.status != 0
    assert len([line for line in run.stderr.splitlines() if not line.startswith("warning: ")]) == 1


# -- words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("one", "one"),
        ("\n  first  \n second", "first"),
        ("Expected a tensor\nException raised from check at x.cpp:1\nframe #0", "Expected a tensor"),
        ("Error(s) in loading state_dict for Net:\n\tMissing key(s): a", "Error(s) in loading state_dict for Net: "
         "Missing key(s): a"),
        ("The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript (most recent call "
         "last):\n  File x\nRuntimeError: shape is invalid\n", "RuntimeError: shape is invalid"),
    ],
)  # fmt: skip
def test_the_telling_line(message, line):
    assert message_line(RuntimeError(message)) == line
    assert described(RuntimeError(message)) == (f"RuntimeError: {line}" if line else "RuntimeError")


def test_long_messages_keep_their_beginning_and_their_end():
    assert len(message_line("x" * 5000)) <= 400
    line = one_line("what is wrong\n" + "x " * 5000 + "\nhow to mend it")
    assert line.startswith("what is wrong x") and line.endswith("x how to mend it")
    assert len(line) <= 1200


def test_only_unexpected_errors_become_internal_ones():
    for error in (UserError("a"), ConversionError("b"), BrokenPipeError(), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, stage(lambda: "lowering"):
            raise error
        assert caught.value is error
    with (
        pytest.raises(InternalError, match=r"^INTERNAL ERROR in lowering: KeyError: 'lost'$"),
        stage(lambda: "lowering"),
    ):
        raise KeyError("lost")


def test_no_message_has_more_than_one_line():
    for kind in (UserError, ConversionError, RuntimeError):
        assert len(outcome_of(kind("one\ntwo\n\nthree")).line.splitlines()) == 1


def test_help_that_nobody_reads_to_its_end_ends_as_a_closed_pipe(tmp_path):
    program = f"import os, sys; sys.path.insert(0, {str(REPO)!r}); sys.argv = ['fxconv', 'convert', '--help']; "
    program += "from fxconv.cli import app; os.read(0, 1); app.main()"
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    os.close(reader)  # before it prints anything
    _, told = process.communicate("x")
    assert (process.returncode, told) == (141, "")
