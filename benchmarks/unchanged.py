"""Ten conversions by two checkouts of fxconv, compared: what a change of its insides must leave as it was.

    python benchmarks/unchanged.py BEFORE AFTER [--python PYTHON] [--keep DIR] [--only WORD]

BEFORE and AFTER are folders with a checkout each. A conversion is one for each mode and each kind of network, with
random weights, run as `PYTHON CHECKOUT/cli.py convert` in a folder of its own. Compared are the program (code, bytecode
and the lines of the graph), every tensor bit for bit, the golden outputs, and all that fxconv.json and the JSON report
say but times. Texts, which are told apart by the spaces in them, may differ: they are listed. So may the bytes of the
file where texts do. The exit status is 1 when anything else differs. With `--keep` the files stay, and a checkout that
was run into that folder is not run again: BEFORE need not exist then any more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SMALL = ("--weights", "random", "--calib-count", "4", "--min-sqnr", "-1000")
PLAIN = (*SMALL, "--recipe", "none")
CONVERSIONS: dict[str, tuple[str, ...]] = {
    "static": ("mobilenet_v3_small", "--input-size", "64", *PLAIN),
    "residual, recipe": ("resnet18", "--input-size", "32", *SMALL, "--recipe", "auto", "--calib-count", "8"),
    "traced": ("squeezenet1_1", "--input-size", "64", "--method", "trace", *PLAIN),
    "transformer": ("swin_t", "--input-size", "32", *PLAIN),
    "segmentation": ("lraspp_mobilenet_v3_large", "--input-size", "64", *PLAIN),
    "detection": ("ssdlite320_mobilenet_v3_large", *PLAIN, "--calib-count", "10"),
    "video": ("mc3_18", "--input-size", "3x4x32x32", *PLAIN),
    "peaks": ("detector:mobilenet_v3_small", "--input-size", "64", "--postprocess", "peaks", *PLAIN),
    "dynamic": ("mobilenet_v3_small", "--input-size", "64", "--mode", "dynamic", *SMALL),
    "trained, pixels": (
        *("mobilenet_v3_small", "--input-size", "32", "--mode", "qat", "--epochs", "1", "--normalize-in-graph"),
        *PLAIN,
    ),
}
# Of the report: what a clock says, where it ran, and what the file's bytes give, which are compared by themselves.
_PASSED_OVER = ("timings", "latency", "environment", "sha256", "path", "seconds", "float_seconds")
_OF_THE_FILE = ("artifact.bytes",)
_METADATA, _GOLDEN = "extra/fxconv.json", "extra/golden.json"
# Its content is a digest of all others.
_DIGEST = ".data/serialization_id"
_COLUMNS = ("bytes", "program", "tensors", "golden", "numbers")


@dataclass(frozen=True)
class Differences:
    """What is not the same in two files of one conversion, by column; `texts` may."""

    bytes: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    golden: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing but texts, and the bytes that hold them, differs."""
        return not (self.program or self.tensors or self.golden or self.numbers or (self.bytes and not self.texts))


def main() -> None:
    parser = argparse.ArgumentParser(description="ten conversions by two checkouts, compared")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--python", default=sys.executable, help="the interpreter, of an environment with torch")
    parser.add_argument("--keep", type=Path, help="where the files stay, in a folder for each checkout")
    parser.add_argument("--only", default="", help="the conversions whose name holds this")
    words = parser.parse_args()
    names = [name for name in CONVERSIONS if words.only in name]
    with tempfile.TemporaryDirectory(prefix="fxconv-unchanged-") as folder:
        kept = (words.keep or Path(folder)).resolve()
        for checkout in (words.before.resolve(), words.after.resolve()):
            convert(checkout, home(kept, checkout), words.python, names)
        found = {name: compared(home(kept, words.before), home(kept, words.after), name) for name in names}
    print(table(found))
    raise SystemExit(0 if all(one.is_unchanged for one in found.values()) else 1)


def home(kept: Path, checkout: Path) -> Path:
    """Where the files of a checkout lie; two of one name in two places are told apart."""
    place = str(checkout.resolve())
    return kept / f"{checkout.resolve().name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def convert(checkout: Path, folder: Path, python: str, names: list[str]) -> None:
    """The conversions by one checkout, those that are not there yet; ends with the first that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    # one thread, so that sums are taken in one order
    settings = {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    for name in names:
        report, artifact = folder / f"{name}.json", folder / f"{name}.ptl"
        if report.exists() and artifact.exists():
            continue
        start = time.perf_counter()
        command = [python, str(checkout / "cli.py"), "convert", *CONVERSIONS[name]]
        command += ["-o", artifact.name, "--json", report.name]
        done = subprocess.run(command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True)
        if not (report.exists() and artifact.exists()):
            raise SystemExit(f"{checkout}: {name}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        print(f"{checkout.name}: {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


def compared(before: Path, after: Path, name: str) -> Differences:
    """The files of one conversion in two folders, held against each other."""
    contents = [(folder / f"{name}.ptl").read_bytes() for folder in (before, after)]
    one, other = (records(folder / f"{name}.ptl") for folder in (before, after))
    reports = [json.loads((folder / f"{name}.json").read_text()) for folder in (before, after)]
    said = [json.loads(each.get(_METADATA, b"null")) for each in (one, other)]
    numbers, texts = differing(reports[0], reports[1], "report")
    more_numbers, more_texts = differing(said[0], said[1], _METADATA)
    if more_texts:  # longer ones make a longer file
        numbers = [place for place in numbers if not place.partition(":")[0].endswith(_OF_THE_FILE)]
    changed = [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
    tensors = [key for key in changed if is_tensor(key)]
    return Differences(
        () if contents[0] == contents[1] else tuple(changed) or ("the archive's order",),
        tuple(key for key in changed if key not in (_METADATA, _GOLDEN, _DIGEST, *tensors)),
        tuple(tensors),
        tuple(key for key in changed if key == _GOLDEN),
        (*numbers, *more_numbers),
        (*texts, *more_texts),
    )


def records(path: Path) -> dict[str, bytes]:
    """The records of an archive, by name without its root."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def is_tensor(name: str) -> bool:
    """Whether a record has the values of a tensor, constant or weight."""
    return name.startswith(("constants/", "data/", "bytecode/"))


def differing(one: Any, other: Any, place: str) -> tuple[list[str], list[str]]:
    """Where two JSON values differ: in numbers, names and what there is; and in texts, which have spaces in them."""
    numbers, texts = [], []
    for where, was, now in _pairs(one, other, place):
        is_text = isinstance(was, str) and isinstance(now, str) and " " in was and " " in now
        # what stood in the graph and stands there now is no text, though it has spaces
        is_graph = where.endswith((".before", ".after"))
        (texts if is_text and not is_graph else numbers).append(f"{where}: {_short(was)} -> {_short(now)}")
    return numbers, texts


def _pairs(one: Any, other: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            if key not in _PASSED_OVER:
                yield from _pairs(one.get(key, "nothing"), other.get(key, "nothing"), f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (was, now) in enumerate(zip(one, other, strict=True)):
            yield from _pairs(was, now, f"{place}[{number}]")
    elif type(one) is not type(other) or one != other:
        yield place, one, other


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def table(found: dict[str, Differences]) -> str:
    """A line for each conversion, and below them what differs."""
    lines = [f"{'':<18}" + "".join(f"{column:>10}" for column in (*_COLUMNS, "texts"))]
    for name, one in found.items():
        cells = ["equal" if not getattr(one, column) else f"{len(getattr(one, column))} differ" for column in _COLUMNS]
        lines.append(f"{name:<18}" + "".join(f"{cell:>10}" for cell in (*cells, str(len(one.texts) or "equal"))))
    for name, one in found.items():
        for column in (*_COLUMNS, "texts"):
            lines += [f"{name}: {column}: {place}" for place in getattr(one, column)[:10]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
