"""The operators of a file as the list that a build of the runtime with no others takes.

`SELECTED_OP_LIST=FILE.yaml scripts/build_pytorch_android.sh` (and `build_ios.sh`) reads a YAML list of names with their
overloads, such as torch's own android/test_app/make_assets_custom.py writes of `torch.jit.export_opnames`.
"""

from __future__ import annotations

import re

from fxconv.errors import UserError
from fxconv.inspection.found import Inspection, Kind

_NAME = re.compile(r"\w+::\w+(?:\.\w+)?", re.ASCII)


def op_list(found: Inspection) -> str:
    """The operators of a lite-interpreter file as YAML, a line each, in order.

    Raises `UserError` for a file that does not say which operators it calls, overloads included.
    """
    if found.kind not in (Kind.LITE, Kind.LITE_FLATBUFFER):
        raise UserError(
            f"--op-list: {found.path} is no file of the lite interpreter ({found.kind.value}), and does not say which "
            "overloads it calls; convert the model, and take the list of the .ptl"
        )
    names = sorted({one.full_name for one in found.operators})
    if odd := [name for name in names if not _NAME.fullmatch(name)]:
        raise UserError(f"--op-list: {found.path} calls {odd[0]!r:.80}, which is no name of an operator; it is damaged")
    return "".join(f"- {name}\n" for name in names)
