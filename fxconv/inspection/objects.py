"""What pickled objects are: a state_dict, a checkpoint around one, a calibration, a whole module, or anything else."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from fxconv.inspection.found import Inspection, Kind
from fxconv.inspection.inert import Call, Dict, Pickle
from fxconv.inspection.tensors import tensor_of

# What torch.load makes of a file by itself; anything else is code of somebody's.
_HARMLESS = (
    "collections.OrderedDict",
    "collections.Counter",
    "torch.Size",
    "torch.device",
    "__builtin__.set",
    "builtins.set",
)
_MOST_NAMED = 6
# How the format begins that a calibration of fxconv's names in itself, of whatever version.
CALIBRATION = "fxconv calibration "


def describe_objects(found: Inspection, pickle: Pickle) -> Inspection:
    """`found` with the kind of what the pickle holds, and what unpickling it would look up beyond torch's own."""
    value, named = pickle.value, [name for name in pickle.names if not _is_torchs(name)]
    shown = ", ".join(named[:_MOST_NAMED])
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    facts = [("needs the code of", shown + more)] if named else []
    pairs = _pairs(value)
    if pairs and all(tensor_of("", one) is not None for _, one in pairs):
        return replace(found, kind=Kind.STATE_DICT, facts=(*found.facts, *facts))
    if isinstance(value, Call) and value.path not in _HARMLESS:
        is_module = isinstance(value.state, Dict) and value.state.get("_modules") is not None
        first = ("class", value.path or "without a name")
        kind = Kind.MODULE if is_module else Kind.PICKLE
        return replace(found, kind=kind, facts=(*found.facts, first, *facts), problems=_warned(found, named))
    keys = ", ".join(str(key) for key, _ in pairs[:_MOST_NAMED] if isinstance(key, (str, int)))
    more = f" and {len(pairs) - _MOST_NAMED} more" if len(pairs) > _MOST_NAMED else ""
    kind = Kind.CHECKPOINT if pairs and found.tensors else Kind.PICKLE
    if any(key == "format" and isinstance(one, str) and one.startswith(CALIBRATION) for key, one in pairs):
        kind = Kind.CALIBRATION
    first = ("keys", keys + more) if pairs else ("holds", _words(value))
    return replace(found, kind=kind, facts=(*found.facts, first, *facts), problems=_warned(found, named))


def _warned(found: Inspection, named: list[str]) -> tuple[str, ...]:
    if not named:
        return found.problems
    return (*found.problems, "loading it runs code it names: torch.load needs weights_only=False, fxconv --unsafe-load")


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Dict):
        return value.items
    return value.items if isinstance(value, Call) and value.path in _HARMLESS else []


def _words(value: Any) -> str:
    if tensor_of("", value) is not None:
        return "one tensor"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value):,}"
    return f"{type(value).__name__} {str(value)[:80]}" if isinstance(value, (str, int, float)) else "a single value"


def _is_torchs(name: str) -> bool:
    """Whether torch.load takes the name without being told to: tensors, their storages and types."""
    module, _, last = name.rpartition(".")
    if name in _HARMLESS or (module == "torch._utils" and last.startswith("_rebuild_")):
        return True
    return (module == "torch" and (last.endswith("Storage") or _TYPES.fullmatch(last) is not None)) or name in _ALLOWED


_TYPES = re.compile(r"bool|(?:u?int|float|bfloat|complex|qu?int)\d+(?:[x_]\w*)?")
_ALLOWED = ("torch.nn.parameter.Parameter", "torch.serialization._get_layout", "torch.storage.UntypedStorage")
