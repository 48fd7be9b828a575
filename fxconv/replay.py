"""The golden inputs of a lite-interpreter file or an ExecuTorch program, run again: does it compute here what it says?

    python replay.py FILE.ptl|FILE.pte [--limit SECONDS MEGABYTES]

needs torch, 1.10 or later, on Python 3.8 or later, for a .pte ExecuTorch's runtime as well, and no fxconv, so that it
runs under the torch of a phone's library as well. It prints one line of JSON; the exit status is 0 when the golden
inputs pass, 1 when they do not, 2 when there are none or the file does not run. The operators in the file are not
looked at: `fxconv verify` does that before it starts this.

A golden input is not in the file: it is drawn from a seed. The file's `golden.json` has, for each case, the seeds of
its inputs, and of each output the SHA-256 of all its values and as many of the values as there was room for. A .pte has
no files in it: the text is what its constant method `fxconv_golden` returns.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import hashlib
import json
import math
import os
import platform
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # what lies beside this file is not what others mean by its name
    sys.path = [place for place in sys.path if place not in ("", str(Path(__file__).parent))]
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # kernels warn past Python, of what is in the file

import torch

FILE, FORMAT = "golden.json", 1
# Of a file that takes whole numbers or truth values: the drawing of those came later.
FORMAT_OF_OTHER_TYPES = 2
# Of a file whose kernels differ from one processor to another, where it says on which it was written: ExecuTorch's.
FORMAT_OF_KERNELS = 3
FORMATS = (FORMAT, FORMAT_OF_OTHER_TYPES, FORMAT_OF_KERNELS)
# SQNR, in decibels. Where a float island lies between int8 layers, sums may come in another order: the mobile passes
# re-associate them, and so does another machine. ExecuTorch's kernels are bound to it too where others wrote the file;
# docs/on_device.md has what was measured.
ISLAND_SQNR_DB = 40.0
# What an ExecuTorch program begins with, behind four bytes, and how its methods that return texts are called.
PROGRAM, TEXTS = b"ET12", {"golden.json": "fxconv_golden", "fxconv.json": "fxconv_metadata"}
RELEASES = "executorch==1.5.1 beside torch 2.14.1, or executorch==1.3.1 beside torch 2.12.1"
# No golden.json is larger than 2 % of a file, and no file of a phone's has gigabytes.
_MOST_BYTES = 64 << 20


class NotReplayed(Exception):
    """There is nothing to replay, or it cannot be run; the message says what and how to mend it."""


class HasNone(NotReplayed):
    """There are no golden inputs."""


# -- the inputs --------------------------------------------------------------------------------------


def draws(seed: int, count: int) -> list[int]:
    """`count` numbers from 0 to 255: the upper 8 of 32 bits of Marsaglia's xorshift (13, 17, 5), begun with `seed`."""
    state, drawn = seed & 0xFFFFFFFF, []
    for _ in range(count):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        drawn.append(state >> 24)
    return drawn


def pixels(shape: Sequence[int], seed: int, cell: int) -> torch.Tensor:
    """A uint8 tensor: squares of `cell` by `cell` values of one drawn brightness, under a fine pattern.

    The squares are drawn row by row, plane by plane. At row y and column x of its plane a value is
    15/16 of its square's number, rounded down, plus (3x + 5y) mod 16.
    """
    rows, columns = [1, 1, *shape][-2:]
    planes = math.prod(shape[:-2])
    down, right = -(-rows // cell), -(-columns // cell)
    squares = torch.tensor(draws(seed, planes * down * right), dtype=torch.int32).reshape(planes, down, right)
    spread = squares.repeat_interleave(cell, 1)[:, :rows].repeat_interleave(cell, 2)[:, :, :columns]
    pattern = (3 * torch.arange(columns)[None, :] + 5 * torch.arange(rows)[:, None]) % 16
    return (torch.div(spread * 15, 16, rounding_mode="floor") + pattern).to(torch.uint8).reshape(list(shape))


def input_from(drawn: torch.Tensor, spec: dict[str, Any]) -> torch.Tensor:
    """What the model takes from drawn uint8 values.

    Of uint8 they are as drawn. Floats are (value / 255 - mean) / std in float32, with a mean and a deviation for each
    channel, along the second dimension, or one for all. Other whole numbers lie from `low` to `high`, both included:
    low + value * (high - low + 1) / 256, rounded down. Truth values are whether the value is 128 or more; but each row,
    along the last dimension, begins with `first`, and ends with the opposite where it has an end: a mask that hides
    all of a row, or nothing, makes numbers of it that are none.
    """
    if spec["dtype"] == "uint8":
        return drawn
    if spec["dtype"] == "bool":
        truth = drawn >= 128
        truth[..., -1:] = not spec["first"]
        truth[..., :1] = spec["first"]
        return truth
    if "low" in spec:
        count = spec["high"] - spec["low"] + 1
        whole = torch.div(drawn.to(torch.int64) * count, 256, rounding_mode="floor") + spec["low"]
        return whole.to(getattr(torch, spec["dtype"]))
    each = [-1 if place == 1 and drawn.dim() > 1 else 1 for place in range(drawn.dim())]
    mean, std = (
        torch.tensor(spec[key], dtype=torch.float32).reshape(each if len(spec[key]) > 1 else [1] * drawn.dim())
        for key in ("mean", "std")
    )
    return drawn.to(torch.float32).div(255).sub(mean).div(std)


def inputs_of(golden: dict[str, Any], case: dict[str, Any]) -> list[torch.Tensor]:
    """What the model takes in one case."""
    return [
        input_from(pixels(spec["shape"], seed, golden["cell"]), spec)
        for spec, seed in zip(golden["inputs"], case["seeds"])
    ]


# -- the outputs -------------------------------------------------------------------------------------


def flat(value: Any) -> list[torch.Tensor]:
    """The tensors in what a model returns, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    members = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for member in members for tensor in flat(member)]


def content(tensor: torch.Tensor) -> bytes:
    """The values, little-endian, row by row; of a float, a zero has no sign."""
    whole = tensor.detach().cpu().resolve_conj().resolve_neg()
    whole = (whole + 0.0 if whole.is_floating_point() else whole).contiguous()
    return ctypes.string_at(whole.data_ptr(), whole.numel() * whole.element_size()) if whole.numel() else b""


def sha256(tensor: torch.Tensor) -> str:
    """The digest of `content`."""
    return hashlib.sha256(content(tensor)).hexdigest()


def compared(output: torch.Tensor, expected: dict[str, Any]) -> dict[str, Any]:
    """An output beside what it was: whether all of it is the same, and how far off it is where values were kept."""
    dtype = str(output.dtype).replace("torch.", "")
    found: dict[str, Any] = {"exact": False, "values": output.numel(), "compared": 0, "largest": None, "sqnr_db": None}
    if [list(output.shape), dtype] != [expected["shape"], expected["dtype"]]:
        found["problem"] = f"is {dtype} {list(output.shape)}, was {expected['dtype']} {expected['shape']}"
        return found
    found["exact"] = sha256(output) == expected["sha256"]
    if "data" in expected:
        kept = torch.frombuffer(bytearray(base64.b64decode(expected["data"])), dtype=output.dtype)
        ours = output.flatten()[:: expected["every"]]
        if kept.shape != ours.shape:
            found["problem"] = f"has {len(ours)} values to compare, {len(kept)} were kept"
            return found
        found["compared"] = len(kept)
        found["largest"], found["sqnr_db"] = distance(kept, ours)
    if not found["exact"]:
        off_by = "" if found["largest"] is None else f", by at most {found['largest']:.3g}"
        found["problem"] = f"differs{off_by}" if found["largest"] else "differs where no value was kept"
    return found


def distance(kept: torch.Tensor, ours: torch.Tensor) -> tuple[float, float | None]:
    """The largest difference between the values of two tensors of one type, and the SQNR in decibels where it is one.

    Complex numbers are their real and imaginary parts. A whole number, a class index say, or a truth value is right or
    wrong: the power of all of them is how many there are, and that of the noise how many differ.
    """
    if kept.is_complex():
        kept, ours = torch.view_as_real(kept.resolve_conj()), torch.view_as_real(ours.resolve_conj())
    same = kept == ours
    is_counted = not kept.is_floating_point()
    kept, ours = kept.double(), ours.double()
    off = torch.where(same, torch.zeros_like(kept), (kept - ours).abs())
    noise, signal = off.square().sum().item(), kept.square().sum().item()
    if is_counted:
        noise, signal = float((~same).sum()), float(same.numel())
    is_one = signal > 0 and 0 < noise < math.inf
    return off.max().item(), 10 * math.log10(signal / noise) if is_one else None


def passes(found: dict[str, Any], rule: str) -> bool:
    """Whether an output is as it must be.

    `equal` are all its bits, `island` lets rounding in a float island differ, `kernels` that of other kernels.
    """
    if found["exact"]:
        return True
    off = found["sqnr_db"]
    return rule in ("island", "kernels") and off is not None and off >= ISLAND_SQNR_DB


def place() -> dict[str, Any]:
    """What decides which kernels ExecuTorch runs: the machine, its vectors, and the release, None without one."""
    try:
        release: str | None = metadata.version("executorch")
    except metadata.PackageNotFoundError:
        release = None
    named = getattr(getattr(torch.backends, "cpu", None), "get_cpu_capability", None)
    return {"machine": platform.machine(), "vectors": named() if named else None, "executorch": release}


def rule_here(golden: dict[str, Any]) -> str:
    """The rule of golden inputs in this process: those that say where they were written are equal there."""
    return "equal" if golden["rule"] == "kernels" and golden.get("place") == place() else str(golden["rule"])


def case_replayed(module: Callable[..., Any], golden: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """One case: each output, and what is wrong with the first that does not pass, "" when all do."""
    with torch.no_grad():
        outputs = flat(module(*inputs_of(golden, case)))
    if len(outputs) != len(case["outputs"]):
        problem = f"{len(outputs)} outputs, were {len(case['outputs'])}"
        return {"outputs": [], "exact": False, "passed": False, "problem": problem}
    rows = [compared(output, expected) for output, expected in zip(outputs, case["outputs"])]
    rule = rule_here(golden)
    failed = [n for n, row in enumerate(rows) if not passes(row, rule)]
    problem = f"output {failed[0]} {rows[failed[0]]['problem']}" if failed else ""
    return {
        "outputs": rows,
        "exact": all(row["exact"] for row in rows),
        "passed": not failed,
        "problem": problem,
    }


# -- the file ----------------------------------------------------------------------------------------


def is_program(path: str) -> bool:
    """Whether a file is a program of ExecuTorch's, by its first bytes. Raises `NotReplayed` when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(8)[4:] == PROGRAM
    except OSError as error:
        raise NotReplayed(f"cannot be read ({error.strerror or error})") from error


def extra_file(path: str, name: str) -> str | None:
    """The text of a file that rides along in an archive or a program; None when there is none of that name.

    Raises `NotReplayed` when it cannot be read. A program's is what one of its methods returns, and is run for it.
    """
    if is_program(path):
        return executorch_program(path).text(TEXTS[name]) if name in TEXTS else None
    try:
        with zipfile.ZipFile(path) as archive:
            named = [entry for entry in archive.infolist() if entry.filename.split("/")[1:] == ["extra", name]]
            if not named:
                return None
            if len(named) > 1 or named[0].file_size > _MOST_BYTES:
                raise NotReplayed(f"holds {name} twice, or too much of it; it was made to deceive")
            return archive.read(named[0]).decode("ascii")
    except OSError as error:
        raise NotReplayed(f"cannot be read ({error.strerror or error})") from error
    except zlib.error as error:
        raise NotReplayed("is damaged: a record in it does not unpack") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise NotReplayed(f"is damaged, or is neither .ptl nor .pte ({type(error).__name__})") from error


def golden_in(path: str) -> dict[str, Any]:
    """What a file says of its golden inputs. Raises `NotReplayed` when it says nothing that can be used."""
    return golden_of(extra_file(path, FILE))


def golden_of(text: str | None) -> dict[str, Any]:
    """The golden inputs in this text, None being none. Raises `NotReplayed` when it says nothing that can be used."""
    if text is None:
        raise HasNone("holds no golden inputs")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotReplayed(f"holds a damaged {FILE} ({type(error).__name__})") from error
    if not isinstance(found, dict) or found.get("format") not in FORMATS:
        raise NotReplayed("holds golden inputs of another format; a newer fxconv knows it")
    return found


class ExecuTorchProgram:
    """A program in ExecuTorch's runtime, called with the tensors of one call."""

    def __init__(self, path: str) -> None:
        runtime = import_module("executorch.runtime")
        bindings = import_module("executorch.extension.pybindings.portable_lib")
        if hasattr(bindings, "_unsafe_reset_threadpool"):
            bindings._unsafe_reset_threadpool(1)
        self._content = Path(path).read_bytes()  # neither a program nor a method keeps alive what it is of
        self._program = runtime.Runtime.get().load_program(self._content)
        self._forward: Any = None

    def __call__(self, *inputs: torch.Tensor) -> list[Any]:
        """Run it. Of tensors in another memory format it would read the memory as if it were contiguous."""
        if self._forward is None:
            self._forward = self._program.load_method("forward")
        outputs = self._forward.execute([value.contiguous() for value in inputs])
        return [output.clone() if isinstance(output, torch.Tensor) else output for output in outputs]

    def text(self, name: str) -> str | None:
        """The text that one of its methods returns; None when it has none of that name. Raises `NotReplayed`."""
        if name not in self._program.method_names:
            return None
        found = self._program.load_method(name).execute([])
        if len(found) != 1 or not isinstance(found[0], str):
            raise NotReplayed(f"is damaged: its {name} is no text")
        return str(found[0])


def executorch_program(path: str) -> ExecuTorchProgram:
    """A program in ExecuTorch's runtime. Raises `NotReplayed` when that is missing, or does not load it."""
    try:
        return ExecuTorchProgram(path)
    except ImportError as error:
        words = (str(error).strip().splitlines() or [""])[0]
        raise NotReplayed(f"needs ExecuTorch's runtime, which is not here ({words}); install {RELEASES}") from error
    except Exception as error:  # of many types, in what a file says of itself
        raise NotReplayed(_not_run(path, error)) from error


def loaded(path: str) -> Any:
    """The file in the lite interpreter. torchvision is imported where it has its operators."""
    from torch.jit.mobile import _load_for_lite_interpreter

    try:
        return _load_for_lite_interpreter(path)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torchvision  # noqa: F401  registers them

        return _load_for_lite_interpreter(path)


def replayed(path: str) -> dict[str, Any]:
    """Everything: what this torch is, and each case. Raises `NotReplayed`."""
    golden = golden_in(path)
    try:
        torch.set_num_threads(1)
        with warnings.catch_warnings():
            # The file stays as it is. Torch says it once, and past Python when a file makes the first such tensor.
            warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, .* are deprecated")
            if is_program(path):
                module = executorch_program(path)
            else:
                torch.backends.quantized.engine = golden["engine"]
                torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
                module = loaded(path)
            cases = [case_replayed(module, golden, case) for case in golden["cases"]]
    except NotReplayed:
        raise
    except Exception as error:  # of many types, in what a file says of itself as in what it does
        raise NotReplayed(_not_run(path, error)) from error
    here = place()
    return {
        "torch": torch.__version__,
        "executorch": here["executorch"] if is_program(path) else None,
        "python": platform.python_version(),
        "machine": here["machine"],
        "rule": rule_here(golden),
        "outputs_of": golden["outputs_of"],
        "written": golden.get("place"),
        "exact": all(case["exact"] for case in cases),
        "passed": bool(cases) and all(case["passed"] for case in cases),
        "problem": next((f"case {n}: {case['problem']}" for n, case in enumerate(cases) if case["problem"]), ""),
        "cases": cases,
    }


def _not_run(path: str, error: Exception) -> str:
    words = (str(error).strip().splitlines() or [""])[0]
    runtime = f"ExecuTorch {place()['executorch']}" if is_program(path) else f"torch {torch.__version__}"
    return f"does not run under {runtime} ({type(error).__name__}: {words})"


def limit(seconds: int, megabytes: int) -> None:
    """From here on this process computes so long, gets so much more memory, and writes no file, where a system can."""
    with suppress(ImportError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        for what, most in (
            ("RLIMIT_CPU", math.ceil(used.ru_utime + used.ru_stime) + seconds),
            ("RLIMIT_DATA", (megabytes + (_data_kilobytes() >> 10)) << 20),
            ("RLIMIT_FSIZE", 0),
            ("RLIMIT_CORE", 0),
        ):
            with suppress(AttributeError, ValueError, OSError):
                # a little more beyond the first limit, whose signal says what it was; the second one only kills
                resource.setrlimit(getattr(resource, what), (most, most + 5 if what == "RLIMIT_CPU" else most))


def _data_kilobytes() -> int:
    """The memory that counts as data now; torch takes much before it does anything."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmData:"))
    return 0


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description="run the golden inputs of a .ptl or .pte file again")
    parser.add_argument("file")
    parser.add_argument("--limit", nargs=2, type=int, metavar=("SECONDS", "MEGABYTES"))
    words = parser.parse_args()
    with suppress(ImportError, NotReplayed):  # what is wrong is told later
        if is_program(words.file):
            import_module("executorch.runtime")  # it writes a temporary file, which the limits forbid
    if words.limit:
        limit(*words.limit)
    try:
        told = replayed(words.file)
    except NotReplayed as error:
        told = {"torch": torch.__version__, "machine": platform.machine(), "error": str(error), "passed": None}
    except MemoryError:
        told = {"torch": torch.__version__, "machine": platform.machine(), "error": "needs more memory", "passed": None}
    print(json.dumps(told))
    sys.exit(2 if told["passed"] is None else 0 if told["passed"] else 1)


if __name__ == "__main__":
    main()
