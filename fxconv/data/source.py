"""What a conversion starts from: the model a user names and the images its ranges are estimated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fxconv.config import MIN_SQNR, RANDOM_MIN_SQNR, Config, Teacher
from fxconv.data.arrays import holds_indices, open_array
from fxconv.data.calibration import CalibrationData
from fxconv.data.calibration_arrays import NamedArrays
from fxconv.data.calibration_photographs import Photographs
from fxconv.data.calibration_saved import SavedImages
from fxconv.data.calibration_sources import open_calibration
from fxconv.data.class_names import class_counts, read_names
from fxconv.data.draws import Draw, open_sources
from fxconv.data.given_files import check_array, check_images
from fxconv.data.held_out import JUDGED
from fxconv.data.labels import read_classes
from fxconv.data.study_lists import SYNTHETIC, check_sources
from fxconv.data.targets import open_judged, read_targets
from fxconv.diagnostics.blame import is_out_of_memory
from fxconv.errors import UserError
from fxconv.models import dict_inputs, forward, input_shape, loading, preconditions
from fxconv.models.checkpoints import misfits
from fxconv.models.loading import LoadedModel
from fxconv.models.model_info import ModelInfo
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.preprocessing_choice import chosen
from fxconv.models.random_weights import prepare_random_weights
from fxconv.models.signature import in_words

_RANDOM_WEIGHTS = (
    "deep networks with random weights amplify rounding: trained weights give a far higher SQNR than these"
)


# What torch says of an embedding that is given pixels.
_NO_INDICES = "Expected tensor for argument #1 'indices'"


@dataclass(frozen=True)
class Source:
    """A loaded model, its calibration data, what the user must know about both, and the choices settled by them.

    `labelled` are the images to tell its accuracy by, or a metric of the user's, where there are some; `class_names`
    what the user, or who trained it, calls the classes.
    """

    config: Config
    loaded: LoadedModel
    data: CalibrationData
    example: tuple[Any, ...] | None
    warnings: tuple[str, ...]
    labelled: CalibrationData | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How pixels become what the model takes, where somebody knows: the data, or who published the weights."""
        how = self.loaded.preprocessing
        return self.data.normalized_by or (how if how.is_known else None)

    @property
    def info(self) -> ModelInfo:
        """The model in words, for the report."""
        loaded = self.loaded
        return ModelInfo(loaded.name, loaded.weights, loaded.parameters, loaded.preprocessing.shape)


def open_source(
    model: str,
    weights: str,
    input_size: str | None,
    calib: Path | None,
    example: Path | None,
    config: Config,
    unsafe_load: bool = False,
    evaluation: Path | None = None,
    labels: Path | None = None,
    heads: str | None = None,
    names: Path | None = None,
    weights_key: str | None = None,
    weights_prefix: str | None = None,
) -> Source:
    """Load everything a conversion needs, cheap checks first. Raises `UserError` for whatever the user can mend.

    A model with random weights is settled on the calibration images: their batch-norm statistics, and outputs that say
    something. 3 dB are asked of it where nothing else was said. `evaluation` and `labels` name photographs whose class
    is known, or images with targets, as `fxconv.data.targets.read_targets` takes them; `names` is a file with the names
    of the classes.
    """
    check_images(calib, "--calib")
    check_array(example, "--example")
    class_names = read_names(names) if names is not None else None
    classes = read_targets(evaluation, labels, config.metric is not None)
    loaded = loading.load(
        model,
        weights,
        input_size,
        config.seed,
        unsafe_load=unsafe_load,
        heads=heads,
        arguments=config.model_arg,
        weights_key=weights_key,
        weights_prefix=weights_prefix,
    )
    loaded = replace(loaded, preprocessing=chosen(loaded.preprocessing, config, input_size is not None))
    data, inputs = open_inputs(loaded, calib, example, config)
    outputs = check_input(model, loaded, data)
    if class_names is None and loaded.classes is not None:
        fit = loaded.signature.as_list or len(loaded.classes) in class_counts(outputs)
        class_names = loaded.classes if fit else None
    notes = list(loaded.warnings)
    if loaded.is_random:
        notes += [*prepare_random_weights(loaded.module, data.batches), _RANDOM_WEIGHTS]
        if config.min_sqnr is None:
            config = replace(config, min_sqnr=RANDOM_MIN_SQNR)
            notes[-1] += f", so {RANDOM_MIN_SQNR:g} dB are enough here instead of {MIN_SQNR:g}"
    labelled = None
    if classes is not None:
        count = config.held_out or JUDGED
        labelled = open_judged(classes, loaded.preprocessing, count, config.batch_size, config.seed, data)
    return Source(config, loaded, data, inputs, tuple(notes), labelled, class_names)


def open_again(
    model: str,
    weights: str,
    input_size: str | None,
    images: SavedImages,
    example: tuple[Tensor, ...],
    state: Mapping[str, Tensor] | None,
    config: Config,
    unsafe_load: bool = False,
    heads: str | None = None,
    class_names: tuple[str, ...] | None = None,
    weights_key: str | None = None,
    weights_prefix: str | None = None,
) -> Source:
    """The same for a model whose calibration was saved, with the `images` and the `example` that were kept of it.

    `state` are the numbers of a model with random weights, None of any other. Raises `UserError`.
    """
    loaded = loading.load(
        model,
        weights,
        input_size,
        config.seed,
        unsafe_load=unsafe_load,
        heads=heads,
        arguments=config.model_arg,
        weights_key=weights_key,
        weights_prefix=weights_prefix,
    )
    if loaded.is_random and state is not None:
        problems = misfits(dict(state), loaded.module.state_dict())
        if problems:
            raise UserError(f"the saved calibration is of another model than {model}: {problems[0]}; calibrate anew")
        loaded.module.load_state_dict(dict(state))
    check_input(model, loaded, images)
    inputs = loaded.signature.arguments(example)
    return Source(config, loaded, images, inputs, tuple(loaded.warnings), None, class_names)


def open_training(source: Source, train: Path, count: int) -> CalibrationData:
    """At most `count` images to fine-tune on, with the classes of their folders where labels are learnt from.

    None of them is among those that accuracy is told by. Raises `UserError` when there are none to be had.
    """
    config, loaded = source.config, source.loaded
    if config.learn_from is Teacher.labels:
        classes = read_classes(train, None, "--train")
        assert classes is not None
        return classes.photographs(loaded.preprocessing, count, config.batch_size, config.seed, source.labelled)
    names = loaded.signature.names
    check_images(train, "--train")
    data = open_calibration(train, loaded.preprocessing, count, config.batch_size, config.seed, names, "--train")
    if isinstance(data, Photographs) and isinstance(source.labelled, Photographs):
        data.leave(source.labelled.paths)
    return data


def open_study(
    model: str,
    weights: str,
    input_size: str | None,
    names: Sequence[str],
    images: int,
    config: Config,
    unsafe_load: bool = False,
    heads: str | None = None,
    evaluation: Path | None = None,
    labels: Path | None = None,
    weights_key: str | None = None,
    weights_prefix: str | None = None,
) -> tuple[Source, dict[str, Draw], CalibrationData]:
    """A model, the sources `names` to calibrate it on, and at most `images` images of the first to judge it by.

    `evaluation` and `labels` name others to judge by, with targets, as `open_source` takes them.

    A model with random weights is settled on images of the first source. Raises `UserError` for whatever the user can
    mend, among it a model of several inputs that photographs cannot fill.
    """
    check_sources(names)
    found = read_targets(evaluation, labels, config.metric is not None)
    first = None if names[0] == SYNTHETIC else Path(names[0])
    source = open_source(
        model,
        weights,
        input_size,
        first,
        None,
        config,
        unsafe_load,
        heads=heads,
        weights_key=weights_key,
        weights_prefix=weights_prefix,
    )
    how = source.loaded.preprocessing
    given = None if found is None else open_judged(found, how, images, config.batch_size, config.seed)
    draws, judged = open_sources(names, how, images, config, given)
    return source, draws, judged


def open_inputs(
    loaded: LoadedModel, calib: Path | None, example: Path | None, config: Config
) -> tuple[CalibrationData, tuple[Any, ...] | None]:
    """The calibration data, and the example's arguments if there is an example.

    Where images cannot fill all the inputs of a model of several, and nothing else is said, the example's rows serve
    for calibration, too.
    """
    signature, image = loaded.signature, loaded.preprocessing.shape
    if example is None:
        return _open(loaded, calib, config), None
    if signature.count == 1 and not holds_indices(example, "--example"):
        return _open(loaded, calib, config), signature.arguments(read_example(example, loaded))
    rows = NamedArrays(example, signature.names, image, config.calib_count, config.batch_size, None, "--example")
    arguments = signature.arguments(rows.examples(1)[0])
    kinds = zip(signature.names, rows.shapes, rows.dtypes, strict=True)
    odd = [f"{name} {shape}" for name, shape, kind in kinds if shape != image or not np.issubdtype(kind, np.floating)]
    if not odd or (calib is not None and not calib.is_dir()):
        return _open(loaded, calib, config), arguments
    if calib is not None:
        raise UserError(
            f"--calib {calib}: photographs cannot fill the input {odd[0]}; give an .npz file of as many rows of "
            f"{' and '.join(signature.names)}"
        )
    return rows, arguments


def _open(loaded: LoadedModel, calib: Path | None, config: Config) -> CalibrationData:
    count, batch_size, names = config.calib_count, config.batch_size, loaded.signature.names
    return open_calibration(calib, loaded.preprocessing, count, batch_size, config.seed, names)


def check_input(model: str, loaded: LoadedModel, data: CalibrationData) -> list[Tensor]:
    """What the model returns for one image, then for two at a time, which is returned.

    The model itself is not touched: a copy runs. Raises `UserError` when it cannot take them, or loses them on the way.
    """
    signature = loaded.signature
    several = next(data.batches(min(2, data.count, data.batch_size)))
    single = tuple(each[:1] for each in several)
    size = in_words(signature.arguments(single))
    module = preconditions.copied(loaded.module, model)
    empty = input_shape.watched(module)
    outputs: list[Any] = []
    for images in (single, several):
        try:
            with torch.inference_mode():
                outputs = forward.leaves(module(*forward.cloned(signature.arguments(images))))
        except Exception as error:  # whatever the user's own forward raises
            if is_out_of_memory(error):
                raise
            count = len(images[0])
            what = f"an input of {size}" if count == 1 else f"{count} images of {size} at a time"
            asked = preconditions.float_asked_for(loaded.module, signature.arguments(single))
            if signature.count == 1 and _NO_INDICES in str(error):
                asked = "it takes indices, which are no images: give --example FILE.npy with rows of them, int64 [N, T]"
            if (key := dict_inputs.key_asked_for(error)) is not None:
                raise dict_inputs.takes_dict(model, signature.names[0], key) from error
            cure = _resized(loaded) if count == 1 else "set --batch-size 1"
            raise preconditions.cannot_take(error, model, what, asked or cure) from error
        nan = any(leaf.isnan().any() for leaf in outputs if isinstance(leaf, Tensor))
        lost = empty[0] if empty else "its outputs are NaN" if nan else None
        if lost is not None:
            raise UserError(f"{model} cannot take an input of {size} ({lost}); {_resized(loaded)}")
    return [leaf for leaf in outputs if isinstance(leaf, Tensor)]


def _resized(loaded: LoadedModel) -> str:
    """How to give the model an input that it takes: the size of it, where one can be found."""
    signature, how = loaded.signature, loaded.preprocessing
    if signature.count > 1:
        return f"give --example FILE.npz with {' and '.join(signature.names)}"
    found = None if signature.as_list else input_shape.suggested(loaded.module, (how.height, how.width))
    return "set --input-size" if found is None else f"set --input-size {input_shape.in_option(found)}"


def read_example(path: Path, loaded: LoadedModel) -> Tensor:
    """One preprocessed input `[1, C, H, W]` from an array file, float `[C, H, W]` or `[N, C, H, W]` (its first)."""
    size = loaded.preprocessing.shape
    rank = len(size)
    array = open_array(path, "--example", ranks=(rank, rank + 1))
    fits = array.shape[-rank:] == size and len(array.shape) in (rank, rank + 1)
    if array.dtype == np.uint8 or not fits or not array.shape[0]:
        raise UserError(
            f"--example {array.name}: {array.dtype} {array.shape} is not float [{', '.join(map(str, size))}], "
            "preprocessed, with or without a leading N"
        )
    rows = list(array.rows(1 if len(array.shape) > rank else size[0]))
    image = np.stack(rows).reshape(1, *size).astype(np.float32)
    if not np.isfinite(image).all():
        raise UserError(f"--example {array.name}: holds values that are not finite (NaN or infinite)")
    return torch.from_numpy(image)
