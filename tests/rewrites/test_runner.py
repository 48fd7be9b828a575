"""rewrite(): what it leaves alone, where keys go, and the three kinds of trouble."""

import copy
import operator
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from passcheck import assert_same_results, conv, images, model
from torch import nn

import rewrites
from rewrites import DEFAULT_PASSES, Editor, PassError, RewritePass, UntraceableError, callee, passes_with, rewrite
from rewrites.diff import graph_lines
from rewrites.modules import MulScalar


class Residual(nn.Module):
    """Enough for every default pass but two to have something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
        self.act = nn.SiLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(512, 4)

    def forward(self, x):
        y = self.features(x)
        y += x
        y = self.act(self.drop(y))
        return self.head(y.view(y.size(0), -1))


def loop(self, x):
    """A forward that does not trace."""
    total = x
    while total.sum() < 0:
        total = total + 1
    return total


def everything_of(module: nn.Module) -> dict[str, object]:
    return {
        "state": {key: value.clone() for key, value in module.state_dict().items()},
        "modules": {path: (id(part), type(part), part.training) for path, part in module.named_modules()},
        "parameters": {path: (id(p), p.requires_grad) for path, p in module.named_parameters()},
        "settings": {path: part.extra_repr() for path, part in module.named_modules()},
    }


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_users_model_is_not_touched(training):
    original = Residual().train(training)
    before = everything_of(original)
    rewritten = rewrite(original)
    after = everything_of(original)
    assert all(torch.equal(before["state"][key], after["state"][key]) for key in before["state"])
    assert {k: v for k, v in before.items() if k != "state"} == {k: v for k, v in after.items() if k != "state"}
    assert not rewritten.graph_module.training
    assert not any(part.training for part in rewritten.graph_module.modules())
    # Nor do they share memory.
    for parameter in rewritten.graph_module.parameters():
        parameter.data.zero_()
    assert all(torch.equal(before["state"][key], value) for key, value in original.state_dict().items())


def test_a_model_in_training_is_rewritten_as_it_computes_in_eval():
    original = Residual().train()
    rewritten = rewrite(original)
    assert_same_results(copy.deepcopy(original).eval(), rewritten.graph_module, [images()], rewritten.tolerance)
    assert rewritten.tolerance == 1e-5


class Choosing(nn.Module):
    """Its plain attributes bear the names that new modules would like to have."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.relu, self.add = nn.Linear(8, 4), True, "twice"

    def forward(self, x):
        x = x + x if self.add == "twice" else x
        return self.head(torch.relu(x) if self.relu else x)


def test_a_new_module_does_not_take_the_name_of_an_attribute():
    given, example = Choosing().eval(), torch.randn(2, 8)
    rewritten = rewrite(given)
    assert torch.equal(rewritten.graph_module(example), given(example))
    assert rewritten.graph_module.relu is True and rewritten.graph_module.add == "twice"


def test_every_key_is_mapped():
    original = Residual()
    key_map = rewrite(original).key_map
    assert set(key_map) == set(original.state_dict())
    assert key_map["features.0.weight"] == "features.conv.weight"
    assert key_map["features.1.running_var"] == "features.bn.running_var"
    assert key_map["head.bias"] == "head.bias"


def test_what_the_forward_never_reads_maps_to_none():
    original = model(lambda self, x: self.conv(x), conv=conv(), auxiliary=conv())
    rewritten = rewrite(original)
    assert rewritten.key_map["auxiliary.weight"] is None
    rewritten.load_state_dict(original.state_dict())


def test_loading_other_weights():
    original, other = Residual().eval(), Residual().eval()
    rewritten = rewrite(original)
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images()], rewritten.tolerance)


def test_loading_a_checkpoint_that_lacks_a_key():
    state = Residual().state_dict()
    del state["head.weight"]
    with pytest.raises(KeyError, match=r"head\.weight"):
        rewrite(Residual()).load_state_dict(state)


def test_tied_weights_stay_tied_and_load():
    def tied(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        result = model(lambda self, x: self.second(self.first(x)), first=conv(bias=False), second=conv(bias=False))
        result.second.weight = result.first.weight
        return result

    original, other = tied(1), tied(2)
    rewritten = rewrite(original)
    assert len(list(rewritten.graph_module.parameters())) == 1
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images()])


def test_a_shared_module_keeps_one_set_of_weights():
    shared = conv()
    original = model(
        lambda self, x: self.second(self.first(x)), first=nn.Sequential(shared), second=nn.Sequential(shared)
    )
    rewritten = rewrite(original)
    assert len(list(rewritten.graph_module.parameters())) == 2
    assert set(rewritten.key_map) == set(original.state_dict())
    rewritten.load_state_dict(original.state_dict())


def test_buffers_outside_of_checkpoints_stay_outside():
    original = model(lambda self, x: self.conv(x) + self.position + self.anchor + torch.ones(1), conv=conv())
    original.register_buffer("position", torch.rand(1, 8, 1, 1), persistent=False)
    original.anchor = torch.rand(1, 8, 1, 1)
    rewritten = rewrite(original)
    assert set(rewritten.graph_module.state_dict()) == {"conv.weight", "conv.bias"}
    rewritten.load_state_dict(original.state_dict())
    assert_same_results(original, rewritten.graph_module, [images()])


def test_results_follow_the_passes_in_order():
    rewritten = rewrite(Residual())
    assert [result.name for result in rewritten.results] == [rule.name for rule in DEFAULT_PASSES]
    assert [result.summary for result in rewritten.results] == [rule.summary() for rule in DEFAULT_PASSES]
    edited = [result.name for result in rewritten.results if result.edits]
    assert edited == [
        "drop-inference-noops", "out-of-place", "view-to-reshape", "decompose", "arithmetic-to-functional",
        "fold-relu6", "fusable-names", "quant-boundaries",
    ]  # fmt: skip
    assert rewritten.diff().count("--- before") == len(edited)
    assert [edit.before for edit in rewritten.renames] == ["features.0", "features.1", "features.2"]
    assert rewritten.source_lines[0] == "x: input"


def test_after_pass_is_called_with_each_result():
    seen = []
    rewrite(
        Residual(), after_pass=lambda result, graph_module: seen.append((result.name, len(graph_module.graph.nodes)))
    )
    assert [name for name, _ in seen] == [rule.name for rule in DEFAULT_PASSES]
    assert seen[-1][1] > seen[0][1]


@pytest.mark.parametrize("rule", [*DEFAULT_PASSES, *rewrites.ALTERNATIVES], ids=lambda rule: rule.name)
def test_every_pass_shows_itself_at_work(rule):
    example = rule.example().eval()
    rewritten = rewrite(example, [rule])
    assert rewritten.results[0].edits and rewritten.results[0].diff
    assert_same_results(example, rewritten.graph_module, [images(shape=(1, 8, 8, 8))], rule.tolerance)
    assert rule.summary().endswith(".") and rule.__doc__.count("\n\n    ") >= 3


class TanhToHardtanh(RewritePass):
    """A pass of the user's own: Tanh becomes Hardtanh."""

    name = "tanh-to-hardtanh"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if callee(editor.graph_module, node) is nn.Tanh:
                editor.replace_module(node, nn.Hardtanh(), "cheaper")

    @staticmethod
    def example() -> nn.Module:
        return nn.Sequential(nn.Tanh())


def test_a_pass_of_the_users_own():
    original = model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.Tanh())
    rewritten = rewrite(original, passes=passes_with(TanhToHardtanh()))
    (result,) = [result for result in rewritten.results if result.name == "tanh-to-hardtanh"]
    assert result.diff.splitlines()[-3:-1] == [
        "-act = self.act(conv)  # Tanh()",
        "+act = self.act(conv)  # Hardtanh(min_val=-1.0, max_val=1.0)",
    ]
    assert [island.nodes for island in rewritten.islands] == [("act",)]


def test_passes_of_the_users_own_stand_before_names_and_boundaries_are_settled():
    own = (TanhToHardtanh(), TanhToHardtanh())
    assert passes_with() == DEFAULT_PASSES
    assert passes_with(*own) == (*DEFAULT_PASSES[:-2], *own, *DEFAULT_PASSES[-2:])
    assert passes_with(*own, passes=DEFAULT_PASSES[-1:]) == (*own, DEFAULT_PASSES[-1])
    assert passes_with(*own, passes=DEFAULT_PASSES[:2]) == (*DEFAULT_PASSES[:2], *own)


class KnownCount(TanhToHardtanh):
    """A product with the number of channels becomes one with 8, for which there is a kernel."""

    name = "known-count"
    allows = True

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if callee(editor.graph_module, node) is operator.mul:
                if self.allows:
                    editor.allow_int8(node)
                editor.replace_with_module(node, MulScalar(8), node.args[:1], "mul", "a constant has a kernel")


class KnownCountInFloat(KnownCount):
    """The same, but for the mark that arithmetic-to-functional left for want of a kernel."""

    name = "known-count-in-float"
    allows = False


def test_a_pass_takes_back_that_an_operation_must_be_float():
    original = model(lambda self, x: self.conv(self.conv(x) * x.size(1)), conv=conv())
    rewritten = rewrite(original, passes_with(KnownCount()))
    assert rewritten.islands == ()
    assert_same_results(original, rewritten.graph_module, [images()])
    (island,) = rewrite(original, passes_with(KnownCountInFloat())).islands
    assert island.reason == "one operand is not a tensor but a number computed when the model runs"


def test_a_pass_of_the_users_own_at_the_end():
    original = model(lambda self, x: self.conv(x), conv=conv())
    assert rewrite(original, passes=[*DEFAULT_PASSES, TanhToHardtanh()]).results[-1].edits == ()


class Careless(TanhToHardtanh):
    """A pass that cannot take convolutions."""

    name = "careless"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if callee(editor.graph_module, node) is nn.Conv2d:
                raise ZeroDivisionError("division by zero")


def test_a_pass_of_ours_that_breaks_is_our_fault_and_says_where(monkeypatch):
    monkeypatch.setattr(Careless, "__module__", "rewrites.passes.careless")
    original = model(lambda self, x: self.conv(x), conv=conv())
    with pytest.raises(PassError) as caught:
        rewrite(original, passes=[Careless()])
    assert str(caught.value) == "INTERNAL ERROR in pass careless at node conv: ZeroDivisionError: division by zero"
    assert (caught.value.pass_name, caught.value.node, caught.value.own) == ("careless", "conv", True)


def test_a_pass_of_the_users_own_that_breaks_is_theirs_and_says_where():
    original = model(lambda self, x: self.conv(x), conv=conv())
    with pytest.raises(PassError) as caught:
        rewrite(original, passes=[Careless()])
    line = Careless.run.__code__.co_firstlineno + 3
    assert str(caught.value) == (
        f"pass careless failed at node conv, tests/rewrites/test_runner.py:{line} "
        '(raise ZeroDivisionError("division by zero")): ZeroDivisionError: division by zero'
    )
    assert (caught.value.pass_name, caught.value.node, caught.value.own) == ("careless", "conv", False)


def test_a_pass_that_leaves_a_broken_graph_is_found_out():
    class Reversing(TanhToHardtanh):
        name = "reversing"

        def run(self, editor: Editor) -> None:
            nodes = list(editor.nodes())
            nodes[0].append(nodes[2])

    original = model(lambda self, x: self.conv(x).relu(), conv=conv())
    with pytest.raises(PassError, match="pass reversing failed"):
        rewrite(original, passes=[Reversing()])


def test_an_illegal_node_is_the_fault_of_the_pass_that_made_it(monkeypatch):
    class Numbering(TanhToHardtanh):
        name = "numbering"

        def run(self, editor: Editor) -> None:
            for node in editor.nodes():
                if callee(editor.graph_module, node) is nn.Tanh:
                    node.meta["rule"] = self.name

    def examine(graph_module):
        return [SimpleNamespace(node="act", rule="it must not be here")]

    monkeypatch.setattr("rewrites.runner.check_rewritten", examine)
    original = model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.Tanh())
    with pytest.raises(PassError, match="pass numbering failed at node act: illegal nodes after rewriting: act: it"):
        rewrite(original, passes=[Numbering(), *DEFAULT_PASSES])


def test_a_quantized_model_is_the_users_mistake():
    original = model(lambda self, x: self.conv(x), conv=conv())
    original.conv = torch.ao.nn.quantized.Conv2d(8, 8, 1)
    with pytest.raises(ValueError, match="conv: Conv2d is quantized already; rewriting starts from the float model"):
        rewrite(original)


def test_a_child_that_does_not_trace_becomes_a_float_leaf():
    looping = model(loop)
    original = model(
        lambda self, x: self.tail(self.middle(self.head(x))),
        head=nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU6()),
        middle=looping,
        tail=nn.Sequential(conv(), nn.ReLU()),
    )  # fmt: skip
    rewritten = rewrite(original)
    (leaf,) = rewritten.leaves
    line = loop.__code__.co_firstlineno + 3
    assert leaf.path == "middle"
    assert leaf.reason.startswith(f"does not trace: tests/rewrites/test_runner.py:{line} (while total.sum() < 0:): ")
    assert [(island.nodes, island.reason) for island in rewritten.islands] == [(("middle",), leaf.reason)]
    # Everything else is rewritten as ever.
    assert [edit.after for edit in rewritten.renames] == [
        "head.conv",
        "head.bn",
        "head.relu6",
        "tail.conv",
        "tail.relu",
    ]
    assert_same_results(copy.deepcopy(original), rewritten.graph_module, [images()])


def test_a_root_that_does_not_trace():
    with pytest.raises(
        UntraceableError,
        match=r"no layer of the model is within reach of tracing; its forward does not trace: .*test_runner\.py:\d+",
    ):
        rewrite(model(loop))


def test_the_passes_are_stable_as_a_whole():
    rewritten = rewrite(Residual())
    lines = graph_lines(rewritten.graph_module)
    for rule in DEFAULT_PASSES:
        assert rewrites.run_pass(rewritten.graph_module, rule).edits == ()
    assert graph_lines(rewritten.graph_module) == lines


def test_the_library_stands_alone():
    code = "import sys, rewrites; print([m for m in ('fxconv', 'torchvision') if m in sys.modules])"
    root = Path(rewrites.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
