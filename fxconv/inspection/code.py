"""The operators that TorchScript code names, by its text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from fxconv.inspection.found import Operator

# Calls, and what texts begin and end with: no pattern of whole texts, which a long one would take gigabytes to match.
_TOKENS = re.compile(r"""(?<![.\w])(?:torch|ops\.(\w{1,80}))\.(\w{1,80})\(|["'\n]|\\.""")


def operators_in(texts: Iterable[str]) -> tuple[Operator, ...]:
    """The operators of all calls of `torch.NAME` and `ops.NAMESPACE.NAME`.

    Which overload is meant is decided when the code is loaded, by its arguments, so none is named. What is written
    otherwise, `x[0]` for `aten::__getitem__`, is not among them.
    """
    calls: Counter[str] = Counter()
    for text in texts:
        quote = ""
        for match in _TOKENS.finditer(text):
            if match[2]:
                if not quote:
                    calls[f"{match[1] or 'aten'}::{match[2]}"] += 1
            elif quote:  # what it began with ends a text, and so does its line
                quote = "" if match[0] in (quote, "\n") else quote
            elif match[0] in "\"'":
                quote = match[0]
    return tuple(Operator(name, calls=calls[name]) for name in sorted(calls))
