"""Which module each operation of a graph is written in, once the graph is a tree of modules again.

A graph is one list of operations; the file that is made of it has a module for every module of the original in whose
forward something was computed, as far as its operations stand together. Modules have the names they have after
rewriting: what was written in `features.4.block.1` is in `features_4.depthwise`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.values import module_scope, submodule

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Tree:
    """`order` are the operations as they are written, and `place` the module each is in, by path; "" is the whole.

    `paths` has for each operation that calls a module or reads a parameter where that stands. `kinds` has the class of
    each module whose operations stand together, "" for a mere container; any other only holds what is in it.
    """

    order: tuple[fx.Node, ...]
    place: Mapping[fx.Node, str]
    paths: Mapping[fx.Node, str]
    kinds: Mapping[str, str]


def plain(path: str) -> str:
    """A path, or a key, whose words can stand in Python: `block2-0` is `block2_0`."""
    return ".".join(_plain_word(word) for word in path.split("."))


def _plain_word(word: str) -> str:
    found = re.sub(r"\W", "_", word)
    found = f"_{found}" if found[:1].isdigit() else found
    return f"{found}_" if keyword.iskeyword(found) else found


def parent(path: str) -> str:
    """The path of the module around."""
    return path.rpartition(".")[0]


def inside(path: str, container: str) -> bool:
    """Whether a path is that of a container, or leads into it."""
    return not container or path == container or path.startswith(f"{container}.")


def above(path: str) -> list[str]:
    """A path and all around it, "" last."""
    parts = path.split(".") if path else []
    return [".".join(parts[:depth]) for depth in range(len(parts), -1, -1)]


def common(paths: Iterable[str]) -> str:
    """The innermost container of all these."""
    shared: str | None = None
    for path in paths:
        shared = path if shared is None else next(one for one in above(shared) if inside(path, one))
    return shared or ""


def tree(graph_module: fx.GraphModule, renames: Mapping[str, str]) -> Tree:
    """The tree of a rewritten graph; `renames` are its modules' new paths by old ones."""
    paths = _paths(graph_module)
    held = _held(graph_module, paths, {plain(new): old for old, new in renames.items()})
    homes = _homes(graph_module, held)
    movable = {node for node in paths if _is_movable(graph_module, node)}
    nodes = list(graph_module.graph.nodes)
    place = _places(nodes, paths, homes, movable)
    for node in movable:
        paths[node] = f"{place[node]}.{_word(node)}" if place[node] else _word(node)
    order = _order(nodes, place, movable)
    whole = _flatten(order, place)
    classes = graph_module.meta.get("classes", {})
    kinds = {path: _class(path, held, classes) for path in whole}
    return Tree(tuple(order), place, _distinct(paths, movable), kinds)


def _places(
    nodes: list[fx.Node], paths: Mapping[fx.Node, str], homes: Mapping[str, str], movable: set[fx.Node]
) -> dict[fx.Node, str]:
    """The module each operation is written in: the original's, out of which the module it calls can be reached."""
    place: dict[fx.Node, str] = {}
    for node in nodes:
        if node.op in ("placeholder", "output"):
            place[node] = ""
        elif node.op != "get_attr" and node not in movable:
            home = homes.get(module_scope(node), "")
            place[node] = common((home, parent(paths[node]))) if node in paths else home
    for node in nodes:
        if node.op == "get_attr" and node not in movable:
            readers = common(place[user] for user in _readers(node, movable) if user in place)
            place[node] = readers if inside(paths[node], readers) else common((readers, parent(paths[node])))
    for node in reversed(nodes):
        if node in movable:
            around = [place[user] for user in node.users if user in place]
            place[node] = common([*around, *(place[value] for value in node.all_input_nodes if value in place)])
    return place


def _readers(node: fx.Node, movable: set[fx.Node]) -> Iterator[fx.Node]:
    """Who reads a value, and who reads what a stub makes of it."""
    for user in node.users:
        yield from _readers(user, movable) if user in movable else [user]


def _paths(graph_module: fx.GraphModule) -> dict[fx.Node, str]:
    """Where the module or tensor stands that a node calls or reads; one that stands in two places, in the first."""
    first: dict[int, str] = {}
    found = {}
    for node in graph_module.graph.nodes:
        if node.op == "call_module":
            found[node] = first.setdefault(id(submodule(graph_module, node)), plain(str(node.target)))
        elif node.op == "get_attr":
            found[node] = plain(str(node.target))
    return found


def _is_movable(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node calls a stub, or reads a constant: no checkpoint knows where these stand."""
    if node.op == "get_attr":
        return str(node.target) not in graph_module.state_dict() and bool(node.users)
    return isinstance(submodule(graph_module, node), (QuantStub, DeQuantStub)) and bool(node.users)


def _word(node: fx.Node) -> str:
    target = plain(str(node.target).rpartition(".")[2])
    if node.op == "get_attr":
        return "constant" if target.startswith("_tensor_constant") else re.sub(r"_\d+$", "", target)
    word = target.partition("_")[0]
    return word if word in ("quant", "dequant") else target


def _held(graph_module: fx.GraphModule, paths: Mapping[fx.Node, str], old_of: Mapping[str, str]) -> dict[str, str]:
    """For the path of each original module that calls layers, or holds such, where these are now."""
    classes = graph_module.meta.get("classes", {})
    known = {*classes, *map(plain, classes)}
    held: dict[str, list[str]] = {}
    for node, path in paths.items():
        if node.op == "call_module" and old_of.get(path, path) in known:
            for scope in above(module_scope(node))[:-1]:
                held.setdefault(scope, []).append(parent(path))
    return {scope: common(found) for scope, found in held.items()} | {"": ""}


def _homes(graph_module: fx.GraphModule, held: Mapping[str, str]) -> dict[str, str]:
    """The same for each module in whose forward something was computed: one without layers is where it is called."""
    homes = dict(held)
    for scope in sorted({module_scope(node) for node in graph_module.graph.nodes}):
        homes.setdefault(scope, next(held[one] for one in above(scope) if one in held))
    return homes


def _order(nodes: list[fx.Node], place: Mapping[fx.Node, str], movable: set[fx.Node]) -> list[fx.Node]:
    """The operations in running order, but for stubs that stand among those of a module and are in none of it.

    They wait for their first reader.
    """
    order: list[fx.Node] = []
    waiting: list[fx.Node] = []
    for node in nodes:
        order += (needed := [one for one in waiting if one in node.all_input_nodes])
        waiting = [one for one in waiting if one not in needed]
        values = node.all_input_nodes
        if node in movable and values and place[node] != place[values[0]]:
            waiting.append(node)
        else:
            order.append(node)
    return order


def _flatten(order: list[fx.Node], place: dict[fx.Node, str]) -> list[str]:
    """Let the operations of a module that do not stand together be written in the one around; returns the others."""
    written = [node for node in order if node.op not in ("placeholder", "output", "get_attr")]
    containers = list(dict.fromkeys(one for node in written for one in above(place[node])[:-1]))
    whole = {""}
    for container in sorted(containers, key=lambda path: -path.count(".")):
        at = [index for index, node in enumerate(written) if inside(place[node], container)]
        if at and at[-1] - at[0] + 1 == len(at):
            whole.add(container)
        else:
            place.update({node: parent(where) for node, where in place.items() if where == container})
    return ["", *(container for container in containers if container in whole)]


def _class(path: str, held: Mapping[str, str], classes: Mapping[str, type]) -> str:
    """The original's class for a module: of those that are in one now, the outermost that is no mere container."""
    scopes = sorted((scope for scope, home in held.items() if home == path), key=lambda scope: scope.count("."))
    kinds = [classes[scope] for scope in scopes if scope in classes]
    named = [kind for kind in kinds if kind is not nn.Module and not issubclass(kind, _CONTAINERS)]
    own = [kind for kind in kinds if kind not in (nn.Module, *_CONTAINERS)]
    return next((kind.__name__ for kind in (*named, *own)), "")


def _distinct(paths: Mapping[fx.Node, str], movable: set[fx.Node]) -> dict[fx.Node, str]:
    """The same paths, with a number behind those of moved modules that would stand in one place."""
    taken = {path for node, path in paths.items() if node not in movable}
    found = dict(paths)
    for node, path in paths.items():
        if node in movable:
            one, count = path, 0
            while one in taken:
                count += 1
                one = f"{path}_{count}"
            taken.add(one)
            found[node] = one
    return found
