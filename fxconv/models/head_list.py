"""What --heads says."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fxconv.errors import UserError
from fxconv.models.model_names import is_detector


def parse_heads(text: str | None) -> dict[str, int] | None:
    """Names and channels of heads, from `hm:3,wh:2`; None when nothing is given."""
    if text is None:
        return None
    parts = [part.strip().split(":") for part in text.split(",")]
    if not all(
        len(part) == 2 and part[0].isidentifier() and re.fullmatch("[1-9][0-9]{0,4}", part[1]) for part in parts
    ):
        raise UserError(f"--heads {text}: expected NAME:CHANNELS with commas between, such as hm:1 or hm:3,wh:2,reg:2")
    if len({name for name, _ in parts}) < len(parts):
        raise UserError(f"--heads {text}: a name stands there twice")
    return {name: int(channels) for name, channels in parts}


def check_heads(text: str, heads: str | None, arguments: Iterable[str]) -> None:
    """Raise `UserError` for heads of a MODEL, `text`, that has none to choose, and for arguments of a detector."""
    given = next(iter(arguments), None)
    if is_detector(text) and given is not None:
        raise UserError(f"--model-arg {given}: a detector takes no arguments; --heads chooses its heads")
    if heads is not None and not is_detector(text):
        raise UserError(f"--heads {heads}: only a detector has heads to choose; {text} is none")
