"""The only functions that change a graph. Each records what it did, so reported edits are edits made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.diff import node_line
from rewrites.recipes import made_of, recipe
from rewrites.records import Edit, EditKind, Skip
from rewrites.values import module_scope, submodule


@dataclass(frozen=True)
class Folded:
    """A constant that was worked out of parameters, and the graph that works it out from the model's own."""

    value: Tensor
    recipe: fx.GraphModule

    def work_out(self) -> None:
        """Make the constant what the recipe's parameters give now."""
        with torch.no_grad():
            self.value.copy_(self.recipe())


class Editor:
    """A graph under the hands of one pass.

    `edits` and `skips` grow as the pass works; `current` is the node looked at last, for error messages. `path` is
    where the graph stands in its model; "" is the whole of it.
    """

    def __init__(self, graph_module: fx.GraphModule, rule: str = "", path: str = "") -> None:
        self.graph_module = graph_module
        self.path = path
        self.graph = graph_module.graph
        self.rule = rule
        self.edits: list[Edit] = []
        self.skips: list[Skip] = []
        self.current: fx.Node | None = None
        self._redirected: dict[fx.Node, tuple[str, str]] = {}

    # -- looking ---------------------------------------------------------------------------------

    def nodes(self) -> Iterator[fx.Node]:
        """The graph's nodes in running order as they stood at the start; erased ones are passed over."""
        for node in list(self.graph.nodes):
            if not node._erased:
                self.current = node
                yield node

    def line(self, node: fx.Node) -> str:
        """The node as a line of the diff."""
        return node_line(self.graph_module, node)

    def free_path(self, scope: str, stem: str) -> str:
        """A module path `scope.stem` nothing uses yet; a number is added only when the name is taken there."""
        prefix = f"{scope}." if scope else ""
        path, count = prefix + stem, 0
        while self._is_taken(path):
            count += 1
            path = f"{prefix}{stem}_{count}"
        return path

    def _is_taken(self, path: str) -> bool:
        """Whether a module, parameter or buffer is there; in the outermost also an attribute of the model's own."""
        parent, _, name = path.rpartition(".")
        holder: nn.Module | None = self.graph_module
        for part in filter(None, parent.split(".")):
            holder = holder._modules.get(part) if holder is not None else None
        if holder is None:
            return False
        if holder is self.graph_module and hasattr(holder, name):
            return True
        return name in holder._modules or name in holder._parameters or name in holder._buffers

    # -- declining -------------------------------------------------------------------------------

    def skip(self, node: fx.Node, reason: str) -> None:
        """Record that `node` was left as it is, and why."""
        self.skips.append(Skip(node.name, reason))

    def keep_float(self, node: fx.Node, reason: str) -> None:
        """Mark `node` as one that must run in float; the quant boundaries respect the mark."""
        node.meta["float_reason"] = reason

    def allow_int8(self, node: fx.Node) -> None:
        """Take back what an earlier pass marked with `keep_float`, for want of a kernel that `node` has by now."""
        node.meta.pop("float_reason", None)

    # -- changing --------------------------------------------------------------------------------

    def _mark(self, node: fx.Node, reason: str) -> None:
        """Let a node carry the name of this rule, the last to touch it and one of all that did, and what each said."""
        node.meta["rule"] = self.rule
        node.meta["rules"] = tuple(dict.fromkeys((*node.meta.get("rules", ()), self.rule)))
        node.meta["changes"] = tuple(dict.fromkeys((*node.meta.get("changes", ()), (self.rule, reason))))

    def _new_mark(self, reason: str) -> dict[str, Any]:
        return {"rule": self.rule, "rules": (self.rule,), "changes": ((self.rule, reason),)}

    def _record(self, kind: EditKind, node: str, before: str, after: str, reason: str) -> None:
        self.edits.append(Edit(kind, node, before, after, reason))

    def replace_with_module(
        self, node: fx.Node, module: nn.Module, args: Sequence[Any], stem: str, reason: str, path: str = ""
    ) -> None:
        """Let `node` call the new `module`, which is named `stem` in the module where `node` was written.

        Given a `path` it stands there, in place of what stood there. The node keeps its name, so that the lines of its
        readers do not change.
        """
        if path:
            node.meta["scope"] = path.rpartition(".")[0]
        path = path or self.free_path(module_scope(node), stem)
        module.train(self.graph_module.training)
        self.graph_module.add_submodule(path, module)
        self._turn_into(node, "call_module", path, args, {}, reason)

    def retarget(
        self, node: fx.Node, op: str, target: Any, args: Sequence[Any], kwargs: dict[str, Any], reason: str
    ) -> None:
        """Let `node` call another function or method with other arguments."""
        self._turn_into(node, op, target, args, kwargs, reason)

    def _turn_into(
        self, node: fx.Node, op: str, target: Any, args: Sequence[Any], kwargs: dict[str, Any], reason: str
    ) -> None:
        before, old_op, old_target = self.line(node), node.op, str(node.target)
        node.op, node.target, node.args, node.kwargs = op, target, tuple(args), kwargs
        self._mark(node, reason)
        if old_op == "call_module":
            self._forget_unused(old_target)
        self._record("replace", node.name, before, self.line(node), reason)

    def replace_module(self, node: fx.Node, module: nn.Module, reason: str) -> None:
        """Put another module under the path `node` calls; every call of that path sees it."""
        before = self.line(node)
        self._set_module(str(node.target), module.train(self.graph_module.training))
        self._mark(node, reason)
        self._record("replace", node.name, before, self.line(node), reason)

    def set_attribute(self, node: fx.Node, attribute: str, value: object, reason: str) -> None:
        """Set a setting of the module `node` calls."""
        module = submodule(self.graph_module, node)
        before = f"{node.target}.{attribute} = {getattr(module, attribute)!r}"
        setattr(module, attribute, value)
        self._mark(node, reason)
        self._record("replace", node.name, before, f"{node.target}.{attribute} = {value!r}", reason)

    def remove(self, node: fx.Node, value: fx.Node, reason: str) -> None:
        """Drop `node`; whoever used it uses `value` instead."""
        node.replace_all_uses_with(value)
        self.erase(node, reason)

    def erase(self, node: fx.Node, reason: str) -> None:
        """Drop `node`, which nobody reads any more."""
        before = self.line(node)
        self.graph.erase_node(node)
        if node.op == "call_module":
            self._forget_unused(str(node.target))
        self._record("remove", node.name, before, "", reason)

    def forget(self, path: str) -> None:
        """Delete the module, parameter or buffer at `path` when no node reads it any more."""
        self._forget_unused(path)

    def fold(self, node: fx.Node, value: Tensor, reason: str, until: fx.Node | None = None) -> None:
        """Put a constant, the value of `node`, in its place; how it was worked out is kept for other checkpoints.

        What is written into it before the node `until` is a part of that.
        """
        before = self.line(node)
        path = self.free_path(module_scope(node), node.name)
        made = recipe(self.graph_module, node, until)
        parent, _, leaf = path.rpartition(".")
        holder = self._holder(parent)
        holder.register_buffer(leaf, value.clone(), persistent=False)
        with self.graph.inserting_before(node):
            fresh = self.graph.get_attr(path)
        fresh.meta = {key: node.meta[key] for key in ("scope", "shape") if key in node.meta} | self._new_mark(reason)
        node.replace_all_uses_with(fresh)
        self.graph_module.meta.setdefault("folded", []).append(Folded(value=holder.get_buffer(leaf), recipe=made))
        self._record("replace", node.name, before, self.line(fresh), reason)

    def work_out(self, graph: fx.Graph) -> Tensor:
        """A constant that a graph without inputs makes of this one's tensors; another checkpoint works it out again."""
        made = made_of(graph, self.graph_module)
        with torch.no_grad():
            value: Tensor = made().clone()
        self.graph_module.meta.setdefault("folded", []).append(Folded(value=value, recipe=made))
        return value

    def insert_constant(self, before: fx.Node, value: Tensor, stem: str, reason: str) -> fx.Node:
        """Put a constant that is in no checkpoint in front of `before`, held by the module where that was written."""
        path = self.free_path(module_scope(before), stem)
        parent, _, leaf = path.rpartition(".")
        self._holder(parent).register_buffer(leaf, value, persistent=False)
        with self.graph.inserting_before(before):
            fresh = self.graph.get_attr(path)
        kept = {key: before.meta[key] for key in ("scope", "source") if key in before.meta}
        known = {"shape": tuple(value.shape), "dtype": value.dtype, "contiguous": True}
        fresh.meta = kept | known | self._new_mark(reason)
        self._record("insert", fresh.name, "", self.line(fresh), reason)
        return fresh

    def take_back(self, inserted: Sequence[fx.Node]) -> None:
        """Drop the nodes inserted last, which nobody reads, as if they had never been there."""
        for node in reversed(inserted):
            self.graph.erase_node(node)
            if node.op == "get_attr":
                self._forget_unused(str(node.target))
        del self.edits[len(self.edits) - len(inserted) :]

    def forget_unread(self) -> None:
        """Drop the reads of parameters and buffers that nobody uses any more."""
        for node in reversed(list(self.graph.nodes)):
            if node.op == "get_attr" and not node.users:
                before, path = self.line(node), str(node.target)
                self.graph.erase_node(node)
                self._forget_unused(path)
                self._record("remove", node.name, before, "", "nobody reads it any more")

    def merge(self, node: fx.Node, into: fx.Node, reason: str) -> None:
        """Drop `node`, whose work `into` does from now on, and with it the need to run in float.

        Who asks `node` for its shape asks `into`, which has the same and stands in its place then.
        """
        if "float_reason" in node.meta:
            into.meta.setdefault("float_reason", node.meta["float_reason"])
        if node.users:
            node.append(into)
        for user in list(node.users):
            self.redirect(user, node, into, reason)
        self.erase(node, reason)

    def redirect(self, user: fx.Node, old: fx.Node, new: fx.Node, reason: str) -> None:
        """Let `user` read `new` where it read `old`."""
        before = self.line(user)
        user.replace_input_with(old, new)
        self._record("replace", user.name, before, self.line(user), reason)

    def redirect_for_now(self, user: fx.Node, old: fx.Node, new: fx.Node, reason: str) -> None:
        """Let `user` read `new` where it read `old`, which may change again: `record_redirected` says it once."""
        before, _ = self._redirected.get(user) or (self.line(user), reason)
        self._redirected[user] = before, reason
        user.replace_input_with(old, new)

    def record_redirected(self, users: Sequence[fx.Node] | None = None) -> None:
        """Record what these users read by now, or all of them, for the last reason that was given."""
        for user in list(self._redirected) if users is None else users:
            if user in self._redirected and not user._erased:
                before, reason = self._redirected.pop(user)
                self._record("replace", user.name, before, self.line(user), reason)

    def insert_module(
        self,
        value: fx.Node,
        module: nn.Module,
        stem: str,
        users: Sequence[fx.Node],
        reason: str,
        written_at: fx.Node | None = None,
    ) -> fx.Node:
        """Put a call of the new `module` behind `value`, for these `users` of it only.

        The module is named `stem` at the root, or in the module where the node `written_at` was written.
        """
        path = self.free_path(module_scope(written_at) if written_at else "", stem)
        module.train(self.graph_module.training)
        self.graph_module.add_submodule(path, module)
        behind = value
        if value.op == "placeholder":  # the placeholders stand together at the top
            behind = [node for node in self.graph.nodes if node.op == "placeholder"][-1]
        with self.graph.inserting_after(behind):
            fresh = self.graph.call_module(path, (value,))
        reader = next(iter(users), value)  # who it is put there for says where the change lies
        place: dict[str, Any] = {key: reader.meta[key] for key in ("scope", "source") if key in reader.meta}
        fresh.meta = {**(written_at.meta if written_at else place), **self._new_mark(reason)}
        for user in users:
            user.replace_input_with(value, fresh)
        self._record("insert", fresh.name, "", self.line(fresh), reason)
        return fresh

    def insert_before(
        self,
        node: fx.Node,
        called: nn.Module | str,
        args: Sequence[Any],
        stem: str,
        reason: str,
        written_at: fx.Node | None = None,
    ) -> fx.Node:
        """Put a call of a new module, or of a tensor method, in front of `node`; nobody reads it yet.

        The module is named `stem` in the module where `written_at`, or else `node`, was written.
        """
        source = written_at or node
        with self.graph.inserting_before(node):
            if isinstance(called, str):
                fresh = self.graph.call_method(called, tuple(args))
            else:
                path = self.free_path(module_scope(source), stem)
                self.graph_module.add_submodule(path, called.train(self.graph_module.training))
                fresh = self.graph.call_module(path, tuple(args))
        fresh.meta = {key: value for key, value in source.meta.items() if key != "shape"} | self._new_mark(reason)
        self._record("insert", fresh.name, "", self.line(fresh), reason)
        return fresh

    def insert_behind(
        self, node: fx.Node, module: nn.Module, further: Sequence[Any], stem: str, reason: str
    ) -> fx.Node:
        """Put a call of the new `module` on `node` and `further` arguments behind it; who read `node` reads that."""
        users = list(node.users)
        fresh = self.insert_before(node.next, module, (node, *further), stem, reason, written_at=node)
        for user in users:
            user.replace_input_with(node, fresh)
        return fresh

    def move_behind(self, node: fx.Node, other: fx.Node, reason: str) -> None:
        """Let `node` be called on what `other`, its only reader, gives, and not on what `other` is called on."""
        before, value, readers = self.line(node), node.args[0], list(other.users)
        other.replace_input_with(node, value)  # type: ignore[arg-type]
        node.replace_input_with(value, other)  # type: ignore[arg-type]
        for reader in readers:
            reader.replace_input_with(other, node)
        other.append(node)
        self._record("replace", node.name, before, self.line(node), reason)

    def insert_method(self, value: fx.Node, method: str, reason: str) -> fx.Node:
        """Put a call of a tensor method without arguments behind `value`, for all users of it."""
        users = list(value.users)
        with self.graph.inserting_after(value):
            fresh = self.graph.call_method(method, (value,))
        fresh.meta = {**value.meta, **self._new_mark(reason)}
        for user in users:
            user.replace_input_with(value, fresh)
        self._record("insert", fresh.name, "", self.line(fresh), reason)
        return fresh

    def insert_call(
        self,
        before: fx.Node,
        op: str,
        target: Any,
        args: Sequence[Any],
        name: str,
        reason: str,
        scope: str | None = None,
        kwargs: dict[str, Any] | None = None,
        written_at: fx.Node | None = None,
    ) -> fx.Node:
        """Put a call in front of `before`, written in the module at path `scope` (default: where `before` was).

        `op` and `target` are those of an fx.Node; the module that a `call_module` names is there already. What the
        call does was written at the node `written_at`, `before` unless given.
        """
        with self.graph.inserting_before(before):
            fresh = self.graph.create_node(op, target, tuple(args), kwargs or {}, name)
        written = (written_at or before).meta
        fresh.meta = {key: value for key, value in written.items() if key not in ("shape", "members")}
        fresh.meta |= self._new_mark(reason)
        if scope is not None:
            fresh.meta["scope"] = scope
        self._record("insert", fresh.name, "", self.line(fresh), reason)
        return fresh

    def add_parts(self, path: str, parts: Mapping[str, nn.Module]) -> None:
        """Give the module at `path` these parts, for calls of them to be inserted; `strip` ends what this begins."""
        for name, part in parts.items():
            setattr(self.graph_module.get_submodule(path), name, part.train(self.graph_module.training))

    def strip(self, path: str, parts: Sequence[str]) -> None:
        """Let the module at `path`, which nobody calls any more, be nothing but the holder of these parts of it."""
        whole, holder = self.graph_module.get_submodule(path), nn.Module().train(self.graph_module.training)
        for name in parts:
            holder.add_module(name, whole.get_submodule(name))
        self._set_module(path, holder)

    def move_parameter(self, node: fx.Node, name: str, path: str, reason: str) -> None:
        """Let the parameter `name` of the module `node` calls stand at `path` instead; the module has none then."""
        module, before = submodule(self.graph_module, node), self.line(node)
        assert module is not None
        self._place(path, module, name)
        module.register_parameter(name, None)
        self._mark(node, reason)
        self._record("replace", node.name, before, self.line(node), reason)

    def copy_module(self, node: fx.Node, path: str, module: nn.Module, reason: str) -> None:
        """Let this call site have a module of its own at `path`."""
        before = self.line(node)
        self.graph_module.add_submodule(path, module)
        node.target = path
        self._mark(node, reason)
        self._record("insert", node.name, before, self.line(node), reason)

    def rename_target(self, old: str, new: str, reason: str) -> None:
        """Move the module, parameter or buffer at path `old` to path `new`, with the nodes that read it."""
        parent, _, leaf = old.rpartition(".")
        holder = self.graph_module.get_submodule(parent)
        self._place(new, holder, leaf)
        self._delete(old)
        for node in list(self.graph.nodes):
            if node.op in ("call_module", "get_attr") and str(node.target).startswith(f"{old}."):
                node.target = new + str(node.target)[len(old) :]
            elif node.op in ("call_module", "get_attr") and node.target == old:
                node.target = new
                if node.name != (name := new.replace(".", "_")):
                    self._rename_node(node, name)
        self._record("rename", old, old, new, reason)

    # -- the parts changes are made of -------------------------------------------------------------

    def _rename_node(self, node: fx.Node, name: str) -> None:
        with self.graph.inserting_before(node):
            fresh = self.graph.create_node(node.op, node.target, node.args, node.kwargs, name, node.type)
        fresh.meta = dict(node.meta)
        node.replace_all_uses_with(fresh)
        self.graph.erase_node(node)

    def _place(self, path: str, source: nn.Module, leaf: str) -> None:
        """Register what `source.leaf` is at `path`, as the module, parameter or buffer it was."""
        parent, _, name = path.rpartition(".")
        if leaf in source._modules:
            self.graph_module.add_submodule(path, source.get_submodule(leaf))
            return
        holder = self._holder(parent)
        if leaf in source._parameters:
            holder.register_parameter(name, source._parameters[leaf])
        elif leaf in source._buffers:
            holder.register_buffer(name, source._buffers[leaf], leaf not in source._non_persistent_buffers_set)
        else:
            setattr(holder, name, getattr(source, leaf))

    def _holder(self, path: str) -> nn.Module:
        """The module at `path`; one that was traced through, and of which the graph calls nothing, is made anew."""
        try:
            return self.graph_module.get_submodule(path)
        except AttributeError:
            self.graph_module.add_submodule(path, nn.Module())
            return self.graph_module.get_submodule(path)

    def _set_module(self, path: str, module: nn.Module) -> None:
        parent, _, leaf = path.rpartition(".")
        setattr(self.graph_module.get_submodule(parent), leaf, module)

    def _forget_unused(self, path: str) -> None:
        """Delete what stands at `path` when no node reads it, anything in it, or calls what it stands in any more."""
        readers = [node for node in self.graph.nodes if node.op in ("call_module", "get_attr")]
        inside = (str(node.target) == path or str(node.target).startswith(f"{path}.") for node in readers)
        around = (node.op == "call_module" and path.startswith(f"{node.target}.") for node in readers)
        if not any(inside) and not any(around):
            self._delete(path)

    def _delete(self, path: str) -> None:
        """Delete what stands at `path`, and the containers that are empty afterwards."""
        parent, _, leaf = path.rpartition(".")
        holder = self.graph_module.get_submodule(parent)
        delattr(holder, leaf)
        if parent and type(holder) is nn.Module and not (holder._modules or holder._parameters or holder._buffers):
            self._delete(parent)
