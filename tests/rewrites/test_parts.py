"""A model whose forward does not trace keeps it; what of it traces becomes graphs in their places."""

import copy

import pytest
import torch
from passcheck import assert_same_results, conv, images, model
from torch import fx, nn

from rewrites import UntraceableError, rewrite
from rewrites.diff import graph_lines
from rewrites.parts import copied, graphs_in, keep_attributes, own_modules, prefixed, trace_parts
from rewrites.stand_ins import Described
from rewrites.tracing import trace
from rewrites.values import tensor_nodes


class Head(nn.Module):
    """A layer and an activation, and an attribute and a method that others ask for."""

    stride = 4

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.conv, self.channels = conv(8, channels), channels

    def forward(self, x, flip: bool = False):
        y = self.conv(x).relu()
        return y.flip(3) if flip else y

    def anchors(self) -> int:
        return 3


def untraceable(self, x):
    """Looks at values, then calls its parts."""
    y = self.backbone(x)
    return self.head(y) if y.sum() > -1e9 else y


def backbone() -> nn.Module:
    return nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU())


def parts_of(original: nn.Module, *inputs: object):
    """The parts of a copy, after it was seen that the whole still computes what it computed."""
    original.eval()
    parts = trace_parts(copy.deepcopy(original), inputs or images())
    if not inputs:
        assert_same_results(original, parts.module, [images(), images(seed=2)])
    assert graphs_in(parts.module) == dict(parts.graphs)
    return parts


def test_a_model_that_traces_is_one_graph():
    parts = parts_of(model(lambda self, x: self.conv(x), conv=conv()))
    assert list(parts.graphs) == [""] and parts.graphs[""] is parts.module
    assert (parts.leaves, parts.fixed) == ((), ())


def test_children_become_graphs_in_their_places():
    parts = parts_of(model(untraceable, backbone=backbone(), head=Head()))
    assert list(parts.graphs) == ["backbone", "head"]
    assert graph_lines(parts.graphs["head"]) == [
        "x: input", "conv = self.conv(x)  # Conv2d", "relu = conv.relu()", "return relu",
    ]  # fmt: skip
    (leaf,) = parts.leaves
    line = untraceable.__code__.co_firstlineno + 3
    assert leaf.path == "" and leaf.reason.startswith(f"does not trace: tests/rewrites/test_parts.py:{line} (return ")
    assert parts.module.forward.__func__ is untraceable


def test_a_single_layer_is_a_graph_that_calls_it():
    parts = parts_of(model(untraceable, backbone=conv(), head=nn.Conv2d(8, 8, 1)))
    assert graph_lines(parts.graphs["head"]) == ["input: input", "conv = self.conv(input_1)  # Conv2d", "return conv"]
    assert parts.graphs["head"].meta["classes"] == {"": nn.Module, "conv": nn.Conv2d}


def test_what_has_no_weights_is_no_graph():
    parts = parts_of(model(untraceable, backbone=nn.Sequential(nn.ReLU(), nn.BatchNorm2d(8)), head=Head()))
    assert list(parts.graphs) == ["head"]


def test_the_largest_modules_that_trace():
    inner = model(untraceable, backbone=backbone(), head=Head())
    parts = parts_of(model(untraceable, backbone=inner, head=nn.Sequential(Head(), nn.Sequential(Head()))))
    assert list(parts.graphs) == ["backbone.backbone", "backbone.head", "head"]
    assert [leaf.path for leaf in parts.leaves] == ["", "backbone"]


def test_what_does_not_trace_inside_of_a_graph_holds_graphs_itself():
    inner = model(untraceable, backbone=backbone(), head=Head())
    parts = parts_of(model(lambda self, x: self.tail(self.inner(x)), inner=inner, tail=conv()))
    assert list(parts.graphs) == ["", "inner.backbone", "inner.head"]
    assert [leaf.path for leaf in parts.leaves] == ["inner"]
    assert [path for path, _ in own_modules(parts.graphs[""])] == ["", "inner", "tail"]


def test_a_module_that_only_hands_on_to_what_does_not_trace_is_no_graph():
    inner = model(untraceable, backbone=backbone(), head=Head())
    parts = parts_of(model(lambda self, x: self.inner(x) * 2, inner=inner))
    assert list(parts.graphs) == ["inner.backbone", "inner.head"]


def test_a_module_shared_with_code_that_does_not_trace_is_the_same_graph_there():
    def forward(self, x):
        y = self.backbone(x)
        return self.box.inner(y) + self.head(y) if y.sum() > -1e9 else y

    head = Head()
    parts = parts_of(model(forward, backbone=backbone(), head=head, box=nn.ModuleDict({"inner": head})))
    assert parts.module.head is parts.module.box["inner"]
    assert isinstance(parts.module.head, fx.GraphModule)
    assert list(parts.graphs) == ["backbone", "head"]


def test_a_layer_that_another_graph_calls_is_left_to_it():
    # The second would rename, fuse and quantize a convolution under the first one's feet.
    shared = conv()
    first, second = nn.Sequential(shared, nn.ReLU()), nn.Sequential(shared, nn.BatchNorm2d(8))
    parts = parts_of(model(untraceable, backbone=first, head=second))
    assert list(parts.graphs) == ["backbone"]
    assert type(parts.module.head) is nn.Sequential and parts.module.head[0] is parts.graphs["backbone"].get_submodule(
        "0"
    )


def test_a_module_called_with_different_flags_is_no_graph():
    def forward(self, x):
        y = self.backbone(x)
        return self.head(y, flip=False) + self.head(y, flip=True) if y.sum() > -1e9 else y

    parts = parts_of(model(forward, backbone=backbone(), head=Head()))
    assert list(parts.graphs) == ["backbone", "head.conv"]
    assert type(parts.module.head) is Head


def test_a_module_called_with_one_flag_in_every_branch_is_a_graph_that_holds_to_it():
    def forward(self, x):
        y = self.backbone(x)
        return self.head(y, flip=True) if y.sum() > -1e9 else self.head(y * 2, flip=True)

    parts = parts_of(model(forward, backbone=backbone(), head=Head()))
    assert list(parts.graphs) == ["backbone", "head"]
    (x,) = images()
    y = parts.graphs["backbone"](x)
    assert torch.equal(parts.graphs["head"](y, flip=True), parts.module(x))
    with pytest.raises(AssertionError, match="head was traced for other arguments than these"):
        parts.graphs["head"](y, flip=False)


def test_a_module_called_with_a_flag_keeps_its_forward():
    def forward(self, x):
        y = self.backbone(x)
        return self.head(y, flip=not self.training) if y.sum() > -1e9 else y

    parts = parts_of(model(forward, backbone=backbone(), head=Head()))
    assert list(parts.graphs) == ["backbone", "head.conv"] and type(parts.module.head) is Head
    assert [leaf.path for leaf in parts.leaves] == ["", "head"]
    assert parts.leaves[1].reason == (
        "is called with flip=True by code that does not trace, where another branch may pass another value"
    )


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        pytest.param(lambda head, y: head(y, True), "is called with flip=True by code that", id="a flag by place"),
        pytest.param(lambda head, y: head(y, mask=None), "is called with mask=None by code that", id="no mask"),
        pytest.param(lambda head, y: head(y, levels=[y, 2]), "is called with levels=a list by", id="in a list"),
        pytest.param(lambda head, y: head(y, mode="b"), "is called with mode='b' by code that", id="a word"),
        pytest.param(lambda head, y: head(y, size=y.shape[2:]), "is called with size=a tuple by", id="sizes"),
    ],
)
def test_what_is_no_tensor_is_not_baked_in(call, reason):
    class Settings(nn.Module):
        """Takes what is asked about."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x, flip=False, mask=None, levels=(), mode="a", size=()):
            return self.conv(x)

    def forward(self, x):
        y = self.backbone(x)
        return call(self.head, y) if y.sum() > -1e9 else y

    parts = parts_of(model(forward, backbone=backbone(), head=Settings()))
    assert list(parts.graphs) == ["backbone", "head.conv"]
    assert parts.leaves[1].path == "head" and parts.leaves[1].reason.startswith(reason)


def test_a_flag_handed_on_two_modules_deep():
    class Outer(nn.Module):
        """Hands its flag on."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.conv = Head(), conv()

        def forward(self, x, flip: bool = False):
            return self.inner(self.conv(x), flip)

    def forward(self, x):
        y = self.backbone(x)
        return self.outer(y) if y.sum() > -1e9 else self.outer(y, True)

    parts = parts_of(model(forward, backbone=backbone(), outer=Outer()))
    assert list(parts.graphs) == ["backbone", "outer.inner.conv", "outer.conv"]
    reason = "is called with flip in one branch of code that does not trace, and not in another"
    assert (parts.leaves[1].path, parts.leaves[1].reason) == ("outer", reason)
    assert parts.leaves[2].path == "outer.inner"


def test_an_attribute_that_another_branch_sets():
    class Mode(nn.Module):
        """Does as its attribute says."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.flips = conv(), False

        def forward(self, x):
            return self.conv(x).flip(3) if self.flips else self.conv(x)

    def forward(self, x):
        y = self.backbone(x)
        self.head.flips = bool(y.sum() < -1e9)
        return self.head(y)

    parts = parts_of(model(forward, backbone=backbone(), head=Mode()))
    assert list(parts.graphs) == ["backbone", "head.conv"]
    assert parts.leaves[1].reason == "has its flips set by code that does not trace"


def test_tensors_by_keyword_and_in_containers():
    class Joined(nn.Module):
        """Keyword-only and nested inputs."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x, unused=None, *, skip=None, levels=None):
            y = self.conv(x) if skip is None else self.conv(x) + skip
            return y if levels is None else y + levels["a"][0]

    def forward(self, x):
        y = self.backbone(x)
        return self.head(y, skip=y * 2, levels={"a": (y, y)}) if y.sum() > -1e9 else y

    parts = parts_of(model(forward, backbone=backbone(), head=Joined()))
    assert list(parts.graphs) == ["backbone", "head"]
    assert [node.target for node in parts.graphs["head"].graph.find_nodes(op="placeholder")] == ["x", "skip", "levels"]


def test_layers_take_whatever_they_are_called_with():
    def forward(self, x):
        y = self.up(self.conv(x), output_size=(x.shape[2] * 2, x.shape[3] * 2))
        rows = y.mean(2).transpose(1, 2)
        h = self.gru(rows[:, 0], rows[:, 1])
        h, c = self.cell(h, (h, h * 2))
        z, (last, _) = self.lstm(rows, (h.unsqueeze(0), c.unsqueeze(0)))
        a, _ = self.attention(z, key=z, value=z, need_weights=False)
        return a + last[0].unsqueeze(1) if x.sum() > -1e9 else a

    original = model(
        forward,
        conv=conv(),
        up=nn.ConvTranspose2d(8, 8, 3, 2, 1),
        gru=nn.GRUCell(8, 8),
        cell=nn.LSTMCell(8, 8),
        lstm=nn.LSTM(8, 8, batch_first=True),
        attention=nn.MultiheadAttention(8, 2, batch_first=True),
    )
    parts = parts_of(original)
    assert list(parts.graphs) == ["conv", "up", "gru", "cell", "lstm", "attention"]
    (size,) = [node for node in parts.graphs["up"].graph.find_nodes(op="placeholder") if node.target == "output_size"]
    assert size not in tensor_nodes(parts.graphs["up"])
    x = images(seed=3)[0][:, :, :4]
    assert torch.equal(parts.module(x), original(x)), "nothing is made of the example's sizes"
    scripted = torch.jit.script(parts.module)
    assert torch.equal(scripted(x), original(x))
    flag = next(node for node in parts.graphs["attention"].graph.nodes if node.op == "call_module").kwargs[
        "need_weights"
    ]
    assert flag is False, "every branch gives this one"


def test_a_layer_with_a_flag_of_more_than_one_value():
    def forward(self, x):
        y = self.conv(x).flatten(2).transpose(1, 2)
        return self.attention(y, y, y, need_weights=bool(y.sum() > -1e9))

    original = model(forward, conv=conv(), attention=nn.MultiheadAttention(8, 2, batch_first=True))
    parts = parts_of(original)
    (call,) = [node for node in parts.graphs["attention"].graph.nodes if node.op == "call_module"]
    assert isinstance(call.kwargs["need_weights"], fx.Node)


def test_code_outside_asks_a_layer_what_it_is():
    def forward(self, x):
        x = x.to(self.first.weight.dtype)
        if self.head.conv.bias is not None:
            x = x * self.head.conv.weight.shape[0] / self.head.conv.out_channels
        y = self.first(x)
        return self.head(y) if y.sum() > -1e9 else y

    original = model(forward, first=conv(), head=Head())
    parts = parts_of(original)
    assert list(parts.graphs) == ["first", "head"]
    answer = parts.module.head.conv
    assert type(answer) is Described and answer.weight.shape == (8, 8, 1, 1) and answer.stride == (1, 1)
    assert answer.weight.untyped_storage().nbytes() == 4, "it takes no room"
    assert list(parts.module.state_dict()) == [
        "first.conv.weight", "first.conv.bias", "head.conv_layer.weight", "head.conv_layer.bias",
    ]  # fmt: skip
    again = copied(parts.module)
    assert type(again.head.conv) is Described and torch.equal(again(*images()), original(*images()))
    rewritten = rewrite(original, example=images())
    assert rewritten.key_map["head.conv.weight"] == "head.conv_layer.weight"


@pytest.mark.parametrize(
    ("read", "path", "reason"),
    [
        pytest.param(lambda self: self.head.conv.weight.sum(), "head", "its weights are read by code", id="values"),
        pytest.param(lambda self: self.first.bias[0], "first", "its weights are read by code", id="of a layer alone"),
        pytest.param(lambda self: self.head.conv(1.0 * self.x).sum(), "head", "a module in it is used", id="a call"),
    ],
)
def test_code_outside_reads_more_than_that(read, path, reason):
    def forward(self, x):
        self.x = x
        y = self.head(self.first(x)) + self.read()
        return y if y.sum() > -1e9 else x

    original = model(forward, first=conv(), head=Head())
    type(original).read = read
    parts = parts_of(original)
    found = {leaf.path: leaf.reason for leaf in parts.leaves}
    assert found[path].startswith(reason)


def test_a_part_gives_back_what_it_returned():
    class Output(dict):
        """A dict whose items are attributes."""

        def __getattr__(self, name):
            if name in self:
                return self[name]
            raise AttributeError(name)

    class Encoder(nn.Module):
        """Returns one."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            return Output(last=self.conv(x))

    def forward(self, x):
        y = self.encoder(x).last
        return y.view(y.shape[0], -1) if y.sum() > -1e9 else y

    parts = parts_of(model(forward, encoder=Encoder()))
    assert list(parts.graphs) == ["encoder"]
    assert graph_lines(parts.graphs["encoder"])[-1] == "return {'last': conv}"
    assert type(parts.module.encoder(*images())) is Output


def test_a_container_in_a_graph_that_lacks_what_is_asked():
    def forward(self, x):
        y = self.head(x)
        return y * len(self.head[1]) * self.head[1][0].out_channels if y.sum() > -1e9 else y

    head = nn.Sequential(conv(), nn.Sequential(conv(), nn.ReLU()))
    parts = parts_of(model(forward, head=head))
    assert "head" not in parts.graphs and "head.0" in parts.graphs


def test_what_is_never_called_is_no_graph():
    parts = parts_of(model(untraceable, backbone=backbone(), head=Head(), auxiliary=Head()))
    assert list(parts.graphs) == ["backbone", "head"]
    assert type(parts.module.auxiliary) is Head


def test_the_host_asks_a_graph_for_an_attribute():
    def forward(self, x):
        y = self.backbone(x)
        return self.head(y) * self.head.channels if y.sum() > -1e9 else y

    parts = parts_of(model(forward, backbone=backbone(), head=Head()))
    assert list(parts.graphs) == ["backbone", "head"] and parts.module.head.channels == 8


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda head: head.anchors(), id="a method"),
        pytest.param(lambda head: head.stride, id="an attribute of its class"),
        pytest.param(lambda head: len(head), id="a length"),
        pytest.param(lambda head: head[0], id="an item"),
        pytest.param(lambda head: sum(head), id="members"),
        pytest.param(lambda head: 2 if 4 in head else 3, id="whether it has a member"),
    ],
)
def test_the_host_asks_a_graph_for_what_it_lacks(ask):
    class Sized(Head):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> int:
            return (4, 6)[index]

    def forward(self, x):
        y = self.backbone(x)
        return self.head(y) * ask(self.head) if y.sum() > -1e9 else y

    original = model(forward, backbone=backbone(), head=Sized())
    parts = parts_of(original)
    assert list(parts.graphs) == ["backbone", "head.conv"]
    assert type(parts.module.head) is Sized
    assert [graph_lines(graph)[-1] for graph in parts.graphs.values()] == ["return _2", "return conv"]


def test_of_two_graphs_of_one_class_only_the_one_that_is_asked_is_given_up():
    def forward(self, x):
        y = self.backbone(x)
        return self.head(y) * self.head.anchors() if y.sum() > -1e9 else y

    parts = parts_of(model(forward, backbone=Head(), head=Head()))
    assert list(parts.graphs) == ["backbone", "head.conv"]


def test_a_type_error_of_the_models_own_comes_out():
    def forward(self, x):
        return self.conv(x) + len(3) if x.sum() > -1e9 else x

    with pytest.raises(TypeError, match="object of type 'int' has no len"):
        trace_parts(model(forward, conv=conv()), images())


def test_an_attribute_that_nobody_has_is_the_models_own_fault():
    def forward(self, x):
        return self.missing(self.conv(x)) if x.sum() > -1e9 else x

    with pytest.raises(AttributeError, match="'Model' object has no attribute 'missing'"):
        trace_parts(model(forward, conv=conv()), images())


def test_a_module_called_on_a_list_of_feature_levels():
    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, features):
            return [self.conv(level) for level in features]

    def forward(self, x):
        y = self.backbone(x)
        found = self.head([y, y[:, :, ::2, ::2]])
        return found if y.sum() > -1e9 else [y]

    parts = parts_of(model(forward, backbone=backbone(), head=Levels()))
    assert list(parts.graphs) == ["backbone", "head"]
    assert graph_lines(parts.graphs["head"]) == [
        "features: input", "getitem = features[0]", "getitem_1 = features[1]", "conv = self.conv(getitem)  # Conv2d",
        "conv_1 = self.conv(getitem_1)  # Conv2d", "return [conv, conv_1]",
    ]  # fmt: skip


def test_decisions_by_size_of_all_graphs_are_told_once():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            return self.conv(x) if x.shape[2] % 2 == 0 else x

    parts = parts_of(model(untraceable, backbone=Odd(), head=Odd()))
    (entry,) = parts.fixed
    assert entry.code == "return self.conv(x) if x.shape[2] % 2 == 0 else x"


def test_nothing_with_weights_traces():
    with pytest.raises(UntraceableError, match=r"no layer .* within reach .*test_parts\.py:\d+ \(return self.head"):
        trace_parts(model(untraceable, backbone=nn.ReLU(), head=nn.ReLU()), images())


def test_without_an_example_children_are_still_found():
    original = model(untraceable, backbone=backbone(), head=Head())
    parts = trace_parts(copy.deepcopy(original))
    assert list(parts.graphs) == ["backbone", "head"]
    assert_same_results(original, parts.module, [images()])


def test_a_graph_and_its_copy_get_plain_attributes_only():
    head = Head()
    head._private, head.names = 1, ["a"]
    graph_module, _ = trace(head)
    keep_attributes(head, graph_module)
    assert graph_module.channels == 8 and graph_module.names is head.names
    assert not hasattr(graph_module, "_private") and graph_module.conv is head.conv


def test_names_stand_behind_the_path_of_their_graph():
    assert (prefixed("", "conv"), prefixed("head", "conv"), prefixed("a.b", "c")) == ("conv", "head.conv", "a.b.c")


def test_rewriting_a_model_in_parts():
    original = model(untraceable, backbone=backbone(), head=nn.Sequential(conv(), nn.SiLU()))
    rewritten = rewrite(original, example=images())
    with pytest.raises(ValueError, match=r"its graphs are in \.graphs"):
        _ = rewritten.graph_module
    assert list(rewritten.graphs) == ["backbone", "head"]
    assert_same_results(original, rewritten.module, [images(), images(seed=2)], rewritten.tolerance)
    assert [edit.before for edit in rewritten.renames] == ["backbone.0", "backbone.1", "backbone.2", "head.0"]
    assert [edit.after for edit in rewritten.renames][:2] == ["backbone.conv", "backbone.bn"]
    assert rewritten.key_map["backbone.1.running_var"] == "backbone.bn.running_var"
    (decompose,) = [result for result in rewritten.results if result.name == "decompose"]
    assert decompose.diff.splitlines()[:2] == ["--- before decompose in head", "+++ after decompose in head"]
    assert {edit.node for edit in decompose.edits} == {"head.sigmoid", "head._1"}
    assert rewritten.source_lines[0] == "backbone.input: input"
    assert rewritten.source_calls["Conv2d"] == 2


def test_islands_and_skips_stand_behind_the_path_of_their_graph():
    inplace = nn.Sequential(nn.Mish(), conv())
    rewritten = rewrite(model(untraceable, backbone=backbone(), head=inplace), example=images())
    assert [island.nodes for island in rewritten.islands] == [("head.mish",)]


def test_other_weights_load_into_every_part():
    torch.manual_seed(3)
    original, other = (model(untraceable, backbone=backbone(), head=Head()).eval() for _ in range(2))
    rewritten = rewrite(original, example=images())
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.module, [images()])
