"""What Python has of fxconv: `fxconv.convert`, `fxconv.prepare_qat` and `fxconv.finish`.

They take whatever holds images, show progress in a notebook, and say in Python's words what is wrong; the work is done
by `fxconv.conversion`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from fxconv import calibration_file
from fxconv import conversion as pipeline
from fxconv.calibration_file import SavedCalibration
from fxconv.config import Config, Mode, Teacher
from fxconv.conversion import Conversion
from fxconv.data.calibration import CalibrationData
from fxconv.data.calibration_given import Wanted, generated, open_given
from fxconv.data.held_out import JUDGED
from fxconv.errors import ArgumentError, UserError, check_known
from fxconv.measures.metric import Metric, with_metric
from fxconv.models import input_shape, preconditions
from fxconv.models.expected_input import ExpectedInput
from fxconv.models.preprocessing import Origin, Preprocessing
from fxconv.models.preprocessing_choice import chosen as chosen_preprocessing
from fxconv.models.preprocessing_choice import of_module
from fxconv.models.preprocessing_function import from_function
from fxconv.models.signature import InputSignature, sizes
from fxconv.progress import Progress
from fxconv.quantization.training.own_loop import Trainable
from fxconv.report.progress import shown
from fxconv.targets.registry import targets_of
from fxconv.wording import in_python_words, worded

_FIELDS = tuple(field.name for field in dataclasses.fields(Config))


@in_python_words()
def convert(
    model: nn.Module,
    calibration: Any = None,
    example_inputs: Any = None,
    config: Config | None = None,
    *,
    held_out: Any = None,
    training: Any = None,
    checkpoint: str | Path | None = None,
    output: str | Path | Sequence[str | Path] | None = None,
    targets: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    metric: Any = None,
    layers: bool = False,
    progress: bool | Progress | None = None,
    **options: Any,
) -> Conversion:
    """Convert a float model into a verified int8 artifact. The model itself is not changed.

    Parameters
    ----------
    model : the float `nn.Module`, its weights loaded.
    calibration : images like those the model will see. A DataLoader of tensors, (images, labels) or dicts; a Dataset;
        a folder; an .npy or .npz file; what `conversion.save_calibration` wrote; a tensor or float array
        `[N, C, H, W]`, preprocessed; uint8 pixels `[N, H, W, C]`; a list of PIL images; an iterable of batches. At most
        `calib_count` are taken of a loader, a dataset, a folder or a file. Default: generated images, which give worse
        ranges than photographs.
    example_inputs : one input `[1, C, H, W]`, a tuple of one for each input, or a dict by the names of forward's
        parameters. Says the size of generated images, and is what latency is measured on. Default: the first image.
    config : choices as one value; each can be given as a keyword instead (`options`).
    held_out : images to judge by, as for `calibration`; their labels, where they have some, give accuracy.
    training : images for mode 'qat', with labels where they are learnt from. Default: the calibration images.
    checkpoint : file that training writes after each epoch, and resumes from where it exists.
    output : where to write the verified file, as `conversion.save` does; of several, one of each kind, all or none.
    targets : the kinds of files to make, of 'mobile' (.ptl) and 'executorch' (.pte). Default: those of `output`, else
        'mobile'.
    labels : names of the classes, written into the artifact.
    preprocessing : how pixels become inputs. Default: what `preprocess` ('torchvision', 'timm', 'unit', 'raw' or a
        function of a PIL image), `mean`, `std`, `resize`, `crop` and `interpolation` say, else ImageNet's mean and
        deviation, in the size of the example, with a warning.
    metric : judges in the place of answers: a function of a model and an iterator of (batch, target), or FILE.py:NAME;
        higher is better, and `max_drop` is in hundredths of its unit. Then `held_out` is batches of (images, targets).
    layers : compare each layer with its float form, for the HTML report.
    progress : True shows it, False does not; or a function of a step, what is done and what there is. Default: shown
        in a notebook.
    options : fields of `fxconv.Config`. Those most asked for: mode ('static', 'dynamic', 'qat'), calib_count (100),
        batch_size (10), seed (0), observer ('histogram', 'minmax', 'percentile', 'mse'), recipe ('auto', 'none' or
        steps), keep_float (layers), max_drop (percentage points), min_sqnr (decibels), engine ('qnnpack', 'x86',
        'onednn'), runtime (a release for phones), normalize_in_graph, java, epochs, learning_rate. help(fxconv.Config)
        has all.

    Returns
    -------
    Conversion : `.verified` says whether it holds, `.verdict` and `.warnings` what to know; `conversion(x)` runs int8,
        `.save(path)` writes the artifact, `.report.print()` shows everything.

    Raises
    ------
    UserError : for what the caller can mend, in one line; a TypeError as well for an unknown keyword or a wrong type.
    ConversionError : int8 cannot be made, or does not meet `max_drop` or `runtime`.
    InternalError : a fault of fxconv's. A conversion that fails its checks is returned, with `verified` False.

    Example
    -------
    >>> conversion = fxconv.convert(model, calibration=loader)
    >>> conversion.save("model.ptl")
    """
    _check_keywords("convert", convert, options)
    _check_model(model, "convert")
    options, function = _function(options)
    if isinstance(calibration, (str, Path)) and calibration_file.is_calibration(Path(calibration).expanduser()):
        saved = calibration_file.load(Path(calibration).expanduser())
        given = {"output": _places(output), "targets": targets, "labels": labels, "layers": layers}
        settled = {"held_out": held_out, "training": training, "metric": metric, "example_inputs": example_inputs}
        settled |= {"preprocessing": preprocessing, "checkpoint": checkpoint}
        with _followed(progress) as follow:
            return _told(_again(model, saved, config, options, settled, progress=follow, **given))
    config, judged_by = _chosen(config, options, metric)
    others = {name: value for name, value in options.items() if name not in _FIELDS}
    expected = _expected(model, example_inputs, config, _by_hand(preprocessing, config) or function)
    if expected.preprocessing.origin is Origin.user:
        preprocessing = expected.preprocessing
    learns = config.mode is Mode.qat and config.learn_from is Teacher.labels
    data = _images(model, calibration, expected, config, labelled=learns and training is None)
    preprocessing = _sized(preprocessing, data)
    wanted = Wanted(expected, config.held_out or JUDGED, config.batch_size, config.seed, "held_out")
    judged = held_out
    if held_out is not None and (isinstance(held_out, (str, Path)) or judged_by is None):
        judged = open_given(held_out, wanted)
    if training is not None:
        wanted = replace(wanted, count=None, what="training", labelled=learns)
        training = open_given(training, wanted)
    with _followed(progress) as follow:
        done = pipeline.convert(
            model,
            data,
            expected.example,
            config,
            held_out=judged,
            training=training,
            checkpoint=checkpoint,
            output=_places(output),
            targets=targets,
            labels=labels,
            preprocessing=preprocessing,
            metric=judged_by,
            layers=layers,
            progress=follow,
            **others,
        )
    return _told(done)


@in_python_words()
def prepare_qat(
    model: nn.Module,
    calibration: Any = None,
    example_inputs: Any = None,
    config: Config | None = None,
    *,
    progress: bool | Progress | None = None,
    **options: Any,
) -> Trainable:
    """Calibrate a model, and give it back as a module that rounds as int8 will, for a training loop of one's own.

    Parameters
    ----------
    model, calibration, example_inputs, config, progress, options : as for `fxconv.convert`; mode is 'qat'.

    Returns
    -------
    Trainable : an `nn.Module` with weights of its own; `fxconv.finish` takes it when it is trained.

    Raises
    ------
    UserError : what `fxconv.convert` raises, and for a model that does not trace whole.

    Example
    -------
    >>> module = fxconv.prepare_qat(model, calibration=loader)
    >>> for images, labels in loader:
    ...     loss = criterion(module(images), labels)
    >>> conversion = fxconv.finish(module)
    """
    _check_keywords("prepare_qat", prepare_qat, options)
    _check_model(model, "prepare_qat")
    options, function = _function(options)
    config, _ = _chosen(config, options | {"mode": Mode.qat})
    others = {name: value for name, value in options.items() if name not in _FIELDS}
    expected = _expected(model, example_inputs, config, function)
    data = _images(model, calibration, expected, config)
    with _followed(progress) as follow:
        return pipeline.prepare_qat(model, data, expected.example, config, progress=follow, **others)


@in_python_words()
def finish(module: Trainable, output: str | Path | Sequence[str | Path] | None = None) -> Conversion:
    """The verified int8 conversion of a module that `fxconv.prepare_qat` gave, trained meanwhile.

    Parameters
    ----------
    module : what `fxconv.prepare_qat` gave.
    output : where to write the verified artifact.

    Returns
    -------
    Conversion : int8 compared with the trained module, rounding and all.

    Raises
    ------
    UserError : for another module, and weights that are no numbers; and what `fxconv.convert` raises.

    Example
    -------
    >>> fxconv.finish(module).save("model.ptl")
    """
    return _told(pipeline.finish(module, _places(output)))


def _places(output: str | Path | Sequence[str | Path] | None) -> list[Path]:
    """The names of the files to write."""
    return [Path(output)] if isinstance(output, (str, Path)) else [Path(each) for each in output or ()]


def _again(
    model: nn.Module,
    saved: SavedCalibration,
    config: Config | None,
    options: Mapping[str, Any],
    settled: Mapping[str, Any],
    **given: Any,
) -> Conversion:
    """Another file of a calibration that was saved. Raises `UserError` for what that has settled."""
    if config is not None or (settled := {name: value for name, value in settled.items() if value is not None}):
        name = "config" if config is not None else next(iter(settled))
        raise UserError(f"{name}: is settled by the calibration that {saved.path} keeps; leave one of them out")
    fields = {name: value for name, value in options.items() if name in _FIELDS}
    asked = {name: getattr(Config(**{name: value}), name) for name, value in fields.items()}
    choices = saved.config_with(asked, [kind.name for kind in targets_of(given["output"], given["targets"])])
    arguments = InputSignature.of(preconditions.unwrapped(model)).arguments(saved.example)
    labels = given.pop("labels")
    given["labels"] = labels if labels is not None else saved.labels
    return pipeline.convert(model, saved.images, arguments, choices, saved=saved, **given)


def _by_hand(preprocessing: Preprocessing | None, config: Config) -> Preprocessing | None:
    """A preprocessing that the caller made, who knows. Raises `UserError` where choices say another beside it."""
    if preprocessing is None:
        return None
    given = ("preprocess", *config.pixel_choices) if config.preprocess is not None else config.pixel_choices
    if given:
        raise UserError(f"preprocessing: goes without {given[0]}, which says it too; leave one of them out")
    return preprocessing if preprocessing.is_known else replace(preprocessing, origin=Origin.user)


def _sized(preprocessing: Preprocessing | None, data: CalibrationData) -> Preprocessing | None:
    """What is said of pixels in the size of tensors that were made of them already."""
    if preprocessing is None or data.normalized_by is not None or not preprocessing.says_values:
        return preprocessing
    shape = tuple(data.examples(1)[0][0].shape[1:])
    is_image = len(shape) in (3, 4) and shape[0] == preprocessing.channels
    return preprocessing.resized(None, *shape[-2:]) if is_image else preprocessing


def _function(options: Mapping[str, Any]) -> tuple[dict[str, Any], Preprocessing | None]:
    """The keywords, and the function among them that preprocesses: `preprocess=transform`, which they name then."""
    function = options.get("preprocess")
    if function is None or isinstance(function, str) or not callable(function):
        return dict(options), None
    if all(hasattr(function, part) for part in ("mean", "std", "crop_size", "resize_size")):  # what weights come with
        rest = {name: value for name, value in options.items() if name != "preprocess"}
        how = Preprocessing.from_preset(function, f"{type(function).__name__} given from Python")
        return rest, replace(how, origin=Origin.user)
    made = from_function(function)
    return {**options, "preprocess": made.name}, made


def _expected(
    model: nn.Module, example_inputs: Any, config: Config, preprocessing: Preprocessing | None
) -> ExpectedInput:
    """What the model is called with; how pixels become that is `preprocessing`, or what the choices say."""
    expected = ExpectedInput.of(preconditions.unwrapped(model), example_inputs, preprocessing)
    if preprocessing is not None:
        shape = sizes(expected.example)[0] if expected.example else ()
        if not preprocessing.says_values and len(shape) > 2 and tuple(shape[-2:]) != preprocessing.size:
            found, wanted = ("x".join(map(str, size)) for size in (preprocessing.size, shape[-2:]))
            raise UserError(f"preprocess: the function makes {found} of an image, and example_inputs is {wanted}; give "
                            "an example of that size, or leave it out")  # fmt: skip
        return expected
    how = of_module(preconditions.unwrapped(model), expected.preprocessing)
    if how is not expected.preprocessing and expected.example is not None:
        how = how.resized(None, *expected.preprocessing.size)
    return replace(expected, preprocessing=chosen_preprocessing(how, config, expected.example is not None))


def _check_keywords(name: str, function: Any, options: Mapping[str, Any]) -> None:
    """Raises `ArgumentError` for a keyword that neither the function, nor `Config`, nor the pipeline has."""
    taken = [*inspect.signature(function).parameters, *_FIELDS]
    inner = inspect.signature(getattr(pipeline, name)).parameters
    known = [keyword for keyword in (*taken, *inner) if keyword != "options"]
    check_known(f"fxconv.{name}", options, known)


def _chosen(config: Config | None, options: Mapping[str, Any], metric: Any = None) -> tuple[Config, Metric | None]:
    if config is not None and not isinstance(config, Config):
        raise ArgumentError(f"config: type {type(config).__name__} is not taken; give a fxconv.Config, or its fields")
    fields = {name: value for name, value in options.items() if name in _FIELDS}
    return with_metric(config or Config(), metric, fields)


def _check_model(model: object, function: str) -> None:
    """Raises `ArgumentError` for what is no module, and `UserError` for one that no file can carry."""
    what = f"fxconv.{function} takes an nn.Module"
    if isinstance(model, (str, Path)):
        raise ArgumentError(
            f"{what}, and {str(model)!r} is a name: make the model, such as torchvision.models.get_model(NAME, "
            f"weights='DEFAULT'), or type fxconv convert {model}"
        )
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ArgumentError(f"{what}, and this is the class {model.__name__}: give an instance, {model.__name__}()")
    if isinstance(model, Mapping):
        raise ArgumentError(f"{what}; a state_dict holds weights alone: make the model, load them, and give the model")
    if not isinstance(preconditions.unwrapped(model), nn.Module):
        raise ArgumentError(f"the model is of type {type(model).__name__}, not an nn.Module; give the float model")
    preconditions.check(preconditions.unwrapped(model), "the model")


def _images(
    model: nn.Module, calibration: Any, expected: ExpectedInput, config: Config, labelled: bool = False
) -> CalibrationData:
    """The calibration data; generated images where there are none, if the model takes them."""
    if calibration is not None:
        wanted = Wanted(expected, config.calib_count, config.batch_size, config.seed, labelled=labelled)
        return open_given(calibration, wanted)
    data = generated(expected, config.calib_count, config.batch_size, config.seed)
    if expected.example is None:
        cure = "give calibration, or example_inputs of the size it takes"
        arguments = expected.signature.arguments(data.examples(1)[0])
        try:
            preconditions.check_takes(preconditions.own_copy(model), arguments, "a generated image", cure)
        except UserError as error:
            if (size := input_shape.suggested(preconditions.unwrapped(model))) is None:
                raise
            raise UserError(f"{error}, such as torch.randn(1, {', '.join(map(str, size))})") from error
    return data


@contextmanager
def _followed(progress: bool | Progress | None) -> Iterator[Progress]:
    """What receives progress: the caller's own function, a display, or nothing."""
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise ArgumentError(
            f"progress: type {type(progress).__name__} is not taken; give True, False, or a function of a step, what "
            "is done and what there is"
        )
    if callable(progress):
        yield progress
        return
    with shown(progress) as show:
        yield show


def _told(done: Conversion) -> Conversion:
    """The same, its warnings in Python's words."""
    judgement = done.judgement
    if judgement is not None:
        judgement = replace(judgement, warnings=tuple(map(worded, judgement.warnings)))
    fidelity = replace(done.fidelity, problem=worded(done.fidelity.problem))
    return replace(done, warnings=tuple(map(worded, done.warnings)), fidelity=fidelity, judgement=judgement)
