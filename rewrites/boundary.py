"""Where a part meets the code around it: what it was traced for, and what it hands over.

A graph holds for a list of one length. And it flattens what a forward returns: a subclass of dict becomes a dict, and
values lie in memory as the int8 kernels leave them. Code outside that does not trace reads attributes of such a dict,
and calls `view` on a tensor.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from torch import Tensor, fx
from torch.fx.graph import CodeGen

# Dicts that a plain one stands for, which TorchScript knows.
_PLAIN_DICTS = (dict, OrderedDict)


@dataclasses.dataclass(frozen=True)
class Form:
    """How one value is put together: its type, its members by index, key or field, and how a tensor lies in memory.

    `has_more` says that it holds something beside its members, which nothing could give back.
    """

    kind: type
    members: tuple[tuple[Any, Form], ...] = ()
    is_contiguous: bool = False
    has_more: bool = False

    def agrees(self, other: Form) -> bool:
        """Whether another value is put together alike, wherever it lies in memory."""
        return (
            self.kind is other.kind
            and [key for key, _ in self.members] == [key for key, _ in other.members]
            and all(a.agrees(b) for (_, a), (_, b) in zip(self.members, other.members, strict=True))
        )

    def joined(self, other: Form) -> Form:
        """The form of both of two values that agree: a tensor is contiguous where one of the two is."""
        both = zip(self.members, other.members, strict=True)
        members = tuple((key, mine.joined(theirs)) for (key, mine), (_, theirs) in both)
        contiguous, more = self.is_contiguous or other.is_contiguous, self.has_more or other.has_more
        return Form(self.kind, members, contiguous, more)

    @property
    def is_of_own_type(self) -> bool:
        """Whether a graph would give another type: a subclass of dict, or a dataclass."""
        if self.kind in _PLAIN_DICTS:
            return False
        return issubclass(self.kind, dict) or dataclasses.is_dataclass(self.kind)

    def problem(self) -> str:
        """Why nothing could give back such a value; empty where that can be."""
        if self.has_more:
            return f"returns a {self.kind.__name__} with more in it than its members"
        return next((why for _, member in self.members if (why := member.problem())), "")


def form_of(value: Any) -> Form:
    """How a value is put together, as far as it holds tensors in containers that are known."""
    kind = type(value)
    if isinstance(value, Tensor):
        # channels_last is for images; below three dimensions nothing lies in any other order than it did
        return Form(Tensor, is_contiguous=value.ndim > 2 and value.is_contiguous())
    if isinstance(value, dict):
        members, beside = dict(value), getattr(value, "__dict__", {})
        more = any(held is not None and held is not members.get(name) for name, held in beside.items())
        return Form(kind, _forms(members), has_more=more)
    if dataclasses.is_dataclass(value):
        members = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        more = not getattr(value, "__dict__", {}).keys() <= members.keys()
        return Form(kind, _forms(members), has_more=more)
    if isinstance(value, (tuple, list)):
        return Form(kind, _forms(dict(enumerate(value))))
    return Form(kind)


def _forms(members: dict[Any, Any]) -> tuple[tuple[Any, Form], ...]:
    return tuple((key, form_of(member)) for key, member in members.items())


def _maker(form: Form) -> Callable[[dict[Any, Any]], Any]:
    """What makes a value of this form's type out of its members, without running an `__init__` a second time."""
    kind: Any = form.kind

    def made(members: dict[Any, Any]) -> Any:
        value = kind.__new__(kind)
        for name, member in members.items():
            if issubclass(kind, dict):
                value[name] = member
            else:
                object.__setattr__(value, name, member)
        return value

    return made


class Boundary(CodeGen):
    """Writes the code of a graph that returns its values in this form, and first asserts these conditions.

    The graph's own output stays the plain dict, list or tensor of nodes that it is; a copy of a graph has this as well.
    """

    def __init__(self, form: Form, conditions: tuple[str, ...] = (), name: str = "") -> None:
        super().__init__()
        self.form, self.conditions, self.name = form, conditions, name
        self.globals: dict[str, Callable[..., Any]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Boundary:
        return Boundary(self.form, self.conditions, self.name)

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        """The first line, and the conditions."""
        more = {"expanded_def": True} if expanded_def else {}
        words = f"{self.name} was traced for other arguments than these"
        asserted = [f"\n    assert {condition}, {words!r}" for condition in self.conditions]
        return super().gen_fn_def(free_vars, maybe_return_annotation, **more) + "".join(asserted)

    def generate_output(self, output_args: Any, *, descs: Any = None, repr_fn: Any = None) -> str:
        """The return statement."""
        self.globals.clear()
        return f"return {self._text(output_args, self.form, repr_fn or repr)}"

    def process_outputs(self, outputs: Any) -> Any:
        """What an interpreter gives back of the values of the graph's output."""
        return _given_back(outputs, self.form)

    def additional_globals(self) -> list[tuple[str, Any]]:
        """What makes values of types that Python does not bring."""
        return list(self.globals.items())

    def _text(self, value: Any, form: Form, written: Callable[[Any], str]) -> str:
        if isinstance(value, fx.Node):
            return f"{value}.contiguous()" if form.is_contiguous else written(value)
        forms = dict(form.members)
        if isinstance(value, dict) and list(value) == list(forms):
            text = ", ".join(f"{key!r}: {self._text(one, forms[key], written)}" for key, one in value.items())
            if not form.is_of_own_type:
                return f"{{{text}}}"
            name = f"_make_{form.kind.__name__}_{len(self.globals)}"
            self.globals[name] = _maker(form)
            return f"{name}({{{text}}})"
        if isinstance(value, (tuple, list)) and len(value) == len(forms):
            members = [self._text(one, forms[index], written) for index, one in enumerate(value)]
            if hasattr(value, "_fields"):
                name = f"_{form.kind.__name__}_{len(self.globals)}"
                self.globals[name] = form.kind
                return f"{name}({', '.join(members)})"
            if isinstance(value, tuple):
                return f"({', '.join(members)}{',' * (len(members) == 1)})"
            return f"[{', '.join(members)}]"
        return written(value)


def _given_back(value: Any, form: Form) -> Any:
    forms = dict(form.members)
    if isinstance(value, Tensor):
        return value.contiguous() if form.is_contiguous else value
    if isinstance(value, dict) and list(value) == list(forms):
        members = {key: _given_back(one, forms[key]) for key, one in value.items()}
        return _maker(form)(members) if form.is_of_own_type else members
    if isinstance(value, (tuple, list)) and len(value) == len(forms):
        given = [_given_back(one, forms[index]) for index, one in enumerate(value)]
        if hasattr(value, "_fields"):
            return type(value)(*given)
        return tuple(given) if isinstance(value, tuple) else given
    return value


def set_boundary(
    graph: fx.Graph, arguments: Mapping[str, Any], form: Form, name: str, asked: Collection[str] = ()
) -> None:
    """Make a traced graph take and return what the forward did that it was traced from; `name` is the module's.

    `arguments` are those it was called with, by name, and `asked` what it wanted to know of its tensors: their "rank",
    their "type". Another list, rank, type or flag, which could be a call of another branch outside, raises an error
    with the name.
    """
    conditions: list[str] = []
    for node in graph.find_nodes(op="placeholder"):
        if node.target in arguments:
            given = arguments[str(node.target)]
            conditions += _conditions(str(node.target), given, asked)
            # an optional one is given here: it has no default, and is nothing else than it was
            node.type = None if isinstance(given, Tensor) else type_of(given)
            node.args = ()
    (output,) = graph.find_nodes(op="output")
    output.args = (_without_makers(output.args[0], form),)
    for node in reversed(graph.nodes):
        if dataclasses.is_dataclass(node.target) and not node.users:  # what the tracer recorded of making it
            graph.erase_node(node)
    graph.set_codegen(Boundary(form, tuple(conditions), name))


def type_of(value: Any) -> Any:
    """The type of a value as TorchScript reads it."""
    if isinstance(value, Tensor):
        return Tensor
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)
    if isinstance(value, tuple) and value:
        return tuple[tuple(map(type_of, value))]  # type: ignore[misc]
    if isinstance(value, list) and value:
        return list[type_of(value[0])]  # type: ignore[misc]
    if isinstance(value, dict) and value:
        key, member = next(iter(value.items()))
        return dict[type(key), type_of(member)]  # type: ignore[misc]
    return type(value)


def _conditions(name: str, value: Any, asked: Collection[str]) -> Iterator[str]:
    """What must hold of an argument, written `name`, for a graph to be what its forward is."""
    if isinstance(value, Tensor):
        if "rank" in asked:
            yield f"{name}.dim() == {value.ndim}"
        if "type" in asked:
            yield f"{name}.dtype == {value.dtype}"
    elif isinstance(value, (tuple, list)):
        yield from [f"len({name}) == {len(value)}"] * isinstance(value, list)
        for index, member in enumerate(value):
            yield from _conditions(f"{name}[{index}]", member, asked)
    elif isinstance(value, dict):
        yield f"len({name}) == {len(value)}"
        for key, member in value.items():
            yield from _conditions(f"{name}[{key!r}]", member, asked)
    elif value is None:
        yield f"{name} is None"
    elif isinstance(value, (bool, int, float, str)):
        yield f"{name} == {value!r}"


def _without_makers(value: Any, form: Form) -> Any:
    """What is returned, with a dict of its fields in the place of each dataclass."""
    forms = dict(form.members)
    if isinstance(value, fx.Node) and value.target is form.kind and dataclasses.is_dataclass(form.kind):
        value = dict(value.kwargs)
    if isinstance(value, dict) and list(value) == list(forms):
        return {key: _without_makers(one, forms[key]) for key, one in value.items()}
    if isinstance(value, (tuple, list)) and len(value) == len(forms):
        members = [_without_makers(one, forms[index]) for index, one in enumerate(value)]
        if hasattr(value, "_fields"):
            return type(value)(*members)
        return tuple(members) if isinstance(value, tuple) else members
    return value


def gives_back(value: Any, form: Form) -> bool:
    """Whether a graph that returns these nodes can hand them over in this form."""
    if isinstance(value, fx.Node):
        return not form.is_of_own_type or value.op != "call_function" or value.target is form.kind
    forms = dict(form.members)
    if isinstance(value, dict):
        return list(value) == list(forms) and all(gives_back(one, forms[key]) for key, one in value.items())
    if isinstance(value, (tuple, list)):
        return len(value) == len(forms) and all(gives_back(one, forms[index]) for index, one in enumerate(value))
    return not form.is_of_own_type
