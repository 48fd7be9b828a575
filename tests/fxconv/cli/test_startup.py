"""A process of one's own starts without torch's compiler, has it when it is used, and ends as it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from fxconv_commands import PLAIN, REPO

# A process whose compiler is put off. It forks for each program it reads, a line of JSON each, and tells the status;
# what the programs print goes to stderr, with their tracebacks.
PUT_OFF = f"""
import json, os, sys
sys.path.insert(0, {str(REPO)!r})
from fxconv.cli import startup
startup.put_off_compiler()
import torch, torchvision
code_ran = lambda: "torch._dynamo.symbolic_convert" in sys.modules
assert not code_ran() and "sympy" not in sys.modules
for line in sys.stdin:
    child = os.fork()
    if not child:
        exec(json.loads(line), globals())
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

USES = {
    "compile": "y = torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2)).tolist(); assert y == [2.0, 2.0]",
    "an attribute": "assert callable(torch._dynamo.optimize)",
    "a module of its": "from torch._dynamo.source import ConstantSource; assert ConstantSource('x').name",
    "torchvision's function": "assert torchvision.ops.roi_align.__globals__['is_compile_supported']('cpu') is True",
    "a function of the utilities": "from torch._dynamo.utils import counters; assert len(counters) >= 0",
    "disable, with options": "assert torch._dynamo.disable(recursive=False)(abs)(-1) == 1",
}


Run = Callable[[str], int]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a program where torch has been imported without its compiler, each in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PUT_OFF]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def run(program: str) -> int:
            print(json.dumps(program), file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield run
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize("use", list(USES))
def test_the_compiler_is_there_when_it_is_used(use, run):
    assert run(f"assert not code_ran()\n{USES[use]}\nassert code_ran()\nassert type(torch._dynamo) is type(sys)") == 0


def test_fake_tensors_with_weights(run):
    """Some releases of torch use the compiler for them, some do not."""
    program = (
        "from torch._subclasses.fake_tensor import FakeTensorMode\n"
        "with FakeTensorMode(allow_non_fake_inputs=True):\n"
        "    assert torch.nn.Linear(2, 3)(torch.empty(1, 2)).shape == (1, 3)\n"
        "with FakeTensorMode(allow_non_fake_inputs=True) as fake:\n"
        "    assert fake.from_tensor(torch.nn.Linear(2, 3).weight).shape == (3, 2)\n"
        "assert code_ran() is (type(torch._dynamo) is type(sys))"
    )
    assert run(program) == 0


def test_what_is_disabled_before_the_compiler_came_stays_so_afterwards(run):
    program = (
        "import torch._compile\n"
        "calls = []\n"
        "function = torch._compile._disable_dynamo(lambda x: calls.append(torch.compiler.is_compiling()) or x + 1)\n"
        "assert function(1) == 2 and not code_ran()\n"
        "assert torch.compile(lambda x: function(x) * 2, backend='eager')(torch.ones(1)).item() == 4.0\n"
        "assert calls == [False, False]"
    )
    assert run(program) == 0


def test_a_conversion_does_without_the_compiler_and_ends_with_its_status(tmp_path):
    words = ["convert", *PLAIN, "-o", "tiny.ptl"]
    program = (
        f"import atexit, sys; sys.path.insert(0, {str(REPO)!r}); sys.argv = ['fxconv', *{words!r}]\n"
        "from fxconv.cli import app\n"
        "atexit.register(lambda: print('compiler', 'torch._dynamo.symbolic_convert' in sys.modules))\n"
        "app.start()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "compiler False"
    assert (tmp_path / "tiny.ptl").exists()


def test_a_library_leaves_its_users_imports_alone():
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "import fxconv\n"
        "fxconv.convert\n"
        "assert [finder for finder in sys.meta_path if 'fxconv' in type(finder).__module__] == []\n"
        "assert 'torch._dynamo.symbolic_convert' in sys.modules\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
