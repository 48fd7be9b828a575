"""The float model's decisions, replayed in its int8 form; and a detector from end to end."""

from __future__ import annotations

import copy

import fxconv_networks as networks
import pytest
import torch
import torchvision
from torch import Tensor, fx, nn

import fxconv
from fxconv.conversion import Conversion
from fxconv.errors import ConversionError
from fxconv.measures.replayed_decisions import Diverged, _Decisions, compared_outputs
from fxconv.models import forward
from fxconv.models.signature import InputSignature
from fxconv.quantization import fusion, static
from fxconv.quantization.calibrate import must_be_single
from fxconv.targets.mobile.lite_file import load_lite
from fxconv.verification import parity
from fxconv.verification.lowered_outputs import _ToldApart, comparable_outputs
from rewrites import rewrite


def fused(conversion):
    return fusion.fuse(conversion.rewritten.module)


def answers(function, first: Tensor, second: Tensor):
    """What `function` gives for `second` when it takes the decisions it took for `first`."""
    recording = _Decisions()
    with recording:
        function(first)
    with _Decisions(recording.made):
        return function(second)


SCORES, OTHERS = torch.tensor([0.1, 0.9, 0.5, 0.7]), torch.tensor([0.8, 0.2, 0.6, 0.4])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(lambda x: x[x > 0.6], [0.2, 0.4], id="a mask"),
        pytest.param(lambda x: x[torch.where(x > 0.6)[0]], [0.2, 0.4], id="where"),
        pytest.param(lambda x: x[torch.nonzero(x > 0.6)[:, 0]], [0.2, 0.4], id="nonzero"),
        pytest.param(lambda x: x.topk(2)[0], [0.2, 0.4], id="the best two"),
        pytest.param(lambda x: x[x.topk(2)[1]], [0.2, 0.4], id="by where the best stood"),
        pytest.param(lambda x: x.sort(descending=True)[0], [0.2, 0.4, 0.6, 0.8], id="sorted"),
        pytest.param(lambda x: x[x.argsort(descending=True)], [0.2, 0.4, 0.6, 0.8], id="argsort"),
        pytest.param(lambda x: x.max(0)[0].view(1), [0.2], id="the greatest, with where it stood"),
        pytest.param(lambda x: x.view(2, 2).max(0)[0], [0.6, 0.2], id="the greatest of every column"),
        pytest.param(lambda x: x.view(2, 2).max(1, keepdim=True)[0].view(-1), [0.2, 0.4], id="of every row"),
        pytest.param(lambda x: x.view(2, 2).max(dim=1)[0], [0.2, 0.4], id="the dim by name"),
        pytest.param(lambda x: x.view(2, 2).median(1)[0], [0.8, 0.6], id="the median"),
        pytest.param(lambda x: x[x.argmax()].view(1), [0.2], id="argmax"),
        pytest.param(lambda x: x[1:] if x[0] > 0.5 else x[:1], [0.8], id="a branch"),
        pytest.param(lambda x: x[: int(x[1] * 3)], [0.8, 0.2], id="a number of Python's"),
        pytest.param(lambda x: x[: round(x.sum().item())], [0.8, 0.2], id="an item"),
        pytest.param(lambda x: x[(x * 4).long().clamp(max=3)], [0.8, 0.4, 0.6, 0.6], id="a rounded index"),
        pytest.param(lambda x: x.max().view(1), [0.8], id="the greatest alone is a value, not a decision"),
        pytest.param(lambda x: x.sigmoid() * 2, (OTHERS.sigmoid() * 2).tolist(), id="nothing"),
    ],
)
def test_a_decision_is_the_first_runs_and_the_values_are_the_second_ones(function, expected):
    assert answers(function, SCORES, OTHERS).tolist() == pytest.approx(expected)
    assert torch.equal(answers(function, SCORES, SCORES), function(SCORES))


def test_boxes_that_no_better_one_overlaps():
    # The first two overlap; by the first scores the second one wins.
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60], [70, 70, 80, 80]])
    function = lambda scores: torchvision.ops.nms(boxes, scores, 0.5)  # noqa: E731
    assert answers(function, SCORES, OTHERS).tolist() == function(SCORES).tolist() == [1, 3, 2]
    assert function(OTHERS).tolist() == [0, 2, 3]


def test_whole_numbers_made_of_whole_numbers_are_no_decisions():
    recording = _Decisions()
    with recording:
        (torch.arange(4) + 1).sort()
        (torch.arange(4) > 2).nonzero()
    assert recording.made == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(lambda x: x.sum(), lambda x: x > 0.5, id="one more question"),
        pytest.param(lambda x: x.argmax(), lambda x: x > 0.5, id="another question"),
        pytest.param(lambda x: x < 0.5, lambda x: x > 0.5, id="another one, answered in the same shape"),
        pytest.param(lambda x: x > 0.5, lambda x: x.view(2, 2) > 0.5, id="another rank"),
    ],
)
def test_two_runs_that_do_not_ask_the_same(first, second):
    recording = _Decisions()
    with recording:
        first(SCORES)
    with pytest.raises(Diverged), _Decisions(recording.made):
        second(OTHERS)


class Inside(nn.Module):
    """A convolution and a comparison, as one graph."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y * (y > 0)


class ModelWrapper(nn.Module):
    """A graph, and around it a comparison of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = Inside()

    def forward(self, x: Tensor) -> Tensor:
        y = self.inside(x)
        return y * 2 if y.sum() > -1e9 else y


def test_what_happens_inside_of_a_graph_is_no_decision():
    rewritten = rewrite(ModelWrapper(), example=(torch.ones(1, 3, 4, 4),)).module
    recording = _Decisions()
    hooks = recording.hooks_on(rewritten)
    with torch.no_grad(), recording:
        rewritten(torch.ones(1, 3, 4, 4))
    for hook in hooks:
        hook.remove()
    assert [name for name, _ in recording.made] == ["aten::gt"]


# -- the detector ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return networks.detector().eval()


@pytest.fixture(scope="module")
def converted(model: nn.Module, batches: list[Tensor]) -> Conversion:
    return fxconv.convert(model, batches, recipe=("none",))


def test_it_is_converted_and_verified(converted):
    assert converted.verdict == "converted and verified"
    assert list(converted.rewritten.graphs) == ["backbone", "heads"]
    assert converted.artifact.int8_macs_share == 1.0
    # A view that only the output reads: one conversion in front of it does.
    assert [island.nodes for island in converted.rewritten.islands] == [("backbone.max_pool2d",)]
    others = (parity.EQUALIZED, parity.TRAINED)
    assert [row.stage for row in converted.module_ledger] == [stage for stage in parity.STAGES if stage not in others]
    assert [row.max_abs_diff for row in converted.ledger if row.stage != "int8"][:1] == [0.0]
    assert [row.max_abs_diff for row in converted.ledger[3:]] == [0, 0, 0]
    assert {op.where.partition(".")[0] for op in converted.audit.operations} == {"backbone", "heads"}
    assert any("torchvision::nms" in op for op in converted.artifact.operators)


def test_the_reason_names_the_line_that_stopped_it(converted):
    (leaf,) = converted.rewritten.leaves
    assert leaf.path == ""
    assert leaf.reason.startswith("does not trace: tests/fxconv/fxconv_networks.py:")
    assert "(return [self.selected(logits, boxes) for logits, boxes in " in leaf.reason


def test_it_was_calibrated_with_one_image_at_a_time(model, batches, converted):
    signature = InputSignature.of(model)
    assert must_be_single(model, converted.rewritten, signature, fxconv.data.calibration.Batches(batches))
    assert converted.calibration.images == 24


def test_the_artifact_finds_what_the_int8_module_finds(converted, batches, tmp_path):
    saved = converted.save(tmp_path / "detector.ptl")
    torch.backends.quantized.engine = "qnnpack"  # the others overflow on processors without VNNI
    lite = load_lite(saved.artifact.path)
    x = batches[2][:1]
    (found,) = converted.int8(x)
    boxes, scores, labels = lite(x)
    assert len(scores) == len(found["scores"]) > 2
    assert torch.allclose(scores, found["scores"]) and torch.equal(labels, found["labels"])
    assert torch.allclose(boxes, found["boxes"])


def test_without_the_float_models_decisions_there_is_nothing_to_compare(model, converted, batches):
    images = [(image[None],) for image in batches[0]]
    alone = parity.close_enough("int8", forward.outputs(model, images), forward.outputs(converted.int8, images), 10)
    assert not alone.passed
    both = compared_outputs(
        fusion.fuse(converted.rewritten.module), converted.int8, forward.outputs(model, images), images
    )
    replayed = parity.close_enough("int8", both.wanted, both.got, 10)
    assert replayed.passed and replayed.sqnr_db > 25


def test_what_it_returns_is_compared_and_what_its_graphs_give_before(model, converted, batches):
    images = [(batches[0][:1],)]
    both = compared_outputs(fused(converted), converted.int8, forward.outputs(model, images), images)
    # boxes, scores and labels; then three levels of the backbone, logits and box regressions
    wanted, got = both.wanted[0], both.got[0]
    assert (both.returned, len(wanted), len(got), both.incomparable) == (3, 8, 8, "")
    assert wanted[6].shape == (1, 8 * 8 + 4 * 4 + 2 * 2, 3) and wanted[7].shape == (1, 84, 4)
    # the heads are given the levels as they are, and nothing is selected by a single channel of those
    assert both.last == (6, 7)
    ((ours, theirs),) = both.boxes
    assert len(ours) == len(theirs) > 0 and all(a.shape == b.shape for a, b in zip(ours, theirs, strict=True))


class Branching(nn.Module):
    """A layer, and a branch that floats and int8 take otherwise: the sum of int8 is another one."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.inside, self.least = Inside(), least

    def forward(self, x: Tensor) -> Tensor:
        y = self.inside(x)
        return y * 2 if y.sum() > self.least else y


def test_a_branch_that_int8_takes_otherwise_is_what_is_compared():
    rewritten = rewrite(Branching(-1e9), example=(torch.ones(1, 3, 4, 4),)).module
    image = (torch.randn(1, 3, 4, 4),)
    returned = forward.outputs(rewritten, [image])
    both = compared_outputs(rewritten, rewritten, returned, [image])
    assert both.returned == 1 and both.incomparable == "" and both.last == ()
    assert torch.equal(both.got[0][0], returned[0][0])
    other = copy.deepcopy(rewritten)
    other.least = 1e9
    both = compared_outputs(rewritten, other, returned, [image])
    assert torch.equal(2 * both.got[0][0], returned[0][0])


class Answering(nn.Module):
    """Returns a decision, behind a guard that never fires."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.inside, self.sign = Inside(), sign

    def forward(self, x: Tensor) -> Tensor:
        best = (self.sign * self.inside(x)).flatten(1).argmax(1)
        return -best if int(best) > 100 else best


def test_an_answer_that_is_returned_is_int8s_own():
    floating = rewrite(Answering(1.0), example=(torch.ones(1, 3, 4, 4),)).module
    other = copy.deepcopy(floating)
    other.sign = -1.0
    images = [(torch.randn(1, 3, 4, 4),) for _ in range(4)]
    both = compared_outputs(floating, other, forward.outputs(floating, images), images)
    assert both.returned == 1
    assert [row[0].tolist() for row in both.got] == [row.tolist() for (row,) in forward.outputs(other, images)]
    assert not parity.close_enough("int8", both.wanted, both.got, 10).passed


class Choosing(nn.Module):
    """Selects the best, and branches as well."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.inside, self.least = Inside(), least

    def forward(self, x: Tensor) -> Tensor:
        best = self.inside(x).flatten(1).topk(3)[0]
        return best if best.sum() > self.least else best + 1e-3


def test_branches_beside_a_selection_are_compared_by_themselves():
    floating = rewrite(Choosing(-1e9), example=(torch.ones(1, 3, 4, 4),)).module
    images = [(torch.randn(1, 3, 4, 4),) for _ in range(4)]
    returned = forward.outputs(floating, images)
    same = compared_outputs(floating, floating, returned, images)
    assert parity.close_enough("int8", same.wanted, same.got, 10).passed and len(same.wanted[0]) == 3
    other = copy.deepcopy(floating)
    other.least = 1e9
    both = compared_outputs(floating, other, returned, images)
    assert not parity.close_enough("int8", both.wanted, both.got, 10).passed


class Asking(nn.Module):
    """As many questions as it is told to ask, before what it returns."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.inside, self.questions = Inside(), questions

    def forward(self, x: Tensor) -> Tensor:
        y = self.inside(x)
        for _ in range(self.questions):
            if y.flatten(1).argmax(1).sum() > 10**9:
                return y * 2
        return y


def test_where_int8_asks_otherwise_only_what_leads_up_to_it_is_compared():
    floating = rewrite(Asking(1), example=(torch.ones(1, 3, 4, 4),)).module
    other = copy.deepcopy(floating)
    other.questions = 2
    image = (torch.randn(1, 3, 4, 4),)
    both = compared_outputs(floating, other, forward.outputs(floating, [image]), [image])
    assert both.returned == 0 and "decides otherwise" in both.incomparable
    assert len(both.wanted[0]) == len(both.got[0]) == 1 and both.last == (0,)


def test_where_nothing_is_selected_what_the_model_returns_is_compared_too():
    class Undecided(ModelWrapper):
        def forward(self, x: Tensor) -> Tensor:
            return next(iter([self.inside(x)])) * 2 if len(list(x)) else x

    rewritten = rewrite(Undecided(), example=(torch.ones(1, 3, 4, 4),)).module
    assert not isinstance(rewritten, fx.GraphModule)
    image = (torch.randn(1, 3, 4, 4),)
    returned = forward.outputs(rewritten, [image])
    both = compared_outputs(rewritten, rewritten, returned, [image])
    wanted, got = both.wanted, both.got
    assert torch.equal(wanted[0][0], returned[0][0]) and torch.equal(got[0][0], returned[0][0])
    assert torch.equal(2 * wanted[0][1], returned[0][0])


def test_a_noisy_head_fails_although_the_decisions_are_replayed(model, converted, batches):
    noisy = copy.deepcopy(converted.int8)
    head = noisy.heads.logits
    weight = head.weight()
    flipped = torch._make_per_channel_quantized_tensor(
        -weight.int_repr(), weight.q_per_channel_scales(), weight.q_per_channel_zero_points(), 0
    )
    head.set_weight_bias(flipped, head.bias())
    images = [(batches[0][:1],)]
    both = compared_outputs(fused(converted), noisy, forward.outputs(model, images), images)
    row = parity.close_enough("int8", both.wanted, both.got, 10)
    assert not row.passed and "SQNR" in row.problem


def tampered_head(monkeypatch: pytest.MonkeyPatch, change) -> None:
    convert = static.convert_observed

    def tampered(*args: object) -> nn.Module:
        int8 = convert(*args)
        change(int8.heads)
        return int8

    monkeypatch.setattr(static, "convert_observed", tampered)


def test_a_lost_bias_in_its_int8_head_is_named_with_the_path_of_the_graph(model, batches, monkeypatch):
    def lose(heads: fx.GraphModule) -> None:
        heads.logits.set_weight_bias(heads.logits.weight(), torch.zeros_like(heads.logits.bias()))

    tampered_head(monkeypatch, lose)
    conversion = fxconv.convert(model, batches, min_sqnr=-1000, recipe=("none",))
    assert conversion.verdict.startswith("FAILED: kernel audit: heads.logits (Conv2d): its bias is not the float ")
    with pytest.raises(ConversionError, match=r"heads\.logits"):
        conversion.save("never-written.ptl")


def test_a_kernel_that_refuses_in_its_int8_head_is_named_with_the_path_of_the_graph(model, batches, monkeypatch):
    class Refusing(torch.ao.nn.quantized.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("failed to create QNNPACK operator")

    tampered_head(monkeypatch, lambda heads: setattr(heads.boxes, "__class__", Refusing))
    with pytest.raises(ConversionError, match=r"refuses to run heads\.boxes \(Refusing\): failed to create"):
        fxconv.convert(model, batches, recipe=("none",))


def test_an_observer_of_its_head_that_never_ran_is_named(model, batches, monkeypatch):
    observe = static.observe

    def tampered(*args: object) -> nn.Module:
        observed = observe(*args)
        observed.heads.logits.activation_post_process.forward = lambda x: x
        return observed

    monkeypatch.setattr(static, "observe", tampered)
    with pytest.raises(ConversionError, match=r"calibration never reached .*logits"):
        fxconv.convert(model, batches, recipe=("none",))


# -- values that leave int8 are told apart -----------------------------------------------------------------


def test_values_that_leave_int8_are_moved_by_less_than_half_a_step_alike_in_every_run():
    values = torch.quantize_per_tensor(torch.linspace(0, 1, 50), 0.1, 10, torch.quint8)
    with _ToldApart() as first:
        moved = values.dequantize()
    with _ToldApart():
        again = values.dequantize()
    assert torch.equal(moved, again)
    assert len(moved.unique()) == 50 and len(values.dequantize().unique()) == 11
    assert (moved - values.dequantize()).abs().max() < 0.05
    assert torch.equal(first.left[0], values.dequantize())


def test_equal_scores_in_another_order_say_nothing(converted, batches):
    images = [(image[None],) for image in batches[0][:2]]
    reference = forward.outputs(converted.int8, images)
    row = parity.same_bits("same", *comparable_outputs(converted.int8, converted.int8, reference, images), False)
    assert row.passed and row.max_abs_diff == 0

    class Louder(nn.Module):
        def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
            return converted.int8(x + 0.05)

    row = parity.same_bits("other", *comparable_outputs(converted.int8, Louder(), reference, images), False)
    assert not row.passed


def test_one_graph_is_compared_as_it_is(small_conversion, batches):
    images = [(batches[0][:1],), (batches[0][1:2],)]
    reference = forward.outputs(small_conversion.int8, images)
    wanted, got = comparable_outputs(small_conversion.int8, small_conversion.int8, reference, images[:1])
    assert wanted == reference[:1] and torch.equal(got[0][0], reference[0][0])
