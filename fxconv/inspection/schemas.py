"""The signatures of operators, as this torch knows them."""

from __future__ import annotations

from dataclasses import replace

from fxconv.inspection.found import Inspection, Kind

# Kinds whose operators are torch's own, overloads and all.
_HAVE_SCHEMAS = (Kind.LITE, Kind.LITE_FLATBUFFER, Kind.EXECUTORCH)


def with_schemas(found: Inspection) -> Inspection:
    """`found` with the schema of each operator, "" for one this torch does not have. Imports torch if there are any."""
    if found.kind not in _HAVE_SCHEMAS or not found.operators:
        return found
    import torch

    if any(one.name.startswith(("torchvision::", "image::")) for one in found.operators):
        import torchvision  # noqa: F401  registers its operators

    def schema(name: str, overload: str) -> str:
        try:
            return str(torch._C._get_schema(name, overload))
        except (RuntimeError, UnicodeError):  # there is none, or the name is no text
            return ""

    return replace(
        found, operators=tuple(replace(one, schema=schema(one.name, one.overload)) for one in found.operators)
    )
