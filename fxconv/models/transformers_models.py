"""Classes of transformers that take images, `transformers:CLASS`: of their default configuration, nothing fetched."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from fxconv.errors import UserError, described
from fxconv.models.installed_packages import TRANSFORMERS, imported, installed_alone, names_in_source
from fxconv.models.model_arguments import parameters_of, refuse_addresses, refuse_weights, unknown
from fxconv.models.package_model import PackageModel
from fxconv.models.preprocessing import Preprocessing

_IMAGES = "pixel_values"
# What a configuration file says of the file itself, and not of the model.
_OF_THE_FILE = ("model_type", "architectures", "transformers_version", "auto_map", "_name_or_path", "dtype")
# The parts of a configuration that may say the size of the images, where it does not say so itself.
_PARTS = ("vision_config", "backbone_config")
_OF_CLASSES = ("id2label", "label2id")


def names() -> list[str]:
    """The classes that take images. Raises `UserError` without transformers."""
    imported("transformers", TRANSFORMERS)
    return names_in_source(TRANSFORMERS)


def opened(text: str, arguments: Mapping[str, Any], checkpoint: Path | None = None) -> PackageModel:
    """The model that `transformers:CLASS` names; `checkpoint` is the file its weights come from.

    Its configuration is the one in config.json beside the checkpoint where there is one of this class, and else the
    class's default. Raises `UserError` for what the user can mend.
    """
    kind = _class(imported("transformers", text), text)
    name = f"{TRANSFORMERS}{kind.__name__}"
    refuse_weights(arguments, name)
    refuse_addresses(arguments, name)
    base = _beside(checkpoint, kind)
    default = _default(kind, name, base, arguments)

    def configured(more: Mapping[str, Any]) -> Any:
        return _configuration(kind, name, _merged(base, _fields(name, default, {**arguments, **more})))

    def build(more: Mapping[str, Any]) -> nn.Module:
        configuration = configured(more)
        return _made(lambda: kind(configuration), name, "transformers cannot make it")

    configured({})  # arguments that do not fit are found before a checkpoint is read

    return PackageModel(
        name,
        build,
        lambda more: _preprocessing(configured(more)),
        lambda height, width: _sized(default, arguments, height, width),
        "num_labels",
        f"a class has a configuration and no weights of its own: those are in the checkpoints of a {kind.__name__}",
        adopt=lambda more, state: _adopted(kind, configured(more), state),
        names=_labels(base),
    )


def _class(transformers: ModuleType, text: str) -> Any:
    """The class. Raises `UserError` for another name, and for one that does not take images alone."""
    given = text[len(TRANSFORMERS) :]
    try:
        with installed_alone():
            kind = getattr(transformers, given, None) if given.isidentifier() else None
    except Exception as error:  # one of its modules that does not import here
        raise UserError(f"{text}: {given} does not import: {described(error)}") from error
    if given.startswith("Auto"):
        raise UserError(
            f"{text}: {given} looks up the class of a checkpoint on the network; name the class itself, such as "
            f"{TRANSFORMERS}ViTForImageClassification (fxconv models {TRANSFORMERS} lists them)"
        )
    if kind is None:
        listed = [name.removeprefix(TRANSFORMERS) for name in names_in_source(TRANSFORMERS)]
        near = [name for name in listed if name.lower() == given.lower()]
        near = near or difflib.get_close_matches(given, listed or dir(transformers), n=3)
        hint = f"; did you mean {', '.join(f'{TRANSFORMERS}{name}' for name in near)}?" if near else ""
        raise UserError(f"unknown model {text!r}{hint} (fxconv models {TRANSFORMERS} lists those of images)")
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)) or getattr(kind, "config_class", None) is None:
        raise UserError(f"{text}: is no class of a model (fxconv models {TRANSFORMERS} lists those of images)")
    first = getattr(kind, "main_input_name", _IMAGES)
    needed = _needed(kind)
    if first != _IMAGES or needed - {_IMAGES}:
        takes = ", ".join(sorted(needed - {_IMAGES})) if first == _IMAGES else first
        raise UserError(f"{text}: takes {takes}; fxconv converts models of images, which take {_IMAGES} alone")
    if "video" in (getattr(kind, "input_modalities", None) or ""):
        raise UserError(
            f"{text}: takes video with its frames before the channels, [N, T, C, H, W], and fxconv's clips are "
            "[N, C, T, H, W]; write a module that permutes them, and give FILE.py:FACTORY"
        )
    return kind


def _needed(kind: Any) -> set[str]:
    own = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = list(inspect.signature(kind.forward).parameters.values())[1:]
    return {one.name for one in parameters if one.default is one.empty and one.kind not in own}


def _beside(checkpoint: Path | None, kind: Any) -> dict[str, Any]:
    """What config.json beside a checkpoint says, where it is of this class; save_pretrained writes it."""
    file = None if checkpoint is None else checkpoint.with_name("config.json")
    if file is None or not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: the configuration beside --weights cannot be read ({described(error)})") from error
    if not isinstance(found, dict) or found.get("model_type") != getattr(kind.config_class, "model_type", None):
        return {}
    return {key: value for key, value in found.items() if key not in _OF_THE_FILE}


def _labels(base: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes that a configuration file has, unless they are the numbers it has without any."""
    named = base.get("id2label")
    if not isinstance(named, dict) or all(str(label).startswith("LABEL_") for label in named.values()):
        return None
    try:
        return tuple(str(named[key]) for key in sorted(named, key=int))
    except ValueError:
        return None


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a file with others over them; a number of classes has no use for the names of as many."""
    left = {key: value for key, value in base.items() if not ("num_labels" in given and key in _OF_CLASSES)}
    return {**left, **given}


def _configuration(kind: Any, name: str, fields: Mapping[str, Any]) -> Any:
    """A configuration of the class, of which no part asks for weights of the network's."""
    made = _made(lambda: kind.config_class(**fields), name, "its configuration cannot be made")
    if getattr(made, "use_pretrained_backbone", False):
        made = kind.config_class(**{**fields, "use_pretrained_backbone": False})
    return made


def _default(kind: Any, name: str, base: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    """The configuration without the user's arguments, or, of a class that has none without, with them."""
    try:
        return _configuration(kind, name, base)
    except UserError:
        if not arguments:
            raise
        return _configuration(kind, name, _merged(base, {k: v for k, v in arguments.items() if "." not in k}))


def _made(make: Callable[[], Any], name: str, what: str) -> Any:
    try:
        with installed_alone():
            return make()
    except Exception as error:  # whatever a field that does not fit raises
        why = " ".join(described(error).split())
        cure = "" if isinstance(error, ImportError) else "; --model-arg KEY=VALUE sets its fields"
        raise UserError(f"{name}: {what}: {why}{cure}") from error


def _fields(name: str, default: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a configuration is made of, from keys with dots. Raises `UserError` for one it does not have."""
    fields: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for key, value in arguments.items():
        first, dot, rest = key.partition(".")
        _check_known(first, default, name)
        if dot:
            parts.setdefault(first, {})[rest] = value
        else:
            fields[first] = value
    for first, inner in parts.items():
        part = getattr(default, first, None)
        if first in fields or not hasattr(part, "to_diff_dict"):
            key = f"{first}.{next(iter(inner))}"
            raise UserError(f"--model-arg {key}: {first} of {name} is no configuration of its own")
        fields[first] = _part(part, f"{name} {first}", inner)
    return fields


def _part(part: Any, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration inside another: its own, and those that are given over them."""
    if "model_type" in arguments:  # another kind altogether
        return dict(arguments)
    given = _fields(name, part, arguments)
    own = {key: value for key, value in part.to_diff_dict().items() if key not in _OF_THE_FILE}
    return {"model_type": part.model_type, **own, **given}


def _check_known(key: str, configuration: Any, name: str) -> None:
    kind = type(configuration)
    settable = {one for one in dir(kind) if getattr(getattr(kind, one, None), "fset", None) is not None}
    known = {*vars(configuration), *parameters_of(kind.__init__), *getattr(kind, "attribute_map", {}), *settable}
    known |= {"num_labels", "attn_implementation"}
    if key not in known - {"self", "kwargs", "args"}:
        raise unknown(key, known - {"self", "kwargs", "args"}, name)


def _sized(default: Any, arguments: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    """The field for the size of the images, where the class has one and nobody has set it."""
    for part in ("", *_PARTS):
        key = f"{part}.image_size" if part else "image_size"
        present = getattr(getattr(default, part, None) if part else default, "image_size", None)
        if present is not None:
            wanted = height if height == width and isinstance(present, int) else (height, width)
            return {} if key in arguments or _both(present) == (height, width) else {key: wanted}
    return {}


def _both(size: Any) -> tuple[int, int] | None:
    """Height and width from a field that has one number, or both."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(one, int) for one in size):
        return size[0], size[1]
    return None


def _preprocessing(configuration: Any) -> Preprocessing:
    """Of the size and the channels that a configuration says, normalized as most of these networks were trained."""
    plain = Preprocessing()
    parts = [configuration, *(getattr(configuration, part, None) for part in _PARTS)]
    sizes = (_both(getattr(part, "image_size", None)) for part in parts)
    height, width = next((size for size in sizes if size is not None), (plain.height, plain.width))
    channels = getattr(configuration, "num_channels", None)
    return plain.resized(channels if isinstance(channels, int) else None, height, width)


def _adopted(kind: Any, configuration: Any, state: Mapping[str, Tensor]) -> nn.Module | None:
    """The model with a checkpoint under names of before, which transformers knows how to read; None if it does not."""
    try:
        with installed_alone(), contextlib.redirect_stderr(io.StringIO()):  # it shows a bar of its own
            module, told = kind.from_pretrained(
                None, config=configuration, state_dict=dict(state), output_loading_info=True
            )
    except Exception:  # a checkpoint of something else fails in whatever way; what differs is said by names
        return None
    left = any(told.get(what) for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    return None if left else module
