"""Everything a conversion can be asked for, as one value that goes into the report."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from fxconv import pixel_options
from fxconv.config_types import typed
from fxconv.errors import UserError, check_known
from fxconv.pixel_options import Interpolation
from fxconv.wording import in_python_words


class Engine(str, Enum):
    """The quantized engine the int8 kernels come from; phones have qnnpack."""

    qnnpack = "qnnpack"
    x86 = "x86"
    onednn = "onednn"


class WeightScheme(str, Enum):
    """One scale for each output channel of a layer, or one for the whole layer."""

    per_channel = "per-channel"
    per_tensor = "per-tensor"


class RangeMethod(str, Enum):
    """How the range of an activation is made of the values observed.

    histogram: the cut with the least expected squared error; minmax: all that was seen; percentile: all but one value
    in ten thousand at either end; mse: the cut with the least squared error of the values as they are rounded.
    """

    histogram = "histogram"
    minmax = "minmax"
    percentile = "percentile"
    mse = "mse"


class Recipe(str, Enum):
    """Steps that recover accuracy without training; auto leaves out those that harm, none takes none."""

    auto = "auto"
    none = "none"
    reader_ranges = "reader-ranges"
    bias_correction = "bias-correction"
    weight_ranges = "weight-ranges"
    equalization = "equalization"
    bias_absorption = "bias-absorption"
    adaround = "adaround"


class Arithmetic(str, Enum):
    """Operators as FloatFunctional, or each wrapped in dequantize and quantize."""

    functional = "functional"
    wrap = "wrap"


class Mode(str, Enum):
    """How int8 comes about.

    static: after training, the ranges of activations from calibration; dynamic: those of linear and recurrent layers
    alone, each time anew from the values themselves; qat: quantization-aware training, static with weights that were
    fine-tuned while they were rounded.
    """

    static = "static"
    dynamic = "dynamic"
    qat = "qat"


class Teacher(str, Enum):
    """What a fine-tuned model learns from: the float model's answers, which need no labels, or labels."""

    float = "float"
    labels = "labels"


class Method(str, Enum):
    """How the int8 module becomes TorchScript; auto scripts, and traces what cannot be scripted for the phone."""

    auto = "auto"
    script = "script"
    trace = "trace"

    @property
    def other(self) -> Method:
        """The one to try when this one fails."""
        return Method.trace if self is Method.script else Method.script


class Postprocess(str, Enum):
    """What follows the network in the artifact."""

    peaks = "peaks"


class Ties(str, Enum):
    """What becomes of equal neighbours in a heatmap, as `fxconv.detectors.HeatmapPeaks` has it."""

    index = "index"  # type: ignore[assignment]  # hides a method of str that no choice needs
    noise = "noise"
    keep = "keep"


class Sigmoid(str, Enum):
    """Whether peaks are looked for among scores, the sigmoid first, or among logits."""

    first = "first"
    last = "last"


class MobilePass(str, Enum):
    """The passes of optimize_for_mobile, by the name `--block` takes."""

    conv_bn_fusion = "conv-bn-fusion"
    insert_fold_prepack_ops = "insert-fold-prepack-ops"
    remove_dropout = "remove-dropout"
    fuse_add_relu = "fuse-add-relu"
    hoist_conv_packed_params = "hoist-conv-packed-params"
    vulkan_automatic_gpu_transfer = "vulkan-automatic-gpu-transfer"


# The libraries for phones, and of each its releases, the oldest first; fxconv.targets.mobile.releases has what each is.
_ANDROID = ("1.10.0", "1.11", "1.12", "1.12.1", "1.12.2", "1.13.0", "1.13.1", "2.1.0")
_IOS = ("1.10.0", "1.11.0", "1.12.0", "1.13.0", "1.13.0.1", "2.1.0")
# And of ExecuTorch those that docs/runtimes.md tells of; a file is held to what their schemas have.
_EXECUTORCH = ("1.3.1", "1.4.1", "1.5.1")
RUNTIMES = {
    "pytorch_android_lite": _ANDROID,
    "pytorch_android": _ANDROID,
    "LibTorch-Lite": _IOS,
    "LibTorch": _IOS,
    "executorch": _EXECUTORCH,
}
# The kinds of files that there are, and how the names of each end; the first is written where nothing else is said.
TARGETS = {"mobile": ".ptl", "executorch": ".pte"}
# The kinds that the libraries for phones load, other than the first.
_LOADED_BY = {"executorch": "executorch"}
# The fields that say how files of one kind are written, and nothing of others.
OWN_CHOICES = {
    "mobile": ("method", "allow_frozen_branches", "block", "java"),
    "executorch": ("dynamic_sizes",),
}
# Steps whose place training takes.
TRAINED_AWAY = frozenset({Recipe.bias_correction, Recipe.weight_ranges, Recipe.adaround})
STEP_NAMES = tuple(step.value for step in Recipe if step not in (Recipe.auto, Recipe.none))
MIN_SQNR, RANDOM_MIN_SQNR = 10.0, 3.0


@dataclass(frozen=True)
class Config:
    """The choices of one conversion.

    `min_sqnr` is in decibels, int8 against float; None asks for 10, or for 3 of random weights, which deep networks
    answer by amplifying every rounding. `min_agreement`, from 0 to 100, is the least percentage of answers that must be
    float's on images used for nothing else; None asks for none. `block` names the passes of optimize_for_mobile not to
    run; `java` also blocks prepacking, whose operators the Java runtime lacks. `passes` are `module:Class` specs of the
    user's own passes, `skip` and `until` names of passes. `keep_float` are patterns for paths of modules that run
    in float. `max_drop`, from 0 to 100, is by how many percentage points int8 may answer worse than
    float; `held_out` the most images, not used for calibration, to judge that by. `metric` names a function of the
    user's that judges in the place of answers, `FILE.py:NAME`; then `max_drop` is hundredths of its unit. `recipe` is
    auto, none, or steps; auto does not take adaround, which takes long, but goes with it. With `postprocess` peaks the
    artifact returns the detections of `fxconv.detectors.HeatmapPeaks`: those of a score, from 0 to 1, above
    `peak_threshold`, `peak_count` at most, with `ties` and `sigmoid`. With `golden` it carries inputs to prove itself
    by; with `normalize_in_graph` it takes uint8 pixels, and normalizes them itself.

    With `mode` qat the rewritten model is fine-tuned for at most `epochs` passes over the training images, from
    `learn_from`, by Adam with `learning_rate` (ten times that for biases) falling to 0 along a cosine; `batch_size`
    images at a time.

    `model_arg` are arguments of whatever makes the model, or fields of its configuration, each `KEY=VALUE`; they say
    something of a model that is named, and nothing of one that is given.

    `runtime` is the release for phones that must load the artifact, by the name of its package; of files for several
    runtimes one each, with commas between them. `dynamic_sizes`, `MIN:MAX` in pixels, are the heights and widths that
    an ExecuTorch program takes; without, it takes the example's alone.

    `preprocess` is how pixels become tensors: torchvision, timm, unit, raw, or a function of the user's by name,
    `FILE.py:FUNCTION`; None takes what is known of the weights. `mean` and `std`, one for each channel or one for all,
    are for values in [0, 1], with raw for values from 0 to 255. `resize` is `N`, the shorter side in pixels, or `HxW`,
    to exactly that; `crop` is `N` or `HxW`, the middle, or `none`, all of the image at the size of the input.

    With `allow_frozen_branches` a model that can only be traced may decide by the numbers in a tensor; the artifact
    then decides as the example does, whatever its input.
    """

    mode: Mode = Mode.static
    engine: Engine = Engine.qnnpack
    arithmetic: Arithmetic = Arithmetic.functional
    weight_scheme: WeightScheme = WeightScheme.per_channel
    observer: RangeMethod = RangeMethod.histogram
    recipe: tuple[Recipe, ...] = (Recipe.auto,)
    min_sqnr: float | None = None
    min_agreement: float | None = None
    seed: int = 0
    calib_count: int = 100
    batch_size: int = 10
    passes: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    until: str | None = None
    method: Method = Method.auto
    block: tuple[MobilePass, ...] = ()
    java: bool = False
    keep_float: tuple[str, ...] = ()
    max_drop: float | None = None
    metric: str | None = None
    held_out: int | None = None
    postprocess: Postprocess | None = None
    peak_threshold: float = 0.3
    peak_count: int = 100
    ties: Ties = Ties.index
    sigmoid: Sigmoid = Sigmoid.first
    golden: bool = True
    normalize_in_graph: bool = False
    learn_from: Teacher = Teacher.float
    epochs: int = 10
    learning_rate: float = 2e-5
    runtime: str | None = None
    dynamic_sizes: str | None = None
    allow_frozen_branches: bool = False
    model_arg: tuple[str, ...] = ()
    preprocess: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: str | None = None
    crop: str | None = None
    interpolation: Interpolation | None = None

    if not TYPE_CHECKING:  # a checker of types knows the fields

        def __new__(cls, *values: Any, **fields: Any) -> Config:
            """Raises `ArgumentError` for a field that there is not, naming the nearest."""
            check_known("Config", fields, [field.name for field in dataclasses.fields(cls)])
            return super().__new__(cls)

    @in_python_words()
    def __post_init__(self) -> None:
        for field, kind in _types().items():
            object.__setattr__(self, field, typed(field, getattr(self, field), kind))
        for field, words in _CHOICES.items():
            value = getattr(self, field)
            if value is not None and not isinstance(value, words):
                object.__setattr__(self, field, _member(field, value, words))
        several: tuple[tuple[str, type[Enum]], ...] = (("recipe", Recipe), ("block", MobilePass))
        for field, words in several:
            object.__setattr__(self, field, tuple(_member(field, value, words) for value in getattr(self, field)))
        if self.runtime is not None:
            object.__setattr__(self, "runtime", _runtimes(self.runtime))
        if self.dynamic_sizes is not None:
            object.__setattr__(self, "dynamic_sizes", _sizes(self.dynamic_sizes))
        if self.min_sqnr is not None and not math.isfinite(self.min_sqnr):
            raise UserError(f"--min-sqnr {self.min_sqnr}: not a finite number of decibels; give one, such as 10")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 100:
            raise UserError(f"--min-agreement {self.min_agreement:g}: give a percentage from 0 to 100, such as 95")
        if self.max_drop is not None and not 0 <= self.max_drop <= (math.inf if self.metric else 100):
            raise UserError(f"--max-drop {self.max_drop:g}: give percentage points from 0 to 100, such as 1")
        if self.max_drop is not None and math.isinf(self.max_drop):
            raise UserError(f"--max-drop {self.max_drop:g}: give hundredths of the metric's unit, such as 1")
        if not 0 <= self.peak_threshold < 1:
            raise UserError(f"--peak-threshold {self.peak_threshold:g}: give a score from 0 to below 1, such as 0.3")
        if not 0 < self.learning_rate <= 1:
            raise UserError(f"--learning-rate {self.learning_rate:g}: give a number above 0, such as 1e-5, at most 1")
        for option, wrong, modes in (
            ("--max-drop", self.max_drop is not None, (Mode.static,)),
            ("--metric", self.metric is not None, (Mode.static, Mode.qat)),
            ("--keep-float", self.keep_float, (Mode.static, Mode.qat)),
            ("--recipe", set(self.recipe) - {Recipe.auto, Recipe.none}, (Mode.static, Mode.qat)),
            ("--arithmetic wrap", self.arithmetic is Arithmetic.wrap, (Mode.static, Mode.qat)),
        ):
            if wrong and self.mode not in modes:
                known = " or ".join(mode.value for mode in modes)
                raise UserError(f"{option} goes with --mode {known}, not with {self.mode.value}: leave one of them out")
        self._check_recipe()
        self._check_pixels()
        for option, number, least in (
            ("--calib-count", self.calib_count, 1),
            ("--batch-size", self.batch_size, 1),
            ("--held-out", self.held_out, 1),
            ("--peak-count", self.peak_count, 1),
            ("--seed", self.seed, 0),
            ("--epochs", self.epochs, 1),
        ):
            if number is not None and not least <= number < 2**63:
                raise UserError(f"{option} {number}: give a whole number of at least {least}")

    def _check_recipe(self) -> None:
        alone = {Recipe.auto, Recipe.none} & set(self.recipe)
        if len(self.recipe) != 1 and (not self.recipe or alone) and set(self.recipe) != {Recipe.auto, Recipe.adaround}:
            words = " ".join(f"--recipe {step.value}" for step in self.recipe) or "an empty recipe"
            raise UserError(f"{words}: give auto, none, or steps: {', '.join(STEP_NAMES)}; adaround goes with auto")
        if self.mode is Mode.qat and (needless := set(self.recipe) & TRAINED_AWAY):
            named = ", ".join(sorted(step.value for step in needless))
            raise UserError(f"--recipe {named}: training does that better; with --mode qat leave it out")

    def _check_pixels(self) -> None:
        if self.preprocess is not None:
            object.__setattr__(self, "preprocess", pixel_options.recipe(self.preprocess))
        highest = 255 if self.preprocess == pixel_options.RAW else 1
        for field in ("mean", "std"):
            if (given := getattr(self, field)) is not None:
                object.__setattr__(self, field, pixel_options.channel_values(f"--{field}", given, highest))
        for field in ("resize", "crop"):
            if (given := getattr(self, field)) is not None:
                object.__setattr__(self, field, pixel_options.pixels(f"--{field}", given))
        if pixel_options.is_function(self.preprocess) and self.pixel_choices:
            option = f"--{self.pixel_choices[0]}"
            raise UserError(f"{option}: {self.preprocess} preprocesses by itself; leave one of them out")

    @property
    def pixel_choices(self) -> tuple[str, ...]:
        """The fields that say a part of preprocessing, and were given."""
        fields = ("mean", "std", "resize", "crop", "interpolation")
        return tuple(field for field in fields if getattr(self, field) is not None)

    @property
    def steps(self) -> tuple[Recipe, ...]:
        """The steps asked for by name, in the order of `Recipe`; none where auto chooses."""
        named = tuple(step for step in Recipe if step in self.recipe and step.value in STEP_NAMES)
        return () if Recipe.auto in self.recipe else named

    def runtime_of(self, target: str) -> str | None:
        """The release that must load the files of a kind; None where none was named."""
        named = self.runtime.split(",") if self.runtime is not None else []
        return next((name for name in named if loaded_by(name) == target), None)

    def of_targets(self, targets: Sequence[str], is_given: Callable[[str], bool] = lambda field: False) -> Config:
        """These choices without those that say something of other kinds of files alone, but with what `is_given`."""
        default = Config()
        others = [field for target, fields in OWN_CHOICES.items() if target not in targets for field in fields]
        changes: dict[str, Any] = {field: getattr(default, field) for field in others if not is_given(field)}
        if self.runtime is not None and not is_given("runtime"):
            named = [name for name in self.runtime.split(",") if loaded_by(name) in targets]
            changes["runtime"] = ",".join(named) or None
        return dataclasses.replace(self, **changes)

    def check_targets(self, targets: Sequence[str]) -> None:
        """Raise `UserError` for choices of a kind of file that is not written, and those that one cannot hold."""
        default = Config()
        for target, fields in OWN_CHOICES.items():
            changed = [field for field in fields if getattr(self, field) != getattr(default, field)]
            if target not in targets and (field := next(iter(changed), None)):
                raise UserError(not_written(f"--{field.replace('_', '-')}", target))
        for name in self.runtime.split(",") if self.runtime is not None else ():
            if loaded_by(name) not in targets:
                raise UserError(not_written(f"--runtime {name}", loaded_by(name)))
        if self.postprocess is not None and "executorch" in targets:
            raise UserError(
                f"--postprocess {self.postprocess.value}: a .pte cannot hold it: ExecuTorch has no kernel that sorts, "
                "and no loop that ends by what it finds; leave it out, and look for peaks in the app"
            )

    @property
    def sizes(self) -> tuple[int, int] | None:
        """The least and the most pixels of `dynamic_sizes`; None where the size is the example's."""
        if self.dynamic_sizes is None:
            return None
        least, most = map(int, self.dynamic_sizes.split(":"))
        return least, most

    @property
    def blocked(self) -> tuple[MobilePass, ...]:
        """The passes of optimize_for_mobile that do not run, `java` included."""
        java = (MobilePass.insert_fold_prepack_ops,) if self.java else ()
        return tuple(dict.fromkeys((*self.block, *java)))


def not_written(option: str, target: str) -> str:
    """What is wrong about a choice that says something of a kind of file of which none is written."""
    suffix = TARGETS[target]
    return f"{option}: is of {suffix} files alone, and none is written; leave it out, or add -o FILE{suffix}"


def loaded_by(runtime: str) -> str:
    """The kind of file that a release for phones loads, by the name that `runtime_name` gives."""
    return _LOADED_BY.get(runtime.partition("==")[0], next(iter(TARGETS)))


def _runtimes(given: str | Sequence[str]) -> str:
    """The releases, one a kind of file, with commas between them. Raises `UserError` for two of one kind."""
    texts = [text for one in ([given] if isinstance(given, str) else given) for text in one.split(",")]
    names = [runtime_name(text) for text in texts]
    for place, name in enumerate(names):
        before = next((one for one in names[:place] if loaded_by(one) == loaded_by(name)), None)
        if before is not None:
            suffix = TARGETS[loaded_by(name)]
            raise UserError(f"--runtime {name}: the {suffix} is for {before} already; name one release a kind of file")
    return ",".join(sorted(names, key=lambda name: list(TARGETS).index(loaded_by(name))))


def _sizes(given: str | Sequence[int]) -> str:
    """`MIN:MAX`. Raises `UserError` for anything else."""
    text = given if isinstance(given, str) else ":".join(map(str, given))
    found = re.fullmatch(r"0*([1-9]\d{0,4}):0*([1-9]\d{0,4})", text.strip())
    if found is None or int(found[1]) >= int(found[2]):
        raise UserError(f"--dynamic-sizes {text}: give the least and the most pixels of a side, such as 128:512")
    return f"{found[1]}:{found[2]}"


def runtime_name(text: str) -> str:
    """The release for phones that `text` names, `pytorch_android_lite==2.1.0`; case, and `-` for `_`, do not matter.

    Raises `UserError` for one that does not exist, with those that do, the nearest first.
    """
    name, separator, version = (part.strip() for part in text.replace(":", "==").rpartition("=="))
    plain = {_plain(package): package for package in RUNTIMES}
    package = plain.get(_plain(name if separator else version))
    if package is None:
        near = difflib.get_close_matches(_plain(name or version), plain, len(plain), 0)
        named = ", ".join(f"{one}=={RUNTIMES[one][-1]}" for one in (plain[word] for word in near))
        raise UserError(f"--runtime {text}: no library for phones that fxconv knows; known are {named}, and older ones")
    versions = RUNTIMES[package]
    for one in versions:
        if separator and (_same(one, version) or (package == "executorch" and _same(one.rpartition(".")[0], version))):
            return f"{package}=={one}"  # of ExecuTorch's, 1.3 names 1.3.1: a patch changes no format
    ordered = _nearest(versions, version) if separator else versions[::-1]
    named = ", ".join(f"{package}=={one}" for one in ordered)
    what = f"there is no such release of {package}" if separator else "say which release"
    raise UserError(f"--runtime {text}: {what}; known are {named}")


def _plain(name: str) -> str:
    plain = name.strip().lower().removeprefix("org.pytorch==").replace("-", "_")
    return "executorch" if plain == "executorch_android" else plain  # as the package for Android is called


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,6}", version))


def _same(version: str, other: str) -> bool:
    """Whether both are one version: 1.11 and 1.11.0 are."""
    if not re.fullmatch(r"\d{1,6}(?:\.\d{1,6}){0,5}", other):
        return False
    both = [_numbers(version), _numbers(other)]
    longest = max(map(len, both))
    first, second = (numbers + (0,) * (longest - len(numbers)) for numbers in both)
    return first == second


def _nearest(versions: Sequence[str], version: str) -> list[str]:
    """The versions on either side of another one first."""
    place = sum(_numbers(one) <= _numbers(version) for one in versions) - 0.5
    return sorted(versions, key=lambda one: abs(versions.index(one) - place))


# Fields that are one of several words, which may be given as they are.
_CHOICES: dict[str, type[Enum]] = {
    "mode": Mode,
    "engine": Engine,
    "arithmetic": Arithmetic,
    "weight_scheme": WeightScheme,
    "observer": RangeMethod,
    "method": Method,
    "postprocess": Postprocess,
    "ties": Ties,
    "sigmoid": Sigmoid,
    "learn_from": Teacher,
    "interpolation": Interpolation,
}


@functools.cache
def _types() -> dict[str, Any]:
    return typing.get_type_hints(Config)


def _member(field: str, value: object, kind: type[Enum]) -> Enum:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(repr(member.value) for member in kind)
        raise UserError(f"{field} {value!r}: expected one of {known}") from error
