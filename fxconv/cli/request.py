"""What a conversion is asked for on the command line, and what files of earlier ones say where it says nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fxconv.cli.options.accuracy import AccuracyOptions
from fxconv.cli.options.calibration import CalibrationImages
from fxconv.cli.options.model import TracingOptions
from fxconv.cli.options.output import ConversionOutput
from fxconv.cli.options.training import TrainingOptions
from fxconv.config import Config
from fxconv.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from fxconv.calibration_file import SavedCalibration
    from fxconv.config_inputs import NamedInputs


@dataclass(frozen=True)
class Request:
    """What a conversion is asked for: a model, and the options; those that are choices of `Config` as `config`."""

    model: str
    loading: TracingOptions
    images: CalibrationImages
    accuracy: AccuracyOptions
    training: TrainingOptions
    output: ConversionOutput
    config: Config
    saved: NamedInputs | None = None
    kept: SavedCalibration | None = None
    given: Callable[[str], bool] = lambda field: False


@dataclass(frozen=True)
class Files:
    """What a conversion reads and what it writes beside the artifact, by the options that name it.

    `labels` are the list of photographs and classes and `names` that of the classes' names, both given by --labels.
    `targets` are the kinds of files that are made of the model.
    """

    reads: dict[str, Path | None]
    writes: dict[str, Path | None]
    labels: Path | None
    names: Path | None
    targets: tuple[str, ...] = ("mobile",)

    def check_distinct(self, option: str, artifacts: Sequence[Path]) -> None:
        """Raise `UserError` where one file would be written over another; `option` names the artifacts."""
        from fxconv.cli.paths import check_distinct

        lists = (self.labels,) if self.labels is not None else ()
        for artifact in artifacts:
            check_distinct({option: artifact, **self.writes}, self.reads, lists)

    def check_unimported(self, artifacts: Sequence[Path]) -> None:
        """Raise `UserError` where a file would be written over a module that the model or a pass has imported."""
        from fxconv.data.staged_file import check_place

        for path in artifacts:
            check_place(path, "the artifact")
        for option, place in self.writes.items():
            if place is not None:
                check_place(place, option)


def saved_inputs(output: ConversionOutput) -> NamedInputs | None:
    """What --config says was given by name; None without it."""
    if output.config_file is None:
        return None
    from fxconv import config_file

    return config_file.saved_inputs(output.config_file)


# Options that say what was calibrated, which a saved calibration has settled.
_SETTLED = (
    *("calib", "example", "input_size", "heads", "evaluation", "train", "train_count", "checkpoint", "config_file"),
)


def saved_calibration(output: ConversionOutput, given: Callable[[str], bool]) -> SavedCalibration | None:
    """What --calibration names; None without it. Raises `UserError` for options that it has settled, and for code."""
    if output.calibration is None:
        return None
    if settled := next((field for field in _SETTLED if given(field)), None):
        option = {"evaluation": "--eval", "config_file": "--config"}.get(settled, f"--{settled.replace('_', '-')}")
        raise UserError(f"{option}: is settled by --calibration {output.calibration}; leave one of them out")
    if not output.calibration.is_file():
        raise UserError(f"--calibration {output.calibration}: no such file; --save-calibration writes one")
    from fxconv import calibration_file
    from fxconv.config_file import check_code

    found = calibration_file.load(output.calibration)
    check_code(found.inputs.code_of(found.config.passes), f"--calibration {output.calibration}", given)
    return found


def requested(
    model: str | None,
    loading: TracingOptions,
    images: CalibrationImages,
    accuracy: AccuracyOptions,
    training: TrainingOptions,
    output: ConversionOutput,
    config: Config,
    saved: NamedInputs | None,
    kept: SavedCalibration | None,
    given: Callable[[str], bool],
) -> Request:
    """The request, with what the command line leaves open as it was `saved`. Raises `UserError` without a model."""
    if saved is not None:
        model = model or saved.model
        loading, images, training = (
            _filled(loading, saved, given),
            _filled(images, saved, given),
            _filled(training, saved, given),
        )
        if kept is not None:
            images, loading = replace(images, calib=None), replace(loading, example=None)
            training = replace(training, train=None)
        elif saved.labels is not None and not given("labels"):
            accuracy = replace(accuracy, labels=[Path(saved.labels)])
    if model is None:
        raise UserError("missing argument 'MODEL' (fxconv convert --help)")
    return Request(model, loading, images, accuracy, training, output, config, saved, kept, given)


_Group = TypeVar("_Group", bound="DataclassInstance")


def _filled(group: _Group, saved: NamedInputs, given: Callable[[str], bool]) -> _Group:
    """The group with those of its options that were saved and are not given."""
    changed: dict[str, Any] = {}
    for each in fields(group):
        value = getattr(saved, each.name, None)
        if value is not None and not given(each.name):
            changed[each.name] = Path(value) if each.name in _PATHS else value
    return replace(group, **changed)


_PATHS = ("calib", "example", "train")
