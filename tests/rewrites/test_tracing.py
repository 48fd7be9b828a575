"""Tracing that keeps what eager mode does, and gives up on no more than it must."""

import copy
import operator
import pickle

import numpy
import pytest
import torch
from passcheck import assert_same_results, conv, images, model
from torch import fx, nn

from rewrites import UntraceableError, rewrite
from rewrites.diff import graph_lines
from rewrites.tracing import trace


class Branch(nn.Module):
    """Does not trace: it looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        if x.mean() > 100:
            return x
        return self.conv(x)


def test_the_model_keeps_its_modules():
    original = model(lambda self, x: self.conv(x), conv=conv())
    graph_module, leaves = trace(original)
    assert leaves == ()
    assert graph_module.conv is original.conv
    assert graph_module.meta["classes"] == {"": type(original), "conv": nn.Conv2d}


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        (lambda x: x.__iadd__(1), "x += 1; iadd = x"),
        (lambda x: x.__itruediv__(2), "x /= 2; itruediv = x"),
        (lambda x: x.__ifloordiv__(2), "x //= 2; ifloordiv = x"),
        (lambda x: x.__ipow__(2), "x **= 2; ipow = x"),
    ],
)
def test_augmented_assignments_are_recorded_as_such(statement, line):
    graph_module, _ = trace(model(lambda self, x: statement(x)))
    assert graph_lines(graph_module)[1] == line


def test_an_attribute_is_changed_in_place_too():
    def forward(self, x):
        x = self.conv(x)
        turned = x.mT
        turned += 1
        return x

    original = model(forward, conv=conv())
    assert_same_results(copy.deepcopy(original), trace(original)[0], [images()])


def test_the_smallest_module_becomes_the_leaf():
    outer = model(lambda self, x: self.act(self.branch(x)), branch=Branch(), act=nn.ReLU())
    original = model(lambda self, x: self.conv(self.outer(x)), outer=outer, conv=conv())
    graph_module, leaves = trace(original)
    assert [leaf.path for leaf in leaves] == ["outer.branch"]
    assert graph_lines(graph_module)[1] == "outer_branch = self.outer.branch(x)  # Branch()"
    assert_same_results(copy.deepcopy(original), graph_module, [images()])


def test_several_leaves():
    original = model(lambda self, x: self.second(self.first(x)), first=Branch(), second=Branch())
    _, leaves = trace(original)
    assert [leaf.path for leaf in leaves] == ["first", "second"]
    assert all("if x.mean() > 100:" in leaf.reason for leaf in leaves)


def test_a_leaf_whose_result_is_not_traced_takes_its_caller_along():
    class Pair(nn.Module):
        def forward(self, x):
            return [x] if x.mean() > 100 else [x, x]

    caller = model(lambda self, x: sum(list(self.pair(x))), pair=Pair())
    _, leaves = trace(model(lambda self, x: self.caller(x) + 1, caller=caller))
    assert "caller" in [leaf.path for leaf in leaves]


def test_items_assigned_in_a_tensor_made_in_the_forward():
    # The tensor is made once, while tracing; each call writes into a copy.
    class Canvas(nn.Module):
        def forward(self, x):
            canvas = torch.zeros(2, 8, 8, 8)
            canvas[:, :4] = x[:, :4]
            canvas[:, 3:5] += 1
            return canvas

    original = model(lambda self, x: self.conv(self.canvas(x)), canvas=Canvas(), conv=conv())
    graph_module, leaves = trace(original)
    assert leaves == ()
    assert_same_results(copy.deepcopy(original), graph_module, [images(), images(seed=2)])


def test_a_parameter_is_read_by_one_node():
    original = model(lambda self, x: x * self.scale + self.scale, scale=nn.Parameter(torch.ones(1)))
    assert [line for line in graph_lines(trace(original)[0]) if "self." in line] == ["scale = self.scale"]


def test_an_error_of_the_models_own_is_told_with_its_line():
    with pytest.raises(UntraceableError, match=r"test_tracing\.py:\d+ .*'Model' object has no attribute 'missing'"):
        trace(model(lambda self, x: self.missing(x)))


def test_annotations_that_are_text_are_dropped():
    # `from __future__ import annotations` makes every annotation text; a script could not look it up elsewhere.
    def forward(self, x):
        return x * 2

    forward.__annotations__ = {"x": "Tensor", "return": "Tensor"}
    graph_module, _ = trace(model(forward))
    assert {node.type for node in graph_module.graph.nodes} == {None}
    assert torch.equal(torch.jit.script(graph_module)(torch.ones(1)), torch.full((1,), 2.0))


def test_the_line_that_stopped_the_tracer_is_named_by_its_file():
    _, (leaf,) = trace(model(lambda self, x: self.branch(x), branch=Branch()))
    assert leaf.reason.startswith("does not trace: ")
    place = leaf.reason.removeprefix("does not trace: ").partition(":")[0]
    assert place.endswith("test_tracing.py") and not place.startswith("/")


def test_an_optional_argument_keeps_its_default():
    def forward(self, x, mask=None, scale=2.0):
        return x * scale if mask is None else x * mask

    original = model(forward)
    graph_module, leaves = trace(original)
    assert leaves == ()
    assert [node.op for node in graph_module.graph.nodes] == ["placeholder", "call_function", "output"]
    assert_same_results(copy.deepcopy(original), graph_module, [images()])


def test_stubs_stay_so_that_a_second_rewriting_changes_nothing():
    once = rewrite(nn.Sequential(conv(), nn.Mish(), conv()))
    again = rewrite(once.graph_module)
    assert [edit for result in again.results for edit in result.edits] == []
    assert torch.equal(again.graph_module(*images()), once.graph_module(*images()))


# -- with an example, shapes and numbers are known ---------------------------------------------------

IMAGE = {"x": torch.empty(2, 8, 8, 8)}


def lines_of(original: nn.Module, example: dict[str, object]) -> list[str]:
    """The traced graph as text, without its inputs and its output; nothing may have stayed whole."""
    graph_module, leaves = trace(original, example)
    assert leaves == ()
    return [line for line in graph_lines(graph_module)[:-1] if ": input" not in line]


def fixed_in(forward: object, example: dict[str, object] | None = None) -> list[str]:
    """The code of the decisions by size."""
    graph_module, _ = trace(model(forward), example or IMAGE)
    return [entry.code for entry in graph_module.meta["fixed"]]


def test_without_an_example_nothing_is_known():
    def forward(self, x):
        return x if x.shape[1] > 4 else -x

    with pytest.raises(UntraceableError, match=r"if x.shape|x if x\.shape"):
        trace(model(forward))
    assert lines_of(model(forward), IMAGE) == []


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Hardswish(), nn.BatchNorm2d(8), conv()])
@pytest.mark.parametrize("call", [lambda module, x: module(x), lambda module, x: module(input=x)])
def test_what_torchs_own_modules_return_has_a_known_shape(module, call):
    graph_module, _ = trace(model(lambda self, x: call(self.module, x), module=module), IMAGE)
    shapes = {node.name: node.meta.get("shape") for node in graph_module.graph.nodes}
    assert shapes["module"] == tuple(IMAGE["x"].shape)


def test_every_node_knows_its_shape():
    def forward(self, x):
        first, second = self.conv(x).chunk(2, 1)
        return first.flatten(2) * second.mean()

    graph_module, _ = trace(model(forward, conv=conv()), IMAGE)
    shapes = {node.name: node.meta.get("shape") for node in graph_module.graph.nodes if node.op != "output"}
    assert shapes == {
        "x": (2, 8, 8, 8), "conv": (2, 8, 8, 8), "chunk": None, "getitem": (2, 4, 8, 8), "getitem_1": (2, 4, 8, 8),
        "flatten": (2, 4, 64), "mean": (), "mul": (2, 4, 64),
    }  # fmt: skip
    assert {node.name: node.meta["members"] for node in graph_module.graph.nodes if "members" in node.meta} == {
        "chunk": 2
    }


def test_a_decision_by_size_is_noted_with_its_line():
    def forward(self, x):
        if x.shape[2] > 4:
            x = x[:, :, :4]
        return x

    graph_module, _ = trace(model(forward), IMAGE)
    (entry,) = graph_module.meta["fixed"]
    assert entry.code == "if x.shape[2] > 4:"
    assert entry.place == f"tests/rewrites/test_tracing.py:{forward.__code__.co_firstlineno + 1}"


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: x * 2 if x.ndim == 4 else x, id="a rank"),
        pytest.param(lambda self, x: x * 2 if x.dim() == 4 else x, id="a rank, asked for as a method"),
        pytest.param(lambda self, x: x * len(x.shape), id="the length of a shape"),
        pytest.param(lambda self, x: x * 2 if x.is_floating_point() else x, id="a type"),
        pytest.param(lambda self, x: x * 2 if isinstance(x, torch.Tensor) else x[0], id="a class"),
        pytest.param(lambda self, x: x.view(x.shape[0], -1), id="a size that is used, and nothing decided by it"),
        pytest.param(lambda self, x: [part * 2 for part in x.chunk(2, 1)], id="the members of a tuple"),
        pytest.param(lambda self, x: x if x is not None else 0, id="whether it is there"),
    ],
)
def test_what_is_no_decision_by_size(forward):
    assert fixed_in(forward) == []


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: x if x.size(2) % 2 else x * 2, id="size"),
        pytest.param(lambda self, x: x if x.numel() > 100 else x * 2, id="numel"),
        pytest.param(lambda self, x: sum(x[:, i] for i in range(x.shape[1])), id="range"),
        pytest.param(lambda self, x: x * x.new_zeros(x.shape[2]), id="a tensor made for the size"),
        pytest.param(lambda self, x: x * float(x.shape[-1]), id="a number of Python's"),
    ],
)
def test_decisions_by_size(forward):
    assert len(fixed_in(forward)) == 1


def test_the_truth_of_a_tensor_is_not_known():
    with pytest.raises(UntraceableError, match=r"if x\.mean\(\) > 100"):
        trace(Branch(), IMAGE)


def test_the_members_of_a_tensor_are_as_many_as_the_batch_is_large():
    with pytest.raises(UntraceableError, match="for image in x"):
        trace(model(lambda self, x: torch.stack([image * 2 for image in x])), IMAGE)


def test_a_number_in_a_tensor_is_not_known():
    with pytest.raises(UntraceableError, match=r"x \* int\(x\.sum\(\)\).*a number is needed that is not known"):
        trace(model(lambda self, x: x * int(x.sum())), IMAGE)


def test_a_list_of_tensors_is_an_input():
    def forward(self, features):
        assert isinstance(features, list) and len(features) == 2
        return [level * number for number, level in enumerate(features, start=1)]

    example = {"features": [torch.empty(1, 8, 4, 4), torch.empty(1, 8, 2, 2)]}
    assert lines_of(model(forward), example) == [
        "getitem = features[0]", "getitem_1 = features[1]", "mul = getitem * 1", "mul_1 = getitem_1 * 2",
    ]  # fmt: skip


def test_a_dict_of_tensors_is_an_input():
    def forward(self, features):
        first = features["low"] if list(features.keys()) == ["low", "high"] and "low" in features else None
        return {name: level * 2 for name, level in features.items()} | {"first": first, "high": features.get("high")}

    example = {"features": {"low": torch.empty(1, 8, 4, 4), "high": torch.empty(1, 8, 2, 2)}}
    original = model(forward)
    graph_module, _ = trace(original, example)
    given = {"low": torch.ones(1, 8, 4, 4), "high": torch.full((1, 8, 2, 2), 3.0)}
    found = graph_module(given)
    assert {name: value.flatten()[0].item() for name, value in found.items()} == {"low": 2.0, "high": 3.0, "first": 1.0}
    assert [type(found), *found] == [dict, "low", "high", "first"]


def test_arguments_that_are_no_tensors_are_what_the_example_has():
    def forward(self, x, times, mode="plain"):
        return x * times if mode == "plain" else x

    original = model(forward)
    assert lines_of(original, {**IMAGE, "times": 3}) == ["mul = x * 3"]
    assert lines_of(original, {**IMAGE, "times": 3, "mode": "other"}) == []


def test_starred_arguments_that_are_not_given_are_empty():
    def forward(self, x, *more, **named):
        return x * (1 + len(more) + len(named))

    assert lines_of(model(forward), IMAGE) == ["mul = x * 1"]


def test_a_tensor_is_made_of_sizes_with_the_inputs_type():
    original = model(lambda self, x: x + x.new_full((x.shape[1], 1, 1), 2.0))
    graph_module, _ = trace(original, {"x": torch.empty(2, 8, 8, 8, dtype=torch.float64)})
    assert graph_module._tensor_constant0.dtype == torch.float64
    assert torch.equal(graph_module._tensor_constant0, torch.full((8, 1, 1), 2.0, dtype=torch.float64))
    assert graph_module.state_dict() == {}


def test_a_tensor_made_of_an_unknown_one():
    with pytest.raises(UntraceableError, match="new_zeros of a tensor whose type is not known"):
        trace(model(lambda self, x: x + x.new_zeros(8, 1, 1)))


def test_no_memory_is_taken_for_what_is_only_looked_at():
    original = model(lambda self, x: self.conv(x).relu().flatten(1) if x.ndim == 4 else x, conv=conv())
    # A petabyte, were it really computed.
    graph_module, _ = trace(original, {"x": torch.empty(2**22, 8, 2**13, 2**10, device="meta")})
    assert [node.meta.get("shape") for node in graph_module.graph.nodes][-2] == (2**22, 2**26)


# -- functions that torch.fx.wrap hides ----------------------------------------------------------------


def doubled(x, times=1):
    """Does what a forward may do and knows what it is given."""
    return x * 2 if x.shape[1] == 8 else x


def by_value(x):
    """Begins with what traces and ends in what does not."""
    y = x * 3
    if x.shape[1] == 8 and y.sum() > 1e9:
        return x
    return y


fx.wrap("doubled")
fx.wrap("by_value")


def test_a_hidden_function_is_looked_into():
    assert lines_of(model(lambda self, x: doubled(x, times=2)), IMAGE)[-1] == "mul = x * 2"
    assert doubled.__name__ == "doubled" and torch.equal(doubled(torch.ones(1, 8)), torch.full((1, 8), 2.0))


def test_one_that_does_not_trace_is_called_as_a_whole_and_leaves_nothing_behind():
    original = model(lambda self, x: by_value(x) + 1)
    graph_module, leaves = trace(original, IMAGE)
    assert leaves == ()
    assert graph_lines(graph_module)[1:-1] == ["by_value = by_value(x)", "add = by_value + 1"]
    assert graph_module.meta["fixed"] == ()
    assert_same_results(copy.deepcopy(original), graph_module, [images()])


def test_hidden_functions_stay_hidden_from_others():
    trace(model(lambda self, x: doubled(x)), IMAGE)
    by_torch = fx.symbolic_trace(model(lambda self, x: doubled(x)))
    assert [node.target for node in by_torch.graph.nodes if node.op == "call_function"] == [doubled]


# -- state ---------------------------------------------------------------------------------------------


def test_state_that_a_forward_writes_while_it_is_traced_is_taken_back():
    def forward(self, x):
        self.last = x
        self.seen.append(x)
        self.by_name["x"] = x
        self.child.cache = x
        if x.shape[1] > 4:
            self.count = self.count + 1
        return self.child(x)

    original = model(forward, child=nn.ReLU())
    original.last, original.seen, original.by_name, original.count = None, ["before"], {"y": 1}, 7
    for example in (IMAGE, None):
        if example:
            trace(original, example)
        else:
            with pytest.raises(UntraceableError):
                trace(original)
        assert (original.last, original.seen, original.by_name, original.count) == (None, ["before"], {"y": 1}, 7)
        assert not hasattr(original.child, "cache")


# -- buffers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", [None, IMAGE], ids=["alone", "with an example"])
@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: sum(x * stride for stride in self.strides), id="its members"),
        pytest.param(lambda self, x: sum(x * stride for stride in self.strides.tolist()), id="as a list"),
        pytest.param(lambda self, x: x * 2 if self.strides.sum() > 10 else x, id="a comparison"),
        pytest.param(lambda self, x: x[:, :, :: int(self.strides[1])], id="an int"),
        pytest.param(lambda self, x: x * float(self.strides[0] / 3), id="a float"),
        pytest.param(lambda self, x: x * len(self.strides), id="its length"),
        pytest.param(lambda self, x: x * self.strides.max().item(), id="an item"),
        pytest.param(lambda self, x: x * self.strides.numpy().sum(), id="an array"),
        pytest.param(lambda self, x: torch.stack([x[..., i] for i in self.strides[:2]]), id="as an index"),
    ],
)
def test_the_numbers_in_a_buffer_are_known(forward, example):
    original = model(forward, strides=torch.tensor([2, 4, 8]))
    graph_module, leaves = trace(original, example)
    assert (leaves, graph_module.meta["fixed"]) == ((), ())
    assert_same_results(copy.deepcopy(original), graph_module, [images()])
    assert torch.equal(original.strides, torch.tensor([2, 4, 8]))


def test_numbers_of_numpys_are_numbers():
    lines = lines_of(model(lambda self, x: x * numpy.sqrt(64.0) + numpy.int64(3) * numpy.float32(0.5)), IMAGE)
    assert lines == ["mul = x * 8.0", "add = mul + 1.5"]
    assert lines_of(model(lambda self, x: numpy.sqrt(64.0) * x), IMAGE) == ["mul = 8.0 * x"]


def test_what_is_computed_from_a_buffer_is_computed_in_the_graph():
    # Computed while tracing it would not see a checkpoint that is loaded later.
    graph_module, _ = trace(model(lambda self, x: x + self.table.exp(), table=torch.zeros(8, 1, 1)))
    graph_module.table.fill_(1.0)
    assert torch.equal(graph_module(torch.zeros(8, 1, 1)), torch.full((8, 1, 1), torch.e))


def test_a_buffer_that_a_forward_changes_is_changed_in_every_run_and_not_while_tracing():
    def forward(self, x):
        self.calls += 1
        self.last[:, 0] = x[:, 0, 0, 0]
        return x * self.calls + self.last.mean()

    original = model(forward, calls=torch.zeros(1), last=torch.zeros(2, 8))
    graph_module, _ = trace(original, IMAGE)
    assert original.calls.item() == 0 and original.last.abs().sum() == 0
    assert_same_results(copy.deepcopy(original), graph_module, [images(), images(seed=2), images(seed=3)])
    assert graph_module.calls.item() == 3


@pytest.mark.parametrize(
    ("forward", "code"),
    [
        pytest.param(
            lambda self, x: sum(part.mean() for part in x.split(4, 3)), "x.split(4, 3)", id="pieces of a size"
        ),
        pytest.param(lambda self, x: x * len(x.split(4, 2)), "len(x.split(4, 2))", id="how many pieces"),
        pytest.param(lambda self, x: sum(row.mean() for row in x.unbind(2)), "x.unbind(2)", id="rows"),
        pytest.param(lambda self, x: x * len(x.split(1)), "len(x.split(1))", id="images"),
        pytest.param(lambda self, x: x * len([0] * x.shape[2]), "[0] * x.shape[2]", id="a list as long"),
        pytest.param(lambda self, x: x * x.nbytes, None, id="bytes, which go on being worked out"),
    ],
)
def test_how_many_there_are_is_a_size(forward, code):
    found = fixed_in(forward)
    assert len(found) == (code is not None) and all(code in line for line in found)


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: sum(part for part in x.chunk(2, 1)), id="a number of channels"),
        pytest.param(lambda self, x: x.view(2, 2, 4, -1).unbind(1)[::-1], id="of a view"),
    ],
)
def test_how_many_there_are_whatever_the_size(forward):
    assert fixed_in(forward) == []


def test_a_shape_is_written_as_torch_writes_it():
    def forward(self, x):
        return x * 2 if str(x.shape) == "torch.Size([2, 8, 8, 8])" else x

    graph_module, _ = trace(model(forward), IMAGE)
    assert [entry.code for entry in graph_module.meta["fixed"]] == [
        'return x * 2 if str(x.shape) == "torch.Size([2, 8, 8, 8])" else x'
    ]
    assert any(node.target is operator.mul for node in graph_module.graph.nodes)


def test_a_parameter_read_past_the_model_is_the_same_parameter():
    original = model(lambda self, x: x * self._parameters["scale"], scale=nn.Parameter(torch.rand(8, 1, 1)))
    assert lines_of(original, IMAGE) == ["scale = self.scale", "mul = x * scale"]


def test_a_traced_model_can_be_pickled():
    graph_module, _ = trace(nn.Sequential(conv(), nn.ReLU()), {"input": IMAGE["x"]})
    again = pickle.loads(pickle.dumps(graph_module))
    x = torch.randn(1, 8, 8, 8)
    assert torch.equal(again(x), graph_module(x))


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda y: y.new_full((y.shape[0], 1, 1, 1), fill_value=2.0), id="a value by name"),
        pytest.param(lambda y: y.new_full(size=(y.shape[0], 1, 1, 1), fill_value=2.0), id="all by name"),
        pytest.param(lambda y: y.new_ones(size=(y.shape[0], 1, 1, 1)), id="sizes by name"),
        pytest.param(lambda y: y.new_ones(y.shape[0], 1, 1, 1, device=y.device), id="sizes one by one"),
        pytest.param(lambda y: y.new_zeros([y.shape[0], 1, 1, 1], dtype=torch.int64), id="another type"),
        pytest.param(lambda y: y.new_tensor(y.shape[0]), id="a number"),
    ],
)
def test_tensors_for_as_many_images_as_there_are(made):
    original = model(lambda self, x: self.conv(x) + made(x), conv=conv())
    graph_module, leaves = trace(original, IMAGE)
    assert (leaves, graph_module.meta["fixed"]) == ((), ())
    assert_same_results(original, graph_module, [(torch.randn(count, 8, 8, 8),) for count in (1, 2, 5)])


@pytest.mark.parametrize("name", ["code", "graph", "meta", "recompile", "_graph", "print_readable", "shape_env"])
@pytest.mark.parametrize("kind", ["module", "buffer", "parameter"])
def test_what_a_model_calls_as_a_graph_module_calls_its_own(name, kind):
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Module()
            for holder in (self, self.inner):
                tensor = nn.Parameter(torch.rand(3)) if kind == "parameter" else torch.rand(3)
                if kind == "module":
                    holder.add_module(name, nn.Linear(3, 3))
                elif kind == "buffer":
                    holder.register_buffer(name, tensor)
                else:
                    holder.register_parameter(name, tensor)

        def forward(self, x):
            for held in (getattr(self, name), getattr(self.inner, name)):
                x = held(x) if kind == "module" else x * held
            return x

    net, x = Named().eval(), torch.randn(2, 3)
    before = dict(net.state_dict())
    graph_module, leaves = trace(net)
    assert leaves == () and torch.equal(graph_module(x), net(x))
    mended = {key: f"{name}_{key[len(name) :]}" if key.startswith(name) else key for key in before}
    assert set(graph_module.state_dict()) == set(mended.values())
    assert list(net.state_dict()) == list(before)
