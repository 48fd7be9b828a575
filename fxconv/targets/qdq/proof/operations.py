"""Each int8 operation of a file, on the values that the file itself had, against the float form of the int8 module's.

The Q/DQ form that the file is written from is never asked: what were wrong in it would be right here. An operation that
a rule of lowering folded into the one behind it has no int8 value in the file; its float values go on as they are, and
the two are held as one, by both names.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.ao.nn.quantized as nnq
from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub
from torch.utils._pytree import tree_leaves, tree_map

from fxconv.models import forward
from fxconv.quantization.failing_operation import operation_path, operator_name
from fxconv.targets.qdq.proof.module_ranges import Range, ranges_of
from fxconv.targets.qdq.proof.values import Value
from fxconv.verification import parity
from fxconv.verification.audit import OpAudit
from fxconv.verification.float_forms import FloatForms, dequantized
from fxconv.verification.parity import StageParity
from fxconv.verification.steps import StepCount
from fxconv.verification.walks import walked
from rewrites.parts import graphs_in, prefixed
from rewrites.values import submodule


@dataclass(frozen=True)
class HeldOperations:
    """A row for each int8 operation, and one that says whether the file returns what its int8 values call for."""

    operations: tuple[OpAudit, ...]
    outputs: StageParity


def hold(
    int8: nn.Module,
    floating: nn.Module,
    images: Sequence[tuple[Any, ...]],
    values: Sequence[Mapping[Value, Tensor]],
    returned: forward.Outputs,
) -> HeldOperations:
    """Every int8 operation of `int8` on the values that a file had for these images.

    `floating` is the fused float module that `int8` was made of, `values` are those that the file's twin returned for
    each image, int8, `returned` its own outputs. What runs in float between them, code around the graphs included, is
    computed from the file's values; so what a file returns is held, too.
    """
    known, twins = ranges_of(int8, images[0]), graphs_in(floating)
    walkers = {path: _Walker(path, graph, twins[path], known[path].ranges) for path, graph in graphs_in(int8).items()}
    computed: forward.Outputs = []
    with walked(int8, {path: walker.run for path, walker in walkers.items()}):
        for image, given in zip(images, values, strict=True):
            for walker in walkers.values():
                walker.start(given)
            computed.append(forward.returned(int8, image))
    rows = tuple(row for walker in walkers.values() for row in walker.results())
    whole = graphs_in(int8).get("")
    outputs = parity.same_bits("outputs", computed, returned, has_islands=whole is None or _ends_in_float(whole))
    return HeldOperations(rows, replace(outputs, against="its int8 values"))


class _Walker(fx.Interpreter):
    """Runs an int8 graph on the values of a file: each int8 operation in float, of which the file's values go on."""

    def __init__(
        self, path: str, int8: fx.GraphModule, floating: fx.GraphModule, ranges: Mapping[str, list[Range | None]]
    ) -> None:
        super().__init__(int8)
        self.path, self.int8, self.ranges = path, int8, ranges
        self.forms = FloatForms(int8, floating)
        self.counts: dict[fx.Node, StepCount] = {}
        self.names: dict[fx.Node, list[fx.Node]] = {}
        self.folded: dict[fx.Node, list[fx.Node]] = {}
        self.unheld: dict[fx.Node, None] = {}
        self.values: Mapping[Value, Tensor] = {}
        self.call = -1

    def start(self, values: Mapping[Value, Tensor]) -> None:
        """Take the values of the next image."""
        self.values, self.call = values, -1

    def run(self, *args: Any, **options: Any) -> Any:
        """One call of the graph."""
        self.call += 1
        self.folded = {}
        return super().run(*args, **options)

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        with self._set_current_node(n):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            carried = list(dict.fromkeys(node for read in n.all_input_nodes for node in self.folded.get(read, [])))
            if n.name not in self.ranges:
                if carried:
                    self.folded[n] = carried
                return getattr(self, n.op)(n.target, args, kwargs)
            reference = self.forms.reference(n, *tree_map(_own_float, (args, kwargs)))
            return self._held(n, reference, carried, tree_leaves((args, kwargs)))

    def _held(self, node: fx.Node, reference: Any, carried: list[fx.Node], given: list[Any]) -> Any:
        """The values that go on: the file's where it has them, once they are held; else those of the float form."""
        if isinstance(self.forms.twin(node), DeQuantStub):
            self.folded[node] = carried
            return reference
        ranges, at = self.ranges[node.name], iter(range(len(self.ranges[node.name])))
        missing = False

        def gone_on(leaf: Any) -> Any:
            nonlocal missing
            index = next(at)
            known = ranges[index] if index < len(ranges) else None
            if known is None or not isinstance(leaf, Tensor):
                return leaf
            integers = self.values.get(Value(self.path, node.name, index, self.call))
            if integers is None:
                missing = missing or index in _read_places(node, len(ranges))
                return leaf
            return self._counted(node, leaf, known, integers)

        result = tree_map(gone_on, reference)
        if missing and isinstance(reference, Tensor) and any(_is_moved(one, reference) for one in given):
            # on the grid already: what reads it in int8 is held, what reads it in float is behind the outputs
            self.folded[node] = carried
            return result
        self.unheld.setdefault(node)
        if missing:
            self.folded[node] = [*carried, node]
        else:
            self.counts.setdefault(node, StepCount())
            self.names.setdefault(node, [*carried, node])
            self._let_go([*carried, node])
        return result

    def _counted(self, node: fx.Node, wanted: Tensor, known: Range, integers: Tensor) -> Tensor:
        """The file's values of an operation, once they are counted; of another shape they cannot go on."""
        got = known.quantized(integers)
        if self.counts.setdefault(node, StepCount()).add(wanted, got):
            return got
        return torch.quantize_per_tensor(wanted, known.scale, known.zero_point, torch.quint8)

    def _let_go(self, nodes: list[fx.Node]) -> None:
        for node in nodes:
            self.unheld.pop(node, None)

    def results(self) -> list[OpAudit]:
        """One row an operation that has values in the file, in running order, and one for each that is nowhere."""
        rows = []
        for node, count in self.counts.items():
            names = self.names.get(node, [node])
            where = " and ".join(prefixed(self.path, operation_path(one)) for one in names)
            called = " and ".join(operator_name(self.int8, one) for one in names)
            problem = "; ".join(count.problems())
            rows.append(OpAudit(where, called, count.values, count.worst, count.share, 0.0, problem))
        for node in self.unheld:
            where, called = prefixed(self.path, operation_path(node)), operator_name(self.int8, node)
            problem = "has no int8 values in the file, nor has what reads it"
            rows.append(OpAudit(where, called, 0, 0, 0.0, 0.0, problem))
        return rows


def _own_float(value: Any) -> Any:
    """A tensor in float and in memory of its own, anything else as it is: an operation may write into its input."""
    if not isinstance(value, Tensor):
        return value
    return dequantized(value) if value.is_quantized else value.clone()


def _is_moved(given: Any, result: Tensor) -> bool:
    """Whether a result is what was given in another order or shape, so that nothing was computed."""
    if not isinstance(given, Tensor) or given.numel() != result.numel():
        return False
    return torch.equal(_own_float(given).flatten().sort().values, result.flatten().sort().values)


def _read_places(node: fx.Node, count: int) -> set[int]:
    """Which of the values that a node gives are read; of a tuple those that something takes out of it."""
    picked = [reader.args[1] for reader in node.users if reader.target is operator.getitem and count > 1]
    whole = set(range(count))
    if not picked or not all(isinstance(place, int) for place in picked):
        return whole
    return {place % count for place in picked if isinstance(place, int)}


def _ends_in_float(graph: fx.GraphModule) -> bool:
    """Whether anything that a graph returns is more than an int8 value in float."""
    returned = graph.graph.output_node().all_input_nodes
    return not all(isinstance(submodule(graph, node), nnq.DeQuantize) for node in returned)
