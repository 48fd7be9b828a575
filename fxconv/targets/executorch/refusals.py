"""Why torch.export or ExecuTorch refuses a module: what it says at first is often neither the cause nor the place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import fx

from fxconv.errors import described, message_line
from fxconv.models.checkpoints import some
from fxconv.targets.qdq.exporting import NODE

_VIOLATED = re.compile(r"Constraints violated \(([^)]*)\)")
_GUARD = re.compile(r"satisfy the generated guard (.+?)\.?$", re.MULTILINE)
_WRAPPED = re.compile(r"An error occurred when running the '(\w+)' pass")
# What ExecuTorch's passes call the node that they are at, beside those that it reads.
_AT = ("target_node", "node", "n")
_NO_OPERATOR = re.compile(r"Missing out variants: \{(.*)\}")


def refusal(error: BaseException) -> str:
    """Why export refuses, in one line; a size that the module's code binds in plain words, without export's advice."""
    found = _VIOLATED.match(str(error))
    if found is None:
        return message_line(error)
    sizes = " and ".join(dict.fromkeys(name.strip().removesuffix("_steps") for name in found.group(1).split(",")))
    if "specialized it to be a constant" in str(error):
        return f"the model's code makes a fixed number of the {sizes}"
    guard = _GUARD.search(str(error))
    return f"the model's code does not take every {sizes}" + (f", it asks for {guard.group(1)}" if guard else "")


def cause(error: BaseException, graph: fx.Graph | None = None) -> str:
    """What made ExecuTorch stop, in one line: the first failure, the pass that it was in, and the node, where known.

    `graph` is that of the program, in which an operation without an operator is looked for.
    """
    missing = _NO_OPERATOR.search(str(error))
    if missing is not None:
        names = sorted(name.strip(" '") for name in missing.group(1).split(","))  # a set's order, of chance
        places = dict.fromkeys(_places(graph, names))
        before = f" ({some(list(places))})" if places else ""
        return (
            f"the delegate leaves an operation outside{before}, and the runtime has no operator for {', '.join(names)}"
        )
    chain = list(_chain(error))
    first = chain[-1]
    passes = [found.group(1) for each in chain[:-1] if (found := _WRAPPED.search(str(each)))]
    if not passes:
        return message_line(first if message_line(first) else error) or type(first).__name__
    node = _node(first)
    return f"{f'{node}: ' if node else ''}{described(first)}, in its {passes[-1]}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """A failure, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def _node(error: BaseException) -> str:
    """The model's node that the code was at which failed; "" where none is in its hands."""
    found, frame = "", error.__traceback__
    while frame is not None:
        held = frame.tb_frame.f_locals
        values = [*(held[name] for name in _AT if name in held), *held.values()]
        found = next((name for value in values if (name := _name(value))), found)
        frame = frame.tb_next
    return found


def _name(value: Any) -> str:
    return _said(value)[0]


def _said(value: Any) -> tuple[str, bool]:
    """The node that one stands for, and whether that is the int8 graph's."""
    meta = value.meta if isinstance(value, fx.Node) else {}
    said: tuple[str, bool] = meta.get("custom", {}).get(NODE, ("", False))
    return said


def _places(graph: fx.Graph | None, operators: list[str]) -> list[str]:
    """The model's nodes that call `quantized_decomposed::dequantize_per_channel`, for one, or read what it gives."""
    called = tuple(f"{operator.replace('::', '.')}." for operator in operators)
    nodes = [] if graph is None else [each for each in graph.nodes if _called(each).startswith(called)]
    around = [near for node in nodes for near in (node, *node.users)]
    return [_name(near) for near in around if _said(near)[1]]


def _called(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", ""))
