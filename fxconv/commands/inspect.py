"""`fxconv inspect`: what a file is, what is in it, and what loads it."""

from __future__ import annotations

import typer

from fxconv.commands.results import write_report
from fxconv.options import (
    FileArgument,
    InspectionJsonOption,
    OpListOption,
    RuntimesOption,
    SchemasOption,
    TracebackOption,
)


def inspect(
    file: FileArgument,
    runtime: RuntimesOption = None,
    schemas: SchemasOption = True,
    op_list: OpListOption = None,
    json: InspectionJsonOption = None,
    traceback_: TracebackOption = False,
) -> None:
    """What a file is: kind, sizes, operators, metadata, what loads it. Nothing in it is run."""
    from fxconv import inspection, runtimes
    from fxconv.paths import check_distinct, check_target
    from fxconv.report.inspection import inspection_text, print_inspection, print_operators
    from fxconv.report.runtimes import print_fit, print_fits
    from fxconv.screen import console

    wanted = [runtimes.release(text) for text in runtime or ()]
    for option, path in {"--op-list": op_list, "--json": json}.items():
        check_target(path, option)
    check_distinct({"--op-list": op_list, "--json": json}, {"the file": file})
    found, screen = inspection.inspect(file), console()
    listed = runtimes.op_list(found) if op_list is not None else ""
    fits = [runtimes.check(found, one) for one in wanted] or runtimes.fits(found)
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
