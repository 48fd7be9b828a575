"""ExecuTorch programs (.pte): methods, operators and the backends they hand work to."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace

from fxconv.inspection.flatbuffers import root
from fxconv.inspection.found import Inspection, Kind, Operator, Part, Unreadable, with_rest

# Fields of the schema in ExecuTorch's schema/program.fbs, by number.
_VERSION, _PLANS, _CONSTANTS, _SEGMENTS = 0, 1, 2, 4
_NAME, _CHAINS, _OPERATORS, _DELEGATES = 0, 5, 6, 7
_INSTRUCTIONS, _KIND, _ARGUMENTS, _KERNEL_CALL = 2, 0, 1, 1
_HEADER = b"eh00"


def inspect_executorch(data: memoryview, bare: Inspection) -> Inspection:
    """What the program says of itself. Raises `Unreadable` when it points beyond its end."""
    program = root(data)
    names: list[str] = []
    delegates: Counter[str] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    for plan in program.tables(_PLANS):
        names.append(plan.text(_NAME))
        rows = [(one.text(0), one.text(1)) for one in plan.tables(_OPERATORS)]
        calls.update(dict.fromkeys(rows, 0))
        delegates.update(one.text(0) for one in plan.tables(_DELEGATES))
        for chain in plan.tables(_CHAINS):
            for instruction in chain.tables(_INSTRUCTIONS):
                call = instruction.table(_ARGUMENTS)
                if call is not None and instruction.number(_KIND, "<B") == _KERNEL_CALL:
                    number = call.number(0, "<i")
                    if not 0 <= number < len(rows):
                        raise Unreadable("calls an operator it does not have; it is damaged")
                    calls[rows[number]] += 1
    header, segments = _header(data), sum(one.number(1, "<Q") for one in program.tables(_SEGMENTS))
    parts = [Part("segments (weights, delegates)", segments), Part("program", header)]
    facts = [("schema version", str(program.number(_VERSION, "<I"))), ("methods", ", ".join(names) or "none")]
    facts += [("delegates", ", ".join(f"{name} ({count})" for name, count in delegates.items()))] if delegates else []
    return replace(
        bare,
        kind=Kind.EXECUTORCH,
        facts=tuple(facts),
        parts=with_rest(parts, len(data), "alignment" if header else "program and weights"),
        operators=tuple(Operator(*row, calls=calls[row]) for row in sorted(calls)),
    )


def _header(data: memoryview) -> int:
    """Bytes of the program before the segments, which the header behind the first table pointer says; 0 without one."""
    if bytes(data[8:12]) != _HEADER or len(data) < 24:
        return 0
    return int(struct.unpack_from("<Q", data, 16)[0])
