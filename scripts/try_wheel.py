"""The wheel as whoever installs it has it: what is in it, and whether it runs where no checkout is.

python scripts/try_wheel.py dist/fxconv-0.1.0-py3-none-any.whl

It is installed into a fresh environment, without what it depends on: that is several gigabytes, and lent by the
environment of the Python that runs this.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

NEEDED = (
    "fxconv/py.typed",
    "rewrites/py.typed",
    "fxconv/__main__.py",
    "fxconv/replay.py",
    "fxconv/report/html/page.css",
    "fxconv/report/html/page.js",
    "fxconv/targets/mobile/releases/operators.json",
)
PACKAGES = ("fxconv", "rewrites")
IMPORTS = "import fxconv, rewrites; print(fxconv.__file__, rewrites.__file__, sep='\\n')"


class Unfit(Exception):
    """What is wrong with the wheel, in a sentence."""


def faults(names: Iterable[str]) -> Iterator[str]:
    """What is wrong with a wheel that holds files of these names, a sentence each."""
    held = set(names)
    yield from (f"{name} is not in it" for name in NEEDED if name not in held)
    if not any(".dist-info/" in name and name.endswith("/LICENSE") for name in held):
        yield "LICENSE is not in it"
    for name in sorted(held):
        top = name.partition("/")[0]
        if top not in PACKAGES and not top.endswith(".dist-info"):
            yield f"{name} does not belong in it"


def install(wheel: Path, folder: Path) -> Path:
    """The folder of the commands of a fresh environment in `folder` that has the wheel, and borrows all else."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    lent = [path for path in sys.path if path.endswith("site-packages")]
    places = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    # The .pth files of the lender, and with them its own fxconv, are not followed.
    Path(places.strip(), "lent.pth").write_text("\n".join(lent) + "\n")
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps", "--no-index")
    run(python, *pip, "--ignore-installed", str(wheel), cwd=folder)
    return python.parent


def run(program: Path, *words: str, cwd: Path | None = None) -> str:
    """What it prints. Raises Unfit when it fails, with the last line that it said."""
    done = subprocess.run([program, *words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing said"]
        raise Unfit(f"{' '.join([program.name, *words])} ended with {done.returncode}: {said[-1]}")
    return done.stdout


def tried(wheel: Path, folder: Path) -> None:
    """Raises Unfit when the wheel lacks something, or does not run."""
    with zipfile.ZipFile(wheel) as archive:
        if found := list(faults(archive.namelist())):
            raise Unfit("; ".join(found))
    commands = install(wheel, folder / "environment")
    version = wheel.name.split("-")[1]
    said = run(commands / "fxconv", "--version", cwd=folder)
    if f"fxconv {version}" not in said.splitlines():
        raise Unfit(f"fxconv --version says {said!r}, not {version}")
    if "fold-relu6" not in run(commands / "python", "-m", "fxconv", "passes", cwd=folder):
        raise Unfit("python -m fxconv passes does not list fold-relu6")
    for place in run(commands / "python", "-c", IMPORTS, cwd=folder).splitlines():
        if not Path(place).is_relative_to(folder):
            raise Unfit(f"{place} was imported instead of what is in the wheel")


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        try:
            tried(wheel, Path(folder).resolve())
        except Unfit as unfit:
            raise SystemExit(f"{wheel.name}: {unfit}") from None
    print(f"{wheel.name}: complete, installs and runs")


if __name__ == "__main__":
    main()
