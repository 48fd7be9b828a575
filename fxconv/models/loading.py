"""A name, of a package's too, a file.py:factory or a package.module:factory -> an nn.Module and the input it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn
from torchvision import models as zoo

from fxconv.errors import UserError
from fxconv.errors import described as described_error
from fxconv.models import preconditions, timm_models, transformers_models
from fxconv.models.checkpoints import Checkpoint, head_sizes, load_into, matched, misfits, read_checkpoint, some
from fxconv.models.detectors import HEADS, HIDDEN, detector, heads_in
from fxconv.models.factories import made_by, seeded
from fxconv.models.head_list import check_heads, parse_heads
from fxconv.models.input_size import InputSize, parse_input_size
from fxconv.models.installed_packages import TIMM, TRANSFORMERS, package_of
from fxconv.models.model_arguments import parse, refuse_weights, unknown
from fxconv.models.model_names import ALIASES, DETECTOR, backbone_of, detectors, is_detector, names, resolve
from fxconv.models.preprocessing import FRAMES, Preprocessing
from fxconv.models.preprocessing_choice import of_module
from fxconv.models.preprocessing_files import beside
from fxconv.models.pretrained_weights import cached_or_fetched, check_values
from fxconv.models.random_weights import redraw_silent
from fxconv.models.signature import InputSignature
from fxconv.models.user_code import plain
from rewrites.spec import check_source

__all__ = [
    "ALIASES",
    "InputSize",
    "LoadedModel",
    "detectors",
    "in_packages",
    "load",
    "names",
    "parse_heads",
    "parse_input_size",
    "resolve",
]

# Options that torchvision sets when it loads its own weights, which were trained on inputs normalized otherwise.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True},
    "inception_v3": {"transform_input": True},
}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Pixels, square, for networks that take images in a list, of any size, and resize them themselves: the short side of
# most of COCO's photographs, so that they enlarge as much as in training; and square, for that is the least to compute.
_OF_LISTS = 480
# Pixels of a detector's input, square, as in Objects as Points.
_OF_DETECTORS = 512


_Built = TypeVar("_Built")
# Reads the checkpoint that --weights names, when it is time to.
Read = Callable[[], Checkpoint]


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be converted.

    `weights` says in words where they come from; `is_random` that they come from a seed, so that batch
    norms have to be re-estimated before anything is compared. `classes` are the names of what it was trained to tell
    apart, None when nobody says.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    weights: str
    is_random: bool
    warnings: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None

    @property
    def signature(self) -> InputSignature:
        """How it takes its images. Raises `UserError` when they alone are not enough."""
        return InputSignature.of(self.module, self.name)

    @property
    def parameters(self) -> int:
        """How many numbers the model holds."""
        return sum(p.numel() for p in self.module.parameters())


def in_packages(text: str) -> list[str]:
    """The models of the package that a text such as `timm:` begins with. Raises `UserError` where it is missing."""
    return timm_models.names() if package_of(text) == TIMM else transformers_models.names()


def load(
    text: str,
    weights: str = "auto",
    input_size: str | None = None,
    seed: int = 0,
    structure_only: bool = False,
    unsafe_load: bool = False,
    heads: str | None = None,
    arguments: Mapping[str, Any] | Sequence[str] = (),
    weights_key: str | None = None,
    weights_prefix: str | None = None,
) -> LoadedModel:
    """The model `text` names, in eval mode.

    `weights` is auto, random or the path of a checkpoint. With `structure_only` nothing is fetched: the weights
    do not matter when only the rewriting is shown. `unsafe_load` lets a checkpoint be unpickled, which runs whatever
    code is in it. Of a checkpoint with several state_dicts the one at `weights_key` is taken, and of that, with
    `weights_prefix`, what begins with it. `heads` are those of a detector, `NAME:CHANNELS` with commas between.
    `arguments` are those of whatever makes the model, or fields of its configuration, by name or as `KEY=VALUE` texts.
    Raises `UserError` for whatever the user can mend.
    """
    size, given = parse_input_size(input_size), parse(arguments)
    for option, chosen in (("--weights-key", weights_key), ("--weights-prefix", weights_prefix)):
        if chosen is not None and weights in ("auto", "random"):
            raise UserError(f"{option} {chosen}: is of a checkpoint, and there is none; give --weights FILE")
    read = partial(read_checkpoint, Path(weights), unsafe_load, weights_key, weights_prefix)
    check_heads(text, heads, given)
    if is_detector(text):
        loaded = _detector(text, weights, seed, read, heads)
    elif package_of(text) is not None:
        loaded = _from_package(text, weights, size, seed, structure_only, read, given)
    elif ":" in text:
        loaded = _from_factory(plain(text), weights, seed, read, given)
    else:
        loaded = _from_torchvision(resolve(text), weights, size, seed, structure_only, read, given)
    preprocessing = loaded.preprocessing
    if weights not in ("auto", "random"):
        preprocessing = beside(Path(weights), preprocessing)
    preprocessing = of_module(loaded.module, preprocessing)
    loaded = replace(loaded, preprocessing=preprocessing)
    signature, frames = loaded.signature, FRAMES if _takes_clips(loaded.module) else None
    preprocessing = replace(loaded.preprocessing, images=signature.count, frames=frames)
    if signature.as_list:
        preprocessing = preprocessing.resized(None, _OF_LISTS, _OF_LISTS)
    if size is not None:
        preprocessing = preprocessing.resized(size.channels, size.height, size.width, size.frames)
    loaded = replace(loaded, preprocessing=preprocessing)
    if loaded.is_random and (drawn := redraw_silent(loaded.module, seed)):
        note = f"parameters that {loaded.name} begins with at one constant near 0 are drawn at random: {some(drawn)}"
        loaded = replace(loaded, warnings=(*loaded.warnings, note))
    if offences := check_source(loaded.module):
        raise UserError(f"{text}: {offences[0].node}: {offences[0].rule}")
    preconditions.plain(loaded.module.eval())
    notes = check_values(loaded.module, f"{text} ({loaded.weights})")
    return replace(loaded, warnings=(*loaded.warnings, *notes))


def _takes_clips(module: nn.Module) -> bool:
    """Whether the first convolution is three-dimensional: the input then has a depth, which is time in a video."""
    first = next((layer for layer in module.modules() if isinstance(layer, _CONVOLUTIONS)), None)
    return isinstance(first, nn.Conv3d)


def _from_package(
    text: str,
    weights: str,
    size: InputSize | None,
    seed: int,
    structure_only: bool,
    read: Read,
    arguments: Mapping[str, Any],
) -> LoadedModel:
    """A model that an installed package names; it is made to take images of the size that is asked for.

    A checkpoint decides before that: of a network of one size, which it fits, it is the size that it was trained at.
    """
    path = None if weights in ("auto", "random") else Path(weights)
    if package_of(text) == TRANSFORMERS:
        model = transformers_models.opened(f"{TRANSFORMERS}{text[len(TRANSFORMERS) :]}", arguments, path)
    else:
        model = timm_models.opened(f"{TIMM}{text[len(TIMM) :]}", arguments)
    sized = {} if size is None else model.sized(size.height, size.width)

    def build(more: Mapping[str, Any]) -> nn.Module:
        return seeded(lambda: model.build(more), seed)

    def loaded(module: nn.Module, more: Mapping[str, Any], words: str, **about: Any) -> LoadedModel:
        module = preconditions.unwrapped(module)
        preconditions.check(module, model.name)
        how = model.preprocessing(more) if path is None else model.preprocessing(more).assumed()
        return LoadedModel(model.name, module, how, words, **about)

    if path is not None:
        checkpoint = read()
        state = checkpoint.state
        head = None if model.classes in arguments else model.classes
        module, more, classes = _fitting(state, build, ({}, sized) if sized else ({},), head)
        if misfits(matched(state, module.state_dict()), module.state_dict()):
            adopted = next((one for each in (more, {}) if (one := model.adopt(each, state)) is not None), None)
            if adopted is not None:
                return loaded(adopted, more, checkpoint.words(), is_random=False, classes=model.names)
        words, notes = checkpoint.load_into(module, model.name)
        words += f", head sized to its {classes} classes" if classes else ""
        return loaded(module, more, words, is_random=False, classes=model.names, warnings=notes)
    if weights == "auto" and not structure_only and model.cached is not None and model.pretrained is not None:
        words = f"{model.name.partition(':')[0]}'s own, from its cache ({model.cached})"
        return loaded(model.pretrained(), {}, words, is_random=False)
    warnings = () if weights == "random" or structure_only else (
        f"RANDOM WEIGHTS: {model.without}. The artifact shows the conversion, it recognises nothing; give --weights "
        "FILE, or --weights random to say that this is meant",
    )  # fmt: skip
    try:
        module = build(sized)
    except UserError:  # a network that is not made for a size may take it
        module, sized = build({}), {}
    return loaded(module, sized, f"random, seed {seed}", is_random=True, warnings=warnings)


def _fitting(
    state: Mapping[str, Tensor],
    build: Callable[[Mapping[str, Any]], nn.Module],
    tried: Sequence[Mapping[str, Any]],
    classes: str | None,
) -> tuple[nn.Module, Mapping[str, Any], int | None]:
    """The first model that a checkpoint fits, of those that the arguments `tried` make, with a head of its classes.

    Also its arguments, and the number of classes where it is not the model's own; `classes` is the argument that sets
    it. A checkpoint that nothing fits gets the last, for loading to say what differs.
    """
    for options in tried:
        module = build(options)
        own = module.state_dict()
        fit = matched(dict(state), own)
        if not misfits(fit, own):
            return module, options, None
        for count in head_sizes(fit, own) if classes is not None else ():
            headed = {**options, str(classes): count}
            sized = build(headed)
            if not misfits(fit, sized.state_dict()):
                return sized, headed, count
    return module, options, None


def _from_torchvision(
    name: str,
    weights: str,
    size: InputSize | None,
    seed: int,
    structure_only: bool,
    read: Read,
    arguments: Mapping[str, Any],
) -> LoadedModel:
    published = zoo.get_model_weights(name)
    default = published.DEFAULT if len(published) else None
    preset, state, described, warnings = default, None, f"random, seed {seed}", list[str]()
    checkpoint: Checkpoint | None = None
    trained_by = None if weights == "random" else default
    resizes_inside = _accepts(name, "min_size") and _accepts(name, "max_size")
    options: dict[str, Any] = {}
    refuse_weights(arguments, name)
    if stray := [key for key in arguments if not _accepts(name, key)]:
        raise unknown(stray[0], _options(name), name)
    if resizes_inside and size is not None and not {"min_size", "max_size"} & arguments.keys():
        options = {"min_size": min(size.height, size.width), "max_size": max(size.height, size.width)}
        warnings.append(f"{name} resizes its images itself: to --input-size, {size.height}x{size.width}, now, and not "
                        "to the size torchvision trained it with")  # fmt: skip
    if weights not in ("auto", "random"):
        path, checkpoint = Path(weights), read()
        state = checkpoint.state
        known = next((entry for entry in published if entry.url.rsplit("/", 1)[-1] == path.name), None)
        preset, trained_by = known or default, known
        if known is None and name in _PUBLISHED:
            warnings.append(f"a checkpoint does not say whether its {name} had transform_input=True, as torchvision's "
                            "pretrained one has; taken as False (FILE.py:FACTORY can say)")  # fmt: skip
        options |= _PUBLISHED.get(name, {}) if known else {}
    elif weights == "auto" and default is not None and not structure_only:
        state = cached_or_fetched(default)
        if state is not None:
            described, options = str(default), options | _PUBLISHED.get(name, {})
        else:
            warnings.append(
                f"RANDOM WEIGHTS: {default} is not cached and could not be fetched. The artifact shows the conversion, "
                "it recognises nothing; give --weights FILE, or --weights random to say that this is meant"
            )
    preprocessing = Preprocessing()
    if preset is not None:
        preprocessing = Preprocessing.from_preset(preset.transforms(), str(preset))
        if weights not in ("auto", "random") and trained_by is None:  # what a checkpoint was trained on it does not say
            preprocessing = preprocessing.assumed()
    options |= arguments
    if state is None:
        module = _with_arguments(lambda: _built(name, seed, options), name, arguments)
        return LoadedModel(name, module, preprocessing, described, True, tuple(warnings))
    module, classes = _with_arguments(lambda: _built_for(state, name, seed, options), name, arguments)
    try:
        if checkpoint is None:
            load_into(module, state, described, name)
        else:
            described, notes = checkpoint.load_into(module, name)
            warnings += notes
    except UserError as error:
        if checkpoint is not None or not arguments:
            raise
        raise UserError(f"{error}; of another form there are none: give --weights random, or FILE") from error
    sized = f", head sized to its {classes} classes" if classes else ""
    names = tuple(trained_by.meta["categories"]) if trained_by is not None and "categories" in trained_by.meta else None
    return LoadedModel(name, module, preprocessing, described + sized, False, tuple(warnings), names)


def _built(name: str, seed: int, options: Mapping[str, Any]) -> nn.Module:
    """A torchvision model with seeded weights; nothing is fetched."""
    builder = zoo.get_model_builder(name)
    given: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        given["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        given["init_weights"] = False  # said by name, or torchvision warns of a change to come
    return seeded(lambda: builder(**{**given, **options}), seed)


def _built_for(
    state: dict[str, Tensor], name: str, seed: int, options: Mapping[str, Any]
) -> tuple[nn.Module, int | None]:
    """The model a checkpoint was saved from: with auxiliary heads if it has them, and a head of as many classes.

    Also the number of classes, when it is not torchvision's own.
    """
    has_auxiliary = any("aux" in key.lower() for key in state)
    switch = next((word for word in ("aux_logits", "aux_loss") if _accepts(name, word)), None)
    given = {**({} if switch is None else {switch: has_auxiliary}), **options}
    classes = "num_classes" if _accepts(name, "num_classes") and "num_classes" not in options else None
    module, _, count = _fitting(state, lambda more: _built(name, seed, {**given, **more}), ({},), classes)
    return module, count


def _accepts(name: str, option: str) -> bool:
    return option in _options(name)


def _options(name: str) -> list[str]:
    """The arguments that a torchvision builder, or the class it makes, takes by name."""
    builder = inspect.unwrap(zoo.get_model_builder(name))
    made = builder.__globals__.get(builder.__annotations__.get("return"), builder.__annotations__.get("return"))
    each = [inspect.signature(kind).parameters.values() for kind in (builder, made) if callable(kind)]
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [one.name for parameters in each for one in parameters if one.kind not in variable]
    return [option for option in named if option not in ("weights", "weights_backbone", "progress")]


def _detector(text: str, weights: str, seed: int, read: Read, heads: str | None) -> LoadedModel:
    """A detector of `fxconv.models.detectors`; the heads that nobody named are those of the checkpoint."""
    wanted, backbone = parse_heads(heads), backbone_of(text)
    name, hidden, checkpoint, warnings = f"{DETECTOR}{backbone}", HIDDEN, None, list[str]()
    if weights not in ("auto", "random"):
        checkpoint = read()
        in_state, hidden = heads_in(matched(checkpoint.state, detector(backbone).state_dict()))
        wanted = wanted or in_state or None
    elif weights == "auto":
        warnings.append(
            f"RANDOM WEIGHTS: nobody publishes any for {name}. The artifact shows the conversion, it finds nothing; "
            "give --weights FILE, or --weights random to say that this is meant"
        )
    try:
        module = seeded(lambda: detector(backbone, wanted or HEADS, hidden), seed)
    except ValueError as error:
        raise UserError(f"--heads {heads}: {error}") from error
    preprocessing = Preprocessing(_OF_DETECTORS, _OF_DETECTORS, resize=1.0)
    if checkpoint is None:
        return LoadedModel(name, module, preprocessing, f"random, seed {seed}", True, tuple(warnings))
    words, notes = checkpoint.load_into(module, name)
    listed = ", ".join(f"{head}:{channels}" for head, channels in module.heads.items())
    return LoadedModel(name, module, preprocessing, f"{words}, heads {listed}", False, notes)


def _with_arguments(build: Callable[[], _Built], what: str, arguments: Mapping[str, Any]) -> _Built:
    """What `build` makes. Raises `UserError` where it fails with the arguments that the user gave."""
    try:
        return build()
    except Exception as error:  # whatever an argument that does not fit raises
        if not arguments or isinstance(error, UserError):
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UserError(f"{what} cannot be made with {given}: {described_error(error)}; mend --model-arg") from error


def _from_factory(text: str, weights: str, seed: int, read: Read, arguments: Mapping[str, Any]) -> LoadedModel:
    module, factory_name = made_by(text, seed, arguments), text.rpartition(":")[2]
    module = preconditions.unwrapped(module)
    preconditions.check(module, text)  # before a checkpoint is loaded into it
    described, is_random, notes = "as the factory made them", False, tuple[str, ...]()
    if weights == "random":
        described, is_random = f"random as the factory made them, seed {seed}", True
    elif weights != "auto":
        described, notes = read().load_into(module, text)
    preprocessing = Preprocessing.in_unit_range() if InputSignature.of(module, text).as_list else Preprocessing()
    return LoadedModel(factory_name, module, preprocessing, described, is_random, notes)
