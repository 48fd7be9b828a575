"""x += y, x.mul_(y), ReLU(inplace=True)  ->  their out-of-place twins."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.kernels import MULTIPLY_ACCUMULATE
from rewrites.memory import (
    aliases,
    changed_value,
    changes_in_place,
    shared_arguments,
    uses_after,
)
from rewrites.passes._writes.builder import KNOWN, Builder, Form
from rewrites.passes._writes.indices import is_all
from rewrites.passes._writes.sharing import Sharing, sharing_of
from rewrites.passes._writes.sizes import MAKERS
from rewrites.passes._writes.slices import Slices, reads_by_value
from rewrites.passes._writes.twins import name_of, promoted, twin
from rewrites.passes._writes.views import lies_in_order, put_back, taken_anew
from rewrites.values import Tensors, callee, submodule


def _outlives_a_call(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the tensor of a get_attr node is the model's own; a tensor made in the forward is new in every call."""
    made: dict[str, str] = graph_module.meta.get("constants", {})
    if node.target not in made:
        return True
    memory = made[str(node.target)]
    return any(path != node.target and other == memory for path, other in made.items())


def _changed(graph_module: fx.GraphModule, node: fx.Node, tensors: Tensors) -> tuple[fx.Node, set[fx.Node]]:
    """The value `node` mutates, and what may share its memory; refuses one that outlives a call of the model."""
    value = changed_value(node)
    if not isinstance(value, fx.Node):
        raise Refusal("it changes something that is not a tensor of this graph")
    family = aliases(graph_module, value, tensors, node)
    for other in (value, *sorted(one for one in family if one.op == "get_attr")):
        if other.op == "get_attr" and _outlives_a_call(graph_module, other):
            raise Refusal(f"it changes {other.target}, which the model keeps between calls")
    return value, family


# What changes a tensor's dims, and not the memory that its views see.
_OF_DIMS = frozenset({"unsqueeze_", "squeeze_", "transpose_", "swapaxes_", "swapdims_", "t_", "detach_", "as_strided_"})
_OVERWRITING = frozenset({"copy_", "fill_", "zero_"})


def _written(node: fx.Node) -> tuple[Any, Any] | None:
    """The index and the value that a node assigns; None of one that assigns nothing."""
    target, args, kwargs = node.target, node.args, node.kwargs
    if target is operator.setitem or (node.op == "call_method" and target == "__setitem__"):
        return args[1], args[2]
    name = name_of(node)
    if node.op == "call_module" or name not in _OVERWRITING:
        return None
    given = [*args[1:], *(kwargs[key] for key in ("src", "other", "value") if key in kwargs)]
    return Ellipsis, given[0] if given else 0


def _rewrite(
    slices: Slices, front: Builder, behind: Builder, changed: tuple[fx.Node, set[fx.Node]], later: Sequence[fx.Node]
) -> None:
    """Replace the node between both builders; where it refuses, nothing was changed but what they inserted.

    `changed` is what it changes and what may share memory with that; `later` are the changes that come behind it.
    """
    value, family = changed
    editor, node = front.editor, front.before
    written = _written(node)
    if written is not None and slices.is_written_already(value, *written):
        editor.remove(node, value, f"{value.name} has these values there already")
        return
    front.reason = behind.reason = _reason(value)
    form, joined = slices.assigned(front, value, *written) if written else (twin(editor.graph_module, node), None)
    if name_of(node) in _OF_DIMS:
        sharing = Sharing([value], {}, False)
    else:
        sharing = sharing_of(editor.graph_module, node, value, family, later)
    readers = {one: list(uses_after(one, node)) for one in (*sharing.above, *sharing.ways)}
    readers[node] = list(node.users)
    dtype = None if written else promoted(node, form, value)
    result = node if dtype is None else behind.insert(Form.method("to", node, dtype), value)
    seen = _seen(slices, behind, sharing, result)
    seen[node] = seen[value]
    if node.op == "call_module":
        editor.set_attribute(node, "inplace", False, front.reason)
    else:
        editor.retarget(node, form.op, form.target, form.args, form.kwargs, front.reason)
    if written:
        slices.now_at(node, value, *written, joined)
        node.meta["in_order"] = lies_in_order(editor.graph_module, value)
    for old, new in seen.items():
        for user in readers[old] if old is not new else ():
            editor.redirect_for_now(user, old, new, f"it ran after {value.name} was changed in place")


def _reason(value: fx.Node) -> str:
    if value.op == "placeholder":
        return f"{value.name} is not changed in place: the caller's tensor stays as it was, and is observed once"
    return f"{value.name} is not changed in place, so each value is observed once"


def _seen(slices: Slices, builder: Builder, sharing: Sharing, result: fx.Node) -> dict[fx.Node, fx.Node]:
    """What each tensor that sees a change is afterwards, when the changed value is `result`."""
    new = {sharing.above[0]: result}
    for view, whole in pairwise(sharing.above):
        new[whole] = put_back(builder, slices, view, whole, new[view])
        new[whole].meta["in_order"] = lies_in_order(builder.graph_module, whole)
    if sharing.changes_again:  # then a later change has to be seen through the views once more
        for view, whole in reversed(list(pairwise(sharing.above))):
            new[view] = taken_anew(builder, view, new[whole])
    for way in sharing.ways.values():
        for view, whole in reversed(list(pairwise(way))):
            if view not in new:
                new[view] = taken_anew(builder, view, new[whole])
    return new


def _read_pieces(editor: Editor, slices: Slices) -> None:
    """Let who reads a part of a joined tensor that is one of its pieces read that, and drop copies nobody changes."""
    for copied in slices.copies:
        value = copied.args[0]
        assert isinstance(value, fx.Node)
        editor.remove(copied, value, "neither is changed afterwards")
    for node in editor.nodes():
        if node.target is not operator.getitem or not reads_by_value(editor.graph_module, node):
            continue
        while (found := slices.piece_read(node)) is not None:
            value, index = found
            reason = f"that part of it is {value.name}"
            if is_all(index):
                editor.remove(node, value, reason)
                break
            editor.retarget(node, node.op, node.target, (value, index), {}, reason)


def _drop_copies(editor: Editor) -> None:
    """Drop the copies of tensors made in the forward that each call had for itself to change."""
    for node in editor.nodes():
        value = node.args[0] if node.op == "call_method" and node.target == "clone" else None
        if isinstance(value, fx.Node) and value.op == "get_attr" and not _outlives_a_call(editor.graph_module, value):
            editor.remove(node, value, "nothing changes it any more")


def _forget_unread(editor: Editor, inserted: set[fx.Node]) -> None:
    """Drop what nobody reads any more: of what was inserted, and tensors made to be filled."""
    for node in reversed(list(editor.graph.nodes)):
        is_made = node.target in MAKERS or node.target in (operator.getitem, getattr, "size")
        if not node.users and node.op.startswith("call") and (node in inserted or is_made):
            editor.erase(node, "nobody reads it any more")
    editor.forget_unread()


_COPIES = frozenset({Tensor.contiguous, Tensor.clone})


def _past_stubs(graph_module: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """Who reads a value, be it through the stubs between int8 and float that an earlier run has put there."""
    for user in node.users:
        if isinstance(submodule(graph_module, user), (QuantStub, DeQuantStub)):
            yield from _past_stubs(graph_module, user)
        else:
            yield user


def _copy_for_layers(editor: Editor, node: fx.Node, shared: set[fx.Node]) -> None:
    """Let the layers behind the last change of a value read a copy that is made there.

    They may run in int8 then: the value itself is quantized where it is made, which is before it is changed.
    """
    graph_module = editor.graph_module
    last = max((one for one in graph_module.graph.nodes if _changes_one_of(graph_module, one, shared)), default=node)
    for value in sorted(shared):
        if value is node or not value < last or not shared.isdisjoint(shared_arguments(graph_module, value)):
            continue  # a view
        layers = [user for user in value.users if last < user and callee(graph_module, user) in MULTIPLY_ACCUMULATE]
        if layers:
            copied = editor.insert_before(
                last.next, "clone", (value,), "", f"{layers[0].name} reads what {last.name} leaves", written_at=value
            )
            copied.meta |= {key: value.meta[key] for key in KNOWN if key in value.meta}
            for layer in layers:
                editor.redirect(layer, value, copied, f"that is what {last.name} leaves")


def _changes_one_of(graph_module: fx.GraphModule, node: fx.Node, shared: set[fx.Node]) -> bool:
    return changes_in_place(graph_module, node) and changed_value(node) in shared


class OutOfPlace(RewritePass):
    """In-place operations become out-of-place ones; later readers of the changed value read the result.

    What it does: `x += y`, `x.mul_(y)`, `F.relu(x, inplace=True)` and modules with `inplace=True`
    are replaced by the form that makes a new tensor. Every node that read `x` afterwards now reads
    the new tensor, so the meaning stays what it was in eager mode. A write into a part, `y[:, :4] = v`, joins
    what lies before and behind it with what is written; parts that are written one behind the other are joined once.
    A change of a view is put back into the tensor it is a view of, and other views that are read later are taken anew.

    Why: an observer has to see each value once, unchanged, and a fused activation has no tensor of
    its own to change. The other passes then only meet the plain operators.

    Leaves alone: a change that may or may not be seen through what may be a view or a copy, that lands in a parameter
    or buffer, or that is made by a module that did not trace. Such a node and what shares its memory or reads it stay
    in float, with the reason; what is made of it afterwards does not. An input is not changed any more: the caller's
    tensor stays as it was.
    """

    name = "out-of-place"

    def run(self, editor: Editor) -> None:
        graph_module, slices, inserted = editor.graph_module, Slices(), list[fx.Node]()
        tensors = Tensors(graph_module)
        later = deque(node for node in graph_module.graph.nodes if changes_in_place(graph_module, node))
        for node in editor.nodes():
            if not later or node is not later[0]:
                continue
            later.popleft()
            editor.record_redirected([node])
            builders = front, behind = Builder(editor, node, node), Builder(editor, node.next, node)
            try:
                _rewrite(slices, front, behind, _changed(graph_module, node, tensors), later)
            except Refusal as refusal:
                for builder in reversed(builders):
                    builder.take_back()
                self._leave_in_float(editor, node, tensors, str(refusal))
            else:
                inserted += [*front.inserted, *behind.inserted, node]
        editor.record_redirected()
        if not any(changes_in_place(graph_module, node) for node in editor.graph.nodes):
            _read_pieces(editor, slices)
            if inserted:
                _drop_copies(editor)
        if inserted:
            _forget_unread(editor, set(inserted))

    @staticmethod
    def _leave_in_float(editor: Editor, node: fx.Node, tensors: Tensors, reason: str) -> None:
        """Everything that may see the change has to read one and the same float tensor."""
        editor.skip(node, reason)
        graph_module = editor.graph_module
        value = changed_value(node)
        shared = {node}
        if isinstance(value, fx.Node) and value in tensors:
            shared |= {value, *aliases(graph_module, value, tensors, value)}
        for root in sorted(shared):
            settled = all(callee(graph_module, user) in _COPIES for user in _past_stubs(graph_module, root))
            if root.op == "get_attr" and not settled and not _outlives_a_call(graph_module, root):
                shared.add(editor.insert_method(root, "clone", "each call changes a tensor of its own"))
                shared.discard(root)
            is_own = root.op in ("placeholder", "get_attr") or callee(graph_module, root) is Tensor.clone
            is_known = root.meta.get("contiguous", root.op == "call_module")
            if is_known and not is_own and not settled and not shared_arguments(graph_module, root):
                # A view of an int8 convolution's channels_last output would be a copy, and the change be lost.
                copied = editor.insert_method(root, "contiguous", "views of it share its memory in one layout only")
                copied.meta["contiguous"] = False  # it may be a copy: nobody knows how the value lies in memory
                shared.add(copied)
                shared.discard(root)
        _copy_for_layers(editor, node, shared)
        # What is made of it afterwards holds what the change left; a change behind that speaks for itself.
        before = {member for member in shared if member < node}
        views = {member for member in before if shared_arguments(graph_module, member)}
        readers = {user for member in before for user in member.users if user.op != "output"}
        for member in {node} | views | readers:
            why = reason if member is node else f"shares memory with what {node.name} changes in place"
            editor.keep_float(member, why)

    @staticmethod
    def example() -> nn.Module:
        class Residual(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                y = x * 2
                y += x
                return y * x

        return Residual()
