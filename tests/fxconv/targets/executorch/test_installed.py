"""Whether ExecuTorch is there and goes with this torch: told in one line, with the pin."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from fxconv_commands import REPO
from fxconv_executorch import needs_executorch

from fxconv.environment import EXECUTORCH, TORCHVISION, executorch_for
from fxconv.errors import UserError
from fxconv.targets.executorch.installed import check, flatc, installed, pin


@pytest.fixture
def there(monkeypatch):
    """Sets which releases of torch and executorch are installed, as far as can be asked; None is none."""
    version = importlib.metadata.version

    def set_to(**found: str | None) -> None:
        def said(name: str) -> str:
            if name in found and found[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return found.get(name) or version(name)

        monkeypatch.setattr(importlib.metadata, "version", said)

    return set_to


@pytest.mark.parametrize(
    ("torch_", "executorch"),
    [
        ("2.12.1", "1.3.1"), ("2.12.0+cpu", "1.3.0"), ("2.13.0", "1.5.1"), ("2.13.0", "1.4.1"),
        ("2.14.1+cu130", "1.5.1"), ("2.14.1", "1.5.2"), ("2.14.0", "1.4.0"),
    ],
)  # fmt: skip
def test_releases_that_go_together(there, torch_, executorch):
    there(torch=torch_, executorch=executorch)
    assert installed() == executorch


@pytest.mark.parametrize(
    ("torch_", "executorch", "message"),
    [
        ("2.12.1", None, "a .pte needs the package executorch, which is not installed; "
         'for torch 2.12: pip install "executorch==1.3.1"'),
        ("2.14.1+cpu", None, "a .pte needs the package executorch, which is not installed; "
         'for torch 2.14: pip install "executorch==1.5.1"'),
        ("2.12.1", "1.5.1", "executorch 1.5.1 does not run beside torch 2.12.1, whose tensors lie otherwise in memory; "
         'for torch 2.12: pip install "executorch==1.3.1"'),
        ("2.14.1", "1.3.1", "executorch 1.3.1 does not run beside torch 2.14.1, whose tensors lie otherwise in memory; "
         'for torch 2.14: pip install "executorch==1.5.1"'),
        ("2.13.0", "1.3.1", "executorch 1.3.1 does not run beside torch 2.13.0, whose tensors lie otherwise in memory; "
         'for torch 2.13: pip install "executorch==1.5.1"'),
        ("2.15.0", "1.5.1", "no release of ExecuTorch is known to run beside torch 2.15.0: write a .ptl, or take torch "
         "2.12, 2.13, 2.14"),
        (None, "1.5.1", "torch is not installed; pip install fxconv brings it"),
    ],
)  # fmt: skip
def test_what_does_not(there, torch_, executorch, message):
    there(torch=torch_, executorch=executorch)
    for asked in (installed, check):
        with pytest.raises(UserError) as error:
            asked()
        assert str(error.value) == message


def test_every_torch_has_its_pair_and_every_pin_is_one():
    assert list(EXECUTORCH) == list(TORCHVISION)
    for torch_ in EXECUTORCH:
        first, *_ = executorch_for(f"{torch_}.0")
        pins = (REPO / "constraints" / f"torch-{torch_}.txt").read_text()
        assert re.findall(r"^executorch===(.*)$", pins, re.MULTILINE) == [first]
        assert pin(f"{torch_}.7+cpu") == f'for torch {torch_}: pip install "executorch=={first}"'
    assert executorch_for("2.11.0") == ()


def test_the_extra_brings_no_pair_that_dies():
    """1.5 declares no torch, so that pip would put it beside any: the extra says which torches it goes with."""
    pyproject = (REPO / "pyproject.toml").read_text()
    (extra,) = re.findall(
        r'^executorch = \["executorch>=([\d.]+),<1\.6", "torch>=([\d.]+)"\]$', pyproject, re.MULTILINE
    )
    oldest, torch_ = extra
    fitting = [one for one, made in EXECUTORCH.items() if oldest in made]
    assert fitting == [
        one for one in EXECUTORCH if tuple(map(int, one.split("."))) >= tuple(map(int, torch_.split(".")))
    ]


def test_an_import_that_fails_is_one_line(there, monkeypatch):
    there(torch="2.14.1", executorch="1.5.1")
    monkeypatch.setattr("fxconv.targets.executorch.installed.flatc", lambda: None)
    words = "libx.so: undefined symbol: _ZN3c10\nand\x1b[2J more"

    def fails(name: str) -> None:
        raise ImportError(words)

    monkeypatch.setattr("fxconv.targets.executorch.installed.importlib.import_module", fails)
    with pytest.raises(UserError) as error:
        check()
    assert str(error.value) == (
        "executorch 1.5.1 does not import beside torch 2.14.1 (libx.so: undefined symbol: _ZN3c10); in a fresh "
        'environment, for torch 2.14: pip install "executorch==1.5.1"'
    )


def test_the_compiler_is_found_where_it_may_be(there, monkeypatch, tmp_path):
    there(executorch="1.3.1")
    monkeypatch.delenv("FLATC_EXECUTABLE", raising=False)
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path / "other"), str(tmp_path / "executorch")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    on_path = {"flatc": None}
    monkeypatch.setattr(shutil, "which", on_path.get)
    with pytest.raises(UserError) as error:
        flatc()
    assert str(error.value) == (
        "executorch is installed without flatc, which writes its files; "
        "pip install --force-reinstall --no-deps executorch==1.3.1, or put flatc on PATH"
    )
    on_path["flatc"] = "/usr/bin/flatc"
    assert str(flatc()) == "/usr/bin/flatc"
    inside = tmp_path / "executorch" / "data" / "bin" / "flatc"
    inside.parent.mkdir(parents=True)
    inside.touch()
    assert flatc() == inside
    monkeypatch.setenv("FLATC_EXECUTABLE", "mine")
    assert flatc() == inside
    on_path["mine"] = "/opt/mine"
    assert str(flatc()) == "/opt/mine"


def test_neither_is_imported_to_ask():
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "from fxconv.errors import UserError\n"
        "from fxconv.targets.executorch.installed import installed\n"
        "try: installed()\n"
        "except UserError: pass\n"
        "print([name for name in sys.modules if name in ('torch', 'executorch')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@needs_executorch
def test_what_is_installed_here_goes_together_and_says_nothing():
    assert installed() == importlib.metadata.version("executorch")
    assert flatc().is_file()
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "from fxconv.targets.executorch.installed import check\n"
        "print(check(), 'executorch.runtime' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [installed(), "True"]
    assert done.stderr == ""


@needs_executorch
def test_the_pair_runs(monkeypatch):
    """A pair that imports may still read a tensor's fields where they are not."""
    check()
    monkeypatch.setenv("FLATC_EXECUTABLE", str(flatc()))
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    x = torch.randn(1, 3, 8, 8)
    lowered = to_edge_transform_and_lower(torch.export.export(net, (x,)), partitioner=[XnnpackPartitioner()])
    program = Runtime.get().load_program(bytes(lowered.to_executorch().buffer))
    (output,) = program.load_method("forward").execute([x])
    torch.testing.assert_close(output, net(x), rtol=0, atol=1e-5)


def test_the_log_of_torch_is_as_it_was(there, monkeypatch):
    there(torch="2.14.1", executorch="1.5.1")
    monkeypatch.setattr("fxconv.targets.executorch.installed.flatc", lambda: None)
    log = logging.getLogger("torch.utils._pytree")
    levels = []
    monkeypatch.setattr(
        "fxconv.targets.executorch.installed.importlib.import_module", lambda name: levels.append(log.level)
    )
    before = log.level
    check()
    assert levels == [logging.ERROR] * 3
    assert log.level == before
