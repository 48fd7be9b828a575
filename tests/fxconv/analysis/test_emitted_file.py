"""`fxconv diff --emit`: what is written, what is refused, and that nothing of the user's is lost."""

from types import ModuleType

import pytest
import torch
from fxconv_commands import NETWORKS, assert_user_error
from torch import nn

from fxconv.analysis import emitted_file
from fxconv.errors import ConversionError
from rewrites import rewrite

SMALL = ("diff", f"{NETWORKS}:tiny", "--input-size", "3x32x32")


def test_the_file_is_written_in_place_of_the_diff(command, small_model):
    run = command(*SMALL, "--emit", "tiny_int8.py")
    assert (run.status, run.files) == (0, ["tiny_int8.py"])
    (line,) = run.stdout.splitlines()
    assert line.startswith("tiny_int8.py: wrote tiny, rewritten in ")
    assert line.endswith(" places; it computes exactly what the original does")
    text = (run.folder / "tiny_int8.py").read_text()
    assert text.startswith('"""tiny, rewritten by fxconv for static quantization.\n')
    module = ModuleType("tiny_int8")
    exec(text, module.__dict__)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(module.build(small_model.state_dict())(image), small_model(image))


def test_a_diff_in_another_format_is_printed_all_the_same(command):
    run = command(*SMALL, "--emit", "tiny_int8.py", "--format", "markdown")
    assert (run.status, run.files) == (0, ["tiny_int8.py"])
    assert run.stdout.startswith("# tiny: ") and "```diff" in run.stdout
    assert run.stderr.startswith("tiny_int8.py: wrote tiny, rewritten in ")


def test_it_may_be_written_again(command):
    first = command(*SMALL, "--emit", "tiny_int8.py")
    before = (first.folder / "tiny_int8.py").read_bytes()
    again = command(*SMALL, "--emit", "tiny_int8.py")
    assert (again.status, (again.folder / "tiny_int8.py").read_bytes()) == (0, before)


def test_a_file_of_the_users_is_left_alone(command, tmp_path):
    own = tmp_path / "cwd" / "own.py"
    own.write_text("print('mine')\n")
    run = command(*SMALL, "--emit", "own.py")
    assert_user_error(run, "--emit own.py: there is a file that fxconv did not write; choose another name")
    assert own.read_text() == "print('mine')\n"


def test_the_models_own_file_is_left_alone(command, tmp_path):
    own = tmp_path / "cwd" / "net.py"
    own.write_text("from torch import nn\n\n\ndef net():\n    return nn.Conv2d(3, 3, 1)\n")
    before = own.read_bytes()
    run = command("diff", "net.py:net", "--input-size", "3x8x8", "--emit", "net.py")
    assert_user_error(run, "--emit net.py: is the same file as the model")
    assert own.read_bytes() == before


def test_a_model_without_a_place_in_a_file_is_refused(command):
    run = command(*SMALL, "--arithmetic", "wrap", "--emit", "tiny_int8.py")
    assert_user_error(run, "--emit: ", "wrapped arithmetic has no place in a file", "leave it out")
    assert run.files == []


def test_a_file_that_computes_something_else_is_never_written(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()).eval()
    image = torch.randn(1, 3, 8, 8)
    rewritten = rewrite(model, example=(image,))
    wrong = emitted_file.emit(rewritten, "net").replace("nn.ReLU()", "nn.Hardswish()")
    assert "nn.Hardswish()" in wrong
    monkeypatch.setattr(emitted_file, "emit", lambda *_: wrong)
    with pytest.raises(ConversionError, match="the file computes something else"):
        emitted_file.emitted(model, rewritten, "net", [(image,)])
