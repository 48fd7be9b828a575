"""`fxconv example`: an input array out of photographs."""

from __future__ import annotations

from pathlib import Path

from fxconv.cli.options.analysis import ArrayOption, DrawnOption, FolderArgument, ForModelOption
from fxconv.cli.options.calibration import SeedOption
from fxconv.cli.options.groups import choices, takes_groups
from fxconv.cli.options.model import HeadsOption, InputSizeOption, ModelArgOption
from fxconv.cli.options.output import QuietOption, TracebackOption
from fxconv.cli.options.preprocessing import PreprocessingOptions


@takes_groups
def example(
    *,
    folder: FolderArgument,
    count: DrawnOption = 1,
    seed: SeedOption = 0,
    model: ForModelOption = None,
    input_size: InputSizeOption = None,
    model_arg: ModelArgOption = None,
    heads: HeadsOption = None,
    pixels: PreprocessingOptions,
    output: ArrayOption = Path("example.npy"),
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """Draw photographs, preprocess them, and save the array that --example and --calib take."""
    from fxconv.cli.paths import check_distinct, check_target, code_file

    check_target(output, "-o")
    check_distinct({"-o": output}, {"DIR": folder, "--model": code_file(model) if model else None})
    from fxconv.cli import terminal

    with terminal.progress(quiet) as progress:
        from fxconv.data.example_array import write_example
        from fxconv.report.terminal import print_example

        asked = (folder, output, count, seed, model, input_size, heads, model_arg or (), progress, choices(pixels))
        written = write_example(*asked)
    for warning in written.warnings:
        terminal.warn(warning)
    print_example(written, terminal.console())
