"""Whether this torch can do the job: told in one sentence, before any work."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torchvision
from fxconv_commands import REPO

import fxconv
from fxconv.environment import check
from fxconv.errors import UserError


def test_what_this_installation_is():
    environment = check("qnnpack")
    assert environment.torch == torch.__version__
    assert environment.torchvision.split("+")[0] == torchvision.__version__.split("+")[0]
    assert (environment.engine, environment.xnnpack) == ("qnnpack", True)


@pytest.mark.parametrize(
    ("attribute", "replacement", "message"),
    [
        ("xnnpack", SimpleNamespace(enabled=False), r"is built without XNNPACK \(2.13 and later are\)"),
        (
            "quantized",
            SimpleNamespace(supported_engines=["none", "fbgemm", "x86"]),
            r"has no quantized engine 'qnnpack' \(it has fbgemm, x86\)",
        ),
    ],
)
def test_a_torch_without_what_is_needed(attribute, replacement, message, monkeypatch, small_model, batches):
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends, attribute, replacement)
        with pytest.raises(UserError, match=message) as error:
            fxconv.convert(small_model, calibration=batches)
    assert str(error.value).endswith('install "torch>=2.12,<2.13" and "torchvision>=0.27,<0.28"')
    assert "\n" not in str(error.value)


def test_a_torch_without_torch_ao(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(UserError, match=r"comes without torch.ao.quantization; install"):
        check()


def test_the_command_says_so_in_one_line():
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r}); sys.modules['torch'] = None\n"
        "sys.argv = ['fxconv', 'convert', 'resnet18']\n"
        "from fxconv.cli.app import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("fxconv: error: torch does not import (")
    assert line.endswith('install "torch>=2.12,<2.13" and "torchvision>=0.27,<0.28"')


def test_importing_fxconv_does_not_import_torch():
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "import fxconv\n"
        "assert 'torch' not in sys.modules\n"
        "print(fxconv.__version__, callable(fxconv.convert), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [fxconv.__version__, "True", "True"]


def test_convert_is_the_function():
    assert fxconv.convert.__module__ == "fxconv.conversion"
    assert fxconv.convert.__name__ == "convert"
    with pytest.raises(AttributeError, match="module 'fxconv' has no attribute 'transmogrify'"):
        fxconv.transmogrify  # noqa: B018


def test_rewrites_never_imports_fxconv():
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "import rewrites, rewrites.spec, rewrites.fusion, rewrites.kernels\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('fxconv', 'torchvision', 'typer', 'rich')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
