"""The whole file: what it says of itself, its classes, and how it is built from a checkpoint and quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.ao.quantization.quantization_mappings import get_default_static_quant_module_mappings

from rewrites.domains import assign
from rewrites.emit import frame, helpers
from rewrites.emit.checkpoint import constant, numbers, prefixes
from rewrites.emit.classes import Class, Template, classes
from rewrites.emit.expressions import FUNCTIONALS
from rewrites.emit.file import Decided, File, Folded
from rewrites.emit.layers import NotEmittable
from rewrites.emit.recipes import recipe_tree
from rewrites.emit.text import Expression, Group, literal
from rewrites.emit.tree import Tree, plain, tree
from rewrites.emit.writer import Writer
from rewrites.fusion import Fusion
from rewrites.modules import CappedFloatFunctional, CappedReLU, DividingFloatFunctional, LinearRows, PlainQFunctional
from rewrites.parts import prefixed
from rewrites.runner import Rewritten
from rewrites.values import attribute, submodule

# What a layer of torch's has for parameters.
_PARAMETERS = ("weight", "bias")


def emit(rewritten: Rewritten, name: str = "") -> str:
    """The rewritten model as the text of a Python module that imports torch alone; `name` is what the model is called.

    Its `build(state_dict)` takes a checkpoint of the original and returns the rewritten model in eval mode; `fuse`
    fuses its layers, and `FLOAT` are those that stay in float. Raises `NotEmittable` for a model whose own forward does
    not trace, and for one that calls what torch does not bring.
    """
    graph_module = rewritten.module
    if not isinstance(graph_module, fx.GraphModule):
        raise NotEmittable("the model's own forward does not trace, so there is no graph to write down")
    parts = tree(graph_module, {edit.before: edit.after for edit in rewritten.renames})
    domains = assign(graph_module)
    used: set[Any] = set()
    writer = Writer(graph_module, parts, domains.reasons, used)
    taken = set(frame.NAMES)
    inner = writer.classes(taken)
    folded, recipes = _folded(rewritten, parts, taken, used)
    decided, reads = _decided(rewritten, taken, used)
    whole = classes([writer.template("")], taken)[0]
    fusion = Fusion(graph_module)
    fused = [[parts.paths[node] for node in chain] for chain in fusion.chains]
    patterns = {tuple(type(submodule(graph_module, node)) for node in chain) for chain in fusion.chains}
    used |= {CappedReLU} if any(CappedReLU in pattern for pattern in patterns) else set()
    functionals = [kind for kind in (CappedFloatFunctional, DividingFloatFunctional) if kind in used]
    used |= {PlainQFunctional} if functionals else set()
    file = File(
        name=name or whole.name,
        passes=tuple((r.name, len(r.edits), r.summary) for r in rewritten.results if r.edits),
        helpers=helpers.source(used),
        classes=(*recipes, *reads, *inner, whole),
        whole=whole.name,
        originals=prefixes({plain(new): old for new, old in rewritten.sources.items()}),
        rows=_rows(graph_module, parts),
        reshaped=tuple(plain(new) for old, new in rewritten.key_map.items() if new and old in rewritten.shapes),
        constants=_constants(rewritten, parts),
        folded=folded,
        decided=decided,
        forward={parts.paths[n]: tuple(parts.paths[layer] for layer in into) for n, into in fusion.forward.items()},
        fusable=tuple(map(tuple, fused)),
        patterns=patterns,
        floating=_floating(graph_module, parts, domains.int8),
        functionals=tuple(kind.__name__ for kind in functionals),
    )
    return frame.text(file)


def _rows(graph_module: fx.GraphModule, parts: Tree) -> dict[str, tuple[int, int]]:
    """The layers that are some rows of a layer of the original."""
    modules = {
        parts.paths[node]: submodule(graph_module, node) for node in graph_module.graph.nodes if node in parts.paths
    }
    return {path: (m.start, m.stop) for path, m in modules.items() if isinstance(m, LinearRows)}


def _constants(rewritten: Rewritten, parts: Tree) -> dict[str, Expression]:
    """The buffers that are in no checkpoint and not worked out of one."""
    graph_module = rewritten.graph_module
    worked_out = {id(one.value) for one in graph_module.meta.get("folded", ())}
    found: dict[str, Expression] = {}
    for node in parts.order:
        if node.op == "get_attr" and node.target not in {*rewritten.sources, *graph_module.state_dict()}:
            tensor = attribute(graph_module, str(node.target))
            if isinstance(tensor, Tensor) and id(tensor) not in worked_out:
                found[parts.paths[node]] = constant(tensor, parts.paths[node])
    for node in parts.order:  # what a layer has for a weight
        for name, tensor in _buffers(graph_module, node):
            key = f"{node.target}.{name}"
            if key not in {*rewritten.sources, *graph_module.state_dict()} and id(tensor) not in worked_out:
                found[prefixed(parts.paths[node], name)] = constant(tensor, key)
    lacking = set(graph_module.state_dict()) - set(rewritten.sources)
    return found | {plain(key): constant(graph_module.state_dict()[key], key) for key in sorted(lacking)}


def _buffers(graph_module: fx.GraphModule, node: fx.Node) -> list[tuple[str, Tensor]]:
    """The constants in place of parameters that a layer of torch's which a node calls has, by name."""
    held = () if (module := submodule(graph_module, node)) is None else module._buffers.items()
    return [(name, one) for name, one in held if name in _PARAMETERS and one is not None]


def _folded(
    rewritten: Rewritten, parts: Tree, taken: set[str], used: set[Any]
) -> tuple[tuple[Folded, ...], list[Class]]:
    """The constants that a checkpoint gives, and the classes that work them out."""
    graph_module = rewritten.graph_module
    paths = {id(attribute(graph_module, str(n.target))): parts.paths[n] for n in parts.order if n.op == "get_attr"}
    for node in parts.order:  # one may be what a layer has for a bias
        if (module := submodule(graph_module, node)) is not None:
            paths |= {id(value): prefixed(parts.paths[node], name) for name, value in module.named_buffers()}
    recipes, found = [], []
    for one in graph_module.meta.get("folded", ()):
        if (path := paths.get(id(one.value))) is not None:  # else a pass behind had no need of it
            recipes.append(_Recipe.of(rewritten, one.recipe, "Folded", path, used))
            found.append(path)
    made, calls = _calls(recipes, taken)
    return tuple(Folded(path, call, one.names) for path, call, one in zip(found, calls, recipes, strict=True)), made


def _decided(rewritten: Rewritten, taken: set[str], used: set[Any]) -> tuple[tuple[Decided, ...], list[Class]]:
    """What lines of the original decided by buffers that a checkpoint gives, and the classes that work it out."""
    recipes, reads = [], []
    for read in rewritten.graph_module.meta.get("reads", ()):
        buffers = ", ".join(str(node.target) for node in read.recipe.graph.nodes if node.op == "get_attr")
        one = _Recipe.of(rewritten, read.recipe, "Decided", f"{buffers} at {read.place}", used)
        if any(isinstance(key, str) for key in one.names.values()):  # any other decision is the same for all of them
            recipes.append(one)
            reads.append(read)
    made, calls = _calls(recipes, taken)
    decided = [
        Decided(literal(read.line), call, one.names, numbers(read.answer, read.place))
        for read, call, one in zip(reads, calls, recipes, strict=True)
    ]
    return tuple(decided), made


@dataclass(frozen=True)
class _Recipe:
    """What is written in the class of a recipe, and where each of its tensors comes from."""

    template: Template
    names: Mapping[str, Expression]

    @classmethod
    def of(cls, rewritten: Rewritten, recipe: fx.GraphModule, kind: str, name: str, used: set[Any]) -> _Recipe:
        """A recipe in a class of `kind`, which is called `name`."""
        tree, state = recipe_tree(recipe, kind), recipe.state_dict(keep_vars=True)
        names: dict[str, Expression] = {}
        for own, key in tree.keys.items():
            tensor = state[key] if key in state else attribute(recipe, key)
            known = rewritten.originals.get(id(tensor))
            names[own] = literal(known) if known else constant(tensor, name)
        return cls(Writer(recipe, tree.tree, {}, used).template("", name), names)


def _calls(recipes: Sequence[_Recipe], taken: set[str]) -> tuple[list[Class], list[Group]]:
    """The classes of recipes, and the call that makes each of them."""
    made = classes([one.template for one in recipes], taken) if recipes else []
    calls = {id(template): one.made(template, template.name) for one in made for template in one.templates}
    return made, [calls[id(one.template)] for one in recipes]


def _floating(graph_module: fx.GraphModule, parts: Tree, int8: set[fx.Node]) -> tuple[str, ...]:
    """The layers that stay in float, of those that torch.ao would quantize."""
    quantized = {*get_default_static_quant_module_mappings(), *FUNCTIONALS} - {QuantStub, DeQuantStub}
    found = [
        parts.paths[node]
        for node in graph_module.graph.nodes
        if node.op == "call_module" and node not in int8 and type(submodule(graph_module, node)) in quantized
    ]
    return tuple(dict.fromkeys(found))
