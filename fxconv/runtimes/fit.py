"""Whether a release for phones can load a file: its kind, its versions, its operators, and what else the app needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fxconv.inspection.found import Inspection, Kind, Operator
from fxconv.op_layers import layers_by_operator, program_of
from fxconv.runtimes.lacking import lacks
from fxconv.runtimes.operators import Torch, torch_of
from fxconv.runtimes.releases import RELEASES, Release, of

_LITE = (Kind.LITE, Kind.LITE_FLATBUFFER)
# Of many a sentence names this many.
_MOST_NAMED = 3
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

    Only the file's own words count; nothing in it is run. Of TorchScript, whose code names no overloads, operators are
    looked for by their names alone.
    """
    torch = torch_of(release.torch)
    problems = tuple(_problems(found, release, torch))
    missing = tuple(_missing(found, release, torch)) if _is_program(found) else ()
    vision = any(one.name.startswith(f"{VISION}::") for one in found.operators)
    lines = (release.line, *((release.vision_line,) if vision and release.vision else ()))
    notes = ((_vision_note(release),) if vision else ()) + release.notes
    newest, version = torch.bytecode[1], found.bytecode_version
    too_new = release.package.is_lite and found.kind is Kind.LITE and version is not None and version > newest
    return Fit(release, release.package.call, problems, missing, lines, notes, newest if too_new else None)


def fits(found: Inspection) -> list[Fit]:
    """That of each release, those that need no other operators than a later one does in order of the list."""
    return [check(found, one) for one in RELEASES]


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
            problems.append(f"its bytecode has version {version:,}, {release.name} reads {least} to {most}")
        elif found.kind is Kind.LITE_FLATBUFFER and not torch.reads_flatbuffer:
            problems.append(f"{release.name} is built without its format, the flatbuffer; save it as an archive")
    elif not found.has_code:
        problems.append("no TorchScript code is in it, which is what the full library loads")
    told = dict(found.facts).get("archive format", "")
    least, most = torch.file_format
    if told.isdigit() and not least <= int(told) <= most:
        problems.append(f"its archive has format {int(told):,}, {release.name} reads {least} to {most}")
    return problems


def _is_full_form(one: Release, lite: Release) -> bool:
    same = one.package.is_android == lite.package.is_android and one.version == lite.version
    return same and not one.package.is_lite


def _missing(found: Inspection, release: Release, torch: Torch) -> Sequence[Missing]:
    absent = [(one, why) for one in found.operators if (why := _why(one, found.kind, release, torch))]
    if not absent:
        return []
    layers = layers_by_operator(program_of(found.path)) if found.kind is Kind.LITE else {}
    later = of(release.package)
    later = later[later.index(release) + 1 :]
    rows = []
    for one, why in absent:
        having = (each.name for each in later if not _why(one, found.kind, each, torch_of(each.torch)))
        rows.append(Missing(one.full_name, why, layers.get(one.name, ()), next(having, "")))
    return rows


def _why(one: Operator, kind: Kind, release: Release, torch: Torch) -> str:
    """Why a release cannot run a call of this operator; "" when it can."""
    if one.name.startswith(f"{VISION}::"):
        return ""  # of a library of its own
    if why := lacks(one.full_name, release.torch, release.package.is_lite):
        return why
    if kind is Kind.TORCHSCRIPT:
        return "" if one.name in torch.names else f"{release.name} has no operator of that name"
    arity = torch.operators.get(one.full_name)
    if arity is None:
        return f"{release.name} has no such operator"
    if one.arguments is not None and not arity.takes(one.arguments):
        return f"it takes {arity} arguments in {release.name}, the file passes {one.arguments}"
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
