"""An int8 module as float operations between quantize and dequantize, with its own scales, integers and biases.

qdq_form(module, example) is a copy in which every int8 graph is its Q/DQ graph. A value that is int8 is a quantize
node; each node that reads it has a dequantize node of its own. Nodes that are in float stay as they are.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from typing import Any

import torch.ao.nn.quantized as nnq
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from fxconv.errors import ConversionError
from fxconv.models.graph_calls import inputs_of
from fxconv.quantization.static import is_int8
from fxconv.targets.qdq.modules import out_of_place, write_module
from fxconv.targets.qdq.ranges import SIGNED, UNSIGNED, Known, Range, ranges
from fxconv.targets.qdq.writer import Writer
from rewrites.parts import copied, graphs_in, keep_attributes, prefixed
from rewrites.values import attribute, submodule


def qdq_form(
    module: nn.Module, example: tuple[Any, ...], *, unsigned: bool = False, integer_biases: bool = True
) -> nn.Module:
    """The Q/DQ form of an int8 module, whole or in parts, that can be called with `example`.

    Integers are int8, -128 to 127, unless `unsigned`: then uint8, 0 to 255. Biases are int32 integers behind a
    dequantize, or, without `integer_biases`, the float numbers that are equal to these. Raises `ConversionError`,
    which names the node, for what has no such form. The engine of the module's kernels must be the current one.
    """
    integers = UNSIGNED if unsigned else SIGNED
    calls = inputs_of(module, [example], 1)
    known: dict[str, Mapping[str, Known]] = {}
    for path, graph in graphs_in(module).items():
        if not calls[path]:
            raise ConversionError(f"{path}: this part of the model was not run, so that its values have no ranges")
        known[path] = ranges(graph, calls[path][0])
    whole = copied(module)
    for path, graph in reversed(list(graphs_in(whole).items())):
        form = _Form(path, graph, known[path], Writer(integers, integer_biases)).written()
        if not path:
            whole = form
        else:
            whole.set_submodule(path, form)
    for path, part in whole.named_modules():
        if is_int8(part) and not isinstance(part, nnq.FloatFunctional):
            raise ConversionError(f"{path} ({type(part).__name__}): stands outside of all graphs, and has no Q/DQ form")
    return whole.eval()


class _Form:
    """The Q/DQ form of one int8 graph while it is written; `values` has what stands for each node so far.

    That is a node, or a list of what stands for the members of a tuple in which something is quantized.
    """

    def __init__(self, path: str, int8: fx.GraphModule, known: Mapping[str, Known], writer: Writer) -> None:
        self.path, self.int8, self.known, self.writer = path, int8, known, writer
        self.values: dict[fx.Node, Any] = {}

    def written(self) -> fx.GraphModule:
        """The graph module, with what code around it may ask of the int8 one."""
        for node in self.int8.graph.nodes:
            try:
                self.values[node] = self._value(node)
            except ConversionError as error:
                raise ConversionError(prefixed(self.path, str(error))) from error
        graph = self.writer.graph
        graph.set_codegen(copy.deepcopy(self.int8.graph._codegen))
        form = fx.GraphModule(self.writer.attributes, graph, type(self.int8).__name__)
        form.meta.update(self.int8.meta)
        graph.eliminate_dead_code()
        form.delete_all_unused_submodules()
        form.recompile()
        keep_attributes(self.int8, form)
        return form.eval()

    def _value(self, node: fx.Node) -> Any:
        """What stands for a node of the int8 graph."""
        self.writer.at = node
        module = submodule(self.int8, node)
        if node.op == "get_attr":
            if self.known[node.name] is not None:
                raise ConversionError(
                    f"{node.name}: a constant that is quantized outside of the graph has no Q/DQ form"
                )
            self.writer.attributes[str(node.target)] = attribute(self.int8, str(node.target))
            return self.writer.graph.node_copy(node)
        if node.op == "output":
            return self.writer.graph.node_copy(node, self._read)
        reads = [leaf for value in node.all_input_nodes for leaf in tree_leaves(self.values[value])]
        is_int8_node = any(leaf in self.writer.ranges for leaf in reads) or self.known[node.name] is not None
        if not is_int8_node and not (module is not None and is_int8(module)):
            if module is not None:
                self.writer.attributes[str(node.target)] = module
            return self.writer.graph.node_copy(node, self._read)
        if isinstance(module, nnq.DeQuantize):
            return self._read(node.all_input_nodes[0])
        if node.target is operator.getitem and isinstance(of_list := self.values[node.args[0]], list):  # type: ignore[index]
            return of_list[node.args[1]]  # type: ignore[index]
        if isinstance(module, nnq.Quantize):
            return self._quantized(self._read(node.all_input_nodes[0]), self.known[node.name])
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), self._read)
        if module is not None:
            result = write_module(self.writer, module, args, kwargs)
        elif node.op == "call_method":
            result = self.writer.call_method(str(node.target), *args, **kwargs)
        else:
            result = self.writer.call(node.target, *args, **out_of_place(kwargs))  # type: ignore[arg-type]
        return self._quantized(result, self.known[node.name])

    def _quantized(self, result: Any, known: Known) -> Any:
        """What the float form gives, quantized where the int8 operation's values are."""
        if known is None:
            return result
        if isinstance(known, Range):
            return self.writer.quantized(result, known)
        members = list[Any]()
        for index, each in enumerate(known):
            member = (
                result[index]
                if isinstance(result, (tuple, list))
                else self.writer.call(operator.getitem, result, index)
            )
            members.append(self.writer.quantized(member, each, index) if isinstance(each, Range) else member)
        return members

    def _read(self, value: fx.Node) -> Any:
        """What a float operation is given for a node: where that is quantized, a dequantize node of its own."""
        return self._dequantized(self.values[value])

    def _dequantized(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._dequantized(member) for member in value]
        return self.writer.dequantized(value) if value in self.writer.ranges else value
