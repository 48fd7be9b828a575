"""What an artifact says of itself: a text file in the archive, `fxconv.json`, that Android hands over as a string.

Nothing in it depends on when or where the conversion ran, so that two of the same choices give the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from fxconv import config_file, replay
from fxconv.config import Config
from fxconv.environment import VERSION
from fxconv.errors import UserError
from fxconv.inspection.printable import printable
from fxconv.models import forward
from fxconv.models.model_info import ModelInfo
from fxconv.models.preprocessing import Origin, Preprocessing
from fxconv.models.preprocessing_function import FunctionPreprocessing, from_spec
from fxconv.quantization.quantize import QuantizedModel
from fxconv.targets.registry import target_of_file
from fxconv.targets.target import Lowered
from fxconv.verification.audit import Audit
from fxconv.verification.parity import StageParity
from rewrites import PassResult

FILE, SCHEMA = "fxconv.json", 1
_LAYOUTS = {4: "NCHW", 5: "NCTHW"}
_DETECTION = ("x", "y", "score", "class", "valid")
_TYPES = {
    "float32": torch.float32,
    "uint8": torch.uint8,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
}
# Numbers in the inputs that a file asks for: beyond that it is not believed.
_MOST_VALUES = 1 << 28
# Pixels on a side of what a photograph is resized to: beyond that it is not believed.
_LONGEST_SIDE = 1 << 13
# What a file calls a function, in a message.
_LONGEST_NAME = 100


@dataclass(frozen=True)
class FileContents:
    """What a file is made of, as far as it says so.

    `info` is the model in words, `names` are those of its inputs, `preprocessing` how pixels became them, None when
    nobody knows. `stride` is how many pixels a cell of its heatmaps covers, None where no peaks are looked for;
    `labels` are the names of the classes.
    """

    info: ModelInfo
    config: Config
    names: tuple[str, ...]
    preprocessing: Preprocessing | None
    stride: int | None
    labels: Sequence[str] | None
    quantized: QuantizedModel


def metadata(
    of: FileContents, example: Sequence[Tensor], returned: Any, audit: Audit, int8: StageParity, lowered: Lowered
) -> str:
    """The text of `fxconv.json`, of an artifact lowered so.

    `example` is what one call of the artifact takes and `returned` what it gives for that; `int8` is the ledger's row
    of int8 against float. JSON in ASCII, for Android's strings are not quite UTF-8.
    """
    config, quantized = replace(of.config, method=lowered.method), of.quantized
    content = {
        "schema": SCHEMA,
        "model": {
            "name": of.info.name,
            "weights": _without_folder(of.info.weights),
            "parameters": of.info.parameters,
            "arguments": list(config.model_arg),
        },
        "inputs": [
            {"name": name, **_described(tensor), "layout": _LAYOUTS.get(tensor.ndim)}
            for name, tensor in zip(of.names, example, strict=True)
        ],
        "preprocessing": preprocessing_told(of.preprocessing, config.normalize_in_graph),
        "outputs": [{"name": name, **_described(tensor)} for name, tensor in named(returned)],
        "labels": None if of.labels is None else list(of.labels),
        "detections": _detections(of),
        "quantization": {
            "mode": config.mode.value,
            "engine": config.engine.value,
            "weight_scheme": config.weight_scheme.value,
            "observer": config.observer.value,
            "recipe": [step.value for step in quantized.recipe.steps],
            "calibration_images": quantized.calibration.images,
            "int8_operations": len(audit.operations),
            "float_islands": [
                {"nodes": len(one.nodes), "reason": _without_places(one.reason, quantized)}
                for one in quantized.rewritten.islands
            ],
            "sqnr_db": round(int8.sqnr_db, 2) if math.isfinite(int8.sqnr_db) else None,
        },
        "lowering": {"method": lowered.method.value, "frozen_branches": len(lowered.frozen_branches)},
        "versions": {
            "fxconv": VERSION,
            "torch": torch.__version__.partition("+")[0],  # one build computes as another does
            "torchvision": importlib.metadata.version("torchvision"),
            **lowered.versions,
        },
        "digest": digests(config, quantized),
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def digests(config: Config, quantized: QuantizedModel) -> dict[str, str]:
    """SHA-256 of the choices, of the edits to the graph, and of every scale and zero point: what decides the bytes."""
    chosen = config_file.reproducing(config, quantized.recipe.steps)
    chosen = replace(chosen, passes=tuple(Path(name).name for name in chosen.passes))  # wherever the user has them
    if chosen.preprocess is not None:
        chosen = replace(chosen, preprocess=Path(chosen.preprocess).name)
    return {
        # as --save-config has it: the choices that give this again without a search
        "config": _sha256(config_file.text(chosen)),
        "edits": _sha256(json.dumps(_changes(quantized.rewritten.results))),
        "qparams": _sha256(json.dumps(_qparams(quantized.int8))),
    }


def _changes(results: Sequence[PassResult]) -> list[Any]:
    """What each pass put in place of what. Why it did is told in words, which are another matter."""
    return [
        [result.name, [[edit.kind, edit.node, edit.before, edit.after] for edit in result.edits]] for result in results
    ]


def _qparams(int8: nn.Module) -> list[Any]:
    """Each scale and zero point in a module: of what its layers give, and of their weights."""
    found: list[Any] = []
    for name, value in int8.state_dict().items():
        if name.endswith(("scale", "zero_point")) and isinstance(value, Tensor):
            found.append([name, value.tolist()])
        for tensor in replay.flat(value):
            if tensor.is_quantized:
                found.append([name, *_scales(tensor)])
    return found


def _scales(tensor: Tensor) -> list[Any]:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return [tensor.q_scale(), tensor.q_zero_point()]
    return [tensor.q_per_channel_scales().tolist(), tensor.q_per_channel_zero_points().tolist()]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _without_folder(weights: str) -> str:
    """Where weights come from, without the user's folders."""
    return " ".join(Path(word).name if "/" in word else word for word in weights.split(" "))


def _without_places(reason: str, quantized: QuantizedModel) -> str:
    """Why something is in float, without the files and lines of whoever wrote the model: they are of one machine."""
    for leaf in quantized.rewritten.leaves:
        reason = reason.replace(f"{leaf.place}: ", "") if leaf.place else reason
    return reason


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}


def named(value: Any) -> list[tuple[str, Tensor]]:
    """The tensors in what a model returns, in order: by their keys or places, with dots; a lone one is `output`."""
    return [(name or "output", tensor) for name, tensor in forward.named_tensors(value)]


def preprocessing_told(how: Preprocessing | None, in_graph: bool) -> dict[str, Any] | None:
    """What becomes of a photograph before the model; None when fxconv does not know."""
    if how is None:
        return None
    told = {"channels": "RGB" if how.mode == "RGB" else "grey", "source": how.source, "origin": how.origin.name}
    if isinstance(how, FunctionPreprocessing):
        of_one = {"name": how.name, "sha256": how.digest or None}
        return {**told, "function": of_one, "crop": list(how.size), "in_graph": False}
    mean, std = how.unit_scaled
    return {
        **told,
        # to exactly this size, or so large that it covers it
        "resize_to" if how.stretched is not None else "resize_to_cover": list(how.covered),
        "crop": list(how.size),
        "interpolation": how.interpolation.value,
        "antialias": True,
        "scale": 1 / 255,
        "mean": list(mean),
        "std": list(std),
        "raw": how.scale == 1,
        "in_graph": in_graph,
    }


def _detections(of: FileContents) -> dict[str, Any] | None:
    """What the columns of the first output are, where the artifact looks for peaks."""
    if of.stride is None:
        return None
    config = of.config
    return {
        "columns": list(_DETECTION),
        "threshold": config.peak_threshold,
        "count": config.peak_count,
        "pixels_a_cell": of.stride,
    }


# -- reading -----------------------------------------------------------------------------------------


def metadata_in(path: Path) -> dict[str, Any] | None:
    """What an artifact says of itself; None when it says nothing, or nothing of this schema. Nothing in it is run."""
    try:
        text = target_of_file(path).extra_file(path, FILE)
        found = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("schema") == SCHEMA else None


def preprocessing_in(path: Path, told: dict[str, Any], plain: Preprocessing, function: str | None) -> Preprocessing:
    """What a file says of preprocessing, in `told`, for an input like `plain`'s; `function` is what the user named.

    A function of the user's is not in the file: it must be named again. Raises `UserError` where it is not, where it
    is another by its digest, and where what the file says is damaged.
    """
    said = told["preprocessing"]
    try:
        if (asked := said.get("function")) is not None:
            return _by_function(path, str(asked["name"]), asked.get("sha256"), function)
        exact = said.get("resize_to")
        sides = [*said["crop"], *(exact if exact is not None else said["resize_to_cover"])]
        means, deviations = ([float(value) for value in said[field]] for field in ("mean", "std"))
        if not all(0 < side <= _LONGEST_SIDE for side in sides) or not all(map(math.isfinite, [*means, *deviations])):
            raise ValueError
        if min(deviations) <= 0:
            raise ValueError
        height, width, tall, wide = map(int, sides)
        ratio = plain.resize if round(height * plain.resize) == tall else tall / height
        by = 255.0 if said.get("raw") else 1.0
        return replace(
            plain,
            height=height,
            width=width,
            mean=tuple(value * by for value in means),
            std=tuple(value * by for value in deviations),
            scale=1.0 if said.get("raw") else Preprocessing.scale,
            resize=ratio,
            stretched=(tall, wide) if exact is not None else None,
            interpolation=InterpolationMode(said["interpolation"]),
            source=str(said.get("source", FILE)),
            origin=Origin.__members__.get(str(said.get("origin")), Origin.user),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{path}: what its {FILE} says of preprocessing is damaged") from error


def _by_function(path: Path, name: str, digest: object, given: str | None) -> Preprocessing:
    shown = printable(name, _LONGEST_NAME)
    if given is None:
        raise UserError(f"{path}: its images were preprocessed by a function, {shown}; give --preprocess {shown}")
    made = from_spec(given)
    own = [text.rpartition(":")[2] for text in (name, made.name)]
    if (digest is not None and made.digest != digest) or own[0] != own[1]:
        raise UserError(
            f"--preprocess {given}: is not what {path} was made with ({shown}, SHA-256 {str(digest)[:12]}; this one is "
            f"{made.name}, {made.digest[:12]}); give that one"
        )
    return made


def inputs_in(path: Path, cure: str = "give --input-size or --example") -> list[Tensor] | None:
    """Tensors of zeros like those that one call of an artifact takes; None when it does not say.

    Raises `UserError` when what it says cannot be, with what to do then.
    """
    found = metadata_in(path)
    if found is None:
        return None
    try:
        kinds = [(tuple(one["shape"]), one["dtype"]) for one in found["inputs"]]
        sides = [side for shape, _ in kinds for side in shape]
        sound = all(type(side) is int and side > 0 for side in sides)
        if not kinds or not sound or sum(math.prod(shape) for shape, _ in kinds) > _MOST_VALUES:
            raise ValueError
        return [torch.zeros(shape, dtype=_TYPES[kind]) for shape, kind in kinds]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: what its {FILE} says of the inputs is damaged; {cure}") from error
