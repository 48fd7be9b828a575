"""What is computed from parameters alone is computed once, and again when other parameters are loaded."""

import copy

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, check, conv, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.passes import FoldConstants

RULE = FoldConstants()


def table(*shape: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(5)
    return nn.Parameter(torch.randn(shape, generator=generator))


@pytest.mark.parametrize(
    ("forward", "parts"),
    [
        pytest.param(lambda self, x: x * self.scale, {"scale": table(8, 1, 1)}, id="a parameter itself"),
        pytest.param(lambda self, x: (x + self.scale).exp(), {"scale": table(8, 1, 1)}, id="what reads the input"),
        pytest.param(lambda self, x: F.conv2d(x, self.weight), {"weight": table(8, 8, 1, 1)}, id="a convolution's"),
        pytest.param(lambda self, x: x + torch.ones(8, 1, 1), {}, id="a constant of the forward's"),
    ],
)
def test_left_as_it_is(forward, parts):
    assert check(RULE, model(forward, **parts)).result.edits == ()


def test_a_relative_position_bias():
    def forward(self, x):
        bias = self.table[self.index].view(8, 8, 2).permute(2, 0, 1)
        return x.view(2, 2, 32, 8) @ x.view(2, 2, 8, 32)[..., :8] + bias.repeat(1, 4, 1)

    index = torch.arange(64) % 15
    checked = check(RULE, model(forward, table=table(15, 2), index=index))
    assert checked.changes == text("""
        -table = self.table
        -index = self.index
        -getitem = table[index]
        -view = getitem.view(8, 8, 2)
        -permute = view.permute(2, 0, 1)
        -repeat = permute.repeat(1, 4, 1)
        -add = matmul + repeat
        +repeat_1 = self.repeat
        +add = matmul + repeat_1
    """)  # fmt: skip
    assert "repeat" in dict(checked.graph_module.named_buffers())
    assert set(checked.graph_module.state_dict()) == set()


def test_a_layer_on_constants():
    def forward(self, x):
        return x + self.mlp(self.coordinates).sigmoid().mean(0).view(8, 1, 1)

    mlp = nn.Sequential(nn.Linear(2, 16), nn.ReLU(inplace=True), nn.Linear(16, 8))
    checked = check(RULE, model(forward, mlp=mlp, coordinates=table(49, 2)))
    assert checked.lines == tuple(text("""
        x: input
        view_1 = self.view
        add = x + view_1
        return add
    """))  # fmt: skip
    assert not [node for node in checked.graph_module.graph.nodes if node.op == "call_module"]
    assert {path for path, _ in checked.graph_module.named_modules()} == {""}


def test_only_the_last_value_is_kept():
    def forward(self, x):
        scale = self.scale.clamp(max=4.6).exp()
        return x * scale + scale.sum()

    checked = check(RULE, model(forward, scale=table(8, 1, 1)))
    assert [line for line in checked.lines if "self." in line] == ["exp_1 = self.exp", "sum_2 = self.sum_1"]
    assert [edit.reason for edit in checked.result.edits if edit.kind == "replace"] == [
        "it reads parameters alone, so it is the same for every input"
    ] * 2


def test_several_tensors_at_once_are_folded_one_by_one():
    def forward(self, x):
        first, second = self.pair.chunk(2)
        return x * first + second

    checked = check(RULE, model(forward, pair=table(16, 1, 1)))
    assert not [line for line in checked.lines if "chunk" in line]


def test_a_number_that_is_computed_from_a_parameter_stays_computed():
    # A tuple of sizes is no tensor to keep; it costs nothing.
    checked = check(RULE, model(lambda self, x: x.view(self.scale.shape[0], -1), scale=table(8)))
    assert "float_reason" not in str(checked.lines)
    assert not [edit for edit in checked.result.edits if edit.kind == "replace"]


@pytest.mark.parametrize(
    "function",
    [
        torch.rand_like, torch.randn_like, torch.bernoulli,
        lambda value: F.dropout(value, 0.5, True), lambda value: torch.dropout(value, 0.5, True),
        lambda value: value.clone().normal_(), lambda value: value.clone().uniform_(),
        lambda value: value.clone().bernoulli_(0.5),
        lambda value: torch.multinomial(value, 4, True).float().sum(),
        lambda value: nn.functional.dropout2d(value.view(1, 8, 1, 1), 0.5, True),
        lambda value: nn.functional.alpha_dropout(value, 0.5, True),
        lambda value: nn.functional.feature_alpha_dropout(value.view(1, 8, 1, 1), 0.5, True),
        lambda value: nn.functional.rrelu(-value, 0.1, 0.9, True),
        lambda value: nn.functional.gumbel_softmax(value)[:4],  # the mean of all is that of any softmax
        lambda value: torch.poisson(value),
        lambda value: value.clone().cauchy_(),
        lambda value: value.clone().log_normal_(),
        lambda value: value.clone().geometric_(0.5),
        lambda value: value.clone().exponential_(),
        lambda value: torch.normal(value, 1.0),
        lambda value: value.new_empty(8).copy_(value).random_(),
    ],
)  # fmt: skip
def test_what_is_random_is_drawn_anew_every_time(function):
    # squared: the mean of a softmax is the same whatever was drawn
    original = model(
        lambda self, x: x + function(self.share).square().mean(), share=nn.Parameter(torch.full((8,), 0.5))
    )
    graph_module = rewrite(original, [RULE]).graph_module
    torch.manual_seed(0)
    first, second = graph_module(torch.zeros(8)), graph_module(torch.zeros(8))
    assert not torch.equal(first, second)


def test_a_parameter_that_is_changed_in_place_by_the_input():
    def forward(self, x):
        counts = self.counts * 1
        counts += x.mean()
        return x * counts

    checked = check(RULE, model(forward, counts=table(8, 1, 1)))
    assert not [edit for edit in checked.result.edits if edit.before.startswith("iadd")]
    assert [line for line in checked.lines if "+=" in line]


def test_a_view_that_the_input_writes_into():
    def forward(self, x):
        whole = self.table * 2
        row = whole[0]
        row.copy_(x[0, :, 0, 0])
        return x[:, :, 0, 0] + whole.sum(0)

    checked = check(RULE, model(forward, table=table(3, 8)))
    assert [line for line in checked.lines if ".sum(" in line]


def test_a_constant_that_constants_alone_change_in_place():
    def forward(self, x):
        whole = self.table * 2
        whole[0] = self.row
        whole += 1
        return x + whole.sum(0).view(8, 1, 1)

    original = model(forward, table=table(3, 8), row=table(8))
    checked = check(RULE, original)
    assert checked.lines == ("x: input", "view_1 = self.view", "add = x + view_1", "return add")


def test_a_buffer_that_counts_is_not_folded():
    def forward(self, x):
        self.calls += 1
        return x * self.calls.sqrt()

    original = model(forward, calls=torch.zeros(1))
    rewritten = rewrite(original, [RULE])
    assert rewritten.results[0].edits == ()
    assert_same_results(copy.deepcopy(original), rewritten.graph_module, [images(), images(), images()])


def test_what_another_graph_made_of_an_original_checkpoint():
    def forward(self, x):
        return x + self.mlp(self.coordinates).mean(0).view(8, 1, 1) * self.scale.exp()

    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        mlp = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 8))
        return model(forward, mlp=mlp, coordinates=torch.randn(49, 2), scale=nn.Parameter(torch.randn(1)))

    original, other = made(1), made(2)
    rewritten = rewrite(original)
    assert rewritten.key_map["mlp.0.weight"] is None and rewritten.key_map["scale"] is None
    assert not any(torch.equal(a, b) for a, b in zip(original.parameters(), other.parameters(), strict=True))
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images()])
    rewritten.load_state_dict(original.state_dict())
    assert_same_results(original, rewritten.graph_module, [images()])


def test_a_checkpoint_loads_into_a_tensor_that_is_read_both_folded_and_as_it_is():
    def forward(self, x):
        return self.conv(x) * self.scale + self.scale.exp()

    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return model(forward, conv=conv(), scale=nn.Parameter(torch.randn(8, 1, 1)))

    original, other = made(1), made(2)
    rewritten = rewrite(original)
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images()])


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda whole, row: whole[0].copy_(row), id="through a view"),
        pytest.param(lambda whole, row: whole.__iadd__(row).sum(), id="by what has readers of its own"),
        pytest.param(lambda whole, row: whole.__setitem__(0, row), id="an item"),
    ],
)
def test_loading_a_checkpoint_repeats_what_constants_did_to_each_other(write):
    def forward(self, x):
        whole = self.table * 2
        read = whole[:2]
        write(whole, self.row)
        return x + read.sum(0).view(8, 1, 1)

    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return model(forward, table=nn.Parameter(torch.randn(3, 8)), row=nn.Parameter(torch.randn(8)))

    original, other = made(1), made(2)
    rewritten = rewrite(original)
    assert_same_results(original, rewritten.graph_module, [images()])
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images()])


def test_a_checkpoint_loads_into_what_was_computed_from_a_buffer():
    def forward(self, x):
        return x + self.table.exp().sum(0).view(8, 1, 1)

    original, other = model(forward, table=torch.zeros(3, 8)), model(forward, table=torch.ones(3, 8))
    rewritten = rewrite(original)
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images()])


def test_folding_draws_no_random_numbers_of_the_users():
    original = model(lambda self, x: x + torch.rand_like(self.share).mean(), share=table(8, 1, 1))
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    rewrite(original, [RULE])
    assert torch.equal(torch.rand(3), wanted)


def test_the_users_model_is_not_changed_by_loading():
    original = model(lambda self, x: x * self.scale.exp(), scale=table(8, 1, 1)).eval()
    before = original.scale.detach().clone()
    rewrite(original).load_state_dict({"scale": torch.zeros(8, 1, 1)})
    assert torch.equal(original.scale, before)
