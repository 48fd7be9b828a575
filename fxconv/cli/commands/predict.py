"""`fxconv predict`: what a file says of photographs."""

from __future__ import annotations

from fxconv.cli.options.files import ArtifactArgument, ProofJsonOption
from fxconv.cli.options.groups import choices, takes_groups
from fxconv.cli.options.output import QuietOption, TracebackOption
from fxconv.cli.options.prediction import ImagesArgument, PredictionOptions
from fxconv.cli.options.preprocessing import PreprocessingOptions


@takes_groups
def predict(
    *,
    file: ArtifactArgument,
    images: ImagesArgument,
    prediction: PredictionOptions,
    pixels: PreprocessingOptions,
    json: ProofJsonOption = None,
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """Run a .ptl on photographs, with its own preprocessing and labels, in a process of its own."""
    from fxconv.cli import terminal
    from fxconv.cli.paths import check_distinct, check_target, code_file
    from fxconv.cli.results import write_report
    from fxconv.pixel_options import is_function

    check_target(json, "--json")
    reads = {"FILE": file, "--labels": prediction.labels} | {str(image): image for image in images}
    if is_function(pixels.preprocess):
        reads["--preprocess"] = code_file(str(pixels.preprocess))
    check_distinct({"--json": json}, reads)
    with terminal.progress(quiet) as progress:
        progress("reading the file", 0, 1)
        from fxconv.analysis.prediction import predict as run
        from fxconv.report.prediction import prediction_text, print_prediction

        found = run(
            file,
            images,
            prediction.labels,
            prediction.top,
            choices(pixels),
            prediction.timeout,
            prediction.memory,
            progress,
        )
    try:
        if json is not None:
            write_report(json, prediction_text(found))
    finally:
        for image, reason in found.unreadable:
            terminal.warn(f"{image} was left out: {reason}")
        for note in found.notes:
            terminal.warn(note)
        print_prediction(found, terminal.console())
