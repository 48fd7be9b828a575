"""What a conversion was given by name, with digests: kept beside its choices, and compared with what is there now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fxconv.cli.request import Files, Request

if TYPE_CHECKING:
    from fxconv.config_inputs import NamedInputs
    from fxconv.data.calibration import CalibrationData
    from fxconv.data.source import Source


def named_inputs(
    request: Request,
    files: Files,
    source: Source,
    lessons: CalibrationData | None,
) -> NamedInputs | None:
    """What the conversion is given by name, with digests; None where nobody asks for that."""
    from fxconv.config_inputs import NamedInputs
    from fxconv.data.digests import file_digest, parameters_digest

    if (request.saved, request.output.save_config, request.output.save_calibration) == (None, None, None):
        return None
    if request.kept is not None:
        return _of_calibration(request, request.kept.inputs, files.names)
    # what judging decided is named: the layers kept in float
    left_out = ("--config", "--calibration", "--eval", "--labels", "--metric")
    reads = {option: path for option, path in files.reads.items() if option not in left_out}
    reads["--labels"] = reads.pop("the names of the classes", None)
    digests = {option: file_digest(path) for option, path in reads.items() if path is not None and path.is_file()}
    for option, data in (("--calib", source.data), ("--train", lessons)):
        if data is not None and (digest := data.digest()):
            digests[option] = digest
    if not source.loaded.is_random:  # those of a seed are settled by the images, too
        digests["the weights"] = parameters_digest(source.loaded.module)
    loading, training = request.loading, request.training

    def text(path: Path | None) -> str | None:
        return str(path) if path is not None else None

    return NamedInputs(
        model=request.model,
        weights=loading.weights,
        weights_key=loading.weights_key,
        weights_prefix=loading.weights_prefix,
        unsafe_load=loading.unsafe_load,
        input_size=loading.input_size,
        heads=loading.heads,
        calib=text(request.images.calib),
        example=text(loading.example),
        labels=text(files.names),
        train=text(training.train),
        train_count=training.train_count if training.train is not None else None,
        targets=files.targets,
        digests=digests,
    )


def _of_calibration(request: Request, kept: NamedInputs, names: Path | None) -> NamedInputs:
    """What a saved calibration was given by name, with the model, the weights and the names that were given again."""
    from fxconv.data.digests import file_digest

    loading, digests = request.loading, dict(kept.digests)
    if names is not None:
        digests["--labels"] = file_digest(names)
    return replace(
        kept,
        model=request.model,
        weights=loading.weights,
        weights_key=loading.weights_key,
        weights_prefix=loading.weights_prefix,
        labels=str(names) if names is not None else kept.labels,
        digests=digests,
    )


def otherwise(request: Request, named: NamedInputs) -> Iterator[str]:
    """What is another one than when the choices were saved, a sentence each."""
    if request.saved is None or request.kept is not None:  # a saved calibration is held to its digests
        return
    same = {name: getattr(request.saved, name) == getattr(named, name) for name in ("model", "weights", "calib")}
    if request.given("calib_count") or request.given("seed"):  # others of the same folder are drawn
        same["calib"] = False
    told = named.digests.get("--weights") != request.saved.digests.get("--weights")
    chosen = ("weights_key", "weights_prefix", "model_arg", "seed", "heads", "input_size")
    same["numbers"] = same["model"] and same["weights"] and not told and not any(map(request.given, chosen))
    named_by = {"the model": "model", "--weights": "weights", "the weights": "numbers", "--calib": "calib"}
    for option, digest in request.saved.digests.items():
        found = named.digests.get(option)
        if found is None or found == digest or not same.get(named_by.get(option, ""), True):
            continue
        yield (
            f"{option}: not what {request.output.config_file} was saved with (SHA-256 {digest[:12]} then, "
            f"{found[:12]} now), so that the result may differ"
        )
