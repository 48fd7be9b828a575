"""The releases of ExecuTorch for phones: whether one loads a program, and what an app with it needs.

What is known of them: the schema of programs (schema/program.fbs) and that of what XNNPACK is handed
(backends/xnnpack/serialization/schema.fbs) are the same in the packages of 1.3.1, 1.4.1 and 1.5.1, comments aside. The
operators are those that the runtime in the package registers: 1.4.1 and 1.5.1 have five more than 1.3.1. Files that
fxconv wrote with 1.3.1 were run in 1.5.1, and the other way round, and gave the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fxconv.config import RUNTIMES, runtime_name
from fxconv.data.staged_file import StagedFile
from fxconv.errors import ConversionError
from fxconv.inspection import inspect
from fxconv.inspection.delegates import XNNPACK
from fxconv.inspection.found import Delegate, Inspection, Kind
from fxconv.targets.executorch.kernels import KERNELS

CALL = "Module.load(path), in Swift Module(filePath: path)"
NEWEST_SCHEMA = "0"
# What the runtime registers besides the kernels that a file of anybody's may call here.
_OTHERS = ("aten::convolution_backward.out", "aten::max_pool2d_with_indices_backward.grad_input",
           "executorch_prim::et_copy_index.tensor", "et_copy::_d2h_copy.out", "et_copy::_h2d_copy.out")  # fmt: skip
_KNOWN = KERNELS | set(_OTHERS)
# Operators that came later than in the first release, and with which; read off the packages of 1.3.1, 1.4.1 and 1.5.1.
LATER = {
    **dict.fromkeys(("executorch_prim::sym_int.Scalar", "executorch_prim::sym_ite.Scalar"), "1.4.1"),
    **dict.fromkeys(("executorch_prim::sym_not.Scalar",), "1.4.1"),
    **dict.fromkeys(("et_copy::_d2h_copy.out", "et_copy::_h2d_copy.out"), "1.4.1"),
}
_MOST_NAMED = 3
PRODUCTS = ("executorch", "backend_xnnpack", "kernels_optimized", "kernels_quantized")
_CONTIGUOUS = (
    "give it contiguous values, plane by plane (NCHW): of a tensor whose channels are last in memory it reads the "
    "numbers in the wrong order, without an error"
)
_UNCHECKED = (
    "give it only sizes that it takes, which its fxconv_sizes says, and of several batches one alone: "
    "it does not look, computes something else, and at more images writes past its memory"
)
_SWIFT = f"in Swift take the products {', '.join(PRODUCTS[:-1])} and {PRODUCTS[-1]}, and link with -Wl,-all_load"


@dataclass(frozen=True)
class Package:
    """What `--runtime` calls the libraries."""

    name: str


@dataclass(frozen=True)
class Release:
    """A release of the libraries: for Android one of Maven's, for iOS a Swift package of the same number."""

    version: str
    package: Package

    @property
    def name(self) -> str:
        """`executorch==1.5.1`, as `--runtime` takes it."""
        return f"{self.package.name}=={self.version}"

    @property
    def is_unchecked(self) -> bool:
        """Whether it runs a program on sizes that it does not take, and says nothing: ExecuTorch 1.3 does."""
        return tuple(map(int, self.version.split(".")[:2])) < (1, 4)

    @property
    def gradle(self) -> str:
        """The line of build.gradle."""
        return f"implementation 'org.pytorch:executorch-android:{self.version}'"

    @property
    def swift(self) -> str:
        """The line of Package.swift."""
        return f'.package(url: "https://github.com/pytorch/executorch.git", branch: "swiftpm-{self.version}")'


_PACKAGE = Package("executorch")
# The oldest first.
RELEASES = tuple(Release(version, _PACKAGE) for version in RUNTIMES[_PACKAGE.name])


@dataclass(frozen=True)
class Missing:
    """An operator that a release lacks: why, and the first later release that has it, "" where none has."""

    operator: str
    why: str
    since: str = ""
    layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.operator}: {self.why}{f'; {self.since} has it' if self.since else ''}"


@dataclass(frozen=True)
class Fit:
    """What became of a file and a release: `problems` are why it is not loaded, `missing` operators that it lacks.

    `placed` are the lines of an app's build files, each with the file that it goes into, `notes` what the app has to
    mind.
    """

    release: Release
    problems: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    placed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    call: str = CALL

    @property
    def loads(self) -> bool:
        """Whether it can be loaded and run, by what is known of the release."""
        return not self.problems and not self.missing

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of build.gradle and of Package.swift."""
        return tuple(line for _, line in self.placed)

    @property
    def reason(self) -> str:
        """Why it cannot, in one line; "" where it can."""
        left = [str(one) for one in self.missing[:_MOST_NAMED]]
        more = len(self.missing) - len(left)
        return "; ".join((*self.problems, *left, *((f"and {more} more operators",) if more > 0 else ())))


def release(text: str) -> Release:
    """The release that `text` names, `executorch==1.3` or `org.pytorch:executorch-android:1.3.1`.

    Raises `UserError` for one that does not exist, with those that do, the nearest first.
    """
    named = runtime_name(text)
    return next(one for one in RELEASES if one.name == named)


def check(found: Inspection, wanted: Release) -> Fit:
    """Whether `wanted` loads the file that `fxconv.inspection.inspect` read. Nothing in it is run."""
    placed = (("build.gradle", wanted.gradle), ("Package.swift", wanted.swift))
    problems = tuple(_problems(found))
    missing = () if found.kind is not Kind.EXECUTORCH else tuple(_missing(found, wanted))
    return Fit(
        wanted, problems, missing, placed, (_SWIFT, _CONTIGUOUS, *((_UNCHECKED,) if wanted.is_unchecked else ()))
    )


def fits(found: Inspection) -> list[Fit]:
    """What becomes of a program in each release; nothing where it is none."""
    return [check(found, one) for one in RELEASES] if found.kind is Kind.EXECUTORCH else []


def fitted(content: bytes, wanted: Release) -> Fit:
    """What an app with `wanted` needs for these bytes of a program of fxconv's own.

    Raises `ConversionError` where it cannot load them, with the release that can.
    """
    with StagedFile(None, content) as staged:
        fit = check(inspect(staged.path), wanted)
    if not fit.loads:
        loading = next((one.name for one in RELEASES if check_again(fit, one)), "")
        cure = f"take {loading}" if loading else "leave --runtime out, and build the runtime with them"
        raise ConversionError(f"{wanted.name} cannot load the model: {fit.reason}; {cure}")
    return fit


def check_again(fit: Fit, other: Release) -> bool:
    """Whether another release has all that the one of `fit` lacks."""
    return not fit.problems and all(_has(one.operator, other) for one in fit.missing)


def _problems(found: Inspection) -> Iterator[str]:
    """Why no release that is known loads the file."""
    if found.kind is not Kind.EXECUTORCH:
        yield f"ExecuTorch loads no file of this kind ({found.kind.value})"
        return
    version = dict(found.facts).get("schema version", NEWEST_SCHEMA)
    if version != NEWEST_SCHEMA:
        yield f"its schema has version {version}, and {NEWEST_SCHEMA} is read"
    for one in found.delegates:
        yield from _of_delegate(one)


def _of_delegate(found: Delegate) -> Sequence[str]:
    if found.backend != XNNPACK:
        what = f" ({found.what})" if found.what else ""
        return [f"it hands work to {found.backend}{what}, and only what {XNNPACK} takes is known here"]
    if found.problem:
        return [f"what it hands to {XNNPACK} is not read: {found.problem}"]
    rows = found.operators
    new = {row.name for row in rows if row.name.startswith("unknown")}
    new |= {kind for row in rows for kind in row.dtype.split(" to ") if kind.startswith("unknown (")}
    return [f"its {XNNPACK} graph has {', '.join(sorted(new))}, which the schema lacks"] if new else []


def _missing(found: Inspection, wanted: Release) -> Iterator[Missing]:
    later = RELEASES[RELEASES.index(wanted) + 1 :]
    for one in found.operators:
        if not _has(one.full_name, wanted):
            since = next((each.name for each in later if _has(one.full_name, each)), "")
            yield Missing(one.full_name, "this release has no such operator", since)


def _has(operator: str, wanted: Release) -> bool:
    versions = [one.version for one in RELEASES]
    return operator in _KNOWN and versions.index(LATER.get(operator, versions[0])) <= versions.index(wanted.version)
