"""A process of one's own starts without torch's compiler, has it when it is used, and ends as it should."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fxconv_commands import NETWORKS, REPO

PUT_OFF = f"""
import sys
sys.path.insert(0, {str(REPO)!r})
from fxconv import lean
lean.put_off_compiler()
import torch, torchvision
code_ran = lambda: "torch._dynamo.symbolic_convert" in sys.modules
assert not code_ran() and "sympy" not in sys.modules
"""

USES = {
    "compile": "y = torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2)).tolist(); assert y == [2.0, 2.0]",
    "an attribute": "assert callable(torch._dynamo.optimize)",
    "a module of its": "from torch._dynamo.source import ConstantSource; assert ConstantSource('x').name",
    "torchvision's function": "assert torchvision.ops.roi_align.__globals__['is_compile_supported']('cpu') is True",
    "a function of the utilities": "from torch._dynamo.utils import counters; assert len(counters) >= 0",
    "disable, with options": "assert torch._dynamo.disable(recursive=False)(abs)(-1) == 1",
    "fake tensors with weights": "from torch._subclasses.fake_tensor import FakeTensorMode\n"
    "with FakeTensorMode(allow_non_fake_inputs=True):\n"
    "    assert torch.nn.Linear(2, 3)(torch.empty(1, 2)).shape == (1, 3)\n"
    "with FakeTensorMode(allow_non_fake_inputs=True) as fake:\n"
    "    fake.from_tensor(torch.nn.Linear(2, 3).weight)",
}


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("use", list(USES))
def test_the_compiler_is_there_when_it_is_used(use):
    done = run(f"{PUT_OFF}\n{USES[use]}\nassert code_ran()\nassert type(torch._dynamo) is type(sys)\nprint('done')")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_what_is_disabled_before_the_compiler_came_stays_so_afterwards():
    done = run(
        f"{PUT_OFF}\n"
        "import torch._compile\n"
        "calls = []\n"
        "function = torch._compile._disable_dynamo(lambda x: calls.append(torch.compiler.is_compiling()) or x + 1)\n"
        "assert function(1) == 2 and not code_ran()\n"
        "assert torch.compile(lambda x: function(x) * 2, backend='eager')(torch.ones(1)).item() == 4.0\n"
        "print(calls)"
    )
    assert (done.returncode, done.stdout) == (0, "[False, False]\n"), done.stderr


def test_a_conversion_does_without_the_compiler_and_ends_with_its_status(tmp_path):
    words = ["convert", f"{NETWORKS}:tiny", "--input-size", "3x32x32", "--calib-count", "4", "-o", "tiny.ptl"]
    program = (
        f"import atexit, sys; sys.path.insert(0, {str(REPO)!r}); sys.argv = ['fxconv', *{words!r}]\n"
        "from fxconv import cli\n"
        "atexit.register(lambda: print('compiler', 'torch._dynamo.symbolic_convert' in sys.modules))\n"
        "cli.start()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "compiler False"
    assert (tmp_path / "tiny.ptl").exists()


def test_a_library_leaves_its_users_imports_alone():
    done = run(
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "import fxconv\n"
        "fxconv.convert\n"
        "assert [finder for finder in sys.meta_path if 'fxconv' in type(finder).__module__] == []\n"
        "assert 'torch._dynamo.symbolic_convert' in sys.modules\n"
        "print('done')"
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
