"""A file beside the float model that it was made of, on photographs: each gets what it takes, pixels first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

from fxconv.config import MIN_SQNR, Config
from fxconv.data.assumption import assumption_warnings
from fxconv.data.calibration import CalibrationData
from fxconv.data.source import open_source
from fxconv.errors import UserError
from fxconv.inspection.printable import printable
from fxconv.measures.channel_noise import part_noises
from fxconv.measures.fidelity import Fidelity, fidelity_of_outputs, not_measured
from fxconv.measures.noise_gain import amplifies_noise
from fxconv.measures.output_comparison import shape_problem
from fxconv.models import forward, preconditions
from fxconv.models.preprocessing import Preprocessing
from fxconv.progress import Progress
from fxconv.targets.proof import metadata
from fxconv.targets.proof.outputs_of_file import outputs_of_file
from fxconv.targets.proof.prove import MEGABYTES, SECONDS, check_runnable
from fxconv.targets.wrapping.normalization import InGraphNormalization
from fxconv.verification import parity
from fxconv.verification.parity import AMPLIFYING, StageParity

IMAGES = 32
# What a file calls its inputs, in a message.
_LONGEST = 100


@dataclass(frozen=True)
class FloatComparison:
    """How a file answers beside the float model: `row` is like the parity ledger's, `source` says on what.

    `notes` are what the user must know, among it where the file says that it wants other preprocessing than the model.
    `fidelity` is in the words of a conversion's; whether calibration used those images is not known here.
    """

    model: str
    weights: str
    source: str
    row: StageParity
    notes: tuple[str, ...]
    fidelity: Fidelity

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def compare_with_float(
    path: Path,
    model: str,
    photographs: Path | None = None,
    weights: str = "auto",
    input_size: str | None = None,
    unsafe_load: bool = False,
    heads: str | None = None,
    model_arg: Sequence[str] = (),
    count: int = IMAGES,
    seed: int = 0,
    min_sqnr: float | None = None,
    seconds: int = SECONDS,
    megabytes: int = MEGABYTES,
    progress: Progress = lambda step, done, total: None,
    pixels: Mapping[str, Any] = MappingProxyType({}),
    weights_key: str | None = None,
    weights_prefix: str | None = None,
) -> FloatComparison:
    """Compare a file with the float model that `model` names, on at most `count` photographs, generated ones without.

    The size is the one that the file says it takes. Each image goes through the preprocessing of whoever gets it; the
    model's is what `pixels`, fields of `Config`, say of it, or else the file's where nobody says how it was trained. At
    least `min_sqnr` decibels are asked for, by default 10, or 3 of random weights. The file runs in a process of its
    own, with the limits of `prove.prove`. Raises `UserError` for what cannot be compared, or must not be run.
    """
    check_runnable(path, seconds, megabytes)
    told = metadata.metadata_in(path) or {}
    if told.get("detections"):
        raise UserError(f"{path}: returns detections, which the float model does not: convert it without --postprocess "
                        "to compare, and verify the file of detections by its golden inputs")  # fmt: skip
    inputs = metadata.inputs_in(path)
    size = input_size or _size(inputs)
    if inputs is not None and (photographs is None or photographs.is_dir()):
        _check_images(path, inputs, [str(one.get("name")) for one in told["inputs"]])
    progress("loading the model", 0, 1)
    config = Config(seed=seed, model_arg=tuple(model_arg), **pixels)
    source = open_source(
        model,
        weights,
        size,
        photographs,
        None,
        config,
        unsafe_load,
        heads=heads,
        weights_key=weights_key,
        weights_prefix=weights_prefix,
    )
    own, data = None, source.data
    if isinstance(told.get("preprocessing"), dict):
        own = metadata.preprocessing_in(path, told, source.loaded.preprocessing, config.preprocess)
        if own.is_known and data.normalized_by is not None and not data.normalized_by.is_known:
            data = data.normalized_as(own)
    signature, module = source.loaded.signature, preconditions.copied(source.loaded.module, model)
    if signature.as_list:
        raise UserError(f"--against {model}: selects boxes by their scores, which one step of int8 reorders: there is "
                        "nothing to subtract. fxconv convert compared what leads up to them")  # fmt: skip
    progress("running the float model", 0, 1)
    tensors = data.examples(count)
    original = forward.outputs(module, [signature.arguments(each) for each in tensors])
    taken, notes = tensors, list[str]()
    if own is not None:
        in_graph = bool(told["preprocessing"].get("in_graph"))
        taken, notes = _for_the_file(own, in_graph, data, tensors, data.normalized_by or source.loaded.preprocessing)
    progress("running the file", 0, 1)
    returned = outputs_of_file(path, taken, seconds, megabytes)
    found = [[tensor for _, tensor in each] for each in returned]
    least = next(value for value in (min_sqnr, source.config.min_sqnr, MIN_SQNR) if value is not None)
    parts = () if shape_problem(original, found) else part_noises(original, found)
    row = parity.like_float("file", original, found, least, "float", parts)
    arguments = [signature.arguments(each) for each in tensors]
    faithful = fidelity_of_outputs(arguments, original, found, data.source)
    if source.info.is_random and amplifies_noise(module, arguments):
        row, faithful = parity.not_asked_for(row, AMPLIFYING), not_measured(AMPLIFYING)
    images = data.source
    if len(tensors) < data.count:
        images = f"{len(tensors)} images out of {images}"
    notes = [*source.warnings, *assumption_warnings(data, source.info), *notes, *row.warnings]
    return FloatComparison(source.info.name, source.info.weights, images, row, tuple(notes), faithful)


def _size(inputs: Sequence[Tensor] | None) -> str | None:
    """What `--input-size` would say of the images that a file takes; None where it says nothing, or takes others."""
    images = [tensor for tensor in inputs or () if tensor.ndim in (4, 5)]
    return "x".join(map(str, images[0].shape[1:])) if images else None


def _check_images(path: Path, inputs: Sequence[Tensor], names: Sequence[str]) -> None:
    """Raises `UserError` for a file that takes anything that images cannot fill."""
    for tensor, name in zip(inputs, names, strict=True):
        if tensor.ndim not in (4, 5) or tensor.dtype not in (torch.float32, torch.uint8):
            kind = str(tensor.dtype).removeprefix("torch.")
            listed = printable(f"{name} ({kind} {list(tensor.shape)})", _LONGEST)
            raise UserError(f"{path}: images cannot fill its input {listed}; give --photographs FILE.npz, "
                            f"with rows of {printable(' and '.join(names), _LONGEST)}")  # fmt: skip


def _for_the_file(
    own: Preprocessing,
    in_graph: bool,
    data: CalibrationData,
    tensors: list[tuple[Tensor, ...]],
    model: Preprocessing,
) -> tuple[list[tuple[Tensor, ...]], list[str]]:
    """What the file takes of the same images, and how its `own` preprocessing differs from the model's."""
    notes, differing = [], _differing(own, model)
    if differing:
        gets = "gets it" if data.normalized_by is not None else "is given the arrays as they are"
        notes.append(f"the file wants other preprocessing than the model does, and {gets}: {'; '.join(differing)}")
        tensors = data.normalized_as(own).examples(len(tensors))
    if in_graph:
        inside = InGraphNormalization(*own.unit_scaled)
        tensors = [inside.pixels(image) for image in tensors]
    return tensors, notes


def _differing(own: Preprocessing, model: Preprocessing) -> list[str]:
    """What one preprocessing does and the other does not, in words."""
    if not (own.says_values and model.says_values):
        return [] if own.in_words == model.in_words else [f"{own.in_words}, not {model.in_words}"]
    both = [(name, getattr(own, name), getattr(model, name)) for name in ("mean", "std", "interpolation", "covered")]
    return [f"{name} {_shown(ours)}, not {_shown(theirs)}" for name, ours, theirs in both if ours != theirs]


def _shown(value: Any) -> str:
    if isinstance(value, InterpolationMode):
        return value.value
    return "x".join(map(str, value)) if isinstance(value[0], int) else ", ".join(f"{each:g}" for each in value)
