"""`fxconv inspect`: what a file is, what is in it, and what loads it."""

from __future__ import annotations

from fxconv.commands.results import write_report
from fxconv.options import FileArgument, InspectionJsonOption, SchemasOption, TracebackOption


def inspect(
    file: FileArgument,
    schemas: SchemasOption = True,
    json: InspectionJsonOption = None,
    traceback_: TracebackOption = False,
) -> None:
    """What a file is: kind, sizes, operators, metadata, what loads it. Nothing in it is run."""
    from fxconv import inspection
    from fxconv.report.inspection import inspection_text, print_inspection, print_operators
    from fxconv.screen import console

    found, screen = inspection.inspect(file), console()
    print_inspection(found, screen)
    if schemas:
        found = inspection.with_schemas(found)
    print_operators(found, screen)
    if json is not None:
        write_report(json, inspection_text(found))
