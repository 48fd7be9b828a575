"""What is in a .pte: its operators, the type each computes in, its multiply-accumulates, and what is outside int8."""

from __future__ import annotations

import hashlib
from collections import Counter

from fxconv.inspection.delegates import INTEGERS, delegates_of, work_of
from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.executorch_values import KERNEL
from fxconv.targets.artifact import Artifact, Outside
from fxconv.targets.executorch.placement import Placement, Where

NEEDS = "ExecuTorch with XNNPACK (executorch-android, executorch.xcframework)"
_HOW = {Where.FLOAT: "float", Where.PORTABLE: "portable"}


def described(data: bytes, placement: Placement, float_bytes: int) -> Artifact:
    """Everything about a program whose bytes are `data`, read from them; `placement` says where operations run."""
    program = read_program(memoryview(data))
    delegates = delegates_of(program)
    calls, int8_calls, macs = Counter[str](), Counter[str](), Counter[str]()
    for delegate in delegates:
        for one in delegate.operators:
            name = f"xnnpack::{one.name}"
            calls[name] += delegate.calls * one.calls
            macs[name] += delegate.calls * one.multiply_accumulates
            if any(kind in INTEGERS for kind in one.dtype.split(" to ")):
                int8_calls[name] += delegate.calls * one.calls
    for method in program.methods:
        for step in method.instructions:
            if step.kind == KERNEL:
                calls[".".join(filter(None, method.operators[step.target]))] += 1
    work = work_of(program, delegates)
    inside = sum(macs.values())
    if work.all > inside:
        macs["outside the delegate"] = work.all - inside
    return Artifact(
        None,
        data,
        hashlib.sha256(data).hexdigest(),
        None,
        tuple(sorted(calls)),
        dict(calls),
        dict(int8_calls),
        {name: count for name, count in macs.items() if count},
        float_bytes,
        int8_macs=work.integers,
        outside=_outside(placement),
        kernels="XNNPACK",
        needs=NEEDS,
    )


def _outside(placement: Placement) -> tuple[Outside, ...]:
    """What does not run in int8, one row a kind and place, the costliest first."""
    found: dict[tuple[str, str, bool], list[tuple[str, int]]] = {}
    for one in placement.outside_int8():
        kind = (one.operation, _HOW[one.where], not one.is_int8_node)
        found.setdefault(kind, []).append((one.node, one.values))
    rows = []
    for (operation, how, in_module), each in found.items():
        nodes, values = tuple(dict.fromkeys(node for node, _ in each)), sum(count for _, count in each)
        rows.append(Outside(operation, how, len(each), nodes, values, in_module))
    return tuple(sorted(rows, key=lambda row: (row.in_module, -row.values)))
