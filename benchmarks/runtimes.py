"""What the releases for phones read and compute, taken from the desktop packages of the same torch, which are not run.

    python benchmarks/runtimes.py [--wheels DIR] [--old PYTHON]...

Downloads a wheel for each release (130 to 150 MB, those of macOS, which are the smallest) into DIR, unless it is there,
and reads it as text: the operators from the library and the headers, the versions from `caffe2/serialize/versions.h`.
Writes fxconv/targets/mobile/releases/operators.json; docs/runtimes.md is made of it by `make docs`. How many of the
operators that a torch registers are found that way is measured on the torch that is installed here, and told there.

PYTHON is an interpreter with the torch of a release and numpy: what it registers is compared with what was read, and it
loads and runs files that fxconv converts here. Without one, what was tried before stays.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from fxconv.targets.mobile.releases.operators import DATA, SCHEMA, Arity
from fxconv.targets.mobile.releases.table import RELEASES

# The platforms that the old releases were made for, by their wheels' tags; the first there is serves.
PLATFORMS = ("macosx_10_9_x86_64", "manylinux1_x86_64", "manylinux2014_x86_64")
PYTHON = "38"
# A schema as torch prints it, with its namespace; whole texts only, so that no message about one is taken for it.
_NAME = rb"(?:[A-Za-z_]\w*::)[A-Za-z_]\w*(?:\.\w+)?"
_SCHEMA = re.compile(rb"\s*(" + _NAME + rb")\s*\((.*)\)\s*->\s*\S.*", re.DOTALL)
_TEXT = re.compile(rb"[\x20-\x7e\n\t\r]{6,8000}")
_HEADERS = re.compile(r"torch/include/ATen/(?:Operators|ops/\w+_ops)\.h")
_IN_HEADER = re.compile(r'schema_str\s*[,=]\s*"((?:[^"\\]|\\.)*)"')
_VERSION = re.compile(r"constexpr uint64_t k(\w+)Version = (0x[0-9A-Fa-f]+)L?;")
# Namespaces of operators that files of fxconv's call, by which what is found is compared with what a torch registers.
MEASURED = ("aten", "quantized", "prepacked", "sparse", "_quantized")


def arity(arguments: str) -> Arity:
    """That of a schema with these arguments: `Tensor self, int[2] stride=[1, 1], *, Tensor(a!) out`."""
    parts = [part for part in _split(arguments) if part and part != "*"]
    if "..." in parts:
        return Arity(None, len([part for part in parts if part != "..." and "=" not in part]))
    return Arity(len(parts), sum("=" not in part for part in parts))


def _split(arguments: str) -> Iterator[str]:
    """The parts between commas that stand in no bracket and no text."""
    depth, quote, begin = 0, "", 0
    for place, sign in enumerate(arguments):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([":
            depth += 1
        elif sign in ")]":
            depth -= 1
        elif sign == "," and not depth:
            yield arguments[begin:place].strip()
            begin = place + 1
    yield arguments[begin:].strip()


def in_library(content: bytes) -> dict[str, Arity]:
    """The operators whose schemas stand in a library with their namespace, as all do but those of native_functions.

    A name that stands there twice, as in a table of shapes or of old forms, gets the wider bounds.
    """
    found: dict[str, Arity] = {}
    for text in _TEXT.finditer(content):
        if b"->" in text[0] and (match := _SCHEMA.fullmatch(text[0])):
            name, one = match[1].decode(), arity(match[2].decode())
            before = found.get(name, one)
            most = None if before.most is None or one.most is None else max(before.most, one.most)
            found[name] = Arity(most, min(before.least, one.least))
    return found


def in_headers(texts: Iterable[str]) -> dict[str, Arity]:
    """The operators of native_functions, each of which has its schema in a header."""
    found = {}
    for text in texts:
        for match in _IN_HEADER.finditer(text):
            name, _, rest = match[1].replace('\\"', '"').partition("(")
            found[name if "::" in name else f"aten::{name}"] = arity(rest.rpartition(") ->")[0])
    return found


def versions(text: str) -> dict[str, int]:
    """The constants of versions.h by name; of two forms of one the first, which is that with upgraders, as is built."""
    found: dict[str, int] = {}
    for name, value in _VERSION.findall(text):
        found.setdefault(name, int(value, 16))
    return found


def read_wheel(path: Path) -> tuple[dict[str, Any], dict[str, Arity]]:
    """What a wheel says of itself, and its operators."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        library = next(name for name in names if re.fullmatch(r"torch/lib/libtorch_cpu\.(?:dylib|so)", name))
        headers = (wheel.read(name).decode() for name in names if _HEADERS.fullmatch(name))
        content = wheel.read(library)
        operators = {**in_library(content), **in_headers(headers)}
        known = versions(wheel.read("torch/include/caffe2/serialize/versions.h").decode())
    facts = {
        "package": "torch",
        "file": path.name,
        "sha256": _sha256(path),
        "bytecode": [known["MinSupportedBytecode"], known["MaxSupportedBytecode"]],
        "writes_bytecode": known["ProducedBytecode"],
        "file_format": [known["MinSupportedFileFormat"], known["MaxSupportedFileFormat"]],
        # version 9 is the flatbuffer, and a library that cannot read it says so
        "flatbuffer": known["MaxSupportedBytecode"] >= 9 and b"build hasn't enable" not in content,
        "operators": len(operators),
    }
    return facts, operators


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(version: str, folder: Path) -> Path:
    """The wheel of a torch, downloaded into `folder` unless it is there."""
    for platform in PLATFORMS:
        if found := sorted(folder.glob(f"torch-{version}-cp{PYTHON}-*{platform}.whl")):
            return found[0]
    asked = [f"torch=={version}", "--no-deps", "--only-binary", ":all:", "--python-version", PYTHON]
    for platform in PLATFORMS:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", *asked]
        ended = subprocess.run(
            [*command, "--platform", platform, "--dest", str(folder)], capture_output=True, text=True
        )
        if ended.returncode == 0:
            return fetch(version, folder)
    raise SystemExit(f"torch {version}: no wheel can be had: {ended.stderr.strip()[-300:]}")


def measured() -> dict[str, Any]:
    """How many of the operators that the installed torch registers its library and headers give away."""
    import torch

    home = Path(torch.__file__).parent
    headers = (path.read_text() for path in sorted((home / "include/ATen/ops").glob("*_ops.h")))
    found = {**in_library((home / "lib/libtorch_cpu.so").read_bytes()), **in_headers(headers)}
    registered: dict[str, Arity] = {}
    for schema in torch._C._jit_get_all_schemas():
        name = f"{schema.name}.{schema.overload_name}" if schema.overload_name else schema.name
        if schema.name.startswith(tuple(f"{space}::" for space in MEASURED)):
            with_default = sum(bool(one.has_default_value()) for one in schema.arguments)
            most = None if "..." in str(schema).partition("->")[0] else len(schema.arguments)
            registered[name] = Arity(most, len(schema.arguments) - with_default)
    both = registered.keys() & found.keys()
    return {
        "torch": torch.__version__.partition("+")[0],
        "namespaces": list(MEASURED),
        "registered": len(registered),
        "found": len(both),
        "not_found": sorted(registered.keys() - found.keys()),
        "other_arity": sorted(name for name in both if registered[name] != found[name]),
    }


# Run by another Python: its torch, and what it registers.
_REGISTERED = """
import json, torch
rows = {}
for schema in torch._C._jit_get_all_schemas():
    name = schema.name + ("." + schema.overload_name if schema.overload_name else "")
    open_end = "..." in str(schema).partition("->")[0]
    least = sum(not one.has_default_value() for one in schema.arguments)
    rows[name] = [None if open_end else len(schema.arguments), least]
print(json.dumps([torch.__version__.partition("+")[0], rows]))
"""
# Loads a file in the lite interpreter, and saves what it returns.
_RUN = """
import sys, numpy, torch
from torch.jit.mobile import _load_for_lite_interpreter
torch.backends.quantized.engine = "qnnpack"
numpy.save(sys.argv[3], _load_for_lite_interpreter(sys.argv[1])(torch.from_numpy(numpy.load(sys.argv[2]))).numpy())
"""
NETWORKS = ("mobilenet_v3_small", "resnet18", "shufflenet_v2_x1_0")


def _other(python: str, code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-W", "ignore", "-c", code, *map(str, arguments)], capture_output=True, text=True)


def tried(python: str, tables: dict[str, dict[str, Arity]]) -> dict[str, Any]:
    """An older torch beside what was read of it, and files of this one in it."""
    answer = _other(python, _REGISTERED)
    if answer.returncode:
        raise SystemExit(f"{python}: {answer.stderr.strip()[-300:]}")
    version, rows = json.loads(answer.stdout)
    spaces = tuple(f"{space}::" for space in MEASURED)
    registered = {name: Arity(*bounds) for name, bounds in rows.items() if name.startswith(spaces)}
    known = tables[version]
    both = registered.keys() & known.keys()
    return {
        "torch": version,
        "registered": len(registered),
        "found": len(both),
        "not_found": sorted(registered.keys() - known.keys()),
        "not_registered": sorted(name for name in known.keys() - registered.keys() if name.startswith(spaces)),
        "other_arity": sorted(name for name in both if registered[name] != known[name]),
        "files": [_file(python, version, name, module, batches) for name, module, batches in _models()],
    }


def _models() -> Iterator[tuple[str, Any, list[Any]]]:
    from benchmarks.networks import seeded

    for name in NETWORKS:
        loaded, batches = seeded(name, input_size="64")
        yield name, loaded.module, batches
    import torch

    class Matmul(torch.nn.Module):
        """Calls an operator that 1.10 does not have."""

        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.matmul(self.query(x).flatten(2), self.key(x).flatten(2).transpose(1, 2))

    torch.manual_seed(0)
    yield "a product of two convolutions' outputs", Matmul().eval(), [torch.randn(8, 3, 16, 16)]


def _file(python: str, version: str, name: str, module: Any, batches: list[Any]) -> dict[str, Any]:
    """A network converted here, as the release of that torch would have it, and what its torch makes of the file."""
    import numpy as np

    import fxconv
    from fxconv.inspection import inspect
    from fxconv.quantization.engine import engine
    from fxconv.targets.mobile.lite_file import load_lite_bytes
    from fxconv.targets.mobile.releases import check
    from fxconv.targets.mobile.releases.backport import backported

    wanted = next(one for one in RELEASES if one.torch == version and one.package.is_lite)
    content = fxconv.convert(module, batches, recipe="none", min_sqnr=-1000.0).artifact.data
    given = batches[0][:1]
    with engine("qnnpack"):
        expected = load_lite_bytes(content)(given).numpy()
    with tempfile.TemporaryDirectory() as folder:
        path, array, result = (Path(folder) / one for one in ("a.ptl", "x.npy", "y.npy"))
        path.write_bytes(backported(content, wanted))
        version_of = inspect(path).bytecode_version
        np.save(array, given.numpy())
        fit = check(inspect(path), wanted)
        answer = _other(python, _RUN, path, array, result)
        returned = np.load(result) if answer.returncode == 0 else None
    words = " ".join((answer.stderr.strip().splitlines() or [""])[-1].split())[:200] if returned is None else ""
    off = None if returned is None else float(((returned - expected) ** 2).sum())
    return {
        "network": name,
        "bytecode": version_of,
        "foreseen": fit.reason,
        "error": words,
        "is_equal": off == 0.0 if off is not None else None,
        "sqnr_db": round(10 * float(np.log10((expected**2).sum() / off)), 1) if off else None,
    }


def merged(tables: list[dict[str, Arity]]) -> dict[str, dict[str, str]]:
    """Names by namespace and by what is true of them: `0-2 3/2, 3-5 4/2`, releases by number and arity."""
    everything: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(set().union(*tables)):
        runs: list[tuple[int, int, str]] = []
        for number, table in enumerate(tables):
            if name in table:
                most = table[name].most
                told = f"{'*' if most is None else most}/{table[name].least}"
                if runs and runs[-1][1] == number - 1 and runs[-1][2] == told:
                    runs[-1] = (runs[-1][0], number, told)
                else:
                    runs.append((number, number, told))
        key = ",".join(f"{first}-{last} {told}" for first, last, told in runs)
        space, _, short = name.partition("::")
        everything[space][key].append(short)
    return {space: {key: " ".join(names) for key, names in sorted(keys.items())} for space, keys in everything.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wheels", type=Path, default=Path(tempfile.gettempdir()) / "fxconv-wheels", metavar="DIR")
    parser.add_argument("--old", action="append", default=[], metavar="PYTHON")
    arguments = parser.parse_args()
    folder = arguments.wheels
    folder.mkdir(parents=True, exist_ok=True)
    torches = list(dict.fromkeys(one.torch for one in RELEASES))
    torches.sort(key=lambda version: tuple(map(int, version.split("."))))
    facts, tables = [], []
    for version in torches:
        print(f"torch {version}", file=sys.stderr)
        fact, table = read_wheel(fetch(version, folder))
        facts.append({"torch": version, **fact})
        tables.append(table)
    before = json.loads(DATA.read_text()).get("tried", []) if DATA.exists() else []
    runs = {one["torch"]: one for one in before}
    data = {
        "schema": SCHEMA,
        "written_by": "benchmarks/runtimes.py",
        "date": datetime.date.today().isoformat(),
        "wheels": facts,
        "measured": measured(),
        "tried": before,
        "operators": merged(tables),
    }
    _save(data)  # which the check reads
    for python in arguments.old:
        one = tried(python, dict(zip(torches, tables, strict=True)))
        runs[one["torch"]] = one
    _save({**data, "tried": [runs[version] for version in sorted(runs, key=torches.index)]})
    print(f"wrote {DATA.name}, {DATA.stat().st_size:,} bytes; now make docs", file=sys.stderr)


def _save(data: dict[str, Any]) -> None:
    DATA.write_text(json.dumps(data, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
