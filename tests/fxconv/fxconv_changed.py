"""Conversions with something in them changed, as tests want it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fxconv.conversion import Conversion
from fxconv.verification.parity import STAGES, StageParity


def with_file(conversion: Conversion, **changes: Any) -> Conversion:
    """With its first file changed."""
    return replace(conversion, files=(replace(conversion.files[0], **changes), *conversion.files[1:]))


def with_artifact(conversion: Conversion, **changes: Any) -> Conversion:
    """With what its first file is changed."""
    return with_file(conversion, artifact=replace(conversion.artifact, **changes))


def with_ledger(conversion: Conversion, rows: Sequence[StageParity]) -> Conversion:
    """With this ledger, whose rows behind the int8 module are the first file's."""
    of_module = tuple(row for row in rows if row.stage in STAGES)
    of_file = tuple(row for row in rows if row.stage not in STAGES)
    return replace(with_file(conversion, ledger=of_file), module_ledger=of_module)
