"""Layers the user wants in float: patterns matched against the names a rewritten model and its original have."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import fx
from torch.ao.quantization import DeQuantStub, QuantStub

from fxconv.errors import UserError
from rewrites import Rewritten
from rewrites.fusion import fusable_nodes
from rewrites.kernels import Verdict, verdict
from rewrites.parts import prefixed
from rewrites.values import callee, submodule, tensor_nodes


def chosen(rewritten: Rewritten, patterns: Sequence[str]) -> dict[str, str]:
    """The operations that `patterns` name and why they are in float: their nodes, behind the path of their graph.

    A pattern (`*`, `?`, `[...]`; `*` matches dots too) is held against the path of each module, against the path it had
    in the original model as far as its parameters tell, and against the name of the operation in the report; a pattern
    that is a module's path now means that module only. What stands inside a module that matches is meant as well. Of a
    convolution, batch norm and activation that are fused all go when one does. Raises `UserError` naming a pattern that
    matches nothing.
    """
    originals, kept = _original_paths(rewritten), dict[str, str]()
    paths = {prefixed(path, str(node.target)) for path, graph in rewritten.graphs.items() for node in _calls(graph)}
    matched, known = set[str](), dict[str, None]()
    for path, graph in rewritten.graphs.items():
        chains = {node: chain for chain in fusable_nodes(graph) for node in chain}
        for node in _operations(graph):
            names = [prefixed(path, str(node.target) if node.op == "call_module" else node.name)]
            names += originals.get(names[0], [])
            known.update(dict.fromkeys(names))
            own = [
                pattern
                for pattern in patterns
                if _matches(pattern, names[:1] if pattern in paths else [*names, prefixed(path, node.name)])
            ]
            matched.update(own)
            if own and (node in chains or _can_be_int8(graph, node)):
                for member in chains.get(node, [node]):
                    kept.setdefault(prefixed(path, member.name), f"kept in float: --keep-float {own[0]}")
    for pattern in patterns:
        if pattern not in matched:
            raise UserError(f"--keep-float {pattern}: matches no layer of the rewritten model; {_cure(pattern, known)}")
    return kept


def _operations(graph: fx.GraphModule) -> Iterator[fx.Node]:
    """The nodes that compute a tensor; what only converts between int8 and float is left out."""
    tensors = tensor_nodes(graph)
    for node in graph.graph.nodes:
        is_stub = isinstance(submodule(graph, node), (QuantStub, DeQuantStub))
        if node in tensors and node.op.startswith("call_") and not is_stub:
            yield node


def _calls(graph: fx.GraphModule) -> list[fx.Node]:
    return [node for node in _operations(graph) if node.op == "call_module"]


def _can_be_int8(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the engine would take it; what it refuses is in float anyway, for the engine's own reason."""
    ruling, _ = verdict(callee(graph, node), submodule(graph, node), node)
    return ruling in (Verdict.INT8, Verdict.FOLLOWS)


def _original_paths(rewritten: Rewritten) -> dict[str, list[str]]:
    """The paths in the original model of each module with parameters, by its path now."""
    found: dict[str, list[str]] = {}
    for old, new in rewritten.key_map.items():
        if new is None:
            continue
        before, after = old.rpartition(".")[0], new.rpartition(".")[0]
        if before != after and before not in found.setdefault(after, []):
            found[after].append(before)
    for path, graph in rewritten.graphs.items():
        for after, sources in _worked_out_of(graph).items():
            found.setdefault(prefixed(path, after), []).extend(prefixed(path, source) for source in sources)
    return found


def _worked_out_of(graph: fx.GraphModule) -> dict[str, list[str]]:
    """The paths of the layers whose weights a module's are worked out of (merged branches), by its path."""
    recipes = {id(one.value): one.recipe for one in graph.meta.get("folded", ())}
    found: dict[str, list[str]] = {}
    for name, value in graph.named_buffers():
        if (recipe := recipes.get(id(value))) is None:
            continue
        after = name.rpartition(".")[0]
        reads = (str(node.target).rpartition(".")[0] for node in recipe.graph.nodes if node.op == "get_attr")
        found[after] = [*found.get(after, []), *(read for read in dict.fromkeys(reads) if read and read != after)]
    return found


def _matches(pattern: str, names: Collection[str]) -> bool:
    """Whether a pattern names one of these paths, or something they stand inside of."""
    return any(fnmatchcase(part, pattern) for name in names for part in _around(name))


def _around(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


def _cure(pattern: str, known: Collection[str]) -> str:
    paths = list(dict.fromkeys(part for name in known for part in _around(name)))
    near = difflib.get_close_matches(pattern, paths, n=3, cutoff=0.4)
    lists = "fxconv diff MODEL shows all names"
    return f"did you mean {', '.join(near)}? ({lists})" if near else lists
