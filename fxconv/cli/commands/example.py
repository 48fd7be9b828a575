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
    """Draw photographs, and save them as an array for --example.

    They are preprocessed; --calib of fxconv convert takes the array as well.

    Examples:
        # One photograph, as most models take it
        fxconv example photographs/
        # A hundred, as this model takes them
        fxconv example photographs/ -n 100 --model inception_v3 -o hundred.npy
    """
    from fxconv.cli.early_checks import check_model
    from fxconv.cli.paths import check_distinct, check_target, code_file
    from fxconv.data.given_files import check_folder
    from fxconv.models.head_list import check_heads, parse_heads
    from fxconv.models.input_size import parse_input_size
    from fxconv.models.model_arguments import parse

    check_target(output, "-o")
    check_distinct({"-o": output}, {"DIR": folder, "--model": code_file(model) if model else None})
    check_folder(folder, "DIR")
    parse_input_size(input_size)
    if model is not None:
        check_model(model)
        check_heads(model, heads, parse(model_arg or ()))
        parse_heads(heads)
    from fxconv.cli import terminal

    with terminal.progress(quiet) as progress:
        from fxconv.data.example_array import write_example
        from fxconv.report.terminal import print_example

        asked = (folder, output, count, seed, model, input_size, heads, model_arg or (), progress, choices(pixels))
        written = write_example(*asked)
    for warning in written.warnings:
        terminal.warn(warning)
    print_example(written, terminal.console())
