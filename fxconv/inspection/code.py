"""The operators that TorchScript code names, by its text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from fxconv.inspection.found import Operator

# The closing quote may be missing, so that no text is looked at twice.
_TEXTS = re.compile(r'"(?:[^"\\\n]|\\.)*"?|\'(?:[^\'\\\n]|\\.)*\'?')
_CALLS = re.compile(r"\b(?:torch|ops\.(\w{1,80}))\.(\w{1,80})\(")


def operators_in(texts: Iterable[str]) -> tuple[Operator, ...]:
    """The operators of all calls of `torch.NAME` and `ops.NAMESPACE.NAME`.

    Which overload is meant is decided when the code is loaded, by its arguments, so none is named. What is written
    otherwise, `x[0]` for `aten::__getitem__`, is not among them.
    """
    calls: Counter[str] = Counter()
    for text in texts:
        for match in _CALLS.finditer(_TEXTS.sub('""', text)):
            calls[f"{match[1] or 'aten'}::{match[2]}"] += 1
    return tuple(Operator(name, calls=calls[name]) for name in sorted(calls))
