"""A calibration in a file: ranges, recipe, and what the proof needs; other files are made of it without images."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from fxconv import config_file
from fxconv.config import Config, Mode
from fxconv.config_inputs import NamedInputs, read_inputs
from fxconv.data.calibration_saved import SavedImages
from fxconv.data.digests import parameters_digest
from fxconv.data.staged_file import StagedFile
from fxconv.environment import VERSION
from fxconv.errors import ConversionError, UserError
from fxconv.job import Job
from fxconv.measures.channel_noise import PartNoise
from fxconv.measures.fidelity import Fidelity
from fxconv.models.preprocessing import Origin, Preprocessing
from fxconv.models.preprocessing_function import FunctionPreprocessing
from fxconv.quantization.kept_ranges import KeptRanges, kept_ranges
from fxconv.quantization.quantize import QuantizedModel
from fxconv.targets.proof.metadata import digests

_FORMAT = "fxconv calibration 1"
# What a later file may be asked otherwise than the one that was calibrated for: all else is settled by the ranges.
OF_THE_FILE = frozenset(
    {
        "method", "block", "java", "golden", "normalize_in_graph", "runtime", "postprocess", "peak_threshold",
        "peak_count", "ties", "sigmoid", "min_sqnr", "min_agreement", "allow_frozen_branches", "dynamic_sizes",
    }
)  # fmt: skip


@dataclass(frozen=True)
class SavedCalibration:
    """What a file holds.

    `config` are the choices that give the int8 module again, `inputs` what was given by name, nothing from Python.
    `rows` are the images that the proof is made on, `example` what one call takes, `preprocessing` how pixels became
    them. `state` are the numbers of a model with random weights, which calibration settled, and of no other;
    `parameters` is the digest of the model's numbers, `digests` are those of the edits and of the ranges. `fidelity`
    was measured with the images that were there.
    """

    path: Path
    config: Config
    inputs: NamedInputs
    ranges: KeptRanges
    rows: tuple[tuple[Tensor, ...], ...]
    example: tuple[Tensor, ...]
    preprocessing: Preprocessing | None
    fidelity: Fidelity
    labels: tuple[str, ...] | None
    state: Mapping[str, Tensor] | None
    parameters: str
    digests: Mapping[str, str]
    made_by: str

    @property
    def images(self) -> SavedImages:
        """The images, as the calibration data of a conversion."""
        source = f"{self.ranges.calibration['source']} (saved in {self.path})"
        return SavedImages(self.rows, source, self.preprocessing)

    def config_with(self, given: Mapping[str, Any], targets: Sequence[str]) -> Config:
        """The choices, with those `given` of the files to write, which are of these `targets`.

        What was chosen for other kinds of files alone is no choice for these. Raises `UserError` for one `given` that
        ranges depend on.
        """
        for field, value in given.items():
            if field not in OF_THE_FILE and getattr(self.config, field) != value:
                option = f"--{field.replace('_', '-')}"
                raise UserError(
                    f"{option}: is settled by the calibration that {self.path} keeps; leave it out, or calibrate anew"
                )
        own = self.config.of_targets(targets)
        return replace(own, **{name: value for name, value in given.items() if name in OF_THE_FILE})

    def check_model(self, model: nn.Module) -> None:
        """Raises `UserError` where the model is not the one whose ranges these are."""
        if parameters_digest(model) != self.parameters:
            raise UserError(
                f"--calibration {self.path}: is of other weights than this model has; give those it was made with, or "
                "calibrate anew"
            )

    def check_result(self, config: Config, quantized: QuantizedModel) -> None:
        """Raises `ConversionError` where int8 is not what it was when this was saved."""
        found = digests(config, quantized)
        for name, of in (("edits", "the rewriting"), ("qparams", "a scale or zero point")):
            if found[name] != self.digests[name]:
                raise ConversionError(
                    f"{self.path}: {of} is another one than when it was saved (by {self.made_by}); calibrate anew"
                )


def save(
    path: Path,
    job: Job,
    quantized: QuantizedModel,
    fidelity: Fidelity,
    labels: tuple[str, ...] | None = None,
    inputs: NamedInputs | None = None,
) -> None:
    """Write a calibration. Raises `UserError` where there is none to keep: ranges made at run time, or a training's."""
    if job.config.mode is not Mode.static:
        why = "--checkpoint keeps a training" if job.config.mode is Mode.qat else "dynamic ranges come at run time"
        raise UserError(f"--save-calibration {path}: goes with --mode static; {why}")
    chosen = config_file.reproducing(job.config, quantized.recipe.steps)
    beside = inputs.beside(path) if inputs is not None else NamedInputs()
    found = digests(job.config, quantized)
    text = {
        "config": json.loads(config_file.text(chosen)),
        "inputs": beside.as_json(),
        "preprocessing": _preprocessing(job.preprocessing),
        "fidelity": asdict(fidelity),
        "labels": list(labels) if labels is not None else None,
        "parameters": parameters_digest(job.model),
        "digests": {name: found[name] for name in ("edits", "qparams")},
        "made_by": f"fxconv {VERSION} with torch {torch.__version__.partition('+')[0]}",
    }
    content = {
        "format": _FORMAT,
        "text": json.dumps(text),
        "ranges": kept_ranges(quantized).plain(),
        "rows": [tuple(each[0].clone() for each in row) for row in job.tensors],
        "example": tuple(job.example),
        "state": dict(job.model.state_dict()) if job.info.is_random else None,
    }
    held = io.BytesIO()
    torch.save(content, held)
    with StagedFile(path, held.getvalue(), "--save-calibration") as staged:
        staged.commit()


def is_calibration(path: Path) -> bool:
    """Whether a file is one that `save` wrote, by what its archive is called inside; nothing in it is loaded."""
    return path.is_file() and zipfile.is_zipfile(path) and _content(path, whole=False) is not None


def load(path: Path) -> SavedCalibration:
    """Read a calibration; nothing in the file is run. Raises `UserError` for any other file."""
    content = _content(path)
    if content is None:
        raise UserError(f"--calibration {path}: is no calibration that fxconv convert --save-calibration wrote")
    try:
        text = json.loads(content["text"])
        told = {key: value for key, value in text["config"].items() if key != "schema"}
        told.pop("metric", None)  # it judged, which is over: no file alone has code imported
        config = config_file.from_values(told, f"--calibration {path}")
        fidelity = dict(text["fidelity"])
        worst = fidelity.pop("worst")
        return SavedCalibration(
            path,
            config,
            read_inputs(text["inputs"], f"--calibration {path}").found_from(path),
            KeptRanges(**content["ranges"]),
            tuple(tuple(row) for row in content["rows"]),
            tuple(content["example"]),
            _preprocessing_of(text["preprocessing"]),
            Fidelity(**fidelity, worst=PartNoise(**worst) if worst is not None else None),
            tuple(text["labels"]) if text["labels"] is not None else None,
            content["state"],
            text["parameters"],
            text["digests"],
            text["made_by"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"--calibration {path}: is damaged; calibrate anew") from error


def _content(path: Path, whole: bool = True) -> dict[str, Any] | None:
    """What the file holds; None where it is something else."""
    try:
        content = torch.load(path, weights_only=True, mmap=not whole)
    except FileNotFoundError:
        raise UserError(f"--calibration {path}: no such file") from None
    except Exception:  # a damaged or another file fails wherever the damage lies
        return None
    is_ours = isinstance(content, dict) and content.get("format") == _FORMAT
    return content if is_ours else None


def _preprocessing(how: Preprocessing | None) -> dict[str, Any] | None:
    if how is None:
        return None
    told = {name: getattr(how, name) for name in Preprocessing.__dataclass_fields__}
    told |= {"interpolation": how.interpolation.value, "origin": how.origin.name}
    if isinstance(how, FunctionPreprocessing):
        told |= {"name": how.name, "digest": how.digest}
    return told


def _preprocessing_of(told: Mapping[str, Any] | None) -> Preprocessing | None:
    if told is None:
        return None
    given = dict(told)
    given |= {name: tuple(given[name]) for name in ("mean", "std")}
    given["stretched"] = tuple(given["stretched"]) if given["stretched"] is not None else None
    given |= {"interpolation": InterpolationMode(given["interpolation"]), "origin": Origin[given["origin"]]}
    if "name" in given:
        return FunctionPreprocessing(**given, function=_gone(given["name"]))
    return Preprocessing(**given)


def _gone(name: str) -> Callable[[Any], Any]:
    def function(image: Any) -> Any:
        raise UserError(f"--preprocess {name}: is not in a saved calibration; calibrate anew for other images")

    return function
