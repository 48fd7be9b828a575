"""Whether this torch can do the job: told in one sentence, before any work."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torchvision
from fxconv_commands import REPO

import fxconv
from fxconv.environment import INSTALL, TORCHVISION, check, untested
from fxconv.errors import UserError


def test_what_this_installation_is():
    environment = check("qnnpack")
    assert environment.torch == torch.__version__
    assert environment.torchvision.split("+")[0] == torchvision.__version__.split("+")[0]
    assert (environment.engine, environment.xnnpack) == ("qnnpack", torch._C._is_xnnpack_enabled())


def test_the_ranges_are_those_that_pip_is_given():
    (needed,) = re.findall(
        r"^dependencies = \[\n(.*?)^\]", (REPO / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL
    )
    ranges = dict(re.findall(r'"(torch|torchvision)(>=[^"]+)"', needed))
    assert f'install "torch{ranges["torch"]}" and "torchvision{ranges["torchvision"]}"' == INSTALL
    first, *_, last = TORCHVISION.items()
    for package, low, high in (("torch", first[0], last[0]), ("torchvision", first[1], last[1])):
        above = int(high.partition(".")[2]) + 1
        assert ranges[package] == f">={low},<{high.partition('.')[0]}.{above}"


def test_there_are_constraints_for_each_torch():
    for torch_, torchvision_ in TORCHVISION.items():
        pins = (REPO / "constraints" / f"torch-{torch_}.txt").read_text()
        assert re.search(rf"^torch==={torch_}\.\d+$", pins, re.MULTILINE)
        assert re.search(rf"^torchvision==={torchvision_}\.\d+$", pins, re.MULTILINE)
        assert "-c all.txt" in pins.splitlines()
    assert f"TORCH ?= {list(TORCHVISION)[-1]}\n" in (REPO / "Makefile").read_text()


def test_what_depends_on_xnnpack_is_tested_on_the_oldest_torch_too():
    makefile = (REPO / "Makefile").read_text().replace("\\\n", " ")
    (chosen,) = re.findall(r"^ON_TORCH = (.*)$", makefile, re.MULTILINE)
    places = [REPO / place for place in chosen.split()]
    assert all(place.exists() for place in places)
    files = [
        path
        for path in (REPO / "tests").rglob("test_*.py")
        if re.search(r"\b(has|no|with|without|needs)_xnnpack\b", path.read_text())
    ]
    assert len(files) >= 6
    for file in files:
        assert any(file == place or place in file.parents for place in places), file


def test_a_torch_without_an_engine(monkeypatch, small_model, batches):
    replacement = SimpleNamespace(supported_engines=["none", "fbgemm", "x86"])
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends, "quantized", replacement)
        with pytest.raises(UserError, match=r"has no quantized engine 'qnnpack' \(it has fbgemm, x86\)") as error:
            fxconv.convert(small_model, calibration=batches)
    assert str(error.value).endswith(INSTALL)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("module", ["torch.ao.quantization", "torch.jit.mobile"])
def test_a_torch_without_a_part_that_is_needed(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"comes without {module}; install"):
        check()


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        (("2.11.0", "0.26.0"), "torch 2.11.0 is older than 2.12, the oldest that fxconv is made for; install"),
        (("1.13.1+cpu", "0.14.1"), r"torch 1.13.1\+cpu is older than 2.12, the oldest"),
        (("2.14.1+cu130", "0.28.0"), r"torch 2.14.1\+cu130 and torchvision 0.28.0 do not belong together; install"),
        (("2.12.0", "0.29.1"), "torch 2.12.0 and torchvision 0.29.1 do not belong together; install"),
        (("2.13.0", None), "torchvision is not installed; install"),
    ],
)
def test_releases_that_do_not_fit(installed, message, monkeypatch, small_model, batches):
    found = dict(zip(("torch", "torchvision"), installed, strict=True))
    install(found, monkeypatch)
    with pytest.raises(UserError, match=message) as error:
        fxconv.convert(small_model, calibration=batches)
    assert str(error.value).endswith(INSTALL) and "\n" not in str(error.value)


@pytest.mark.parametrize("installed", [("2.12.0", "0.27.0"), ("2.13.0", "0.28.0"), ("2.14.2+cpu", "0.29.7")])
def test_releases_that_fit(installed, monkeypatch):
    install(dict(zip(("torch", "torchvision"), installed, strict=True)), monkeypatch)
    found = check()
    assert (found.torch, found.torchvision) == installed
    assert untested(found.torch) == ""


def test_a_newer_torch_is_tried_and_told(monkeypatch, small_model, batches):
    install({"torch": "2.15.0", "torchvision": "0.30.0"}, monkeypatch)
    conversion = fxconv.convert(small_model, calibration=batches, recipe="none")
    assert conversion.verified
    assert conversion.warnings[0] == "torch 2.15.0 is newer than 2.14, the newest that fxconv is tested with"


def install(found: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """These releases, as far as can be asked."""
    version = importlib.metadata.version

    def installed(name: str) -> str:
        if name not in found:
            return version(name)
        if (wanted := found[name]) is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return wanted

    monkeypatch.setattr(torch, "__version__", found["torch"])
    monkeypatch.setattr(importlib.metadata, "version", installed)


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
    assert line.endswith(INSTALL)


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
    assert fxconv.convert.__module__ == "fxconv.api"
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
