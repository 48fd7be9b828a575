"""Models that are odd as a whole: what is converted all the same, and what is refused in which words."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fxconv_commands import SMALL, assert_user_error
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torchvision.models import get_model

import fxconv
from fxconv.config import Config
from fxconv.errors import UserError
from fxconv.models import preconditions
from fxconv.models.batch_norms import reestimate_batch_norms
from rewrites import rewrite


class Net(nn.Module):
    """A convolution and a classifier, with a line of the test's own before and behind them."""

    def __init__(self, before: Callable[[Tensor], Tensor] | None = None, behind: Callable[..., object] | None = None):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)
        self.before, self.behind = before, behind
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        if self.before is not None:
            x = self.before(x)
        x = self.head(F.relu(self.conv(x)).mean((2, 3)))
        return x if self.behind is None else self.behind(self, x)


class WritingLeaf(nn.Module):
    """Writes into its input, and looks at it, so that it stays whole and in float."""

    def forward(self, x):
        x.mul_(2)
        return x if x.sum() > -1e9 else -x


def doubled(x):
    x *= 2
    return x


def counted(net, x):
    net.calls += 1
    return x * net.calls


def own_counter(net, x):
    net.calls += 1
    return x, net.calls


def mistyped(net, x):
    return x / undefined_name  # noqa: F821


def of_one_size(x):
    assert x.shape[2] == 48, "the image must have 48 rows"
    return x


WRITING = {
    "an assignment in forward": lambda: Net(doubled),
    "a layer in place": lambda: nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(3, 8, 3)),
    "a module that does not trace": lambda: nn.Sequential(WritingLeaf(), nn.Conv2d(3, 8, 3)),
}


@pytest.mark.parametrize("name", WRITING)
def test_a_model_that_writes_into_its_input_is_verified_and_the_users_tensors_stay(name, batches):
    given, example = [batch.clone() for batch in batches[:2]], batches[2][:1].clone()
    conversion = fxconv.convert(WRITING[name]().eval(), given, example_inputs=(example,), recipe=("none",))
    assert conversion.verified
    assert all(torch.equal(now, before) for now, before in zip(given, batches, strict=False))
    assert torch.equal(example, batches[2][:1])


def test_batch_norms_are_estimated_on_copies(batches):
    model, given = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(3)), batches[0].clone()
    reestimate_batch_norms(model, [given])
    assert torch.equal(given, batches[0])


def test_a_model_that_writes_into_its_input_on_the_command_line(command):
    Path("net.py").write_text(
        "from torch import nn\n\n\ndef net():\n"
        "    return nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(3, 4, 3))\n"
    )
    for name, more in (("convert", ["--calib-count", "6", "--batch-size", "3"]), ("diff", [])):
        assert command(name, "net.py:net", "--input-size", "16", *more).status == 0


@pytest.mark.parametrize("kind", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrized_weights_are_baked_into_the_copy(kind, batches):
    model = Net().eval()
    kind(model.conv)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    conversion = fxconv.convert(model, batches[:1], recipe=("none",))
    assert conversion.verified
    with torch.no_grad():
        assert torch.equal(conversion.rewritten.graph_module(batches[0]), model(batches[0]))
    assert torch.nn.utils.parametrize.is_parametrized(model.conv, "weight")
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_a_wrapper_around_the_model_is_taken_off(wrap, batches):
    conversion = fxconv.convert(wrap(Net().eval()), batches[:1], recipe=("none",))
    assert conversion.verified
    assert conversion.model.name == "Net"
    inside = Net().eval()
    inside.conv = wrap(inside.conv)
    assert fxconv.convert(inside, batches[:1], recipe=("none",)).converted
    assert type(inside.conv) is not nn.Conv2d


def test_a_wrapped_model_and_its_checkpoint_on_the_command_line(command):
    Path("net.py").write_text(
        "from torch import nn\n\n\ndef plain():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n\n\n"
        "def net():\n    return nn.DataParallel(plain())\n"
    )
    torch.save(nn.DataParallel(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())).state_dict(), "x.pth")
    for weights in ("auto", "x.pth"):
        run = command("convert", "net.py:net", "--input-size", "16", "--calib-count", "4", "--weights", weights)
        assert run.status == 0, run.stderr
    assert command("diff", "net.py:net", "--input-size", "16").status == 0


def scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3)))


def traced() -> nn.Module:
    return torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 32, 32))


def scripted_part() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), torch.jit.script(nn.ReLU()))


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3))


def meta() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, device="meta"))


class Calling(nn.Conv2d):
    """Does something of its own around its forward."""

    def __call__(self, x):
        return -super().__call__(x)


def calling() -> nn.Module:
    net = Net()
    net.conv = Calling(3, 8, 3, padding=1)
    return net


def hooked() -> nn.Module:
    net = Net()
    net.conv.register_forward_hook(lambda module, inputs, output: output * 2)
    return net


def hooked_before() -> nn.Module:
    net = nn.Sequential(Net())
    net.register_forward_pre_hook(print)
    return net


def weight_normed() -> nn.Module:
    net = Net()
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(net.conv)
    return net


def pruned() -> nn.Module:
    return prune.random_unstructured(Net().conv, "weight", amount=0.3)


REFUSED = {
    scripted: "is TorchScript, scripted or traced; give the float nn.Module it was made of",
    traced: "is TorchScript, scripted or traced; give the float nn.Module it was made of",
    scripted_part: ": 1 is TorchScript, scripted or traced; give the float nn.Module it was made of",
    lazy: ": 0.weight, 0.bias not initialized yet; run one input through the model first",
    meta: ": 1.weight, 1.bias on the meta device, which holds no values; make them, or load them",
    calling: ": conv has a __call__ of its own, around its forward, which int8 would drop; write what it does into",
    hooked: ": conv has a forward hook (hooked.<locals>.<lambda>), which no artifact can carry; remove it, and",
    hooked_before: ": the outermost module has a forward pre-hook (print), which no artifact can carry; remove it, and",
    weight_normed: ": conv has a forward pre-hook (WeightNorm), which no artifact can carry; call "
                   "torch.nn.utils.remove_weight_norm on that layer",
    pruned: ": the outermost module has a forward pre-hook (RandomUnstructured), which no artifact can carry; call "
            "torch.nn.utils.prune.remove on that layer",
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_no_artifact_can_carry_is_refused_up_front(kind, batches, command):
    with pytest.raises(UserError) as refused:
        fxconv.convert(kind(), batches, recipe=("none",))
    assert str(refused.value).replace("the model", "", 1).strip().startswith(REFUSED[kind].strip())
    for name in ("convert", "diff"):
        assert_user_error(command(name, f"{__file__}:{kind.__name__}", "--input-size", "32"), REFUSED[kind])


def test_what_is_no_module_is_refused(batches):
    with pytest.raises(UserError, match=r"the model is of type function, not an nn\.Module; give the float model"):
        fxconv.convert(doubled, batches, recipe=("none",))


def test_hooks_that_do_not_run_with_a_forward_are_no_matter(batches):
    model = Net()
    model.conv.register_full_backward_hook(lambda *_: None)
    model.register_state_dict_post_hook(lambda *_: None)
    model.register_load_state_dict_post_hook(lambda *_: None)
    assert fxconv.convert(model, batches[:1], recipe=("none",)).verified


@pytest.mark.parametrize(
    "make",
    [
        lambda: get_model("mobilenet_v3_small", weights=None),
        lambda: get_model("vit_b_16", weights=None, image_size=32),
        lambda: nn.TransformerEncoderLayer(16, 2, 32),
        lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
        lambda: nn.Sequential(torch.ao.quantization.QuantStub(), nn.BatchNorm2d(3)),
    ],
)
def test_torchs_own_layers_have_nothing_to_be_refused(make):
    preconditions.check(make(), "the model")


def test_a_lazy_model_that_has_run_is_a_model_like_any_other(batches):
    model = lazy()
    model(batches[0])
    assert fxconv.convert(model, batches[:1], recipe=("none",)).verified


CHANGING = {
    "dropout left on": lambda: Net(behind=lambda net, x: F.dropout(x, 0.5, training=True)),
    "random numbers": lambda: Net(behind=lambda net, x: x + torch.rand(4)),
    "a counter": lambda: Net(behind=counted),
    "a counter that is returned": lambda: Net(behind=own_counter),
}


@pytest.mark.parametrize("name", CHANGING)
def test_answers_that_change_are_not_blamed_on_the_rewriting(name, batches):
    with pytest.raises(UserError, match=r"the model gives different outputs for the same input \(.*differs? by up to "):
        fxconv.convert(CHANGING[name](), batches[:1], recipe=("none",))


def test_answers_that_change_on_the_command_line(command):
    Path("net.py").write_text(
        "from torch import nn\nfrom torch.nn.functional import dropout\n\n\nclass Net(nn.Conv2d):\n"
        "    def __init__(self):\n        super().__init__(3, 4, 3)\n\n"
        "    def forward(self, x):\n        return dropout(super().forward(x))\n"
    )
    for name in ("convert", "diff"):
        assert_user_error(command(name, "net.py:Net", "--input-size", "16"), "gives different outputs for the same")


def overflowing(net, x):
    return x * 1e30 * 1e30


def masked(net, x):
    return x.masked_fill(torch.tensor([True, False, False, False]), -math.inf)


@pytest.mark.parametrize(
    ("before", "behind", "message"),
    [
        (None, overflowing, "the model gives nothing but infinity for an input of 3x32x32; mend its weights or its"),
        (
            lambda x: x * 1e30 * 1e30,
            lambda net, x: x.nan_to_num(1, 1, 1),
            "values in calibration are infinite or NaN at",
        ),
        (None, lambda net, x: (x - 1e3).log(), "the model gives NaN for an input of 3x32x32; mend its weights or its"),
        (None, lambda net, x: (x, x.log() * x), "the model gives NaN in output 1 for an input of 3x32x32"),
    ],
)
def test_values_that_overflow_are_named(before, behind, message, batches):
    with pytest.raises(UserError) as refused:
        fxconv.convert(Net(before, behind), batches[:1], recipe=("none",))
    assert message in str(refused.value)


def test_scores_that_are_masked_with_infinity_are_converted(batches):
    conversion = fxconv.convert(Net(behind=masked), batches[:1], recipe=("none",))
    assert conversion.verified
    # infinity is no signal beside which all noise is silent
    assert 10 < next(row for row in conversion.ledger if row.stage == "int8").sqnr_db < 100


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Net(behind=mistyped), r"in tests/fxconv/models/test_preconditions.py, line \d+ \(return .*failed "
                               r"with NameError: name 'undefined_name' is not defined on an input of 3x32x32; mend"),
        (Net(of_one_size), r"line \d+ \(assert x.shape.*, failed with AssertionError: the image must have 48 rows on"),
        (nn.Module(), r"the model cannot take an input of 3x32x32 \(NotImplementedError: Module \[Module\] is missing"),
        (
            Net(lambda x: x[:, :2]),
            r"the model cannot take an input of 3x32x32 \(RuntimeError: Given groups=1.*\); give the size of",
        ),
    ],
)  # fmt: skip
def test_a_fault_in_the_users_forward_names_its_line(net, message, batches):
    with pytest.raises(UserError, match=message):
        fxconv.convert(net, batches[:1], recipe=("none",))


def test_only_errors_about_sizes_are_cured_by_another_size(command):
    source = (
        "from torch import nn\n\n\nclass Net(nn.Conv2d):\n    def __init__(self):\n        super().__init__(3, 4, 3)\n"
    )
    forward = "\n    def forward(self, x):\n        {line}\n        return super().forward(x)\n"
    for line, end in (
        ("x = x + undefined", "NameError: name 'undefined' is not defined on an input of 3x16x16; mend it there\n"),
        (
            "assert x.shape[2] == 48",
            "AssertionError on an input of 3x16x16; mend it there, or set --input-size 3x48x48\n",
        ),
        ("x = x.view(7, 7)", "(shape '[7, 7]' is invalid for input of size 768); set --input-size\n"),
    ):
        Path("net.py").write_text(source + forward.format(line=line))
        for name in ("convert", "diff"):
            run = command(name, "net.py:Net", "--input-size", "16")
            assert_user_error(run)
            assert run.stderr.endswith(end)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_the_least_sqnr_is_a_finite_number(text, command):
    message = "not a finite number of decibels; give one, such as 10"
    assert_user_error(command("convert", *SMALL, "--min-sqnr", text), f"--min-sqnr {text}: {message}")
    with pytest.raises(UserError, match=f"min_sqnr={text}: {message}"):
        Config(min_sqnr=float(text))


def test_seeds_have_an_end(command):
    assert_user_error(command("convert", *SMALL, "--seed", str(2**63)), "'--seed'")
    assert command("diff", SMALL[0], "--input-size", "32", "--seed", str(2**63 - 1)).status == 0


@pytest.mark.parametrize("value", [None, 3, (None, 0.5), [], {}, "text", object()])
def test_a_model_that_returns_no_tensors_is_refused(value):
    with pytest.raises(UserError, match="beside or instead of tensors; return tensors only"):
        preconditions.reference(Net(behind=lambda self, x: value).eval(), [(torch.rand(1, 3, 8, 8),)])


def test_nothing_and_numbers_beside_tensors_are_taken():
    model = Net(behind=lambda self, x: {"out": x, "aux": None, "stride": 4, "scale": [0.5, True]}).eval()
    ((out, stride, scale, flag),) = preconditions.reference(model, [(torch.rand(1, 3, 8, 8),)])
    assert out.shape == (1, 4) and (stride.item(), scale.item(), flag.item()) == (4, 0.5, True)


class Labelled(nn.Module):
    """An image and a class index."""

    def __init__(self):
        super().__init__()
        self.conv, self.embedding = nn.Conv2d(3, 8, 3), nn.Embedding(5, 8)

    def forward(self, x, label):
        return self.conv(x) + self.embedding(label)[:, :, None, None]


def test_an_input_that_should_be_float32_is_named():
    image, label = torch.randint(0, 255, (1, 3, 8, 8)), torch.tensor([4])
    with pytest.raises(UserError, match=r"; input 0 is int64; give float32, preprocessed as in training$"):
        preconditions.reference(Labelled().eval(), [(image, label)])
    assert preconditions.float_asked_for(Labelled().eval(), (torch.rand(1, 3, 8, 8), label)) == ""
    assert preconditions.reference(Labelled().eval(), [(torch.rand(1, 3, 8, 8), label)])[0][0].shape == (1, 8, 6, 6)


def test_hooks_of_transformers_that_a_trace_runs_are_let_be(batches):
    noted = []

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x).relu()

    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = Layer(), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            noted.clear()
            self.layer(x)
            return self.head(noted[0] * 2)

    def note(module, inputs, output):
        noted.append(output)

    model = Noting().eval()
    model.layer.register_forward_hook(note)
    with pytest.raises(UserError, match="layer has a forward hook"):
        preconditions.check(model, "the model")
    note.__module__ = "transformers.utils.output_capturing"
    preconditions.check(model, "the model")
    x = torch.randn(2, 3, 9, 7)
    expected = model(x)
    assert torch.equal(rewrite(model).graph_module(x), expected)
