"""Whether a release for phones can load a file: its kind, its versions, its operators, and what else the app needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fxconv.inspection.found import Inspection, Kind, Unreadable
from fxconv.targets.mobile.op_layers import layers_by_operator, program_of
from fxconv.targets.mobile.releases.code import calls_in
from fxconv.targets.mobile.releases.lacking import lacks
from fxconv.targets.mobile.releases.operators import Torch, torch_of
from fxconv.targets.mobile.releases.table import RELEASES, Release, of

# Operators, and the numbers of arguments they are given.
Calls = Sequence[tuple[str, Sequence[int]]]
_LITE, _WITH_CODE, _BOTH = (Kind.LITE, Kind.LITE_FLATBUFFER), (Kind.LITE, Kind.TORCHSCRIPT), (True, False)
# The lite interpreter has it beside the operators with schemas (torch/csrc/jit/mobile/promoted_prim_ops.cpp), and takes
# any number of arguments: 1.10.0 loads files that give it the second one, which it got in 1.11.
_UNCOUNTED = frozenset({"prim::RaiseException"})
# Of many a sentence names this many.
_MOST_NAMED = 3
# Layers are named by a program of so many bytes at most: what is asked about may be anybody's.
_MOST_NAMING = 4 << 20
VISION = "torchvision"


@dataclass(frozen=True)
class Missing:
    """An operator that a release lacks: why, the layers that need it, and the first later release that has it.

    `layers` are the paths of modules, or names of operations between them, empty where the file does not say;
    `since` is "" where no later release has it.
    """

    operator: str
    why: str
    layers: tuple[str, ...] = ()
    since: str = ""

    def __str__(self) -> str:
        named = ", ".join(self.layers[:_MOST_NAMED])
        more = f" and {len(self.layers) - _MOST_NAMED} more" if len(self.layers) > _MOST_NAMED else ""
        where = f" (layer {named}{more})" if self.layers else ""
        return f"{self.operator}{where}: {self.why}{f'; {self.since} has it' if self.since else ''}"


@dataclass(frozen=True)
class Fit:
    """What became of a file and a release.

    `call` loads it; `problems` are why the file as a whole cannot be loaded, `missing` its operators that are not
    there; `lines` are those of build.gradle or the Podfile, `notes` what the app has to mind. `backport` is the version
    of bytecode in which the release would read it, None where that is not what it lacks.
    """

    release: Release
    call: str
    problems: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    backport: int | None = None

    @property
    def loads(self) -> bool:
        """Whether it can be loaded and run."""
        return not self.problems and not self.missing

    @property
    def reason(self) -> str:
        """Why it cannot, in one line; "" where it can."""
        left = [str(one) for one in self.missing[:_MOST_NAMED]]
        more = len(self.missing) - len(left)
        return "; ".join((*self.problems, *left, *((f"and {more} more operators",) if more > 0 else ())))


def check(found: Inspection, release: Release) -> Fit:
    """Whether `release` loads the file that `fxconv.inspection.inspect` read, and what an app with it needs.

    Only the file's own words count; nothing in it is run. The lite interpreter is held to the operators of the
    bytecode, the full library to the calls in the TorchScript code, which names no overloads.
    """
    fit = _check(found, release, _calls(found, release))
    if not fit.missing or found.kind is not Kind.LITE:
        return fit
    layers = layers_by_operator(program_of(found.path, _MOST_NAMING))
    return replace(
        fit, missing=tuple(replace(one, layers=layers.get(one.operator.partition(".")[0], ())) for one in fit.missing)
    )


def fits(found: Inspection) -> list[Fit]:
    """What becomes of the file in each release, without the names of layers; nothing where it is no program."""
    if not _is_program(found):
        return []
    calls = {
        is_lite: _calls(found, next(one for one in RELEASES if one.package.is_lite is is_lite)) for is_lite in _BOTH
    }
    return [_check(found, one, calls[one.package.is_lite]) for one in RELEASES]


def _check(found: Inspection, release: Release, calls: Calls) -> Fit:
    torch = torch_of(release.torch)
    problems = tuple(_problems(found, release, torch))
    missing = tuple(_missing(calls, release)) if _is_program(found) else ()
    vision = any(one.startswith(f"{VISION}::") for one, _ in calls)
    lines = (release.line, *((release.vision_line,) if vision and release.vision else ()))
    newest, version = torch.bytecode[1], found.bytecode_version
    too_new = release.package.is_lite and found.kind is Kind.LITE and version is not None and version > newest
    older = f"fxconv convert --runtime {release.name} writes a file with bytecode of version {newest}"
    notes = (*((older,) if too_new and not missing else ()), *((_vision_note(release),) if vision else ()))
    backport = newest if too_new else None
    return Fit(release, release.package.call, problems, missing, lines, (*notes, *release.notes), backport)


def _calls(found: Inspection, release: Release) -> Calls:
    """What a release will look up when it loads the file: operators, and how many arguments they are given."""
    if release.package.is_lite or not found.has_code or found.kind not in _WITH_CODE:
        return [(one.full_name, () if one.arguments is None else (one.arguments,)) for one in found.operators]
    try:
        counted = calls_in(found.path)
    except Unreadable:  # its code is longer than any program's; what the bytecode calls is known all the same
        counted = {one.name: set[int]() for one in found.operators}
    return [(name, tuple(sorted(numbers))) for name, numbers in sorted(counted.items())]


def _is_program(found: Inspection) -> bool:
    return found.kind in (*_LITE, Kind.TORCHSCRIPT)


def _problems(found: Inspection, release: Release, torch: Torch) -> Sequence[str]:
    """Why no file of this kind, or of these versions, is loaded."""
    if not _is_program(found):
        return [f"no library of PyTorch for phones loads a file of this kind ({found.kind.value})"]
    problems = []
    if release.package.is_lite:
        if found.kind is Kind.TORCHSCRIPT:
            full = next(one.name for one in RELEASES if _is_full_form(one, release))
            return [f"it is TorchScript without bytecode.pkl, which {full} loads, and the lite interpreter does not"]
        version, (least, most) = found.bytecode_version or 0, torch.bytecode
        if not least <= version <= most:
            problems.append(f"its bytecode has version {version:,}, and {least} to {most} are read")
    elif not found.has_code:
        problems.append("no TorchScript code is in it, which is what the full library loads")
    if found.kind is Kind.LITE_FLATBUFFER and not torch.reads_flatbuffer:
        problems.append("it is a flatbuffer, which this release is built without; save it as an archive")
    told = dict(found.facts).get("archive format", "")
    least, most = torch.file_format
    if told.isdigit() and not least <= int(told) <= most:
        problems.append(f"its archive has format {int(told):,}, and {least} to {most} are read")
    return problems


def _is_full_form(one: Release, lite: Release) -> bool:
    same = one.package.is_android == lite.package.is_android and one.version == lite.version
    return same and not one.package.is_lite


def _missing(calls: Calls, release: Release) -> Sequence[Missing]:
    later = of(release.package)
    later = later[later.index(release) + 1 :]
    rows = []
    for name, numbers in calls:
        if why := _why(name, numbers, release):
            having = (each.name for each in later if not _why(name, numbers, each))
            rows.append(Missing(name, why, since=next(having, "")))
    return rows


def _why(name: str, numbers: Sequence[int], release: Release) -> str:
    """Why a release cannot run a call of this operator with so many arguments; "" when it can."""
    if name.startswith(f"{VISION}::"):
        return ""  # of a library of its own
    if why := lacks(name, release.torch, release.package.is_lite):
        return why
    torch = torch_of(release.torch)
    if release.package.is_lite:
        known = tuple(one for one in (torch.operators.get(name),) if one is not None)
    else:
        known = torch.overloads(name.partition(".")[0])
    if not known:
        return "this release has no such operator"
    for passed in () if release.package.is_lite and name in _UNCOUNTED else numbers:
        if not any(one.takes(passed) for one in known):
            took = " or ".join(dict.fromkeys(str(one) for one in known))
            return f"it takes {took} argument{'s' * (took != '1')} in this release, and the file passes {passed}"
    return ""


def _vision_note(release: Release) -> str:
    """What it takes to have torchvision's operators in the app."""
    name = release.package.vision
    if release.vision:
        load = ', and load it before the model: NativeLoader.loadLibrary("torchvision_ops")'
        return f"it calls torchvision's operators: take {name} {release.vision} too{load * release.package.is_android}"
    folder = "android/ops" if release.package.is_android else "ios"
    having = [f"{one.name} ({name} {one.vision})" for one in of(release.package) if one.vision]
    return (
        f"it calls torchvision's operators, and no {name} was published for this release: build it from {folder} of "
        f"torchvision {release.vision_source}, or take {having[-1]}"
    )
