"""`fxconv inspect`: what a file is, what is in it, and what loads it."""

from __future__ import annotations

import typer

from fxconv.cli.options.files import FileArgument, InspectionJsonOption, RuntimesOption, SchemasOption
from fxconv.cli.options.lowering import OpListOption
from fxconv.cli.options.output import TracebackOption
from fxconv.cli.results import write_report


def inspect(
    file: FileArgument,
    runtime: RuntimesOption = None,
    schemas: SchemasOption = True,
    op_list: OpListOption = None,
    json: InspectionJsonOption = None,
    traceback_: TracebackOption = False,
) -> None:
    """What a file is, what is in it, and what loads it.

    Kind, sizes, operators, metadata. Nothing in it is run.

    Examples:
        # Any file of a model
        fxconv inspect mobilenet_v3_small.ptl
        # Whether a release of the library loads it; exit status 1 if not
        fxconv inspect net.ptl --runtime pytorch_android_lite==2.1.0
        fxconv inspect net.pte --runtime executorch==1.3
        # The operators that a library built for it needs
        fxconv inspect net.ptl --op-list operators.yaml
    """
    from fxconv import inspection
    from fxconv.cli.paths import check_distinct, check_target
    from fxconv.cli.terminal import console
    from fxconv.report.inspection import inspection_text, print_inspection, print_operators
    from fxconv.report.runtimes import print_fit, print_fits
    from fxconv.targets import libraries
    from fxconv.targets.mobile.releases import op_list as listed_operators

    wanted = libraries.names_of(runtime or ())
    for option, path in {"--op-list": op_list, "--json": json}.items():
        check_target(path, option)
    check_distinct({"--op-list": op_list, "--json": json}, {"the file": file})
    found, screen = inspection.inspect(file), console()
    listed = listed_operators(found) if op_list is not None else ""
    fits = libraries.fits_of(found, wanted)
    print_inspection(found, screen)
    for fit in fits if wanted else ():
        print_fit(fit, screen)
    if not wanted:
        print_fits(fits, screen)
    if schemas:
        found = inspection.with_schemas(found)
    print_operators(found, screen)
    if op_list is not None:
        write_report(op_list, listed, option="--op-list")
    if json is not None:
        write_report(json, inspection_text(found, fits))
    if wanted and not all(fit.loads for fit in fits):
        raise typer.Exit(1)
