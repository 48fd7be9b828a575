"""`fxconv convert`: a model in, a verified int8 artifact out."""

from __future__ import annotations

import time

import typer

from fxconv.cli import converting
from fxconv.cli.options.accuracy import AccuracyOptions
from fxconv.cli.options.calibration import CalibrationImages, CalibrationOptions
from fxconv.cli.options.groups import choices, given_on, takes_groups
from fxconv.cli.options.int8 import Int8Options, ModeOption
from fxconv.cli.options.lowering import ArtifactOptions, DetectorOptions, LoweringOptions
from fxconv.cli.options.model import OptionalModelArgument, TracingOptions
from fxconv.cli.options.output import ConversionOutput
from fxconv.cli.options.passes import PassOptions
from fxconv.cli.options.preprocessing import PreprocessingOptions
from fxconv.cli.options.training import TrainingOptions
from fxconv.cli.request import requested, saved_calibration, saved_inputs
from fxconv.config import Mode


@takes_groups
def convert(
    context: typer.Context,
    *,
    model: OptionalModelArgument = None,
    loading: TracingOptions,
    images: CalibrationImages,
    calibration: CalibrationOptions,
    pixels: PreprocessingOptions,
    mode: ModeOption = Mode.static,
    int8: Int8Options,
    accuracy: AccuracyOptions,
    artifact: ArtifactOptions,
    passes: PassOptions,
    lowering: LoweringOptions,
    training: TrainingOptions,
    detector: DetectorOptions,
    output: ConversionOutput,
) -> None:
    """Convert a model to verified int8 files: .ptl, .pte.

    Examples:
        # A model of torchvision, its ranges from your photographs
        fxconv convert mobilenet_v3_small --calib photographs/
        # One of your own with its weights, under a name of your choice
        fxconv convert net.py:Net --weights net.pth --calib photographs/ -o net.ptl
        # For PyTorch Mobile and for ExecuTorch, of one calibration
        fxconv convert mobilenet_v3_small --calib photographs/ -o v3.ptl -o v3.pte
        # Layers in float until at most one answer in a hundred changes
        fxconv convert resnet18 --calib photographs/ --max-drop 1
        # Told by photographs whose class is known, with a report to share
        fxconv convert resnet18 --calib train/ --eval val/ --html report.html
        # What would be rewritten, and nothing else
        fxconv convert resnet18 --dry-run
    """
    began = time.perf_counter() - context.obj
    from fxconv.config_file import chosen
    from fxconv.targets.suffixes import FIRST, targets_named

    given = given_on(context)
    groups = (loading, images, calibration, pixels, int8, accuracy, artifact, passes, lowering, training, detector)
    asked = choices(*groups, mode=mode)
    saved, kept = saved_inputs(output), saved_calibration(output, given)
    written = targets_named(output.output or [])
    if kept is None:
        kinds = written or (saved.targets if saved is not None else FIRST)
        config = chosen(output.config_file, asked, given).of_targets(kinds, given)
    else:
        kinds = written or FIRST
        saved, own = kept.inputs, {field: value for field, value in asked.items() if given(field)}
        config = kept.config_with(own, kinds)
    request = requested(model, loading, images, accuracy, training, output, config, saved, kept, given)
    files = converting.check_files(request, given)
    if output.dry_run:
        converting.show_dry_run(request)
        return
    target = converting.check_artifacts(request, files)
    from fxconv.cli import terminal

    with terminal.progress(output.quiet, converting.phases(request, files)) as progress:
        conversion, warned, named = converting.run(request, files, target, began, progress)
    try:
        converting.write_reports(output, conversion, target, named)
    finally:
        converting.show(output, conversion, warned)
    converting.check_verified(request.model, conversion, target)
