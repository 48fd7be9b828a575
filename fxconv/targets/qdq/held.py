"""A Q/DQ form held against its int8 module: each operation of the form on the int8 module's own values.

What an operation gives must be the int8 module's value to two steps, but for one value in a thousand, with the same
scale and zero point; the weights and biases it computes with must be the int8 module's own, all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from fxconv.models import forward
from fxconv.models.graph_calls import inputs_of
from fxconv.quantization.failing_operation import operation_path, operator_name
from fxconv.targets.qdq.dynamic import DYNAMIC
from fxconv.targets.qdq.layers import FLOAT_LAYERS, WEIGHTED
from fxconv.targets.qdq.own_integers import integer_problem
from fxconv.targets.qdq.ranges import known_of, range_of
from fxconv.targets.qdq.writer import DEQUANTIZE, SOURCE, VALUE
from fxconv.verification.audit import AUDIT_INPUTS, Audit, OpAudit
from fxconv.verification.dynamic_audit import EXACT_DB, Tally
from fxconv.verification.steps import StepCount
from rewrites.parts import graphs_in, prefixed
from rewrites.values import submodule


def held(form: nn.Module, int8: nn.Module, images: Sequence[tuple[Any, ...]]) -> Audit:
    """Every operation of the form of `int8` on these inputs, in running order, and what the form gives end to end.

    The engine of the module's kernels must be the current one.
    """
    few = list(images[:AUDIT_INPUTS])
    called, forms = inputs_of(int8, few, AUDIT_INPUTS), graphs_in(form)
    rows = list[OpAudit]()
    for path, graph in graphs_in(int8).items():
        holder = _Holder(forms[path], graph)
        for inputs in called[path]:
            holder.hold(inputs)
        rows += [replace(row, where=prefixed(path, row.where)) for row in holder.rows()]
    return Audit(tuple(rows), len(few), forward.outputs(form, few))


class _Values(fx.Interpreter):
    """Runs the int8 graph and keeps what each node gives: quantized tensors in memory of their own."""

    def __init__(self, int8: fx.GraphModule) -> None:
        super().__init__(int8)
        self.kept: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """One node, which may write into its input later on."""
        result = super().run_node(n)
        self.kept[n.name] = tree_map(_own, result) if n.op != "output" else None
        return result


def _own(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_quantized else value


class _Holder(fx.Interpreter):
    """Runs the form of one graph, each operation on the int8 graph's own values."""

    def __init__(self, form: fx.GraphModule, int8: fx.GraphModule) -> None:
        super().__init__(form)
        self.int8 = int8
        self.nodes = {node.name: node for node in int8.graph.nodes}
        self.last = {str(node.meta[SOURCE]): node for node in form.graph.nodes if SOURCE in node.meta}
        self.values: dict[str, Any] = {}
        self.counts: dict[str, StepCount] = {}
        self.tallies: dict[str, Tally] = {}
        self.compared = set[str]()
        self.checked = set[tuple[str, float | None]]()

    def hold(self, inputs: tuple[Any, ...]) -> None:
        """Compare everything on one input."""
        with torch.no_grad():
            values = _Values(self.int8)
            values.run(*forward.cloned(inputs))
            self.values = values.kept
            self.run(*forward.cloned(inputs))

    def run_node(self, n: fx.Node) -> Any:
        """One node; of one that gives a value of the int8 graph that value itself goes on."""
        result = super().run_node(n)
        if VALUE in n.meta:
            return self._compared(n, result)
        if n.target is DEQUANTIZE and isinstance(n.args[0], fx.Node) and VALUE in n.args[0].meta:
            self._check_reader(n, n.args[0])
        name = str(n.meta.get(SOURCE))
        module = submodule(self.int8, self.nodes[name]) if name in self.nodes else None
        if n.target in FLOAT_LAYERS and isinstance(module, (*WEIGHTED, *DYNAMIC)):
            given = self.values[self.nodes[name].all_input_nodes[0].name]
            weight, bias = (self.env[one] if isinstance(one, fx.Node) else None for one in n.args[1:3])
            scale = given.q_scale() if given.is_quantized else None
            assert weight is not None
            if (name, scale) not in self.checked:  # they are constants: one input tells
                self.checked.add((name, scale))
                self._told(name, integer_problem(module, weight, bias, scale))
        if isinstance(module, DYNAMIC) and n is self.last[name]:
            return self._compared_in_float(name, result)
        return result

    def _count(self, name: str) -> StepCount:
        return self.counts.setdefault(name, StepCount())

    def _compared(self, node: fx.Node, result: Tensor) -> Tensor:
        """The int8 module's own integers, against which those of the form are held."""
        name, index = node.meta[VALUE]
        self.compared.add(name)
        value = self.values[name]
        value = value[index] if isinstance(value, (tuple, list)) else value
        settings: Any = node.args[1:4]
        scale, zero_point, least = settings[0], settings[1] - settings[2], settings[2]
        known = range_of(value)
        if scale != known.scale or zero_point != known.zero_point:
            problem = f"is quantized with scale {scale:.6g} and zero point {zero_point}"
            self._told(name, f"{problem}, in the int8 module with {known.scale:.6g} and {known.zero_point}")
        own = value.int_repr().int() + (known.zero_point - value.q_zero_point() + least)
        self._count(name).add_integers(own, result.int())
        return own.to(result.dtype)

    def _compared_in_float(self, name: str, result: Tensor) -> Tensor:
        """What a layer gives that ranges its input at every call, against which the form's is held."""
        own: Tensor = self.values[name]
        self.tallies.setdefault(name, Tally()).add(own, result)
        self._count(name).values += own.numel()
        return own

    def _check_reader(self, node: fx.Node, value: fx.Node) -> None:
        """The dequantize of a reader has the scale and zero point of the value."""
        read: Any = node.args[1:3]
        written: Any = value.args[1:3]
        if read != written:
            problem = f"is read with scale {read[0]:.6g} and zero point {read[1]}"
            self._told(value.meta[VALUE][0], f"{problem}, and quantized with {written[0]:.6g} and {written[1]}")

    def _told(self, name: str, problem: str) -> None:
        count = self._count(name)
        count.problem = count.problem or problem

    def rows(self) -> Iterator[OpAudit]:
        """One row an int8 operation, in running order."""
        for name, tally in self.tallies.items():
            if tally.sqnr_db < EXACT_DB:
                wanted = f"at least {EXACT_DB:g} dB are required"
                self._told(name, f"its values are {tally.sqnr_db:.1f} dB from the int8 module's; {wanted}")
        for name, node in self.nodes.items():
            if name not in self.compared and node.users and self._is_value(node):
                self._told(name, "has no operation in the Q/DQ form")
            if name in self.counts:
                count, called = self.counts[name], operator_name(self.int8, node)
                problem = "; ".join(count.problems())
                yield OpAudit(operation_path(node), called, count.values, count.worst, count.share, 0.0, problem)

    def _is_value(self, node: fx.Node) -> bool:
        """Whether a node of the int8 graph computes a quantized value, and does not only take one out of several."""
        if node.target is operator.getitem and isinstance(self.values[node.all_input_nodes[0].name], (tuple, list)):
            return False
        return known_of(self.values[node.name]) is not None
