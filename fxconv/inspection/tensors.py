"""The tensors in an inert pickle: names, types, shapes, and which stored record holds their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fxconv.inspection.found import StoredTensor, Unreadable
from fxconv.inspection.inert import Call, Dict, Global, Stored

# What the names of torch's storage classes say of their numbers.
_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
    "Untyped": "uint8",
}
_MAKERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor")
_WRAPPERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
CONTAINERS = (list, tuple, Dict, Call)
# Where a pickled module keeps what it is asked for by shorter names.
_LEFT_OUT = ("_modules", "_parameters", "_buffers")
_DEEPEST, _LONGEST_NAME, _LONGEST_DTYPE, _MOST_SIDES = 200, 400, 40, 64
_LARGEST = 1 << 63


@dataclass(frozen=True)
class Found:
    """A tensor, and the key of the record its numbers are in."""

    tensor: StoredTensor
    key: str


def item_size(dtype: str) -> int:
    """Bytes of a value of a type as torch names it; types whose values share a byte count as one."""
    bits = re.search(r"\d+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1


def find_tensors(value: Any) -> Iterator[Found]:
    """All tensors in `value`, in its order. What is nested deeper than 200 levels, or holds itself, is left out."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        found = tensor_of(name, value)
        if found is not None:
            yield found
            if isinstance(value, Call) and value.path.endswith("_rebuild_qtensor") and len(value.arguments) > 4:
                waiting.append((_joined(name, "qparams"), value.arguments[4], depth + 1))  # scales by channel
        elif depth < _DEEPEST and isinstance(value, CONTAINERS) and id(value) not in seen:
            seen.add(id(value))
            inside = [(key, one) for key, one in children(value) if isinstance(one, CONTAINERS)]
            waiting.extend((_joined(name, key), one, depth + 1) for key, one in reversed(inside))


def tensor_of(name: str, value: Any) -> Found | None:
    """`value` as a tensor; None when it is anything else. Raises `Unreadable` for one no tensor can be."""
    for _ in range(8):  # parameters around tensors, types around parameters
        if not isinstance(value, Call) or not isinstance(value.arguments, tuple) or not value.arguments:
            return None
        maker = value.path.rpartition(".")[2] if value.path.startswith("torch.") else ""
        if maker in _WRAPPERS:
            value = value.arguments[0]
        elif maker == "_rebuild_from_type_v2" and len(value.arguments) > 2:
            value = Call(value.arguments[0], value.arguments[2])
        else:
            return _made(name, maker, value.arguments) if maker in _MAKERS else None
    return None


def _made(name: str, maker: str, arguments: tuple[Any, ...]) -> Found | None:
    storage = arguments[0].id if isinstance(arguments[0], Stored) else None
    if len(arguments) < 3 or not isinstance(storage, tuple) or len(storage) < 5 or not isinstance(storage[1], Global):
        return None
    dtype = storage_type(storage[1])
    if maker == "_rebuild_tensor_v3" and len(arguments) > 6 and isinstance(arguments[6], Global):
        dtype = arguments[6].path.removeprefix("torch.")[:_LONGEST_DTYPE]
    shape = arguments[2]
    if not isinstance(shape, (tuple, list)) or len(shape) > _MOST_SIDES or not all(map(_is_side, shape)):
        raise Unreadable(f"holds a tensor {name} with a shape no tensor has; it is damaged or made to deceive")
    tensor = StoredTensor(name, dtype, tuple(shape), 0)
    size = tensor.values * item_size(dtype)
    if size >= _LARGEST:
        raise Unreadable(f"holds a tensor {name} larger than any memory; it is damaged or made to deceive")
    return Found(StoredTensor(name, dtype, tuple(shape), size), str(storage[2])[:_LONGEST_NAME])


def storage_type(named: Global) -> str:
    """The dtype that a storage class stands for."""
    name = named.path.rpartition(".")[2].removesuffix("Storage")
    return _STORAGES.get(name, name[:_LONGEST_DTYPE])


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < _LARGEST


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container holds, with the name of each."""
    if isinstance(value, Dict):
        yield from ((_key(key), one) for key, one in value.items)
    elif isinstance(value, (list, tuple)):
        yield from ((str(number), one) for number, one in enumerate(value))
    elif isinstance(value, Call):
        yield from ((_key(key), one) for key, one in value.items)
        yield from ((str(number), one) for number, one in enumerate(value.elements))
        yield ("", value.state)
        yield ("", value.arguments)


def _key(key: Any) -> str:
    return str(key)[:_LONGEST_NAME] if isinstance(key, (str, int, float)) else "?"


def _joined(name: str, key: str) -> str:
    if not key or key in _LEFT_OUT:
        return name
    return f"{name}.{key}"[-_LONGEST_NAME:] if name else key
