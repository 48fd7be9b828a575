"""A forward that takes a dict: how that is told, by its annotation or by what it raises on a tensor."""

from __future__ import annotations

import re

from fxconv.diagnostics.blame import blamed
from fxconv.errors import UserError

# What torch says of a tensor that is asked for a key, and Python of one that is asked for what dicts have. The first is
# said of other things, too: there the line must have a key.
_ASKED = re.compile(r"valid indices \(got str\)|'Tensor' object has no attribute '(?:keys|items|values|get)'")
_PERHAPS = "too many indices for tensor"
_KEY = re.compile(r"""\[\s*["'](\w+)["']\s*\]|\.get\(\s*["'](\w+)["']""")


def takes_dict(what: str, name: str, key: str = "image") -> UserError:
    """What to say of a model whose forward takes a dict as `name`; `key` is one of those that it reads."""
    return UserError(
        f"{what} takes a dict, {name}, and a file takes tensors alone; put the model into a module whose forward makes "
        f"the dict, and name that: def forward(self, {key}): return self.model({{'{key}': {key}}})"
    )


def key_asked_for(error: Exception) -> str | None:
    """The key that a forward asked of the tensor that it was given, `image` where its line does not tell; None else."""
    is_sure = _ASKED.search(str(error)) is not None
    if not is_sure and _PERHAPS not in str(error):
        return None
    frame = blamed(error.__traceback__)
    found = _KEY.search(frame.line or "") if frame is not None else None
    return next(filter(None, found.groups())) if found else "image" if is_sure else None
