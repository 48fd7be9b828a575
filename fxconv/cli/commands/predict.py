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
    """What a file says of photographs: classes, or objects.

    It is given them with its own preprocessing, in a process of its own, and its classes have its own labels. Objects
    are told by where they are in the photograph.

    Examples:
        # The likeliest classes of each photograph
        fxconv predict mobilenet_v3_small.ptl dog.jpg photographs/ --top 3
        # A file that a function of your own preprocesses for
        fxconv predict net.ptl dog.jpg --preprocess net.py:transform
        # With names of classes that the file does not have, every number as JSON
        fxconv predict net.ptl photographs/ --labels classes.txt --json answers.json
    """
    from fxconv.cli import terminal
    from fxconv.cli.paths import check_distinct, check_target, code_file
    from fxconv.cli.results import write_report
    from fxconv.data.given_files import check_artifact, check_labels
    from fxconv.data.named_photographs import named
    from fxconv.pixel_options import is_function

    check_target(json, "--json")
    reads = {"FILE": file, "--labels": prediction.labels} | {str(image): image for image in images}
    if is_function(pixels.preprocess):
        reads["--preprocess"] = code_file(str(pixels.preprocess))
    check_distinct({"--json": json}, reads)
    check_artifact(file)
    named(images)
    if prediction.labels is not None:
        check_labels(prediction.labels)
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
