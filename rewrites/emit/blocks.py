"""A module of the tree as what a class for it is made of: its parts, and its forward line by line."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from rewrites.diff import call_name
from rewrites.emit.expressions import FUNCTIONALS, Expressions
from rewrites.emit.text import Expression, Group
from rewrites.emit.tree import Tree, above, inside
from rewrites.values import tensor_nodes

# Names that a line of a forward must not take from what is imported.
_GLOBAL = frozenset({"self", "torch", "nn", "F", "math", "operator", "OrderedDict", "Tensor"})
# Methods that only tell of a tensor.
_ASKING = frozenset({"dim", "ndimension", "numel", "size"})
Item = fx.Node | str


@dataclass(frozen=True)
class Line:
    """A line of a forward: the names it gives to what an expression computes, and a comment."""

    targets: tuple[str, ...]
    expression: Expression
    comment: str


@dataclass(frozen=True)
class Block:
    """A module: what its forward takes, computes and returns, and the operations and modules it calls, in order.

    One that `is_chain` calls each of its parts once, on what the one before returned, and was no class of its own in
    the original: it needs no forward.
    """

    path: str
    inputs: tuple[tuple[str, bool], ...]
    items: tuple[Item, ...]
    lines: tuple[Line, ...]
    returned: Expression
    gives_tensor: bool
    is_chain: bool


def relative(path: str, container: str) -> str:
    """A path as it is written in the module that holds it."""
    return path[len(container) + 1 :] if container else path


def rules_of(node: fx.Node) -> str:
    """The passes that made an operation what it is, for a comment."""
    return ", ".join(node.meta.get("rules", ()))


class Blocks:
    """Takes the modules of a tree apart."""

    def __init__(self, graph_module: fx.GraphModule, tree: Tree, reasons: Mapping[fx.Node, str]) -> None:
        self.graph_module, self.tree, self.reasons = graph_module, tree, reasons
        self.tensors = tensor_nodes(graph_module)
        self.dead = self._dead()
        self.modules = dict(graph_module.named_modules(remove_duplicate=False))

    def block(self, container: str) -> Block:
        """The module at a path."""
        items = self._items(container)
        given, names = self._inputs(container), dict[fx.Node, str]()
        taken = [str(node.target).lstrip("*") for node in given] if not container else []
        for node in given:
            word = taken[len(names)] if taken else self._word(node, "x" if not names and node in self.tensors else "")
            names[node] = _free(word, names.values())
        returned = self._outputs(container)
        inputs = tuple((names[node], self._is_tensor(node)) for node in given)
        if container and self._is_chain(container, items, given, returned):
            return Block(container, inputs, tuple(items), (), "", True, True)
        lines = self._lines(container, items, names, returned)
        write = Expressions(lambda node: self._read(container, node, names))
        if not container:
            ends = [node for node in self.graph_module.graph.nodes if node.op == "output"]
            result: Expression = write.value(ends[0].args[0], ends[0])
            gives = isinstance(ends[0].args[0], fx.Node) and self._is_tensor(ends[0].args[0])
        elif len(returned) == 1:
            result, gives = self._read(container, returned[0], names), self._is_tensor(returned[0])
        else:
            result, gives = Group("(", ")", tuple(("", self._read(container, node, names)) for node in returned)), False
        return Block(container, inputs, tuple(items), tuple(lines), result, gives, False)

    def _dead(self) -> set[fx.Node]:
        """The numbers that nobody reads: what a forward decided by, which is decided now."""
        dead: set[fx.Node] = set()
        for node in reversed(self.tree.order):
            is_asked = node.op == "call_function" or node.target in _ASKING
            is_number = is_asked and node not in self.tensors and not node.is_impure()
            if is_number and dead.issuperset(node.users):
                dead.add(node)
        return dead

    # -- what a module takes and gives -----------------------------------------------------------------

    def owner(self, node: fx.Node, container: str) -> str:
        """The module that a line of `container` calls for a node: an inner one, or itself."""
        around = [one for one in above(self.tree.place[node]) if one in self.tree.kinds and one != container]
        return (
            [one for one in around if inside(one, container)][-1] if self.tree.place[node] != container else container
        )

    def _items(self, container: str) -> list[Item]:
        items: list[Item] = []
        for node in self.tree.order:
            if node.op in ("placeholder", "output", "get_attr") or not inside(self.tree.place[node], container):
                continue
            owner = self.owner(node, container)
            if owner != container:
                if owner not in items:
                    items.append(owner)
            elif node not in self.dead and not self._is_transparent(node):
                items.append(node)
        return items

    def _inner(self, container: str) -> list[fx.Node]:
        return [
            n
            for n in self.tree.order
            if n.op not in ("placeholder", "output") and inside(self.tree.place[n], container)
        ]

    def _inputs(self, container: str) -> list[fx.Node]:
        """The values from outside, in the order they are read."""
        if not container:
            return [node for node in self.tree.order if node.op == "placeholder"]
        inner = self._inner(container)
        known = set(inner)
        reading = [node for node in inner if node.op != "get_attr" and node not in self.dead]
        return list(dict.fromkeys(v for node in reading for v in node.all_input_nodes if v not in known))

    def _outputs(self, container: str) -> list[fx.Node]:
        """The values that are read outside."""
        inner = self._inner(container)
        known = set(inner)
        return [
            node
            for node in inner
            if node.op != "get_attr" and any(user not in known and user not in self.dead for user in node.users)
        ]

    def _is_tensor(self, node: fx.Node) -> bool:
        return node in self.tensors and "members" not in node.meta

    def _is_transparent(self, node: fx.Node) -> bool:
        """Whether a value is written where it is read: the shape of another, or a member of that."""
        if node.op != "call_function" or any(user.op == "output" for user in node.users):
            return False
        if node.target is getattr:
            return bool(node.args[1] == "shape")
        value, *index = node.args
        is_shape = isinstance(value, fx.Node) and value.target is getattr and self._is_transparent(value)
        return call_name(self.graph_module, node) == "getitem" and is_shape and isinstance(index[0], int)

    # -- the lines of a forward ------------------------------------------------------------------------

    def _read(self, container: str, node: fx.Node, names: Mapping[fx.Node, str]) -> str:
        """What a value is called in the forward of `container`."""
        if node in names:
            return names[node]
        if node.op == "get_attr":
            return f"self.{relative(self.tree.paths[node], container)}"
        base = self._read(container, node.args[0], names)  # type: ignore[arg-type]
        return f"{base}.shape" if node.target is getattr else f"{base}[{node.args[1]}]"

    def _values(self, container: str, nodes: Iterable[fx.Node]) -> set[fx.Node]:
        """The values that have a name, of those that are read."""
        found = set()
        for node in nodes:
            while node.op != "get_attr" and self._is_transparent(node) and self.tree.place[node] == container:
                node = node.all_input_nodes[0]
            if node.op != "get_attr" or not inside(self.tree.place[node], container):
                found.add(node)
        return found

    def _lines(
        self, container: str, items: Sequence[Item], names: dict[fx.Node, str], returned: Sequence[fx.Node]
    ) -> list[Line]:
        last: dict[fx.Node, int] = {}
        reads = [self._inputs(item) if isinstance(item, str) else item.all_input_nodes for item in items]
        ends = [node for node in self.graph_module.graph.nodes if node.op == "output"]
        for index, nodes in enumerate([*reads, returned if container else ends[0].all_input_nodes]):
            last.update(dict.fromkeys(self._values(container, nodes), index))
        lines = []
        write = Expressions(lambda node: self._read(container, node, names))
        said: set[str] = set()
        for index, item in enumerate(items):
            expression, made = self._expression(container, item, write)
            live = {name for node, name in names.items() if last.get(node, -1) > index}
            dying = [
                n
                for n in self._values(container, reads[index][:1])
                if last[n] == index and n in self.tensors and n in names
            ]
            targets = []
            for node in made:
                name = names[dying[0]] if dying and node in self.tensors and names[dying[0]] not in live else ""
                wanted = name or self._word(node, "out" if node in self.tensors and len(made) == 1 else "")
                names[node] = name or _free(wanted, live)
                live.add(names[node])
                targets.append(names[node])
            comment = "" if isinstance(item, str) else self._comment(item, said)
            lines.append(Line(tuple(targets), expression, comment))
        return lines

    def _expression(self, container: str, item: Item, write: Expressions) -> tuple[Expression, list[fx.Node]]:
        """What an item computes, and the values it gives."""
        if isinstance(item, str):
            given = tuple(("", write.read(node)) for node in self._inputs(item))
            return Group(f"self.{relative(item, container)}(", ")", given), self._outputs(item)
        made = [item] if item.users else []
        if item.op != "call_module":
            return write.function(item), made
        path, module = f"self.{relative(self.tree.paths[item], container)}", self.modules[str(item.target)]
        if type(module) in FUNCTIONALS:
            return write.functional(path, module, item), made
        return write.module(path, item), made

    def _comment(self, node: fx.Node, said: set[str]) -> str:
        """The passes that made an operation, and why it is in float; of reasons those not `said` in this forward."""
        reason = self.reasons.get(node, "")
        if not reason or reason.startswith("follows "):
            return rules_of(node)
        told = "in float, likewise" if reason in said else f"in float: {reason}"
        said.add(reason)
        return "; ".join(filter(None, (rules_of(node), told)))

    def _word(self, node: fx.Node, wanted: str) -> str:
        if wanted:
            return wanted
        if node.op in ("call_module", "get_attr"):
            word = self.tree.paths[node].rpartition(".")[2]
        elif self._is_transparent(node):
            word = "size"
        else:
            word = str(node.target) if isinstance(node.target, str) else str(getattr(node.target, "__name__", "value"))
        word = word.strip("_*")
        return word if word.isidentifier() and not keyword.iskeyword(word) else "value"

    def _is_chain(
        self, container: str, items: Sequence[Item], given: Sequence[fx.Node], returned: Sequence[fx.Node]
    ) -> bool:
        if self.tree.kinds[container] or len(given) != 1 or len(returned) != 1 or not self._is_tensor(given[0]):
            return False
        value, called = given[0], set()
        for item in items:
            if isinstance(item, str):
                path, reads, gives = relative(item, container), self._inputs(item), self._outputs(item)
            else:
                if item.op != "call_module" or type(self.modules[str(item.target)]) in FUNCTIONALS or item.kwargs:
                    return False
                path, gives = relative(self.tree.paths[item], container), [item]
                reads = list(item.args)  # type: ignore[arg-type]
            if reads != [value] or len(gives) != 1 or "." in path or path in called:
                return False
            called.add(path)
            value = gives[0]
        return value is returned[0]


def _free(word: str, taken: Iterable[str]) -> str:
    """A name that is not taken yet: with a number, if need be."""
    known, name, count = {*taken, *_GLOBAL}, word, 1
    while name in known:
        count += 1
        name = f"{word}{count}"
    return name
