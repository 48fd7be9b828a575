"""scripts/try_wheel.py: what it says of a wheel that lacks something or does not run. .ci/run tries the real one."""

from __future__ import annotations

import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "try_wheel.py"
try_wheel = runpy.run_path(str(SCRIPT))
COMPLETE = [*try_wheel["NEEDED"], "fxconv-0.1.0.dist-info/licenses/LICENSE", "fxconv-0.1.0.dist-info/METADATA"]
METADATA = "Metadata-Version: 2.1\nName: fxconv\nVersion: 0.1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def test_a_complete_wheel_has_no_fault():
    assert list(try_wheel["faults"](COMPLETE)) == []


@pytest.mark.parametrize("name", COMPLETE[:-1])
def test_what_is_lacking_is_named(name):
    assert list(try_wheel["faults"](set(COMPLETE) - {name})) == [f"{name.rpartition('licenses/')[2]} is not in it"]


@pytest.mark.parametrize("name", ["cli.py", "tests/fxconv/conftest.py", "benchmarks/size.py", "docs/generate.py"])
def test_what_is_of_the_checkout_alone_is_named(name):
    assert list(try_wheel["faults"]([*COMPLETE, name])) == [f"{name} does not belong in it"]


@pytest.fixture
def wheel(tmp_path):
    """`wheel({"fxconv/__init__.py": "..."})`: a complete wheel with these files in it, and the others empty."""

    def made(files: dict[str, str]):
        info = "fxconv-0.1.0.dist-info"
        script = {f"{info}/entry_points.txt": "[console_scripts]\nfxconv = fxconv.__main__:start\n"}
        contents = dict.fromkeys([*COMPLETE, f"{info}/RECORD"], "") | files | script
        contents |= {f"{info}/METADATA": METADATA, f"{info}/WHEEL": WHEEL}
        path = tmp_path / "fxconv-0.1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in contents.items():
                archive.writestr(name, text)
        return path

    return made


MAIN = """
def start():
    print("fxconv 0.1.0")

if __name__ == "__main__":
    print("fold-relu6")
"""
# A package that answers as fxconv does.
RUNS = {"fxconv/__init__.py": "", "rewrites/__init__.py": "", "fxconv/__main__.py": MAIN}


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        (RUNS, 0, "complete, installs and runs"),
        (
            RUNS | {"fxconv/__main__.py": "def start():\n    raise ImportError('no module page')"},
            1,
            "fxconv --version ended with 1: ImportError: no module page",
        ),
    ],
    ids=["runs", "does not start"],
)
def test_it_is_installed_and_tried_where_no_checkout_is(wheel, files, status, said):
    path = wheel(files)
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (status, f"{path.name}: {said}\n")
