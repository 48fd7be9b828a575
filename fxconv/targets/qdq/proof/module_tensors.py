"""The numbers of an int8 module beside the integers of its layers: of norms, of layers in float, buffers, numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from fxconv.quantization.failing_operation import operation_path
from fxconv.quantization.int8_weights import int8_weight
from fxconv.targets.qdq.proof.file_numbers import Numbers
from fxconv.targets.qdq.proof.made_layers import own_operation
from rewrites.modules import ScalarArithmetic
from rewrites.parts import prefixed
from rewrites.readers import value_readers
from rewrites.values import attribute, callee, submodule

# Of int8 modules: the range of what they give, which is a value's. Of batch norms: how often they were trained.
_NO_CONSTANTS = ("scale", "zero_point", "num_batches_tracked")
_HARD_SIGMOIDS = (nn.functional.hardsigmoid, nn.Hardsigmoid)
_MEANS = (torch.mean, Tensor.mean, nn.functional.adaptive_avg_pool2d, nn.functional.avg_pool2d)
_POOLS = (nn.AdaptiveAvgPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class ModuleTensor:
    """A tensor that an operation holds, by its name there; `is_read` says that the file must have it."""

    where: str
    name: str
    values: Numbers
    is_read: bool = True


@dataclass(frozen=True)
class ModuleScalar:
    """A plain number that an operation computes with, or is given; `is_read` says that the file must have it."""

    where: str
    number: float
    is_read: bool = False


def tensors_of(
    path: str, graph: fx.GraphModule, made: Collection[str], full: Collection[str]
) -> Iterator[ModuleTensor]:
    """Those of what a graph calls or names, once each; `made` are nodes that a rule of lowering writes as layers.

    `full` are the nodes that give any elements: what is written into an empty part of another tensor, in a window of
    the image's own size, is in no file.
    """
    seen = set[str]()
    for node in graph.graph.nodes:
        if str(node.target) in seen or node.op not in ("get_attr", "call_module"):
            continue
        seen.add(str(node.target))
        if node.op == "get_attr":
            held = attribute(graph, str(node.target))
            if isinstance(held, Tensor) and not held.is_quantized:
                yield ModuleTensor(prefixed(path, str(node.target)), "values", _numpy(held), _is_read(node, full))
        elif (module := submodule(graph, node)) is not None and int8_weight(module) is None:
            where = prefixed(path, operation_path(node))
            yield from (ModuleTensor(where, name, _numpy(one), node.name not in made) for name, one in _held(module))


def _is_read(value: fx.Node, full: Collection[str]) -> bool:
    return any(user.name in full for user in value_readers(value))


def others_of(whole: nn.Module) -> Iterator[ModuleTensor]:
    """All tensors of a module, of what runs between its graphs among them: a file may have them."""
    for name, one in _held(whole):
        place, _, own = name.rpartition(".")
        yield ModuleTensor(place or own, own, _numpy(one), False)


def _held(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers, and tensors that are neither, of a module and all in it."""
    for path, part in module.named_modules():
        attributes = {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}
        named = {**part._parameters, **part._buffers, **attributes}
        for name, value in named.items():
            if value is not None and name not in _NO_CONSTANTS:
                yield prefixed(path, name), value


def _numpy(value: Tensor) -> Numbers:
    value = value.detach()
    plain = value.dequantize() if value.is_quantized else value
    found: Numbers = (plain.float() if plain.dtype == torch.bfloat16 else plain).cpu().numpy()
    return found


def scalars_of(path: str, graph: fx.GraphModule, numbers: Mapping[str, set[float]]) -> Iterator[ModuleScalar]:
    """The plain numbers of a graph; `numbers` are those that its nodes were given, and gave."""
    for node in graph.graph.nodes:
        module, where = own_operation(submodule(graph, node)), prefixed(path, operation_path(node))
        if isinstance(module, ScalarArithmetic):
            yield ModuleScalar(where, module.scalar, True)
        for number in numbers.get(node.name, ()):
            yield ModuleScalar(where, number)
        yield from (ModuleScalar(where, number) for number in _settings(module))
        yield from (ModuleScalar(where, number) for number in _of_rules(graph, node, module))


def _settings(module: nn.Module | None) -> Iterator[float]:
    for part in module.modules() if module is not None else ():
        leaves: list[Any] = tree_leaves(vars(part))
        yield from (float(leaf) for leaf in leaves if isinstance(leaf, (int, float)) and not isinstance(leaf, bool))


def _of_rules(graph: fx.GraphModule, node: fx.Node, module: nn.Module | None) -> Iterator[float]:
    """What a rule of lowering writes for an operation: a hard-sigmoid is x / 6 + 1 / 2, an average may be times 1."""
    called = callee(graph, node)
    if called in _HARD_SIGMOIDS or isinstance(module, nn.Hardsigmoid):
        yield from (1 / 6, 0.5)
    if called in _MEANS or isinstance(module, _POOLS):
        yield 1.0
